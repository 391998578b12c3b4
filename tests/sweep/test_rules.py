"""Steps, growing batches, momentum and epsilon in both engines; rules that go from one config to another;
what the experiments' records say."""
import numpy as np, pandas as pd, pytest, torch
from dataclasses import replace
from torch import nn

from fastai.learner import Learner
from fastai.metrics import accuracy

from bs_lr_study.analysis.budgets import planned_steps, trials
from bs_lr_study.training.data import get_dls
from bs_lr_study.training.fast import train_many
from bs_lr_study.training.member_opt import schedule
from bs_lr_study.training.row import Digits, train_row
from bs_lr_study.analysis.laws import paper_table
from bs_lr_study.training.models import build_model
from bs_lr_study.lab.nqm import nqm_step
from bs_lr_study.sweep.rules import RULES, linear, momentum, rescale
from bs_lr_study.runs import RunConfig, examples_seen, grid, run_to_dict, stages, steps_by_epoch
from bs_lr_study.sweep import make_study
from bs_lr_study.sweep.study import SettingsError
from bs_lr_study.tracking.events import run_events
from bs_lr_study.training.learner import train
from bs_lr_study.training.outcome import Untrainable, check_config
from bs_lr_study.training.text import text_source
from reference import learned, state

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

STEP = RunConfig('digits', 'small', 64, 1e-2, epochs=4, schedule='step', drops=2, factor=3)
GROW = replace(STEP, regime='grow')

# What changes from epoch to epoch

@pytest.mark.parametrize('epochs,drops,factor', [(6, 2, 5), (5, 2, 3), (7, 1, 10), (10, 4, 2), (3, 2, 1.5)])
def test_steps_are_torchs(epochs, drops, factor):
    "torch's MultiStepLR with milestones at the first epochs of the later parts"
    cfg = replace(STEP, epochs=epochs, drops=drops, factor=factor)
    opt = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.)
    theirs = torch.optim.lr_scheduler.MultiStepLR(opt, [-(-epochs*k//(drops + 1)) for k in range(1, drops + 1)], 1/factor)
    want = []
    for _ in range(epochs):
        want.append(theirs.get_last_lr()[0])
        opt.step()
        theirs.step()
    assert [lr for _,lr in stages(cfg)] == pytest.approx(want)
    shares,moms = schedule(cfg, 3)
    assert shares == pytest.approx(np.repeat(want, 3)) and set(moms) == {.9}

@pytest.mark.parametrize('max_bs', [None, 100, 576])
@pytest.mark.parametrize('factor', [3, 2.5])
def test_growing_batches_have_the_noise_of_the_steps(max_bs, factor):
    "lr/bs, so lr·N/(bs·(1 − m)), is the same in each epoch, whatever bs is rounded to"
    for cfg in (replace(STEP, factor=factor), replace(STEP, factor=factor, regime='grow', max_bs=max_bs)):
        want = [1/64/factor**k for k in (0, 0, 1, 2)]
        assert [lr/bs for bs,lr in stages(cfg)] == pytest.approx(want)
    assert max(bs for bs,_ in stages(cfg)) <= (max_bs or 576)

def test_what_is_seen():
    "Against a loop over the updates"
    n,steps,examples,ends = 1297,0,0,[]
    for bs in (64, 64, 192, 576):
        for _ in range(n//bs):
            assert examples_seen(GROW, steps, n) == examples
            steps,examples = steps + 1,examples + bs
        ends.append(steps)
    assert steps_by_epoch(GROW, n) == ends == [20, 40, 46, 48] and examples_seen(GROW, 48, n) == examples

# Both engines

@pytest.mark.parametrize('cfg', [
    STEP,
    GROW,
    replace(GROW, max_bs=100, warmup=.3),
    replace(GROW, micro_bs=48, norm='group', max_bs=500),
    replace(STEP, opt='sgd', mom=0),
    replace(GROW, opt='sgd', lr=.1, mom=.5, warmup=.2),
    *(RunConfig('digits', 'small', 128, 1e-2, epochs=2, **kw)
      for kw in (dict(mom=.3), dict(mom=0), dict(eps=1e-2), dict(schedule='constant', mom=.5, eps=.1)))],
                         ids='step grow grow-warmup grow-micro step-sgd-0 grow-sgd mom mom-0 eps constant'.split())
def test_the_fast_engine_is_fastai(cfg):
    cfg = replace(cfg, seed=3)
    (end,),row = train_row([cfg], Digits(dtype=torch.float64), dtype=torch.float64)
    assert end['status'] == 'ok' and len(end['metrics']) == cfg.epochs
    assert (state(row.members) - learned(cfg)).abs().max() < 1e-10

def test_a_member_is_its_own_single_run_where_bs_grows():
    src = Digits(dtype=torch.float64)
    cfgs = grid(data='digits', model='small', bs=64, lr=[1e-3, 1e-2], seed=[0, 1], epochs=3,
                schedule='step', factor=4, regime='grow')
    ends,_ = train_row(cfgs, src, dtype=torch.float64)
    for i in (0, 3):
        (alone,),_ = train_row([cfgs[i]], src, dtype=torch.float64)
        assert [m['valid_loss'] for m in alone['metrics']] == pytest.approx([m['valid_loss'] for m in ends[i]['metrics']], rel=1e-9)

def test_both_count_what_it_costs():
    cfg = replace(GROW, max_bs=500)
    a,(b,) = train(cfg, log_every=15),train_many([cfg], log_every=15)
    for r in (a, b):
        assert (r.status, r.cost['steps'], r.cost['examples']) == ('ok', 48, 40*64 + 6*192 + 2*500)
        lrs = {o['step']: o['lr'] for o in r.updates}
        assert lrs == pytest.approx({15: 1e-2, 30: 1e-2, 45: 1e-2}) and r.env['engine'] in ('fastai', 'fast')
    assert [m['valid_loss'] for m in a.metrics] == pytest.approx([m['valid_loss'] for m in b.metrics], rel=.1)

def test_every_field_changes_the_run():
    "With each of these the same seed ends otherwise"
    runs = list(train_many([
        STEP, GROW,
        replace(STEP, factor=2.), replace(STEP, drops=1), replace(GROW, max_bs=100),
        replace(STEP, mom=.5), replace(STEP, eps=1e-3), replace(STEP, schedule='constant', drops=2, factor=5.)]))
    assert all(r.status == 'ok' for r in runs) and len({r.metrics[-1]['valid_loss'] for r in runs}) == len(runs)

def test_wandb_is_told_of_the_updates_made():
    r, = train_many([GROW])
    assert [o['step'] for o in run_events(run_to_dict(r)) if 'step' in o] == [20, 40, 46, 48]

@pytest.mark.parametrize('kw,said', [
    (dict(drops=3), 'drops = 3, but schedule one_cycle has no steps'),
    (dict(factor=2), 'factor = 2.0, but schedule'),
    (dict(regime='grow'), 'regime = grow, but schedule one_cycle has no steps'),
    (dict(schedule='step', max_bs=128), 'max_bs = 128, but regime none leaves bs as it is'),
    (dict(opt='sgd', eps=1e-8), 'eps = 1e-08, but opt sgd keeps no squared gradients'),
    (dict(schedule='step', drops=4, epochs=4), 'drops = 4, but 4 epochs have room for 3'),
    (dict(schedule='step', regime='grow', max_bs=32), 'grows from 32 to 800: choose a number between'),
    (dict(schedule='step', regime='grow', max_bs=800), 'or leave max_bs out')])
def test_what_could_have_no_effect_is_refused(kw, said):
    cfg = RunConfig('digits', 'small', 32, 1e-2, **kw)
    with pytest.raises(Untrainable, match=said): check_config(cfg)
    assert [(r.status, said in r.message) for r in (*train_many([cfg]), train(cfg))] == [('untrainable', True)]*2

def test_batches_that_outgrow_the_data():
    cfg = replace(GROW, factor=5.)
    said = 'bs 1600 of the last epoch is more than the 1297 training images: there would be no update'
    for r in (train(cfg), *train_many([cfg])): assert (r.status, r.message) == ('untrainable', said)

def own(cfg):
    "A Learner made by hand, of fastai's loaders"
    dls = get_dls(cfg)
    torch.manual_seed(cfg.seed)
    return Learner(dls, build_model(cfg, 10, 1), nn.CrossEntropyLoss(), wd=cfg.wd, metrics=accuracy)

def test_a_learner_of_ones_own_grows_too():
    made = []
    def watched(cfg): made.append(own(cfg)); return made[-1]
    a,b = train(GROW, learner=watched),train(GROW)
    assert (a.cost['steps'], a.cost['examples']) == (b.cost['steps'], b.cost['examples']) and a.acc == pytest.approx(b.acc, abs=.05)
    assert made[0].dls.train.bs == 64 # as it was
    def torchs(cfg):
        learn = own(cfg)
        learn.dls.loaders[0] = torch.utils.data.DataLoader(learn.dls.train.dataset, batch_size=cfg.bs)
        return learn
    r = train(GROW, learner=torchs)
    assert r.status == 'failed' and "the batch size of a torch DataLoader cannot grow" in r.message

# Rules

BASE = RunConfig('digits', 'small', 32, .1, epochs=6, opt='sgd', schedule='step', factor=4)
ADAM = RunConfig('digits', 'small', 32, 1e-3, mom=.9)

def test_goyals_learning_rates():
    "Every row of their table at bs 8192 is a rule applied to one at 256"
    t,cfg = paper_table('goyal2017_lr_rules'),RunConfig('imagenet', 'resnet50', 256, .1)
    for o in t[t.batch == 8192].itertuples():
        rule = dict(none='none', linear='linear', sqrt='sqrt')[o.lr_rule.split('_')[0]]
        base = float(o.lr_rule.split('_')[1].split('x')[0]) if '_' in o.lr_rule else .1
        assert rescale(replace(cfg, lr=base), 8192, rule).lr == pytest.approx(o.lr, rel=1e-5)

@pytest.mark.parametrize('bs', [8, 64, 512])
def test_linear_scaling_keeps_the_floor_of_the_noise(bs):
    """A direction under SGD ends at lr·c/(bs·h·(2 − lr·h)), which for small lr·h depends on lr/bs alone;
    the root rule's floor moves by the root"""
    floor = lambda c, h=1e-3: c.lr/(c.bs*h*(2 - c.lr*h))
    e = np.ones(1)
    c = linear(BASE, bs)
    for _ in range(40_000): e = nqm_step(e, 1e-2, 1., c.bs, c.lr)
    assert e[0] == pytest.approx(floor(c, 1e-2), rel=1e-3)
    assert floor(linear(BASE, bs)) == pytest.approx(floor(BASE), rel=1e-3)
    assert floor(rescale(BASE, bs, 'sqrt'))/floor(BASE) == pytest.approx((32/bs)**.5, rel=1e-3)

@pytest.mark.parametrize('k', [.25, .5, 2, 4, 9])
def test_malladis_invariants(k):
    "What the limiting equation holds fixed (Malladi et al. 2022, definition 5.2), to the six digits that are kept"
    cfg = replace(ADAM, bs=64, mom=.9, eps=1e-4)
    c = rescale(cfg, round(64*k), 'malladi')
    kept = (lambda c: (1 - c.mom)/c.lr**2,
            lambda c: (1 - c.beta2)/c.lr**2,
            lambda c: c.lr**2/c.bs,
            lambda c: c.eps*c.bs**.5)
    for f in kept: assert f(c) == pytest.approx(f(cfg), rel=2e-5)

@pytest.mark.parametrize('mom,beta2,k,name', [(.85, .99, 7, 'mom'), (.9, .99, 10, 'mom'), (0, .99, 2, 'mom'), (.999, .9, 10, 'beta2')])
def test_malladis_limit(mom, beta2, k, name):
    cfg = replace(ADAM, mom=mom, beta2=beta2)
    least = 32/(1 - dict(mom=mom, beta2=beta2)[name])
    with pytest.raises(ValueError, match=f'κ = {k}, but with {name} = .*: bs below {least:.6g}'):
        rescale(cfg, 32*k, 'malladi')

def sgd_noise(cfg, n_train):
    "Smith et al.'s noise scale at the peak learning rate"
    return cfg.lr*n_train/(cfg.bs*(1 - momentum(cfg)))

@pytest.mark.parametrize('rule', ['linear', 'momentum'])
def test_the_noise_scale_stays(rule):
    cfg = replace(BASE, mom=.8)
    for bs in (8, 48, 500): assert sgd_noise(rescale(cfg, bs, rule), 1297) == pytest.approx(sgd_noise(cfg, 1297), rel=1e-5)

@pytest.mark.parametrize('cfg', [BASE, ADAM, replace(ADAM, bs=1), replace(BASE, mom=0)])
def test_no_rule_changes_anything_at_the_batch_size_it_is_for(cfg):
    for rule in RULES:
        if rule in ('malladi', 'beta2') and cfg.opt == 'sgd': continue
        new = rescale(cfg, cfg.bs, rule)
        if new == cfg: continue
        assert rule in ('momentum', 'malladi'), rule
        was = momentum(cfg), cfg.lr, cfg.beta2, cfg.eps
        assert (new.mom, new.lr, new.beta2, new.eps) == pytest.approx(was, abs=1e-9), rule

def test_there_and_back():
    "Down and up again is the config one began with"
    for rule in ('linear', 'sqrt', 'malladi', 'beta2', 'none'):
        cfg = replace(ADAM, lr=.002)
        there = rescale(cfg, 8, rule)
        back = rescale(there, 32, rule)
        def parts(c): return [getattr(c, o) for o in ('lr', 'mom', 'beta2', 'eps')]
        assert parts(back) == pytest.approx(parts(cfg), rel=1e-5)

def test_ids_do_not_depend_on_the_last_bit():
    assert rescale(ADAM, 64, 'sqrt').lr == .00141421 and rescale(ADAM, 96, 'linear').lr == .003

@pytest.mark.parametrize('rule,cfg,said', [
    ('malladi', BASE, 'one for adam'),
    ('beta2', BASE, 'keeps no squared gradients'),
    ('malladi', replace(ADAM, mom=None), 'give mom, or another schedule'),
    ('sqrt+linear', BASE, 'two of these rules change lr'),
    ('cubic', BASE, "no rule 'cubic'; choose from none, linear"),
    ('sqrt+', BASE, "no rule ''"),
    ('updates', replace(BASE, bs=36), 'are 10.6667 epochs'),
    ('updates', replace(BASE, bs=128, epochs=1), 'or of a text say x.tokens'),
    ('updates', replace(BASE, bs=128, epochs=1, x=dict(tokens=2**18 + 1)), 'are 131072 tokens of one epoch'),
    ('ghost', replace(BASE, norm='layer'), "norm is already 'layer'")])
def test_rules_that_do_not_apply(rule, cfg, said):
    with pytest.raises(ValueError) as e: rescale(cfg, 64, rule)
    assert said in str(e.value)

def test_as_many_updates_of_a_text(tmp_path):
    "Small batches read a part of it, large ones all of it again; counted by the blocks of the text itself"
    whole = 2**18
    s = make_study('t', tmp_path/'t.jsonl', data='python', models='gpt', batch_sizes=[1, 4, 16, 64], lrs=1e-2, epochs=1,
                   base_bs=16, scale='updates', **{'x.tokens': whole, 'x.context': 32})
    read = {c.bs: (c.x.tokens, c.epochs) for c in s.cfgs}
    assert read == {1: (whole//16, 1), 4: (whole//4, 1), 16: (whole, 1), 64: (whole, 4)}
    texts = {c.bs: text_source(c).n_train//c.bs*c.epochs for c in s.cfgs}
    assert set(texts.values()) == {512}

def test_a_study_takes_its_settings_along(tmp_path):
    "Each batch size by each rule, what is the same run once; errors name the key and the section"
    base = dict(data='digits', models='small', batch_sizes=[32, 64], lrs=[1e-2, 1e-1], base_bs=32,
                scale=['none', 'linear'], seeds=[0, 1])
    def study(**kw): return make_study('s', tmp_path/'s.jsonl', **base | kw)
    cells = (32, .01), (32, .1), (64, .01), (64, .1), (64, .02), (64, .2)
    assert {(c.bs, c.lr, c.seed) for c in study().cfgs} == {(b, lr, s) for b,lr in cells for s in (0, 1)}
    assert len(study(batch_sizes='32', scale='none+linear').cfgs) == 4
    assert {c.epochs for c in study(scale='updates', epochs=3).cfgs} == {3, 6}
    slips = [
        (dict(scale='cube'), "scale: no rule 'cube'"),
        (dict(base_bs=None), 'go together'),
        (dict(base_bs='x'), "base_bs: bs = 'x'"),
        (dict(scale='malladi', mom=.9, batch_sizes=512), 'scale: from bs 32 to 512'),
        (dict(scale='updates', epochs=1, batch_sizes=16), 'scale: as many updates at bs 16')]
    for kw,said in slips:
        keys = {k: v for k,v in kw.items() if v is not None}
        with pytest.raises(SettingsError) as e:
            if kw.get('base_bs', 1) is None:
                make_study('s', tmp_path/'s.jsonl', data='digits', models='small', batch_sizes=8, lrs=1, scale='none')
            else: study(**keys)
        assert said in str(e.value)

def test_tables_by_updates_know_of_growing_batches():
    "Where updates are not spread evenly over the epochs, what was made counts, and no share is guessed"
    runs = pd.DataFrame(dict(
        run=['a', 'b'], model='m', bs=64, lr=1e-2, seed=0, status='ok', acc=.9, epochs=4, n_train=1297,
        steps=[80, 48], regime=['none', 'grow']))
    assert planned_steps(runs).tolist() == [80, 48]
    epochs = pd.DataFrame(dict(run='b', epoch=[1, 2, 3, 4], acc=[.5, .8, .9, .9]))
    with pytest.raises(ValueError, match="b has a batch size that grows"): trials(runs[1:], epochs, .9)
