"""The published loop: fastai as the study of June 2025 used it, one run after another

Whatever is said to be so many times as fast as "the published loop" was timed beside this file. Comments that start with
"changed" name each thing that differs from the published code and why; none of them makes it slower.
"""
import functools, io, math, os, tempfile
from contextlib import contextmanager, redirect_stdout
from time import perf_counter

import torch
from fastai.vision.all import (Callback, CancelFitException, CancelTrainException, CancelValidException, CategoryBlock,
    CrossEntropyLossFlat, DataBlock, DataLoader, DataLoaders, GrandparentSplitter, ImageBlock, Learner, Normalize,
    RandomResizedCrop, Recorder, accuracy, get_image_files, imagenet_stats, parent_label, vision_learner)
from fastai.vision.models.xresnet import xresnet18, xresnet34, xse_resnext50

from bs_lr_study.training.data import digits
from bs_lr_study.training.models import small

def image_dls(path, bs, size=128, device=None, num_workers=None):
    "A folder of images as batches; validation has the training's `bs`, fastai's default"
    block = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=GrandparentSplitter(valid_name='val'),
        get_y=parent_label, # changed: words for the folders' names, by a dict's method in a Pipeline, which fails on this stack
        item_tfms=RandomResizedCrop(size, min_scale=.35), batch_tfms=Normalize.from_stats(*imagenet_stats))
    # changed: the number of loading processes can be set, to 0 where one thread is compared with one; by default it is fastai's, up to 16
    return block.dataloaders(path, bs=bs, device=device, **({} if num_workers is None else dict(num_workers=num_workers)))

def image_learner(path, model, bs, size=128, device=None, num_workers=None):
    "The learner of one of the study's three models"
    dls = image_dls(path, bs, size, device, num_workers)
    if model == 'xse_resnext50': return vision_learner(dls, xse_resnext50, n_out=10, pretrained=False, metrics=accuracy)
    nets = {'xresnet18': xresnet18, 'xresnet34': lambda: xresnet34(n_out=10)} # the first with its default of 1000 outputs
    return Learner(dls, nets[model](), metrics=accuracy)

class Pairs:
    "Images and classes, one by one"
    def __init__(self, xs, ys): self._pairs = list(zip(xs, ys))
    def __len__(self): return len(self._pairs)
    def __getitem__(self, i): return self._pairs[i]

def array_learner(xt, yt, xv, yv, bs):
    "changed: the same loop for the small network and images that are arrays already, which the study had not"
    dls = DataLoaders(DataLoader(Pairs(xt, yt), bs=bs, shuffle=True, drop_last=True), DataLoader(Pairs(xv, yv), bs=bs))
    return Learner(dls, small(10, xt.shape[1]), loss_func=CrossEntropyLossFlat(), metrics=accuracy)

@functools.cache
def _digits(): return [torch.from_numpy(o) for o in digits()]

def digits_learner(bs): return array_learner(*_digits(), bs)

@contextmanager
def quiet(learn):
    "changed: no progress bar and nothing printed, whose cost depends on where it is shown"
    with learn.no_bar(), learn.no_logging(), redirect_stdout(io.StringIO()): yield

def fit(learn, lr, epochs=5):
    "One run"
    with quiet(learn): learn.fit_one_cycle(epochs, lr)

@contextmanager
def wandb_run(cfg):
    "A run on W&B with the study's project and tags; changed: offline, in a folder that is thrown away"
    os.environ |= dict(WANDB_MODE='offline', WANDB_SILENT='true')
    import wandb
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as d:
        name = f'{cfg.data}-{cfg.model}-bs-{cfg.bs}-lr-{cfg.lr}'
        tags = [f'bs={cfg.bs}', f'model={cfg.model}', f'lr={cfg.lr}']
        run = wandb.init(project='tinyscale-lab', name=name, tags=tags, dir=d)
        yield run
        run.finish()

def add_wandb(learn):
    "fastai's `WandbCallback`, which on this stack goes on without the config and, for want of them, without the predictions"
    import fastai.callback.wandb as fw
    # changed: what the callback cannot take apart to log it as config is logged as text; as it is, it ends the run
    if not hasattr(fw, '_as_is'):
        fw._as_is = fw._format_config_value
        def plain(v):
            try: return fw._as_is(v)
            except TypeError: return str(v)
        fw._format_config_value = plain
    learn.add_cb(fw.WandbCallback())
    return learn

class Clock(Callback):
    "Seconds of each of `n` batches of one phase, the wait for it included; the other phase is left out"
    order = Recorder.order + 10
    def __init__(self, n, phase='train'): self.n,self.phase,self.seconds = n,phase,[]
    def start(self, phase, cancel):
        if phase != self.phase: raise cancel
        self.last = perf_counter()
    def before_train(self): self.start('train', CancelTrainException)
    def before_validate(self): self.start('valid', CancelValidException)
    def after_batch(self):
        self.seconds.append((now := perf_counter()) - self.last)
        self.last = now
        if len(self.seconds) == self.n: raise CancelFitException

def batch_seconds(
    learn, # `Learner`
    n,     # Batches
    phase='train', # or 'valid'
): # list of seconds, one a batch; the first of each epoch waits for the loader to start
    "How long batch after batch takes, as part of a fit"
    clock,dl = Clock(n, phase),learn.dls.train if phase == 'train' else learn.dls.valid
    with quiet(learn): learn.fit_one_cycle(math.ceil(n/len(dl)), 1e-3, cbs=clock)
    return clock.seconds
