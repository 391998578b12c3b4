"""What a sweep survives, as a table: each kind of harm, how often it was tried, and what came of it.

    make faults                           all of it, about a quarter of an hour on two cores
    make faults QUICK=1                   each kind once or a few times, in a minute or two
    python faults --scale .1              a tenth of it
    python faults --only ctrl_c --seed 7  one row, as another run had it
"""
import argparse, json, os, platform, random, shutil, subprocess, sys, time
from dataclasses import asdict
from pathlib import Path

QUICK = .03       # The part of it that is quick
SLOW = 'on_ray',  # Rows that a quick run leaves out: a cluster starts for too long

def line(row):
    "A row as a line of text"
    cell = lambda o: '–' if o is None else f'{o:,}'
    counts = f'{row.tried:8,}{row.survived:10,}{cell(row.lost):>7}{cell(row.twice):>7}{row.wrong:7,}'
    return f'{row.what:50}{counts}{row.seconds:9.0f}'

def table(rows):
    "The rows as text"
    head = f'{"":50}{"tried":>8}{"survived":>10}{"lost":>7}{"twice":>7}{"wrong":>7}{"seconds":>9}'
    return '\n'.join([head, *map(line, rows)])

def try_row(f, what, n, seed):
    "One row of the table"
    from bed import Row
    from sweeps import Beds
    row,start = Row(f.__name__, what, seed),time.monotonic()
    try:
        with Beds() as beds: f(row, beds, random.Random(f'{seed} {f.__name__}'), n)
    except Exception as e: row.tried,row.note = row.tried + 1,f'{type(e).__name__}: {e}' # which did not survive
    row.seconds = round(time.monotonic() - start, 1)
    return row

def save(path, rows, order):
    "Write the table; rows that the file has besides stay"
    old = json.loads(Path(path).read_text())['rows'] if Path(path).exists() else []
    all_ = {o['name']: o for o in old} | {o.name: asdict(o) for o in rows}
    about = dict(python=platform.python_version(), system=platform.system(), cores=os.cpu_count())
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(about | dict(rows=[all_[k] for k in order if k in all_]), indent=1, ensure_ascii=False) + '\n')

def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true', help=f'a scale of {QUICK:g}, without {", ".join(SLOW)}')
    p.add_argument('--scale', type=float, default=1., help='how much of it')
    p.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10**6), help='to have the same again')
    p.add_argument('--only', nargs='+', metavar='ROW', help='names of rows')
    p.add_argument('--skip', nargs='+', metavar='ROW', default=[], help='names of rows')
    p.add_argument('--save', help='a file for the table as JSON; the rows of it that are not tried now stay as they are')
    opt = p.parse_args()
    if opt.quick: opt.scale,opt.skip = QUICK,[*opt.skip, *SLOW]
    return opt,p

def allow_mounts(seed):
    "Run as root of a user namespace, where a small file system may be mounted"
    if not hasattr(os, 'geteuid') or not os.geteuid() or not shutil.which('unshare'): return
    if subprocess.run(['unshare', '-Urm', 'true'], capture_output=True).returncode: return
    os.execvp('unshare', ['unshare', '-Urm', sys.executable, *sys.argv, '--seed', str(seed)])

def main():
    opt,parser = arguments()
    allow_mounts(opt.seed)
    import inputs, sweeps
    from bed import prepare
    rows = {f.__name__: (f, *o) for f,o in (sweeps.ROWS | inputs.ROWS).items()}
    if odd := {*(opt.only or ()), *opt.skip} - set(rows): parser.error(f'no row {odd.pop()!r}; there are {", ".join(rows)}')
    prepare()
    print(f'seed {opt.seed}, scale {opt.scale:g}', flush=True)
    done = []
    for name,(f,n,what) in rows.items():
        if name in opt.skip or opt.only and name not in opt.only: continue
        done.append(row := try_row(f, what, max(1, round(n*opt.scale)), opt.seed))
        print(f'{line(row)}  {name}' + (f'\n    {row.note}' if row.note else ''), flush=True)
        if opt.save: save(opt.save, done, rows)
    print(f'\n{table(done)}')
    sys.exit(not all(o.sound for o in done))

if __name__ == '__main__': main()
