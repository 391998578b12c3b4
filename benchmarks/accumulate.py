"""What accumulation costs: seconds of an update of `bs` in micro-batches over one in a single piece, in turns.

    python benchmarks/accumulate.py              the digits' small network, both engines
    python benchmarks/accumulate.py --model xresnet18 --size 64 --bs 64 --micro-bs 32 16 8
"""
import argparse, time
from dataclasses import replace

import pandas as pd

from steps import Fast, noise
from timing import turns

def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--model', default='small')
    p.add_argument('--size', type=int, help='pixels of random images; the digits by default')
    p.add_argument('--bs', type=int, default=256)
    p.add_argument('--micro-bs', type=int, nargs='+', default=[128, 64, 32, 16, 8, 4, 2, 1])
    p.add_argument('--repeats', type=int, default=9)
    p.add_argument('--updates', type=int, default=3, help='updates in a turn')
    p.add_argument('--device', default='cpu')
    p.add_argument('--to', help='CSV file for the table')
    return p.parse_args()

class Reference:
    "fastai with the callback, on a batch in memory"
    def __init__(self, cfg, source, device):
        import torch
        from bs_lr_study.training.models import build_model
        from bs_lr_study.training.accumulate import Accumulate
        from fastai.callback.core import TrainEvalCallback
        from fastai.learner import Learner
        from fastai.losses import CrossEntropyLossFlat
        from types import SimpleNamespace
        idx = torch.arange(cfg.bs) % source.n_train
        batch = tuple(o.to(device) for o in source.train_batch(idx, torch.Generator()))
        dls = SimpleNamespace(train=[batch], device=torch.device(device), n_inp=1)
        self.learn = Learner(dls, build_model(cfg, source.n_classes, source.n_in).to(device), CrossEntropyLossFlat(), default_cbs=False,
                             cbs=[TrainEvalCallback()] + ([Accumulate(cfg.micro_bs)] if cfg.micro_bs else []))
        self.learn._do_epoch_validate = lambda: None
        self.dls,self.batch = dls,batch
    def __call__(self, n):
        import torch
        self.dls.train = [self.batch]*n
        self.learn.fit(1, 1e-3)
        if self.batch[0].is_cuda: torch.cuda.synchronize()

def main():
    opt = options()
    import torch
    from bs_lr_study.training.row import Digits
    if opt.device == 'cpu': torch.set_num_threads(1)
    from bs_lr_study.runs import RunConfig
    source = noise(opt.size, max(opt.bs, 64)) if opt.size else Digits()
    cfg = RunConfig('noise' if opt.size else 'digits', opt.model, opt.bs, 1e-3, size=opt.size)
    cfgs = [cfg, *(replace(cfg, micro_bs=o) for o in opt.micro_bs)]
    tables = []
    for engine,make in (('fastai', lambda c: Reference(c, source, opt.device)), ('fast', lambda c: Fast([c], source, device=opt.device))):
        ways = {c.micro_bs or c.bs: make(c) for c in cfgs}
        for way in ways.values(): way(1)
        clock = time.process_time if opt.device == 'cpu' else time.perf_counter # which other programs disturb less
        ts = turns(opt.repeats, clock, **{str(k): (lambda way=way: way(opt.updates)) for k,way in ways.items()})
        rs = ts.div(ts.iloc[:, 0], axis=0)
        seconds = ts.median().to_numpy()/opt.updates
        ratios = dict(ratio=rs.median().to_numpy(), lowest=rs.min().to_numpy(), highest=rs.max().to_numpy())
        tables.append(pd.DataFrame(dict(engine=engine, model=opt.model, bs=opt.bs, micro_bs=list(ways), seconds=seconds, **ratios)))
    table = pd.concat(tables, ignore_index=True)
    print(table.to_string(index=False, float_format='{:.4g}'.format))
    if opt.to: table.to_csv(opt.to, index=False, float_format='%.5g')

if __name__ == '__main__': main()
