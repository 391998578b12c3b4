"""fastai's run against a second implementation: a bare PyTorch loop with the formulas written out."""
import math, random

import pytest, torch
import torch.nn.functional as F
from fastai.torch_core import no_random

from bs_lr_study.training.data import digits
from bs_lr_study.training.models import build_model
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import train

pytestmark = pytest.mark.usefixtures('one_thread')

def cos(a, b, t): return a + (1 - math.cos(math.pi*t))/2*(b - a)
def cycle(t, a, peak, b): return cos(a, peak, t/.25) if t < .25 else cos(peak, b, (t - .25)/.75)

def bare_loop(cfg):
    "Validation loss and accuracy after the last epoch, with PyTorch's AdamW"
    xt,yt,xv,yv = map(torch.from_numpy, digits())
    with no_random(cfg.seed):
        model = build_model(cfg, 10, 1)
        norms = {id(p) for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()}
        spared = [p for n,p in model.named_parameters() if n.endswith('bias') or id(p) in norms]
        decayed = [p for p in model.parameters() if all(p is not o for o in spared)]
        groups = [dict(params=decayed, weight_decay=cfg.wd), dict(params=spared, weight_decay=0)]
        opt = torch.optim.AdamW(groups, lr=1, betas=(.95, .99), eps=1e-5)
        rng,n = random.Random(cfg.seed),len(xt)//cfg.bs
        for epoch in range(cfg.epochs):
            rng = random.Random(rng.randint(0, 2**32-1)) # as fastai's loader starts an epoch
            order = rng.sample(range(len(xt)), len(xt))
            model.train()
            for i in range(n):
                t,idx = (epoch*n + i)/(cfg.epochs*n),order[i*cfg.bs:(i+1)*cfg.bs]
                for g in opt.param_groups: g['lr'],g['betas'] = cycle(t, cfg.lr/25, cfg.lr, cfg.lr/1e5),(cycle(t, .95, .85, .95), .99)
                opt.zero_grad()
                F.cross_entropy(model(xt[idx]), yt[idx]).backward()
                opt.step()
        model.eval()
        with torch.no_grad(): out = model(xv)
        return F.cross_entropy(out, yv).item(), (out.argmax(1) == yv).float().mean().item()

@pytest.mark.parametrize('bs,lr', [(16, 1e-3), (128, 1e-2)])
def test_train_is_the_bare_loop(bs, lr):
    "Same weights, batches, schedule and update rule: what is left is float32's rounding, which training carries on"
    cfg = RunConfig('digits', 'small', bs, lr, epochs=2, seed=3)
    run = train(cfg)
    loss,acc = bare_loop(cfg)
    assert run.metrics[-1]['valid_loss'] == pytest.approx(loss, rel=2e-2)
    assert run.acc == pytest.approx(acc, abs=.01)

def test_batch_size_one():
    run = train(RunConfig('digits', 'small', 1, 1e-3, epochs=1))
    assert (run.status, run.cost['steps'], run.cost['examples']) == ('ok', 1297, 1297)
    # Less than chance's ln 10: it learns, though BatchNorm of single images serves it badly in validation
    assert run.metrics[-1]['train_loss'] < 2.3

def test_accuracy_is_a_share_of_the_images():
    run = train(RunConfig('digits', 'small', 64, 1e-2, epochs=1))
    assert run.acc*500 == round(run.acc*500)

@pytest.mark.parametrize('schedule', ['constant', 'flat_cos'])
@pytest.mark.parametrize('opt', ['adam', 'sgd'])
def test_every_choice_of_a_config_trains(opt, schedule):
    run = train(RunConfig('digits', 'small', 32, 1e-2, epochs=1, opt=opt, schedule=schedule))
    assert run.status == 'ok' and run.acc > .3

def test_weight_decay_changes_the_run():
    a,b = (train(RunConfig('digits', 'small', 64, 1e-2, epochs=1, wd=o)) for o in (0, 1))
    assert a.metrics != b.metrics

def test_n_out_of_a_thousand():
    "The published oversight: more outputs than classes train, and may answer with a class that is none"
    run = train(RunConfig('digits', 'small', 512, 1e-4, epochs=1, n_out=1000))
    assert run.status == 'ok' and run.acc < .1

def test_a_validation_loss_that_is_no_number_is_divergence():
    "The last update of an epoch can be the one that breaks the weights"
    class Breaks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = torch.nn.Linear(64, 10)
        def forward(self, x): return self.lin(x.flatten(1)) * (1. if self.training else float('nan'))
    run = train(RunConfig('digits', 'breaks', 512, 1e-3, epochs=1), models=dict(breaks=lambda n_out, n_in: Breaks()))
    assert run.status == 'diverged' and 'validation loss is nan' in run.message

def test_an_interrupt_is_no_failed_run():
    class Stops(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = torch.nn.Linear(64, 10)
        def forward(self, x): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): train(RunConfig('digits', 'stops', 64, 1e-3), models=dict(stops=lambda n_out, n_in: Stops()))

@pytest.mark.parametrize('name', ['learner:train', 'learner:train_many', 'fast:train_many'])
def test_options_are_documented_as_parameters(name):
    "Without a warning, each with the comment beside its field"
    import warnings
    from fastcore.docments import docments
    from nbdev.showdoc import show_doc
    from bs_lr_study.register import import_object
    f = import_object(f'bs_lr_study.training.{name}')
    with warnings.catch_warnings(action='error'): page = show_doc(f)._repr_markdown_()
    assert docments(f)['amp'] == "Mixed precision: 'fp16' or 'bf16'" and "Mixed precision: 'fp16' or 'bf16'" in page
