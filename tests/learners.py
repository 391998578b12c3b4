"""Learners of many kinds, and all of them that a measurement could change."""
import copy, random

import numpy as np, pytest, torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.optimizer import OptimWrapper
from fastai.torch_core import no_random
from torch import nn

def loaders(of_torch=False):
    "Three classes of 64 rows of numbers, in loaders of 16"
    g = torch.Generator().manual_seed(0)
    x,y = torch.randn(96, 12, generator=g),torch.arange(96) % 3
    x[torch.arange(96), y] += 2
    ds = list(zip(x, y))
    if not of_torch: return DataLoaders.from_dsets(ds[:64], ds[64:], bs=16, num_workers=0, device='cpu')
    train = torch.utils.data.DataLoader(ds[:64], 16, shuffle=True, generator=torch.Generator().manual_seed(1))
    return DataLoaders(train, torch.utils.data.DataLoader(ds[64:], 16))

class Odd(nn.Module):
    "Weights that deepcopy refuses once used, a buffer that no state_dict holds, dropout, a count and a list of its own"
    def __init__(self):
        super().__init__()
        with pytest.warns(FutureWarning): self.lin = nn.utils.weight_norm(nn.Linear(12, 8))
        self.norm,self.out = nn.BatchNorm1d(8),nn.Linear(8, 3)
        self.register_buffer('calls', torch.zeros(()), persistent=False)
        self.count,self.sizes = 0,[]
    def forward(self, x):
        if self.training: self.calls += 1
        self.count += 1
        self.sizes.append(len(x))
        return self.out(nn.functional.dropout(self.norm(self.lin(x)), .3, self.training))

def plain(): return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(.3), nn.Linear(8, 3))

KINDS = ['fresh', 'trained', 'odd model', 'optimizer of torch', 'loaders of torch', 'groups', 'gradients left']

def learner(kind, path):
    "A Learner of some kind"
    with no_random(1):
        net,kwargs = Odd() if kind == 'odd model' else plain(),{}
        if kind == 'optimizer of torch': kwargs = dict(opt_func=OptimWrapper(opt=torch.optim.AdamW(net.parameters(), lr=.01)))
        if kind == 'groups': kwargs = dict(splitter=lambda m: [list(m[:2].parameters()), list(m[2:].parameters())])
        learn = Learner(loaders(kind == 'loaders of torch'), net, nn.CrossEntropyLoss(), metrics=accuracy, path=path, cbs=[], **kwargs)
        if kind == 'groups': learn.freeze_to(-1)
        if kind != 'fresh':
            with learn.no_logging(), learn.no_mbar(): learn.fit(1, .01)
        if kind == 'gradients left': learn.loss_func(learn.model(torch.randn(16, 12)), torch.arange(16) % 3).backward()
    return learn

def model_parts(model):
    params = list(model.parameters())
    return dict(params=[p.detach().clone() for p in params], layout=[(p.dtype, p.stride()) for p in params],
                grads=[None if p.grad is None else p.grad.clone() for p in params], needs=[p.requires_grad for p in params],
                buffers=[b.clone() for b in model.buffers()], training=[m.training for m in model.modules()],
                hooks=[len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()],
                own=[getattr(model, 'count', None), copy.copy(getattr(model, 'sizes', None))], ids=list(map(id, params)))

def random_parts(learn):
    dl = learn.dls.train
    of_torch = isinstance(dl, torch.utils.data.DataLoader)
    order = dl.generator.get_state() if of_torch else dl.rng.getstate()
    return dict(order=order, torch=torch.get_rng_state(), numpy=np.random.get_state()[1], python=random.getstate())

def parts(learn):
    "All that a next fit, or its owner, could notice"
    rec,torchs = getattr(learn, 'recorder', None),getattr(learn.opt, 'opt', None)
    recorder = {k: getattr(rec, k, None) for k in ('lrs', 'losses', 'values', 'iters')}
    opt = dict(state=copy.deepcopy(learn.opt.state_dict()), hypers=[dict(h) for h in learn.opt.hypers]) if learn.opt else None
    owner = dict(opt=opt, opt_ids=(id(learn.opt), id(torchs)), cbs=list(learn.cbs), attrs=sorted(vars(learn)),
                 path=(learn.path, learn.model_dir), recorder=copy.deepcopy(recorder), smooth=vars(rec.smooth_loss).copy() if rec else None)
    return model_parts(learn.model) | random_parts(learn) | owner

def same(a, b):
    if isinstance(a, torch.Tensor): return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray): return np.array_equal(a, b)
    if isinstance(a, dict): return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a is b or a == b

def changed(before, after): return [k for k in before if not same(before[k], after[k])]
