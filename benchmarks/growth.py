"""How time and memory grow: with members, batch size, image size, cores

Part of `bench.py`. One thread for each process. Members are up to four learning rates, then further seeds.
"""
import json, os, subprocess, sys
from pathlib import Path

import torch

from results import record
from steps import Fast, Loop, Published, in_turn, members, noise
from timing import turns

def n_of(bs, quick): return 2 if quick else min(256, max(8, 512//bs))

def cfg_of(data, bs, **kw):
    from bs_lr_study.runs import RunConfig
    return RunConfig(data, 'small', bs, 1e-3, **kw)

def with_members(data, source, cfg, quick, repeats):
    ks = (1, 4) if quick else (1, 2, 4, 8, 16)
    ways = {f'{k} member{"s"*(k > 1)}': Fast(members(cfg, k), source) for k in ks}
    ts = in_turn(repeats, n_of(cfg.bs, quick), **ways)
    return record('Growth with members', f'{data}, bs {cfg.bs}', ts, 's an update of a member', {name: way.k for name,way in ways.items()})

def beside(group, case, source, cfg, quick, repeats):
    "The same by the published loop, by hand, and by the fast engine alone and in fours"
    from bs_lr_study.training.models import small
    from published import array_learner
    data = torch.utils.data.TensorDataset(source.xt, source.yt)
    ways = {'published loop': Published(array_learner(source.xt, source.yt, source.xv, source.yv, cfg.bs)),
            'by hand': Loop(small(10, source.n_in), data, cfg.bs),
            'fast, 1 run': Fast(members(cfg, 1), source), 'fast, 4 runs': Fast(members(cfg, 4), source)}
    return record(group, case, in_turn(repeats, n_of(cfg.bs, quick), **ways), 's an update of a run', {'fast, 4 runs': 4})

def with_cores(quick, repeats):
    "Wall time of one set of runs in one process, in two…"
    from study import fast
    bss,epochs,k = ((256,),1,2) if quick else ((16, 32, 64, 128),5,4)
    cfgs = [c for bs in bss for c in members(cfg_of('digits', bs, epochs=epochs), k)]
    counts = sorted({1, 2, os.cpu_count()})
    if not quick: fast(cfgs[:1], 1) # the server that starts processes
    ts = turns(repeats, None, **{f'{n} process{"es"*(n > 1)}': lambda n=n: fast(cfgs, n)[1] for n in counts})
    case = f'{len(cfgs)} runs on digits by the fast engine, wall time'
    return record('Growth with cores', case, ts, 's', note='with the start of the processes')

def memory(quick):
    "Peak memory, each measured in a process of its own, by `memory.py`"
    from memory import QUICK, peaks
    if quick: said = peaks(QUICK, 1, lambda f,*args: 1 + f(*args)) # in this process, which may hold that much already
    else:
        script = Path(__file__).with_name('memory.py')
        done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, check=True, text=True)
        said = json.loads(done.stdout.splitlines()[-1])
    note = 'ratios say how many times as much the published loop takes'
    for case,measured in said.items(): yield record('Peak memory', case, measured, 'MiB above that of the imports', note=note)

def measure(quick=False, repeats=3):
    "Records of growth"
    from bs_lr_study.training.row import Digits
    torch.set_num_threads(1)
    digits = Digits()
    for bs in (16,) if quick else (1, 4, 16, 64, 256):
        yield with_members('digits', digits, cfg_of('digits', bs), quick, repeats)
    if not quick: yield with_members('random images of 32 px', noise(32), cfg_of('noise', 16, size=32), quick, repeats)
    for bs in (64,) if quick else (1, 4, 16, 64, 256):
        yield beside('Growth with the batch size', f'digits, bs {bs}', digits, cfg_of('digits', bs), quick, repeats)
    for size in (16,) if quick else (16, 32, 64, 128):
        case,cfg = f'random images of {size} px, bs 16',cfg_of('noise', 16, size=size)
        yield beside('Growth with the image size', case, noise(size), cfg, quick, repeats)
    yield with_cores(quick, repeats)
    yield from memory(quick)

if __name__ == '__main__':
    from bench import main
    main('growth')
