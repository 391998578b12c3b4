"Optimizers as configs name them: in runs of both engines, and refused where a field could do nothing"
import numpy as np, pytest, torch
from fastai.optimizer import Lookahead
from torch import nn

from bs_lr_study.training.fast import left_out, train_many
from bs_lr_study.training.optim import Lamb, opt_func
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import make_learner, train
from bs_lr_study.training.outcome import Untrainable, check_config

pytestmark = pytest.mark.usefixtures('one_thread')
OTHERS = 'lamb', 'radam', 'lookahead', 'ranger'

def cfg(opt, **kw): return RunConfig(**dict(data='digits', model='small', bs=128, lr=1e-2, epochs=1, opt=opt) | kw)

@pytest.mark.parametrize('opt', OTHERS)
def test_both_engines_obey(opt):
    "The fast engine hands the run on and says why; the result is the reference's own, and another optimizer's is another"
    runs = list(train_many([cfg(opt)]))
    assert [(r.status, r.env['engine'], r.env['why']) for r in runs] == [('ok', 'fastai', f'opt {opt} is left to the reference')]
    assert runs[0].metrics == train(cfg(opt)).metrics != train(cfg('adam')).metrics

def weights(**kw): return np.concatenate([p.detach().flatten().numpy() for p in fitted(cfg(**kw)).model.parameters()])

def fitted(c):
    learn = make_learner(c)
    with learn.no_logging(), learn.no_bar(): learn.fit(1, c.lr)
    return learn

@pytest.mark.parametrize('opt', ('adam', *OTHERS))
@pytest.mark.parametrize('field', [dict(beta2=.9), dict(eps=1e-2), dict(mom=.5), dict(wd=.5)])
def test_what_is_set_has_an_effect(opt, field):
    if opt in ('radam', 'ranger') and not {'mom', 'wd'} & set(field): field = field | dict(bs=64) # the first updates divide by nothing
    assert np.abs(weights(opt=opt, **field) - weights(opt=opt, **{k: v for k,v in field.items() if k == 'bs'})).max() > 1e-6

@pytest.mark.parametrize('field', [dict(beta2=.9), dict(eps=1e-3)])
def test_what_could_have_no_effect_is_refused(field):
    (k,v), = field.items()
    why = f'{k} = {v}, but opt sgd keeps no squared gradients: leave {k} out'
    with pytest.raises(Untrainable, match=why): check_config(cfg('sgd', **field))
    run, = train_many([cfg('sgd', **field)])
    assert run.status == 'untrainable' and f'leave {k} out' in run.message

def test_norms_and_biases_are_spared_decay_and_trust_ratio():
    "With no learning rate to speak of but a decay: only what decays moves, and its direction is the weights' own"
    learn = make_learner(cfg('lamb', wd=1e6))
    before = {n: p.detach().clone() for n,p in learn.model.named_parameters()}
    with learn.no_logging(), learn.no_bar(): learn.fit(1, 1e-3)
    t = len(learn.dls.train)
    for n,p in learn.model.named_parameters():
        if p.dim() > 1: torch.testing.assert_close(p.detach(), before[n]*(1 - 1e-3)**t, rtol=1e-3, atol=1e-5)
        else: assert 0 < (p.detach() - before[n]).abs().max() < 1.01e-3*t # Adam's steps are at most so long

def test_lamb_moves_each_layer_by_its_share():
    "Whatever the scale of gradients and weights, the first step of every layer is lr of its size"
    for scale in (1e-3, 1., 1e4):
        ps = [nn.Parameter(torch.randn(5, 3, dtype=torch.float64)*scale) for _ in range(3)]
        before = [p.detach().clone() for p in ps]
        opt = Lamb(ps, lr=.02, eps=0.)
        for p in ps: p.grad = torch.randn_like(p)*10**torch.randn(1).item()
        opt.step()
        for p,w in zip(ps, before): assert ((p - w).norm()/w.norm()).item() == pytest.approx(.02)

def test_lookahead_pulls_back_every_sixth_update():
    p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    opt = opt_func(cfg('lookahead', mom=0., eps=1e-12))([p], lr=1., wd=0.)
    assert isinstance(opt, Lookahead)
    path = []
    for _ in range(12):
        p.grad = torch.ones(1, dtype=torch.float64)
        opt.step(); path.append(-p.item())
    # Adam without noise or momentum takes steps of lr; the sixth goes back to the middle
    assert path == pytest.approx([1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 6])

def test_left_out_says_why():
    assert left_out(cfg('lamb')) == 'opt lamb is left to the reference' and left_out(cfg('sgd')) == left_out(cfg('adam')) == ''
