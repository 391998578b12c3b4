"""xresnet18 at 128 pixels: updates of the published loop beside those of the fast engine, by one thread

Part of `bench.py`. The images are Imagenette's where the archive is at hand (`BSLR_IMAGENETTE` names it), else made up.
"""
import tempfile, time
from importlib.util import find_spec

import torch

from made_up import pictures
from results import TARGETS, WITH_WANDB, record, skipped
from steps import Fast, Published, in_turn, members

GOALS = {1: (2,), 16: (1.3,), 64: (1.3,)}

class Logged:
    "A way of training that also calls W&B's log once in a turn, which is more often than once an epoch"
    def __init__(self, way, to): self.way,self.to = way,to
    def __call__(self, n):
        seconds,start = self.way(n),time.perf_counter()
        self.to.log(dict(epoch=1, train_loss=1., valid_loss=1., acc=.5))
        return seconds + (time.perf_counter() - start)/n

def ways_of(cfg, folder, source):
    "The published loop, the fast engine as it would train the study's row, and in bf16"
    from bs_lr_study.training.fast import plan_row
    from published import image_learner
    row = members(cfg, 3)
    plan = plan_row(row, source)
    fast = Fast(row[:plan.members], source, plan.onednn, unfold=plan.unfold)
    return Published(image_learner(folder, cfg.model, cfg.bs, cfg.size, 'cpu', 0)), fast, Fast(row[:1], source, amp='bf16')

def compare(cfg, folder, source, said, n, repeats, aims):
    "Records of one batch size"
    from published import add_wandb, image_learner, wandb_run
    pub,fast,half = ways_of(cfg, folder, source)
    ts = in_turn(repeats, n, **{'published loop': pub, 'fast engine': fast} | ({} if aims else {'fast engine, bf16': half}))
    units,case = {'fast engine': fast.k},f'xresnet18, {cfg.size} px, bs {cfg.bs}, one thread, fp32'
    note = f'{said}; {n} updates in each of {repeats} turns; the engine chose {fast.k} of 3 runs at once'
    of = 's an update of a run'
    yield record(TARGETS, case, ts[['published loop', 'fast engine']], of, units, note, *GOALS[cfg.bs])
    if aims: return
    in_half = {'published loop': ts['published loop'], 'fast engine': ts['fast engine, bf16']}
    aim = 2 if cfg.bs >= 16 else None
    yield record(TARGETS, case.replace('fp32', 'bf16 against fp32'), in_half, of, note=note, aim=aim)
    if not find_spec('wandb'): return (yield skipped(WITH_WANDB, case, 'wandb is not installed'))
    with wandb_run(cfg) as to:
        on = Published(add_wandb(image_learner(folder, cfg.model, cfg.bs, cfg.size, 'cpu', 0)))
        ts = in_turn(repeats, n, **{'published loop': on, 'fast engine': Logged(fast, to)})
    note += '; without the start of a run on W&B, which is the same in both'
    yield record(WITH_WANDB, case, ts, of, units, note, *GOALS[cfg.bs])

def measure(quick=False, repeats=6, aims=False):
    "Records of xresnet18; of `aims` those only that have an aim"
    from bs_lr_study.training.images import load_images
    from bs_lr_study.runs import RunConfig
    torch.set_num_threads(1)
    size,steps = (64, {1: 2}) if quick else (128, {1: 16, 16: 3, 64: 1})
    with tempfile.TemporaryDirectory() as d:
        said = pictures(f'{d}/pics', 64 if quick else 512)
        source = load_images(f'{d}/pics', size, cache=f'{d}/cache')
        for bs,n in steps.items():
            cfg = RunConfig('pics', 'xresnet18', bs, 1e-3, size=size, n_out=1000)
            yield from compare(cfg, f'{d}/pics', source, said, n, repeats, aims)

if __name__ == '__main__':
    from bench import main
    main('xresnet')
