"""Norms, beta2 and warm-up: both engines beside each other and beside the formulas."""
import pickle

import pytest, torch
from fastai.torch_core import no_random
from torch import nn

from bs_lr_study.training.fast import train_many
from bs_lr_study.training.row import Digits, train_row
from bs_lr_study.training.models import build_model, small
from bs_lr_study.training.norms import CALIBRATED, NORMS, Affine, calibrate, n_groups, replace_norms, spared
from bs_lr_study.runs import RunConfig, grid
from bs_lr_study.training.learner import fit, make_learner, train
from reference import learned, state

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

SETTINGS = [*(dict(norm=o) for o in NORMS),
            dict(norm='ghost', ghost_bs=20),
            dict(beta2=.9999), dict(warmup=.6), dict(warmup=0),
            dict(schedule='flat_cos', warmup=.3, wd=.3, norm='group'),
            dict(schedule='constant', warmup=.21),
            dict(schedule='constant', opt='sgd', warmup=1e-9)]

@pytest.mark.parametrize('kw', SETTINGS, ids=lambda kw: '-'.join(map(str, kw.values())))
def test_the_fast_engine_is_fastai(kw):
    "Twenty updates in float64; what is calibrated is so in float32 by the reference, and InstanceNorm of maps of 2 × 2 enlarges rounding"
    cfg = RunConfig('digits', 'small', 64, 1e-3 if kw.get('opt') == 'sgd' else 1e-2, epochs=1, seed=3, **kw)
    (end,),row = train_row([cfg], Digits(dtype=torch.float64), dtype=torch.float64)
    assert end['status'] == 'ok'
    assert (state(row.members) - learned(cfg)).abs().max() < (1e-4 if cfg.norm in CALIBRATED else 1e-7 if cfg.norm == 'instance' else 1e-10)

@pytest.mark.parametrize('norm', NORMS)
def test_each_member_is_its_own_single_run(norm):
    "Other seeds and learning rates beside it change nothing"
    ghost_bs = 24 if norm == 'ghost' else 32
    cfgs = grid(data='digits', model='small', bs=64, epochs=1, seed=[0, 1], lr=[1e-3, 1e-2], norm=norm, ghost_bs=ghost_bs)
    src = Digits(dtype=torch.float64)
    _,row = train_row(cfgs, src, dtype=torch.float64)
    for i in (0, 3):
        _,alone = train_row([cfgs[i]], src, dtype=torch.float64)
        assert (state(row.members, 4, i) - state(alone.members)).abs().max() < 1e-10

@pytest.mark.parametrize('norm', NORMS)
def test_all_runs_of_a_group_train_as_one(norm):
    "No norm makes the engine take members one by one"
    runs = list(train_many(grid(data='digits', model='small', bs=256, lr=[1e-2, 1e-3], epochs=1, norm=norm)))
    assert [(r.status, r.env['members'], r.env.get('why')) for r in runs] == [('ok', 2, None)]*2

def test_a_run_sees_what_its_config_says():
    "Each of these fields changes the result; the rest of the config is the same"
    accs = [[m['valid_loss'] for m in train(RunConfig('digits', 'small', 128, 1e-2, epochs=1, **kw)).metrics]
            for kw in ({}, *(dict(norm=o) for o in NORMS), dict(beta2=.9), dict(warmup=.7), dict(aug='strong'))]
    assert len(set(map(tuple, accs))) == len(accs)

@pytest.mark.parametrize('schedule', ['constant', 'flat_cos'])
def test_the_learning_rate_rises_in_equal_steps(schedule):
    "fastai's recorder beside the definition: update i of the first n at (i + 1)/n of what the schedule says"
    def lrs(**kw):
        cfg = RunConfig('digits', 'small', 128, 1e-2, epochs=2, schedule=schedule, **kw)
        with no_random(0): fit(learn := make_learner(cfg), cfg)
        return torch.tensor(learn.recorder.lrs, dtype=torch.float64)
    plain,warm = lrs(),lrs(warmup=.4)
    want = torch.minimum(torch.arange(1, 21)/8., torch.ones(())).double()
    assert len(plain) == 20 and torch.allclose(warm/plain, want, rtol=1e-6)

def test_one_cycle_peaks_where_the_warm_up_ends():
    cfg = RunConfig('digits', 'small', 128, 1e-2, epochs=2, warmup=.6)
    with no_random(0): fit(learn := make_learner(cfg), cfg)
    lrs = learn.recorder.lrs
    assert max(lrs) == lrs[12] == pytest.approx(1e-2)

@pytest.mark.parametrize('norm', ['batch', *NORMS])
def test_weight_decay_spares_every_norm(norm):
    "Without gradients decay is all that moves weights"
    cfg = RunConfig('digits', 'small', 128, 1e-2, epochs=1, norm=norm, wd=10.)
    with no_random(0):
        learn = make_learner(cfg)
        before = {n: p.detach().clone() for n,p in learn.model.named_parameters()}
        learn.loss_func = lambda out,y: 0*out.sum()
        fit(learn, cfg)
    moved = {n for n,p in learn.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {f'{i}.weight' for i in (0, 3, 6, 11)}

UNUSED = [(dict(opt='sgd', beta2=.9), 'keeps no squared gradients'),
          (dict(ghost_bs=8), 'no ghost batches'),
          (dict(norm='group', ghost_bs=8), 'no ghost batches')]

@pytest.mark.parametrize('kw,said', UNUSED)
def test_a_field_without_effect_is_refused(kw, said):
    cfg = RunConfig('digits', 'small', 128, 1e-2, epochs=1, **kw)
    for r in (train(cfg), *train_many([cfg])): assert r.status == 'untrainable' and said in r.message

def test_a_model_without_batchnorm_fails_and_says_so():
    bare = lambda n_out, n_in: nn.Sequential(nn.Flatten(), nn.Linear(64*n_in, n_out))
    cfg = RunConfig('digits', 'bare', 128, 1e-2, epochs=1, norm='group')
    for r in (train(cfg, models=dict(bare=bare)), *train_many([cfg], models=dict(bare=bare))):
        assert r.status == 'failed' and 'has no BatchNorm' in r.message

@pytest.mark.parametrize('norm', ['group', 'layer', 'instance', 'frozen', 'none'])
def test_the_head_that_batchnorm_cannot_train_at_one_image_trains(norm):
    "xse_resnext50 in small: a norm over vectors, an odd number of channels, a 1 × 1 map"
    def head(n_out, n_in):
        return nn.Sequential(nn.Conv2d(n_in, 13, 8), nn.BatchNorm2d(13), nn.ReLU(),
                             nn.Flatten(), nn.BatchNorm1d(13), nn.Linear(13, n_out))
    cfgs = grid(data='digits', model='head', bs=1, lr=[1e-3, 1e-4], epochs=1, norm=norm)
    runs = list(train_many(cfgs, models=dict(head=head)))
    assert [r.status for r in runs] == ['ok']*2 and max(r.acc for r in runs) > .5

def test_ghost_batches_of_one_vector_are_untrainable():
    head = lambda n_out, n_in: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, n_out))
    run, = train_many(grid(data='digits', model='head', bs=64, lr=1e-3, epochs=1, norm='ghost', ghost_bs=1), models=dict(head=head))
    assert run.status == 'untrainable' and 'more than 1 value per channel' in run.message

@pytest.mark.parametrize('n', [1, 2, 3, 7, 8, 15, 16, 24, 30, 31, 64, 96, 128, 257, 300, 1024])
def test_groups_divide_channels(n):
    g = n_groups(n)
    assert n % g == 0 and g <= 32 and (g == 1 or n/g >= 8)
    nn.GroupNorm(g, n)(torch.randn(2, n, 3, 3))

def test_replaced_layers_are_kept_as_they_were():
    "Device type, dtype, mode, gradients switched off, eps and the very parameters"
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, eps=1e-3, momentum=.3)).double().eval()
    net[1].weight.requires_grad_(False)
    w = net[1].weight
    for norm in NORMS:
        m = replace_norms(nn.Sequential(*net), norm)[1]
        assert m.weight is w and not m.training and not m.weight.requires_grad
        assert all(t.dtype in (torch.float64, torch.int64) for t in m.state_dict().values())
        assert norm == 'none' or m.eps == 1e-3

@pytest.mark.parametrize('norm', NORMS)
def test_norms_without_scale_and_shift_have_none(norm):
    net = replace_norms(nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, affine=False, track_running_stats=False)), norm)
    if norm in CALIBRATED: calibrate(net, torch.randn(9, 1, 5, 5))
    assert len(list(net[1].parameters())) == 0 and net(torch.randn(4, 1, 5, 5)).isfinite().all()

def test_models_travel():
    "By pickle and by their weights"
    torch.manual_seed(0)
    x = torch.randn(9, 1, 8, 8)
    for norm in NORMS:
        m = calibrate(replace_norms(small(10, 1), norm, ghost_bs=4), x)
        again = replace_norms(small(10, 1), norm, ghost_bs=4)
        again.load_state_dict(m.state_dict())
        for o in (again, pickle.loads(pickle.dumps(m))): assert torch.equal(o.train()(x), m.train()(x))

def test_calibration_leaves_no_hook_even_where_it_fails():
    net = replace_norms(small(10, 1), 'none')
    with pytest.raises(RuntimeError): calibrate(net, torch.randn(2, 3, 8, 8)) # colour images in a net for grey ones
    net(torch.zeros(2, 1, 8, 8))
    assert all(not m._forward_pre_hooks for m in net.modules()) and net.training
    assert all((m.unit == 1).all() for m in net.modules() if isinstance(m, Affine))

def test_a_constant_channel_does_not_blow_up():
    images = torch.cat([torch.ones(4, 1, 3, 3), torch.randn(4, 1, 3, 3)], 1)
    net = calibrate(replace_norms(nn.Sequential(nn.BatchNorm2d(2)), 'frozen'), images)
    assert net(torch.randn(4, 2, 3, 3)).abs().max() < 20

def test_spared_is_fastais_list_where_fastai_knows_the_norm():
    from fastai.torch_core import norm_bias_params
    model = build_model(RunConfig('digits', 'xse_resnext50', 2, 1e-3), 10, 3)
    assert spared(model) == set(norm_bias_params(model, with_bias=True))
