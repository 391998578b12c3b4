"""What a user would otherwise pick, beside the published loop: fastai in mixed precision, a loop by hand with a fused optimizer

Part of `bench.py`. One thread, one run at a time but for the last column, where four learning rates of digits are one row.
"""
import tempfile

import torch

from made_up import pictures
from results import record
from steps import Fast, Loop, Published, hand_images, in_turn, members

NOTE = 'fastai\'s `to_fp16` and `to_bf16` ask for autocast on CUDA alone: on a CPU they are without effect, with a warning'

def half(learn):
    "`to_fp16`, where it has an effect, without the warnings that it has none here"
    import warnings
    warnings.filterwarnings('ignore', '.*(autocast|GradScaler).*')
    return learn.to_fp16()

def digits(bs, n, repeats):
    from bs_lr_study.training.data import digits
    from bs_lr_study.training.row import Digits
    from bs_lr_study.training.models import small
    from bs_lr_study.runs import RunConfig
    from published import digits_learner
    xt,yt = map(torch.from_numpy, digits()[:2])
    cfg,data = RunConfig('digits', 'small', bs, 1e-3),torch.utils.data.TensorDataset(xt, yt)
    ways = {'published loop': Published(digits_learner(bs)), 'fastai, to_fp16': Published(half(digits_learner(bs))),
            'by hand': Loop(small(10, 1), data, bs), 'by hand, bf16': Loop(small(10, 1), data, bs, amp='bf16'),
            'fast, 1 run': Fast(members(cfg, 1), Digits()), 'fast, 4 runs': Fast(members(cfg, 4), Digits())}
    ts = in_turn(repeats, n, **ways)
    group = 'Beside what a user would otherwise pick'
    return record(group, f'digits, bs {bs}', ts, 's an update of a run', {'fast, 4 runs': 4}, NOTE)

def images(folder, source, said, bs, size, n, repeats):
    from bs_lr_study.runs import RunConfig
    from fastai.vision.models.xresnet import xresnet18
    from published import image_learner
    cfg,data = RunConfig('pics', 'xresnet18', bs, 1e-3, size=size, n_out=1000),hand_images(folder, size)
    fastai = lambda: image_learner(folder, 'xresnet18', bs, size, 'cpu', 0)
    ways = {'published loop': Published(fastai()), 'fastai, to_fp16': Published(half(fastai())),
            'by hand': Loop(xresnet18(), data, bs), 'by hand, bf16': Loop(xresnet18(), data, bs, amp='bf16'),
            'fast, 1 run': Fast([cfg], source), 'fast, 1 run, bf16': Fast([cfg], source, amp='bf16')}
    ts = in_turn(repeats, n, **ways)
    group,case = 'Beside what a user would otherwise pick, images',f'xresnet18, {size} px, bs {bs}'
    return record(group, case, ts, 's an update of a run', note=f'{said}; {NOTE}')

def measure(quick=False, repeats=3):
    "Records of the other ways"
    from bs_lr_study.training.images import load_images
    torch.set_num_threads(1)
    for bs in (64,) if quick else (1, 8, 64): yield digits(bs, 4 if quick else max(20, 512//bs), repeats)
    size = 64 if quick else 128
    with tempfile.TemporaryDirectory() as d:
        said = pictures(f'{d}/pics', 64 if quick else 256)
        source = load_images(f'{d}/pics', size, cache=f'{d}/cache')
        for bs,n in ((4, 1),) if quick else ((1, 16), (16, 2)): yield images(f'{d}/pics', source, said, bs, size, n, repeats)

if __name__ == '__main__':
    from bench import main
    main('others')
