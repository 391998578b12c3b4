"""Where an update spends its time: the published loop's beside the fast engine's, phase by phase, and what the machine would allow

Part of `bench.py`. Digits by one thread, in CPU time; the fast engine trains the study's twelve runs of a batch size at once,
and its time is given for each of them. "Rest" is what is left of the whole: fastai's callbacks and bookkeeping. `walls` sets
the engine's updates beside their arithmetic at the speed of a large product of matrices, beside the bytes that have to be
moved at the speed of a copy, and beside the number of their operations, each of which takes a while to start.
"""
from time import process_time

import pandas as pd, torch
from fastai.callback.core import Callback, CancelFitException
from fastai.learner import Recorder

from results import record
from steps import Fast, members

GROUP,PHASES = 'Where an update spends its time','batch forward backward optimizer rest'.split()

class Phases(Callback):
    "Seconds of the phases of `n` updates"
    order = Recorder.order + 10
    def __init__(self, n): self.n,self.rows = n,[]
    def before_fit(self): self.last = process_time()
    def lap(self, name):
        self.row[name] = process_time() - self.last
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
        start = process_time()
        out = f(*args, **kwargs)
        spent.append(process_time() - start)
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

def small_row(bs, k):
    "A row of the digits as the fast engine would train it"
    from bs_lr_study.runs import RunConfig
    from bs_lr_study.training.fast import plan_row
    from bs_lr_study.training.row import Digits
    cfgs,source = members(RunConfig('digits', 'small', bs, 1e-3), k),Digits()
    plan = plan_row(cfgs, source)
    return Fast(cfgs, source, plan.onednn, unfold=plan.unfold)

def fast(way, n):
    "The same for each member of a row"
    from bs_lr_study.training.row import member_losses
    sums,row = dict.fromkeys(PHASES, 0.),way.row
    row.members.train()
    with way.flags():
        last = process_time()
        def lap(name):
            nonlocal last
            now = process_time()
            sums[name] += now - last
            last = now
        for x,y in way.batches(n):
            lap('batch')
            losses = member_losses(row.outputs(x), y if y.dim() == 1 else y[:,row.of])
            lap('forward')
            losses.backward(torch.ones_like(losses))
            lap('backward')
            row.opt.step(.1, .9)
            lap('optimizer')
            losses.detach().clone()
            lap('rest')
    return {p: s/n/way.k for p,s in sums.items()}

def least(f, n=5):
    "The least seconds of `n` calls"
    def once():
        start = process_time()
        f()
        return process_time() - start
    return min(once() for _ in range(n + 1))

def speeds():
    "Of this machine, by one thread: operations a second of a product of matrices, bytes a second of a copy, seconds of a tiny operation"
    a,b = torch.rand(1024, 1024),torch.rand(2**21)
    to,one = torch.empty_like(b),torch.zeros(1)
    def many(): [one.add_(1) for _ in range(1000)]
    return dict(flops=2*1024**3/least(lambda: a @ a), bytes=2*4*2**21/least(lambda: to.copy_(b)), start=least(many)/1000)

def demands(way):
    "What an update asks for: arithmetic and bytes of a member, operations of all together"
    from torch.utils.flop_counter import FlopCounterMode
    (x,y),row = next(way.batches(1)),way.row
    alone,outputs = Fast([way.cfg], way.source).row.members,[]
    for m in alone.modules():
        if not m._modules: m.register_forward_hook(lambda m, xs, out: outputs.append(out.numel()))
    with FlopCounterMode(display=False) as flops: alone.train()(x if y.dim() == 1 else x[:,0]).sum().backward()
    with torch.profiler.profile() as prof: row.update(x, y, .1, .9)
    weights = sum(p.numel() for p in alone.parameters())
    # a weight is read twice and its gradient written, Adam reads four numbers and writes three; outputs and their gradients
    # are written and read, and outputs read again
    own = [e for e in prof.events() if e.name.startswith('aten::') and not (e.cpu_parent and e.cpu_parent.name.startswith('aten::'))]
    return dict(flops=flops.get_total_flops(), bytes=4*(10*weights + 5*sum(outputs)), ops=len(own))

def wall(bs, k, n, repeats, can):
    "A row of the table: milliseconds of an update of `k` members, and the least that arithmetic, bytes and starts would take"
    way = small_row(bs, k)
    fast(way, 2)
    turns = 1e3*k*pd.DataFrame([fast(way, n) for _ in range(repeats)])
    ms = turns.median()
    ask = demands(way)
    bounds = dict(arithmetic=1e3*k*ask['flops']/can['flops'], memory=1e3*k*ask['bytes']/can['bytes'], starts=1e3*ask['ops']*can['start'])
    convs = 'products' if way.unfold else 'oneDNN' if way.onednn else 'own'
    return dict(bs=bs, members=k, convolutions=convs, update=ms.sum(), **ms, **bounds, operations=ask['ops'],
                matrix_share=bounds['arithmetic']/ms.sum(), lowest=bounds['arithmetic']/turns.sum(axis=1).max(),
                highest=bounds['arithmetic']/turns.sum(axis=1).min())

def walls(quick=False, repeats=3):
    "The table, by batch size, with twelve members and with four"
    torch.set_num_threads(1)
    can = speeds()
    sizes = [(64, 4)] if quick else [(bs, k) for bs in (1, 2, 4, 8, 16, 64, 256) for k in (4, 12)]
    return pd.DataFrame([wall(bs, k, max(3, int(100/bs**.5)), repeats, can) for bs,k in sizes]),can

def measure(quick=False, repeats=3):
    "Records of each phase and batch size"
    torch.set_num_threads(1)
    for bs,n in (((64, 3),) if quick else ((1, 200), (8, 100), (64, 20))):
        way = small_row(bs, 12)
        published(bs, 2), fast(way, 2)
        turns = [(published(bs, n), fast(way, n)) for _ in range(repeats)]
        for p in PHASES:
            measured = {'published loop': [a[p] for a,_ in turns], 'fast engine': [b[p] for _,b in turns]}
            note = 'twelve runs at once in the fast engine; CPU time'
            yield record(GROUP, f'digits, bs {bs}: {p}', measured, 's an update of a run', note=note)

if __name__ == '__main__':
    from bench import main
    main('phases')
