"Gradients no longer than `clip`: by both engines alike, and in rows member by member"
import math
from dataclasses import replace

import pytest, torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from bs_lr_study.runs import RunConfig, parse_run, run_name
from bs_lr_study.training.fast import train_many as fast
from bs_lr_study.training.learner import train
from bs_lr_study.training.member_opt import MemberOpt
from bs_lr_study.training.models import small
from bs_lr_study.training.members import Members

pytestmark = pytest.mark.usefixtures('one_thread')

CFG = RunConfig('digits', 'small', 128, .3, epochs=1, opt='sgd', mom=0., clip=.05)

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

def test_both_engines_clip_alike():
    reference,(run,),(free,) = train(CFG, device='cpu'),fast([CFG], device='cpu'),fast([replace(CFG, clip=None)], device='cpu')
    loss = reference.metrics[-1]['valid_loss']
    assert run.env['engine'] == 'fast' and run.metrics[-1]['valid_loss'] == pytest.approx(loss, rel=1e-3)
    assert abs(free.metrics[-1]['valid_loss'] - loss) > .05*loss # it does something

@pytest.mark.parametrize('clip', [.5, 1e3])
def test_each_member_by_itself(clip):
    "Two members whose gradients are of very different length, beside PyTorch's own function"
    torch.manual_seed(0)
    nets = [small(10, 1).double() for _ in range(2)]
    opt = MemberOpt(Members(nets, torch.zeros(2, 1, 8, 8, dtype=torch.float64)), [.1, .1], 0., 'sgd', clip=clip)
    for p in opt.params: p.grad = torch.randn_like(p)*torch.tensor([1., 100.]).repeat_interleave(len(p)//2).view(-1, *[1]*(p.dim() - 1))
    grads = [[p.grad.unflatten(0, (2, -1))[k].clone() for p in opt.params] for k in range(2)]
    opt._shorten([p.grad for p in opt.params])
    for k,own in enumerate(grads):
        alone = [nn.Parameter(torch.zeros_like(g)) for g in own]
        for p,g in zip(alone, own): p.grad = g
        length = clip_grad_norm_(alone, clip)
        for p,q in zip(opt.params, alone): assert (p.grad.unflatten(0, (2, -1))[k] - q.grad).abs().max() < 1e-12*length
        left = math.sqrt(sum((p.grad.unflatten(0, (2, -1))[k]**2).sum() for p in opt.params))
        assert left == pytest.approx(min(clip, float(length)), rel=1e-4)

def test_it_is_part_of_name_and_id_and_leaves_others_alone():
    assert parse_run(run_name(CFG))['clip'] == .05 and CFG.id != replace(CFG, clip=None).id
    assert RunConfig('digits', 'small', 8, 1e-3).id == RunConfig('digits', 'small', 8, 1e-3, clip=None).id
    for bad in (0, -1., float('inf')):
        with pytest.raises(ValueError): RunConfig('digits', 'small', 8, 1e-3, clip=bad)
