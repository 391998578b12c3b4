"The second engine that the tests of several rooms compare with: fastai's Learner, in float64"
import torch
from fastai.learner import Recorder
from fastai.torch_core import no_random
from torch import nn

from bs_lr_study.training.learner import Watch, fit, make_learner

def state(model, k=1, i=0):
    "Parameters and statistics of one of `k` members"
    return torch.cat([p.detach().reshape(k, -1)[i] for p in [*model.parameters(), *(b for b in model.buffers() if b.numel() > 1)]])

def learned(cfg):
    "What fastai's Learner ends with, in float64 and with PyTorch's loss"
    with no_random():
        learn = make_learner(cfg)
        learn.model.double()
        for dl in learn.dls.loaders: dl.dataset = [(x.double(), y) for x,y in dl.dataset]
        learn.loss_func = nn.CrossEntropyLoss()
        for o in (Recorder, Watch): learn.remove_cb(o) # keep their numbers in float32
        fit(learn, cfg)
    return state(learn.model)
