"""Seconds of an update, its batch included, by each way of training: call one with how many updates to make"""
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean

import torch, torch.nn.functional as F

from timing import turns

LRS = [1e-4, 1e-3, 1e-2, 1e-1]

def members(cfg, k):
    "`k` runs of one row: up to four learning rates, then further seeds"
    return [replace(cfg, lr=LRS[i % 4], seed=i//4) for i in range(k)]

class Published:
    "The published loop; its learner may have been changed, as by `to_fp16`"
    def __init__(self, learn): self.learn = learn
    def __call__(self, n):
        from published import batch_seconds
        return mean(batch_seconds(self.learn, n))

class Fast:
    "A row of the fast engine; seconds are those of all members together"
    def __init__(self, cfgs, source, onednn=True, device='cpu', unfold=False, **opts):
        from bs_lr_study.training.row import Row
        self.cfg,self.source,self.onednn,self.unfold,self.device = cfgs[0],source,onednn,unfold,torch.device(device)
        with self.flags(): self.row = Row(cfgs, source, device=self.device, unfold=unfold, **opts)
        self.k = len(cfgs)
    @contextmanager
    def flags(self):
        "What the engine sets while it trains"
        from bs_lr_study.training.fast import with_onednn
        from bs_lr_study.training.outcome import memory_kept
        with with_onednn(self.onednn), memory_kept(): yield
    def batches(self, n):
        "The engine's batches, gathered in its blocks where `n` of them fill one, else one by one, which takes longer"
        from bs_lr_study.training.row import batches
        many = -(-n//(self.source.n_train//self.cfg.bs)) # epochs: a plan of a million of them would take longer than an update
        epochs = batches(replace(self.cfg, epochs=many), self.row.seeds, self.source, **({} if n*self.cfg.bs >= 256 else dict(block=1)))
        return islice((o for epoch in epochs for o in epoch), n)
    def __call__(self, n):
        self.row.members.train()
        with self.flags():
            for x,y in self.batches(1): self.row.update(x, y, .1, .9) # asks for the memory, as the first update of a row does
            start = time.perf_counter()
            for x,y in self.batches(n): self.row.update(x, y, .1, .9)
            if self.device.type == 'cuda': torch.cuda.synchronize(self.device)
        return (time.perf_counter() - start)/n

class Loop:
    "What one would write by hand in PyTorch: a `DataLoader`, a fused AdamW, OneCycleLR, autocast if `amp` is 'bf16'"
    def __init__(self, model, data, bs, device='cpu', amp=None):
        self.model,self.device,self.amp = model.to(device).train(),torch.device(device),amp
        self.dl = torch.utils.data.DataLoader(data, bs, shuffle=True, drop_last=True)
        self.opt = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
        self.sched = torch.optim.lr_scheduler.OneCycleLR(self.opt, 1e-3, total_steps=10**6)
    def update(self, x, y):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp == 'bf16'):
            loss = F.cross_entropy(self.model(x).flatten(0, -2), y.flatten()) # a text has a class at each place
        loss.backward()
        self.opt.step()
        self.opt.zero_grad()
        self.sched.step()
    def __call__(self, n):
        start = time.perf_counter()
        for x,y in islice((o for _ in range(n) for o in self.dl), n): self.update(x.to(self.device), y.to(self.device))
        return (time.perf_counter() - start)/n

def in_turn(repeats, n, **ways):
    "Seconds of an update by each way, `n` updates in a turn; each is warmed up before"
    for way in ways.values(): way(min(n, 2))
    return turns(repeats, None, **{k: (lambda way=way: way(n)) for k,way in ways.items()})

def noise(size, n=512, n_in=3):
    "Random images of ten classes, in memory"
    from bs_lr_study.training.row import Digits
    class Noise(Digits):
        def __init__(self):
            g = torch.Generator().manual_seed(0)
            self.n_in,self.n_train,self.n_valid = n_in,n,n//4
            self.xt,self.xv = (torch.randn(m, n_in, size, size, generator=g) for m in (n, n//4))
            self.yt,self.yv = (torch.randint(10, (m,), generator=g) for m in (n, n//4))
    return Noise()

def hand_images(folder, size):
    "The training images as torchvision gives them"
    from torchvision import transforms as T
    from torchvision.datasets import ImageFolder
    norm = T.Normalize([.485, .456, .406], [.229, .224, .225])
    return ImageFolder(Path(folder)/'train', T.Compose([T.RandomResizedCrop(size, (.35, 1)), T.ToTensor(), norm]))
