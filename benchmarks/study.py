"""The embedded study: the published loop beside the fast engine, in one process and on two cores, with W&B off and on

Part of `bench.py`. The published loop has one learning rate of each batch size timed and counted for all of them, whose
updates cost the same; `whole` runs them all. Both have imported what they need before.
"""
import time
from dataclasses import replace
from importlib.util import find_spec

import numpy as np, torch

from results import TARGETS, WITH_WANDB, record, skipped
from timing import turns

def now():
    "Seconds of CPU time and of wall time"
    return np.array([time.process_time(), time.perf_counter()])

def cfgs_of(quick):
    from bs_lr_study.sweep import load_study
    cfgs = [c for c in load_study('digits').cfgs if c.seed == 0]
    return [replace(c, epochs=1) for c in cfgs if c.bs >= 256 and c.lr < 1e-2] if quick else cfgs

def published(cfgs, threads=1, wandb=False):
    "CPU and wall seconds of the published loop"
    import published as p
    torch.set_num_threads(threads)
    start = now()
    for c in cfgs:
        if not wandb: p.fit(p.digits_learner(c.bs), c.lr, c.epochs)
        else:
            with p.wandb_run(c): p.fit(p.add_wandb(p.digits_learner(c.bs)), c.lr, c.epochs)
    torch.set_num_threads(1)
    return now() - start

def fast(cfgs, n=0, wandb=False):
    "CPU and wall seconds of the fast engine, in this process or in `n`, then with the time it takes to tell W&B of each epoch of each run"
    from bs_lr_study.training.fast import train_many
    from bs_lr_study.sweep.workers import in_workers
    from bs_lr_study.training.options import together
    start = now()
    runs = list(in_workers(together(cfgs, 'fast'), n, 'fast', dict(device='cpu')) if n else train_many(cfgs, device='cpu'))
    trained = now() - start
    if bad := [r for r in runs if r.status != 'ok']:
        raise RuntimeError(f'{len(bad)} of {len(runs)} runs are not ok; the first: {bad[0].status}, {bad[0].message}')
    if wandb: log(runs)
    return np.concatenate([trained, now() - start])

def log(runs):
    "Each run as a run on W&B, in the plainest way"
    from published import wandb_run
    for r in runs:
        with wandb_run(r.cfg) as to:
            for m in r.metrics: to.log(m)

def quicker_threads(cfgs):
    "Whether the published loop does better with one thread or with two"
    few = [replace(c, epochs=1) for c in cfgs if c.bs >= 4]
    ts = turns(3, None, **{str(n): lambda n=n: published(few, n)[1] for n in (1, 2)})
    return int(ts.median().idxmin())

def measure(quick=False, whole=False, repeats=3, aims=False):
    "Records of the embedded study; of `aims` those cases only that have an aim"
    torch.set_num_threads(1)
    cfgs = cfgs_of(quick)
    lrs,bss = {c.lr for c in cfgs},{c.bs for c in cfgs}
    some = cfgs if whole else [c for c in cfgs if c.lr == 1e-3]
    thrice = [replace(c, seed=s) for s in range(3) for c in cfgs]
    tiny,on = [replace(c, epochs=1) for c in some if c.bs == max(bss)],find_spec('wandb') is not None and not aims
    published(tiny, wandb=on), fast(tiny) # imports
    if not quick: fast(tiny, 2) # the server that starts processes
    two = 1 if quick else quicker_threads(some)
    cases = {'published': lambda: published(some), 'one': lambda: fast(cfgs, 0, on), 'two': lambda: fast(cfgs, 2, on),
             'two, seeds': lambda: fast(thrice, 2)}
    if not aims: cases['one, seeds'] = lambda: fast(thrice)
    if two > 1: cases['published, two threads'] = lambda: published(some, 2)
    if on: cases['published, W&B'] = lambda: published(some, wandb=True)
    if on and two > 1: cases['published, W&B, two threads'] = lambda: published(some, 2, True)
    ts = turns(repeats, None, **cases)
    threads = ', two threads' if two > 1 else ''
    note = f'{len(bss)} batch sizes × {len(lrs)} learning rates'
    if not whole: note += f'; of the published loop 1 of the {len(lrs)} learning rates is timed and the others are counted as equal'
    said = f"; the published loop with {'two threads' if two > 1 else 'one thread'}" + ', the quicker here'*(not quick)
    def rows(group, theirs, i, note):
        def one(case, base, mine, i, goals, note):
            measured = {'published loop': ts[base].str[i % 2], 'fast engine': ts[mine].str[i]}
            units = {'published loop': len(some), 'fast engine': len(thrice if 'seeds' in mine else cfgs)}
            return record(group, case, measured, 's a run', units, note, *goals)
        yield one('digits, one process of one thread, CPU time', theirs, 'one', i, (8, 12), note)
        yield one('digits, two cores, wall time', theirs + threads, 'two', i+1, (16, 25), note + said)
        if i: return # 240 more runs on W&B a turn would say the same
        if not aims: yield one('digits, three seeds, one process of one thread, CPU time', theirs, 'one, seeds', i, (12, 30), note)
        yield one('digits, three seeds, two cores, wall time', theirs + threads, 'two, seeds', i+1, (24, 30), note + said)
    yield from rows(TARGETS, 'published', 0, note)
    if aims: return
    if not on: return (yield skipped(WITH_WANDB, 'digits', 'wandb is not installed'))
    ways = "the published loop by fastai's callback, the fast engine a run and a log call an epoch for each run, when all are done"
    yield from rows(WITH_WANDB, 'published, W&B', 2, f"{note}; offline; {ways}; CPU time without that of W&B's own process")

if __name__ == '__main__':
    from bench import main
    main('study')
