"""Fine-tuning is fastai's: which weights move when, at which learning rates; trained weights come from a cache or not at all."""
from dataclasses import replace

import pytest, torch
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import no_random

from bs_lr_study.runs import RunConfig, config, flat
from bs_lr_study.sweep import make_study, run
from bs_lr_study.sweep.checks import SweepError
from bs_lr_study.training import OPTIMIZERS
from bs_lr_study.training.backbones import backbone, body_and_head
from bs_lr_study.training.fast import left_out
from bs_lr_study.training.learner import fit, make_learner, train
from bs_lr_study.training.models import build_model

pytestmark = pytest.mark.usefixtures('one_thread')
cfg = RunConfig('digits', 'small', bs=256, lr=1e-2, epochs=3, schedule='fine_tune')

def weights(learn): return [p.detach().clone() for p in learn.model.parameters()]

def test_it_is_fastais_fine_tune():
    "The same run as `fine_tune` on a Learner made by hand, to the last bit"
    made = train(cfg)
    with no_random(0):
        ours = make_learner(cfg)
        split = Learner(ours.dls, ours.model, CrossEntropyLossFlat(), ours.opt_func, wd=cfg.wd, metrics=accuracy, splitter=body_and_head,
                        cbs=[o for o in ours.cbs if o.name == 'spare_norms'])
        with split.no_logging(): split.fine_tune(2, cfg.lr, freeze_epochs=1)
    assert made.status == 'ok' and len(made.metrics) == 3 and [m['epoch'] for m in made.metrics] == [1, 2, 3]
    assert made.metrics[-1]['valid_loss'] == pytest.approx(split.recorder.values[-1][1], rel=1e-6)

def test_first_the_head_then_all_at_their_own_rates():
    learn = make_learner(replace(cfg, epochs=2))
    before,frozen,peaks = weights(learn),[],[]
    from fastai.callback.core import Callback
    class Look(Callback):
        def after_epoch(self):
            if not frozen: frozen.extend(weights(self.learn))
            peaks.append([h['lr'] for h in self.opt.hypers])
        def before_batch(self):
            if self.training and frozen: peaks.append([h['lr'] for h in self.opt.hypers])
    learn.add_cb(Look())
    with no_random(0): fit(learn, replace(cfg, epochs=2))
    body,head = (set(map(id, o)) for o in body_and_head(learn.model))
    norms = {id(p) for m in learn.model.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()}
    for p,a,b in zip(learn.model.parameters(), before, frozen): # BatchNorm is trained throughout, as fastai does
        assert (a == b).all() == (id(p) in body - norms)
    slow,quick = zip(*peaks[2:])
    assert .9*cfg.lr/2 < max(quick) <= cfg.lr/2 and slow == pytest.approx([o/100 for o in quick])
    assert not any((a == b).all() for a,b in zip(weights(learn), before))

@pytest.mark.parametrize('bad,said', [(dict(freeze_epochs=3), 'none is left'),
    (dict(schedule='constant', freeze_epochs=1), 'freezes nothing'),
                                      (dict(schedule='constant', lr_mult=10), 'one learning rate for all')])
def test_what_has_no_effect_is_untrainable(bad, said):
    made = train(replace(cfg, **bad))
    assert made.status == 'untrainable' and said in made.message

def test_the_fast_engine_leaves_it_to_fastai():
    assert 'fine-tuning' in left_out(cfg) and 'fine-tuning' in left_out(replace(cfg, schedule='one_cycle', lr_mult=10))
    assert left_out(replace(cfg, schedule='one_cycle')) == ''

def test_torchvision_by_name(tmp_path, colours):
    "Random weights, on a folder, in a sweep"
    s = make_study('tv', tmp_path/'tv.jsonl', data='colours', models='torchvision:shufflenet_v2_x0_5', size=32, batch_sizes=8, lrs=1e-3,
                   epochs=2, schedule='fine_tune')
    assert run(s, data=colours, workers=0, show=False) == {'ok': 1}
    assert s.store.to_df().engine.tolist() == ['fastai']
    s = make_study('tv', tmp_path/'tv.jsonl', data='colours', models='torchvision:resnet81', size=32, batch_sizes=8, lrs=1e-3)
    with pytest.raises(ValueError, match="no model 'resnet81'; it has resnet18"): run(s, data=colours, workers=0, show=False)

def test_weights_from_the_cache_or_a_clear_error(tmp_path, monkeypatch):
    "What lies in torch's cache is taken, with a head of one's own; where nothing lies and nothing comes, it says so"
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    name = 'torchvision:squeezenet1_1'
    c = RunConfig('pics', name, 8, 1e-3, size=32, pretrained=True)
    def no_net(*_, **__): raise OSError('no network')
    monkeypatch.setattr('torch.hub.download_url_to_file', no_net)
    with pytest.raises(RuntimeError, match='neither in the cache nor.*no network.*leave pretrained out'): build_model(c, 2)
    from torchvision.models import get_model, get_model_weights
    known = get_model('squeezenet1_1', weights=None)
    (tmp_path/'hub'/'checkpoints').mkdir(parents=True, exist_ok=True)
    torch.save(known.state_dict(), tmp_path/'hub'/'checkpoints'/get_model_weights('squeezenet1_1').DEFAULT.url.rpartition('/')[2])
    got = build_model(c, 2)
    assert (got.features[0].weight == known.features[0].weight).all() and got(torch.zeros(1, 3, 32, 32)).shape == (1, 2)
    with pytest.raises(ValueError, match='3 channels'): build_model(c, 2, 1)
    with pytest.raises(ValueError, match='model small has no trained weights'): build_model(replace(c, model='small'), 2)

def test_timm_is_an_extra(monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ImportError, match=r'timm is not installed: pip install .*\[timm\]'): backbone('timm:resnet18')

def test_timm_by_name(monkeypatch):
    "A stand-in for timm, which CI has not: what it is asked for, and what is made of its head"
    import sys, types
    asked = []
    class Net(torch.nn.Module):
        def __init__(self, n, n_in):
            super().__init__()
            self.fc,self.body = torch.nn.Linear(4, n),torch.nn.Linear(64*n_in, 4)
        def get_classifier(self): return self.fc
        def forward(self, x): return self.fc(self.body(x.flatten(1)))
    def create_model(name, pretrained, num_classes, in_chans, **kwargs):
        asked.append((name, pretrained, num_classes, in_chans, kwargs))
        return Net(num_classes, in_chans)
    monkeypatch.setitem(sys.modules, 'timm', types.SimpleNamespace(create_model=create_model, list_models=lambda: ['tiny']))
    c = config(**flat(replace(cfg, model='timm:tiny')) | {'x.drop_rate': .1})
    made = train(c)
    assert made.status == 'ok' and asked[-1] == ('tiny', False, 10, 1, dict(drop_rate=.1))
    assert [len(o) for o in body_and_head(Net(3, 1))] == [2, 2]

def test_own_axes_reach_model_and_optimizer(tmp_path):
    "Part of name and id, handed on by name; what nobody takes is refused"
    seen = []
    def net(n_out, n_in, dropout=.5):
        seen.append(dropout)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(dropout), torch.nn.Linear(64, n_out))
    s = make_study('x', tmp_path/'x.jsonl', data='digits', models='net', batch_sizes=256, lrs=1e-2, epochs=1, **{'x.dropout': ['.1', '.4']})
    assert list(s.runs) == ['digits-net-bs-256-lr-0.01-x.dropout-0.1', 'digits-net-bs-256-lr-0.01-x.dropout-0.4']
    assert run(s, models=dict(net=net), workers=0, show=False) == {'ok': 2} and {.1, .4} <= set(seen)
    assert sorted(s.store.to_df()['x.dropout']) == [.1, .4] and set(s.store.runs()) == {c.id for c in s.cfgs}
    s = make_study('x', tmp_path/'x.jsonl', data='digits', models='net', batch_sizes=256, lrs=1e-2, epochs=1, **{'x.droput': .1})
    with pytest.raises(SweepError, match="x.droput: neither model net nor opt adam takes 'droput'"): run(s,
        models=dict(net=net), workers=0, show=False)

def lion(params, lr, mom=.9, sqr_mom=.99, wd=0.):
    from fastai.optimizer import Optimizer, average_grad
    def step(p, lr, grad_avg, wd, do_wd=True, **_): p.data.mul_(1 - lr*wd*do_wd).sub_(grad_avg.sign(), alpha=lr)
    step.defaults = dict(wd=0.)
    return Optimizer(params, [average_grad, step], lr=lr, mom=mom, wd=wd)

def three_layers(n_out, n_in):
    from torch.nn import Flatten, Linear, ReLU, Sequential
    return Sequential(Flatten(), Linear(64, 32), ReLU(), Linear(32, 32), ReLU(), Linear(32, n_out))

@pytest.mark.parametrize('opt', sorted(OPTIMIZERS))
def test_every_optimizer_that_has_a_name_trains(opt):
    "With the usual schedule, which sets a momentum whether or not there is one"
    models = dict(small=three_layers) if opt == 'muon' else {} # which is for matrices inside a model
    run_ = train(RunConfig('digits', 'small', 256, 1e-2, epochs=1, opt=opt), device='cpu', catch=False, models=models)
    assert run_.status == 'ok' and run_.metrics[-1]['train_loss'] < 2.6

def test_optimizers_of_ones_own_and_of_torch(tmp_path):
    opts = [f'{__name__}:lion', 'adamw', 'rmsprop']
    s = make_study('o', tmp_path/'o.jsonl', data='digits', models='small', opt=opts, batch_sizes=256, lrs=1e-3, epochs=2)
    assert run(s, workers=0, show=False) == {'ok': 3}
    df = s.store.to_df()
    assert set(df.opt) == set(opts) and df.acc.min() > .15 and df.acc.nunique() == 3
