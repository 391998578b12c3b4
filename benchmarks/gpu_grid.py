"""The 123-run grid on a GPU: step rates of the published loop and of the fast engine for each model and batch size, and what the grid takes

`python benchmarks/gpu_grid.py --data imagenette2-160.tgz`, on a machine that may be offline (`wheels.py` gathers what to install).
Without `--data` it makes up JPEGs of the same size. Each engine is timed for a few updates and a few batches of validation, three
times; an epoch of the published loop that is no longer than that is timed whole. The time of the grid is extrapolated from these
rates to 5 epochs of 9469 training and 3925 validation images of each run. What is measured stays in runs/gpu_grid/gpu_grid.json:
the same command goes on where it was ended. `--device cpu --models xresnet18 --bs 1 2 --size 64 --steps 2 --images 64` tries it anywhere.
"""
import argparse, json, tempfile
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import mean
from time import perf_counter

import torch

from made_up import make
from results import machine, record, write
from steps import Fast
from timing import turns

N_TRAIN,N_VALID = 9469,3925

def rows_of(models, bss, size):
    "Model and batch size -> the runs of the published grid, less those that are not asked for"
    from bs_lr_study.sweep import load_study
    cfgs = [replace(c, size=size) for c in load_study('imagenette').cfgs if c.model in models and (not bss or c.bs in bss)]
    key = lambda c: (c.model, c.bs)
    return {k: list(v) for k,v in groupby(sorted(cfgs, key=key), key)}

def parser():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument('--data', help='folder or archive with Imagenette; made-up images by default')
    p.add_argument('--models', nargs='+', default=['xresnet18', 'xresnet34', 'xse_resnext50'])
    p.add_argument('--bs', nargs='+', type=int, help='batch sizes; those of the grid by default')
    p.add_argument('--size', type=int, default=128)
    p.add_argument('--members', type=int, default=6, help='at most as many runs side by side')
    p.add_argument('--steps', type=int, default=40, help='updates in a turn')
    p.add_argument('--turns', type=int, default=3)
    p.add_argument('--images', type=int, default=N_TRAIN, help='made-up training images')
    p.add_argument('--amp', help='let the fast engine train in this precision, too: bf16')
    p.add_argument('--graphs', action='store_true', help='let the fast engine play updates from CUDA graphs, too')
    p.add_argument('--num-workers', type=int, help='processes that decode images for the published loop; fastai\'s choice by default')
    p.add_argument('--device', default='cuda')
    p.add_argument('--to', default='runs/gpu_grid', help='folder for gpu_grid.json and gpu_grid.md')
    return p

class Published:
    "Seconds an epoch takes the published loop, in training or in validation"
    def __init__(self, folder, cfg, args):
        from published import image_learner
        self.learn,self.k = image_learner(folder, cfg.model, cfg.bs, cfg.size, args.device, args.num_workers),1
    def seconds(self, phase, n, steps):
        "Of an epoch of `n` batches, from the first `steps`; the first batch waits for the loader to start"
        from published import batch_seconds
        first,*more = batch_seconds(self.learn, min(n, steps), phase)
        return first + (mean(more or [first])*(n - 1))
    def train(self, n, steps): return self.seconds('train', n, steps)
    def valid(self, bs, steps): return self.seconds('valid', -(-N_VALID//bs), steps)

class Row(Fast):
    "Seconds an epoch takes a row of the fast engine, all its members together"
    def train(self, n, steps):
        whole_block = 256//self.cfg.bs if self.device.type == 'cuda' else 0 # as many images are gathered at once
        return self(min(n, max(steps, whole_block)))*n
    def valid(self, bs, steps):
        start = perf_counter()
        self.row.validate(self.source) # gives numbers, so it waits for the device
        return (perf_counter() - start)*N_VALID/self.source.n_valid

def ways_of(cfgs, folder, source, args):
    "Name -> function that sets a way of training up; the published loop first"
    ways = {'published loop': lambda: Published(folder, cfgs[0], args)}
    for amp in dict.fromkeys([None, args.amp]):
        for graph in dict.fromkeys([False, args.graphs]):
            said = ''.join([f', {amp}'*bool(amp), ', graph'*graph])
            for k in dict.fromkeys([1, min(args.members, len(cfgs))]):
                name = 'fast, one by one' if k == 1 else 'fast, side by side'
                ways[name + said] = lambda k=k,amp=amp,graph=graph: Row(cfgs[:k], source, device=args.device, amp=amp, graph=graph)
    return ways

def clear(cuda):
    "Give memory back, and count its peak afresh"
    import gc
    gc.collect()
    if cuda: torch.cuda.empty_cache(), torch.cuda.reset_peak_memory_stats()

def once(make_way, cfg, args):
    "Seconds of an epoch of training and of validation, turn by turn, runs at once, and peak memory; or why there are none"
    from bs_lr_study.training.outcome import ending
    cuda = torch.device(args.device).type == 'cuda'
    clear(cuda)
    try:
        way,n = make_way(),N_TRAIN//cfg.bs
        way.train(6, 6), way.valid(cfg.bs, 3) # warm up
        ts = turns(args.turns, None, train=lambda: way.train(n, args.steps), valid=lambda: way.valid(cfg.bs, args.steps))
        return dict(ts.to_dict('list'), members=way.k, memory=torch.cuda.max_memory_allocated()/2**20 if cuda else None)
    except Exception as e:
        end = ending(e)
        return dict(error='out of memory' if end['status'] == 'oom' else f"{end['status']}: {end['message']}".splitlines()[0])

def epochs_a_run(way): return [(a + b)/way['members'] for a,b in zip(way['train'], way['valid'])]

def reports(cell):
    "The records of one model and batch size"
    ok = {k: w for k,w in cell['ways'].items() if 'error' not in w}
    note = '; '.join(f'{k}: {w["error"]}' for k,w in cell['ways'].items() if 'error' in w)
    case = f"{cell['model']}, bs {cell['bs']}"
    if not ok: return
    n = N_TRAIN//cell['bs']
    units = {k: w['members'] for k,w in ok.items()}
    updates = {k: [t/n for t in w['train']] for k,w in ok.items()}
    epochs = {k: [a + b for a,b in zip(w['train'], w['valid'])] for k,w in ok.items()}
    memory = {k: [w['memory']] for k,w in ok.items()}
    yield record('Time of an update', case, updates, 's an update of a run', units, note)
    yield record('Time of an epoch, validation included', case, epochs, 's an epoch of a run', units, note)
    if any(w['memory'] for w in ok.values()): yield record('Peak memory of the device', case, memory, 'MiB', note=note)

def best(cell, names):
    "The least time of an epoch of a run among these ways, turn by turn; None if none worked"
    of = [epochs_a_run(cell['ways'][k]) for k in names if k in cell['ways'] and 'error' not in cell['ways'][k]]
    return min(of, key=lambda ts: sorted(ts)[len(ts)//2]) if of else None

def grid(cells, setup):
    "The records of the whole grid, extrapolated"
    names = list(dict.fromkeys(k for c in cells for k in c['ways'] if k != 'published loop'))
    both = [c for c in cells if best(c, ['published loop']) and best(c, names)]
    if not both: return
    total = lambda ways: [sum(5*c['runs']*t for c,t in zip(both, ts))/60 for ts in zip(*(best(c, ways) for c in both))]
    choices = {'in fp32': [k for k in names if '16' not in k], 'with all that was asked for': names}
    note = '; '.join([
        f'extrapolated from rates to {sum(c["runs"] for c in both)} of 123 runs',
        f'the fast engine as it is quickest for each model and batch size, with {setup:.0f} s once for decoding',
        'the published loop without the setting up of its runs'])
    for said,of in choices.items():
        if not all(best(c, of) for c in both): continue
        minutes = {'published loop': total(['published loop']), 'fast engine': [t + setup/60 for t in total(of)]}
        yield record('The grid, extrapolated', said, minutes, 'minutes', note=note, at_least=10)

def settings(args):
    "What has to be the same for an earlier call's cells to count, the machine included"
    keys = 'data size members steps turns images amp graphs num_workers device'.split()
    where = {k: v for k,v in machine().items() if k != 'date'}
    return {k: getattr(args, k) for k in keys} | dict(machine=where)

def before(args):
    "The cells that an earlier call with the same settings on the same machine has measured"
    file = Path(args.to)/'gpu_grid.json'
    kept = json.loads(file.read_text()) if file.exists() else {}
    return kept['cells'] if kept.get('settings') == settings(args) else []

def outcome(way): return way.get('error') or f'{mean(epochs_a_run(way)):.2f} s an epoch of a run'

def measure(folder, cache, said, args):
    "Time each cell and write after each"
    from bs_lr_study.training.images import load_images
    cells,start = before(args),perf_counter()
    source = load_images(folder, args.size, cache, device=args.device)
    next(iter(source.valid_batches())) # cuts the images of validation
    setup = perf_counter() - start
    for (model, bs),cfgs in rows_of(args.models, args.bs, args.size).items():
        if any((c['model'], c['bs']) == (model, bs) for c in cells): continue
        ways = {k: once(f, cfgs[0], args) for k,f in ways_of(cfgs, folder, source, args).items()}
        cells.append(dict(model=model, bs=bs, runs=len(cfgs), ways=ways))
        records = [*grid(cells, setup), *(r for c in cells for r in reports(c))]
        intro = f'{said}, {args.size} pixels; {args.turns} turns of {args.steps} updates.'
        page = write(args.to, 'gpu_grid', 'The 123-run grid', records, intro, settings=settings(args), cells=cells)
        print(f'{model}, bs {bs}: ' + '; '.join(f'{k} {outcome(w)}' for k,w in ways.items()), flush=True)
    print(page if cells else 'nothing to measure')

def main():
    from bs_lr_study.training.data import find_data
    from bs_lr_study.training.row import AMP
    (p := parser()).epilog = f'precisions: {", ".join(AMP)}'
    args = p.parse_args()
    if args.amp and args.amp not in AMP: p.error(f'--amp {args.amp}: the fast engine offers {", ".join(AMP)}')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        p.error('there is no CUDA device here; --device cpu tries the script out')
    if args.device == 'cpu': torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as d:
        if args.data: folder,said = find_data('imagenette', args.data, cache=f'{d}/data'),Path(args.data).name
        else: folder,said = Path(d)/'pics',f'{args.images} made-up JPEGs'
        if not args.data: make(args.images, folder)
        measure(folder, f'{d}/cache', said, args)

if __name__ == '__main__': main()
