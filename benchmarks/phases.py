"""Where an update spends its time: the published loop's beside the fast engine's, phase by phase

Part of `bench.py`. Digits by one thread; the fast engine trains the study's twelve runs of a batch size at once, and its time
is given for each of them. "Rest" is what is left of the whole: fastai's callbacks and bookkeeping.
"""
from time import perf_counter

import pandas as pd, torch
from fastai.callback.core import Callback, CancelFitException
from fastai.learner import Recorder

from results import record
from steps import members

GROUP,PHASES = 'Where an update spends its time','batch forward backward optimizer rest'.split()

class Phases(Callback):
    "Seconds of the phases of `n` updates"
    order = Recorder.order + 10
    def __init__(self, n): self.n,self.rows = n,[]
    def before_fit(self): self.last = perf_counter()
    def lap(self, name):
        self.row[name] = perf_counter() - self.last
        self.last += self.row[name]
    def before_batch(self): self.row = {}; self.lap('batch')
    def after_loss(self): self.lap('forward')
    def after_step(self): self.lap('both') # what lies between is timed by the optimizer itself
    def after_batch(self):
        self.lap('rest')
        self.rows.append(self.row)
        if len(self.rows) == self.n: raise CancelFitException

def timed(f, spent):
    "`f`, which adds its seconds to the list `spent`"
    def g(*args, **kwargs):
        start = perf_counter()
        out = f(*args, **kwargs)
        spent.append(perf_counter() - start)
        return out
    return g

def published(bs, n):
    "Mean seconds of each phase over `n` updates"
    from published import digits_learner, quiet
    learn,cb,steps,zeros = digits_learner(bs),Phases(n),[],[]
    learn.create_opt()
    learn.opt.step,learn.opt.zero_grad = timed(learn.opt.step, steps),timed(learn.opt.zero_grad, zeros)
    with quiet(learn): learn.fit_one_cycle(1 + n*bs//1024, 1e-3, cbs=cb)
    df = pd.DataFrame(cb.rows)
    step,zero = pd.Series(steps).mean(),pd.Series(zeros).mean()
    means = df.mean()
    return dict(batch=means.batch, forward=means.forward, backward=means.both - step, optimizer=step + zero, rest=means.rest - zero)

def fast(bs, n, k=12):
    "The same for each member of a row of `k`"
    from bs_lr_study.training.row import Digits, Row, batches, member_losses
    from bs_lr_study.runs import RunConfig
    cfgs = members(RunConfig('digits', 'small', bs, 1e-3, epochs=1 + n*bs//1024), k)
    row,sums,i = Row(cfgs, source := Digits()),dict.fromkeys(PHASES, 0.),0
    row.members.train()
    last = perf_counter()
    def lap(name):
        nonlocal last
        now = perf_counter()
        sums[name] += now - last
        last = now
    for epoch in batches(row.cfg, row.seeds, source):
        for x,y in epoch:
            lap('batch')
            losses = member_losses(row.outputs(x), y[:,row.of])
            lap('forward')
            losses.sum().backward()
            lap('backward')
            row.opt.step(.1, .9)
            lap('optimizer')
            losses.detach().clone()
            lap('rest')
            if (i := i + 1) == n: return {p: s/n/k for p,s in sums.items()}

def measure(quick=False, repeats=3):
    "Records of each phase and batch size"
    torch.set_num_threads(1)
    for bs,n in (((64, 3),) if quick else ((1, 200), (8, 100), (64, 20))):
        published(bs, 2), fast(bs, 2)
        turns = [(published(bs, n), fast(bs, n)) for _ in range(repeats)]
        for p in PHASES:
            measured = {'published loop': [a[p] for a,_ in turns], 'fast engine': [b[p] for _,b in turns]}
            note = 'twelve runs at once in the fast engine'
            yield record(GROUP, f'digits, bs {bs}: {p}', measured, 's an update of a run', note=note)

if __name__ == '__main__':
    from bench import main
    main('phases')
