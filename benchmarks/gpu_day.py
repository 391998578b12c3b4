"""A GPU for a quarter of an hour, and no network: `make gpu`, which goes on where it was

`python benchmarks/gpu_day.py --data imagenette2-160.tgz --minutes 9 --to runs/gpu` does, in this order, what is not done yet:
1. tests: what both engines compute on the device (tests/gpu), in under a minute;
2. rates: seconds an update of both engines for each model and batch size (gpu_grid.py);
3. the published grid itself, the cheapest and most telling runs first, into imagenette.jsonl: three seeds where they are cheap.
It ends in time, and the same command goes on, on another machine too if the folder comes along: what is done stands in gpu_day.json.
Pieces of the store for a way that takes small files only: `--pieces 16`, in MB. `--device cpu --tiny` tries all of it anywhere.
"""
import argparse, json, os, subprocess, sys
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).parents[1]
LARGE,MIDDLE = 'bs=64,128,256,512,1024,2048','bs=8,16,32'
SMALL = 'bs=1,2,4'

# Of the published grid: which runs, and of which seeds
PORTIONS = [(['model=xresnet18', LARGE], [0, 1, 2]), (['model=xresnet34', LARGE], [0]), (['model=xse_resnext50', LARGE], [0]),
            (['model=xresnet18', MIDDLE], [0, 1, 2]), (['model=xresnet34', MIDDLE], [0]), (['model=xse_resnext50', MIDDLE], [0]),
            (['model=xresnet18', SMALL], [0]), (['model=xresnet34', SMALL], [0]), (['model=xse_resnext50', SMALL], [0]),
            (['model=xresnet34', LARGE], [1, 2]), (['model=xse_resnext50', LARGE], [1, 2])]

TINY = """[imagenette]
data = imagenette
size = 32
epochs = 1
models = narrow
batch_sizes = 8 64
lrs = 1e-3 1e-2
"""
TINY_PORTIONS = [(['bs=64'], [0, 1]), (['bs=8'], [0])]

def parser():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument('--data', help='folder or archive with Imagenette')
    p.add_argument('--minutes', type=float, default=9., help='when to end')
    p.add_argument('--device', default='cuda')
    p.add_argument('--amp', help='let the grid be trained in this precision: bf16')
    p.add_argument('--tiny', action='store_true', help='made-up images and a grid of six runs')
    p.add_argument('--pieces', type=float, metavar='MB', help='only cut the store into files of at most so many MB')
    p.add_argument('--to', type=Path, default=Path('runs/gpu'), help='folder for all that comes of it')
    return p

def tests(args): return [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests/gpu']

def rates(args):
    script = [sys.executable, 'benchmarks/gpu_grid.py', '--device', args.device, '--to', args.to/'rates', '--data', args.data]
    tiny = '--models xresnet18 --bs 8 --size 32 --steps 2 --turns 1 --members 2'.split()
    return [*script, *(tiny if args.tiny else ['--amp', 'bf16', '--graphs'])]

def portion(args, only, seeds, seconds):
    run = [sys.executable, '-m', 'bs_lr_study', 'run', 'imagenette', '--data', args.data, '--store', args.to/'imagenette.jsonl']
    how = ['--device', args.device, '--workers', 0, '--budget', f'{max(1, int(seconds))}s', '--show', 'lines', '--out', args.to/'plots']
    how += ['--amp', args.amp]*bool(args.amp) + ['--settings', args.to/'settings.ini']*args.tiny
    return [*run, '--only', *only, '--seeds', *seeds, *how]

def steps(args):
    "Name of each step, and its command, a function of the seconds that are left"
    yield 'tests',lambda _: tests(args)
    yield 'rates',lambda _: rates(args)
    for only,seeds in TINY_PORTIONS if args.tiny else PORTIONS:
        yield f"{' '.join(only)}, seeds {' '.join(map(str, seeds))}",lambda left,o=only,s=seeds: portion(args, o, s, left - 20)

class Log:
    "What is done, in a file"
    def __init__(self, file):
        self.file = file
        self.done = json.loads(file.read_text()) if file.exists() else {}
    def __call__(self, name, **result):
        self.done[name] = result
        self.file.write_text(json.dumps(self.done, indent=1))
    def over(self, name): return self.done.get(name, {}).get('over', False)

def call(command, seconds, device):
    "Exit status and the end of the output; None where the time is up"
    env = os.environ | dict(BSLR_DEVICE=device, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    try: done = subprocess.run(list(map(str, command)), cwd=ROOT, env=env, timeout=seconds, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired as e: return None,(e.stdout or b'').decode(errors='replace')[-2000:]
    return done.returncode,done.stdout[-2000:]

def is_over(name, rc, text):
    "Whether a step need not be called again; failed tests are a result, a portion may have runs left"
    return rc is not None and (name == 'tests' or rc == 0 and 'runs left' not in text)

def one_step(name, command, end, args, log):
    start = monotonic()
    rc,text = call(command(end - start), end - start, args.device)
    seconds = round(monotonic() - start)
    log(name, over=is_over(name, rc, text), rc=rc, seconds=seconds, output=text)
    said = 'time is up' if rc is None else f'exit status {rc}' if rc else 'done' if log.over(name) else 'to go on with'
    print(f'{name}: {said}, {seconds} s\n{text[-300:] if rc else ""}', flush=True)

def cut(file, mb):
    "Copies of a store in pieces, each of whole lines"
    pieces,size = [[]],0
    for line in file.read_bytes().splitlines(keepends=True):
        if size + len(line) > mb*1e6 and pieces[-1]: pieces,size = [*pieces, []],0
        pieces[-1].append(line)
        size += len(line)
    paths = [file.with_name(f'{file.stem}-{i:02}.jsonl') for i in range(1, len(pieces) + 1)]
    for path,lines in zip(paths, pieces): path.write_bytes(b''.join(lines))
    return paths

def prepare(args):
    "What a trial in miniature needs"
    from made_up import make
    if not (args.to/'pics').exists(): make(128, args.to/'pics')
    args.data = args.to/'pics'
    (args.to/'settings.ini').write_text(TINY)

def main():
    (p := parser()).epilog = 'The wheels that an offline machine needs: benchmarks/wheels.py'
    args = p.parse_args()
    args.to = args.to.resolve()
    args.to.mkdir(parents=True, exist_ok=True)
    if args.pieces: return print(*cut(args.to/'imagenette.jsonl', args.pieces), sep='\n')
    if args.tiny: prepare(args)
    if not args.data: p.error('--data: where is Imagenette? Name its folder or archive; --tiny does without')
    args.data = Path(args.data).resolve()
    log,end = Log(args.to/'gpu_day.json'),monotonic() + 60*args.minutes
    for name,command in steps(args):
        if log.over(name): continue
        if end - monotonic() < 20: break
        one_step(name, command, end, args, log)
    left = [name for name,_ in steps(args) if not log.over(name)]
    print(f'{len(left)} steps left; the same command goes on' if left else 'all is done')

if __name__ == '__main__': main()
