"Noise scales against brute force, hand-made gradients and models of which all is known; a finder that leaves no trace"
import copy, math, random

import numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import SGD, Adam
from fastai.torch_core import no_random
from scipy.stats import t as t_dist
from torch import nn

from bs_lr_study.probe.noise import STATS, NoiseScale, bs_find, noise_curve, noise_of
from bs_lr_study.analysis.noise_scale import BSimple, b_simple, best_bs, two_batch
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import make_learner, train
from learners import changed, parts, same

pytestmark = pytest.mark.usefixtures('one_thread')

class TestEstimator:
    @pytest.mark.parametrize('n', [math.inf, 40])
    def test_exact_expectations_give_the_truth_back(self, n):
        "E|g_B|² = |G|² + tr Σ (1/B − 1/n), written down, must be solved"
        norm = lambda b: 2. + 30*(1/b - 1/n)
        assert two_batch(norm(4), norm(20), 4, 20, n) == pytest.approx((2., 30.))

    def test_scale_of_the_loss_drops_out(self):
        rng = np.random.default_rng(0)
        g2,tr = rng.normal(1, .2, 20),rng.normal(50, 5, 20)
        a,b = b_simple(g2, tr),b_simple(1e-9*g2, 1e-9*tr)
        assert (a.value, a.lo, a.hi) == pytest.approx((b.value, b.lo, b.hi))

    @pytest.mark.parametrize('b,bs', [(8, 4), (0, 4), (4, 4)])
    def test_sizes_that_make_no_sense(self, b, bs):
        with pytest.raises(ValueError, match=f'b = {b}, bs = {bs}'): two_batch(1., 1., b, bs)

class TestInterval:
    def accepted(self, g2, tr, level=.9):
        "Noise scales that a t test of `g2 − tr/B` does not reject, by trying them all"
        bs = np.exp(np.linspace(np.log(1e-2), np.log(1e7), 20_001))
        x = g2[:, None] - tr[:, None]/bs
        ok = abs(x.mean(0)) <= t_dist.ppf((1 + level)/2, len(g2) - 1)*x.std(0, ddof=1)/np.sqrt(len(g2))
        return bs[ok]

    @pytest.mark.parametrize('mean', [3., 1., .3, 0., -.3])
    def test_fieller_is_the_inverted_t_test(self, mean):
        rng = np.random.default_rng(3)
        tr = rng.normal(100, 20, 15)
        g2 = mean + rng.normal(0, 1, 15) - .01*(tr - 100)
        ok,o = self.accepted(g2, tr),b_simple(g2, tr)
        assert o.lo == pytest.approx(ok.min(), rel=2e-3)
        if ok.max() > 9e6: assert math.isinf(o.hi)
        else: assert o.hi == pytest.approx(ok.max(), rel=2e-3)
        assert o.value == pytest.approx(tr.mean()/g2.mean()) if g2.mean() > 0 else math.isinf(o.value)

    def test_weights(self):
        rng = np.random.default_rng(1)
        g2,tr = rng.normal(2, 1, 12),rng.normal(9, 1, 12)
        assert b_simple(g2, tr) == b_simple(g2, tr, weights=np.full(12, 7.))
        half = b_simple(g2, tr, weights=[1.]*6 + [0.]*6)
        assert (half.value, half.lo, half.hi) == pytest.approx([getattr(b_simple(g2[:6], tr[:6]), k) for k in ('value', 'lo', 'hi')])

    def test_words(self):
        assert 'no upper bound' in repr(BSimple(20., 5., np.inf, .9)) and 'inf' not in repr(BSimple(20., 5., np.inf, .9))
        assert 'unknown' in repr(BSimple(np.inf, 5., np.inf, .9)) and 'lost in the noise' in repr(BSimple(np.inf, np.inf, np.inf, .9))
        assert repr(BSimple(20., 5., 80., .9)) == 'B_simple 20 (90%: 5 to 80)'

    @pytest.mark.parametrize('args,message', [(([], []), '0 estimates'), (([1., np.inf], [1., 1.]), '1 of them'),
                                              (([1.], [1.], 1.5), 'level is 1.5')])
    def test_what_gives_no_number(self, args, message):
        with pytest.raises(ValueError, match=message): b_simple(*args)

    def test_coverage(self):
        "Few steps of few dimensions, where a normal approximation is at its worst"
        rng,hits = np.random.default_rng(0),0
        G = np.array([.5, .5])
        for _ in range(1000):
            g = G + rng.standard_normal((8, 4, 2))*2/4 # 8 steps, parts of 16 examples of s.d. 2
            g2,tr = two_batch((g**2).sum(2).mean(1), (g.mean(1)**2).sum(1), 16, 64)
            o = b_simple(g2, tr)
            hits += o.lo <= 8/.5 <= o.hi
        assert 840 <= hits <= 940

def net(norm=nn.Identity, drop=0.):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), norm(4), nn.ReLU(), nn.Flatten(), nn.Dropout(drop), nn.Linear(144, 3)
    return nn.Sequential(*layers).double()

@pytest.fixture
def batch():
    gen = torch.Generator().manual_seed(1)
    return torch.randn(24, 1, 8, 8, generator=gen).double(),torch.randint(3, (24,), generator=gen)

def flat(model, x, y):
    params = [p for p in model.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(F.cross_entropy(model(x), y), params)])

def by_hand(gs, b, bs):
    gs = torch.stack(gs)
    return two_batch(gs.square().sum(1).mean().item(), gs.mean(0).square().sum().item(), b, bs)

class TestGradients:
    loss = nn.CrossEntropyLoss()

    @pytest.mark.parametrize('parts', [2, 3, 8])
    def test_parts_with_batchnorm_of_their_own(self, batch, parts):
        model,(x,y) = net(nn.BatchNorm2d),batch
        true = by_hand([flat(model, a, b) for a,b in zip(x.chunk(parts), y.chunk(parts))], 24//parts, 24)
        o = noise_of(model, self.loss, x, y, parts)
        assert (o['g2'], o['tr_sigma']) == pytest.approx(true, rel=1e-10) and (o['bs'], o['parts']) == (24, parts)

    @pytest.mark.parametrize('parts', [4, None])
    def test_statistics_of_the_batch_held_still(self, batch, parts):
        "BatchNorm as a fixed scale and shift, written out"
        model,(x,y) = net(nn.BatchNorm2d),batch
        h = model[0](x).detach()
        still = copy.deepcopy(model).eval()
        still[1].running_mean,still[1].running_var = h.mean((0, 2, 3)),h.var((0, 2, 3))
        k = parts or 24
        true = by_hand([flat(still, a, b) for a,b in zip(x.chunk(k), y.chunk(k))], 24//k, 24)
        o = noise_of(model, self.loss, x, y, parts, 'batch')
        assert (o['g2'], o['tr_sigma']) == pytest.approx(true, rel=1e-8)

    @pytest.mark.parametrize('parts,stats', [(4, s) for s in STATS] + [(None, 'batch'), (None, 'running')])
    def test_model_is_left_as_it_was(self, batch, parts, stats):
        model = net(nn.BatchNorm2d)
        model[1].momentum = None
        flat(model, *batch)
        model[0].eval() # odd, but the user's choice
        self.loss(model(batch[0]), batch[1]).backward()
        before,grads = copy.deepcopy(model.state_dict()),[p.grad.clone() for p in model.parameters()]
        modes = [m.training for m in model.modules()]
        noise_of(model, self.loss, *batch, parts, stats)
        assert all(torch.equal(a, b) for a,b in zip(before.values(), model.state_dict().values()))
        assert all(torch.equal(a, p.grad) for a,p in zip(grads, model.parameters()))
        assert modes == [m.training for m in model.modules()] and model[1].momentum is None

    def test_left_as_it_was_after_an_error_too(self, batch):
        model = net(nn.BatchNorm2d)
        before = copy.deepcopy(model.state_dict())
        def wrong(out, y): raise RuntimeError('no loss')
        with pytest.raises(RuntimeError, match='no loss'): noise_of(model, wrong, *batch, stats='batch')
        assert same(before, model.state_dict()) and model[1].training and model[1].momentum == .1

    @pytest.mark.parametrize('chunk', [1, 7, 100])
    def test_single_examples_in_chunks(self, batch, chunk):
        model,(x,y) = net(),batch
        true = by_hand([flat(model, a[None], b[None]) for a,b in zip(x, y)], 1, 24)
        o = noise_of(model, self.loss, x, y, None, chunk=chunk)
        assert (o['g2'], o['tr_sigma']) == pytest.approx(true, rel=1e-10)

    @pytest.mark.parametrize('parts', [4, None])
    def test_frozen_and_unused_parameters(self, batch, parts):
        model = net()
        model[0].weight.requires_grad_(False)
        true = by_hand([flat(model, a, b) for a,b in zip(batch[0].chunk(parts or 24), batch[1].chunk(parts or 24))], 24//(parts or 24), 24)
        model.idle = nn.Parameter(torch.ones(3).double())
        with_idle = nn.Sequential() # whose forward leaves `idle` out
        with_idle.body,with_idle.idle = model[:],model.idle
        with_idle.forward = lambda x: with_idle.body(x)
        o = noise_of(with_idle, self.loss, *batch, parts)
        assert (o['g2'], o['tr_sigma']) == pytest.approx(true, rel=1e-10)

    def test_several_inputs(self, batch):
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net()
            def forward(self, a, b): return self.net(a + b)
        one,two = (noise_of(m, self.loss, x, batch[1], p) for m,x,p in ((net(), batch[0], None), (Two(), (batch[0]/2, batch[0]/2), None)))
        assert one == pytest.approx(two)

    def test_a_rest_is_left_out(self, batch):
        x,y = batch
        assert noise_of(net(), self.loss, x[:23], y[:23], 4) == noise_of(net(), self.loss, x[:20], y[:20], 4)
        assert noise_of(net(), self.loss, x[:3], y[:3], 4)['parts'] == 3

    @pytest.mark.parametrize('kw,message', [(dict(stats='x'), 'choose one of own, batch, running'), (dict(parts=1), 'in 1 part:'),
                                            (dict(parts=None, stats='own'), 'BatchNorm mixes')])
    def test_refusals(self, batch, kw, message):
        with pytest.raises(ValueError, match=message): noise_of(net(nn.BatchNorm2d), self.loss, *batch, **kw)

    def test_more_refusals(self, batch):
        with pytest.raises(ValueError, match='batch of 1 in 1'): noise_of(net(), self.loss, batch[0][:1], batch[1][:1])
        with pytest.raises(ValueError, match='loss is a sum'): noise_of(net(), nn.CrossEntropyLoss(reduction='sum'), *batch)
        with pytest.raises(ValueError, match='no parameter'): noise_of(net().requires_grad_(False), self.loss, *batch)

class Quadratic(nn.Module):
    "Loss ½(θ − x)²: gradients have mean θ − E x and the variance of x"
    def __init__(self, start):
        super().__init__()
        self.theta = nn.Parameter(torch.full((20,), float(start)))
    def forward(self, x): return self.theta - x

def quadratic(start, bs=32, n=3200, lr=1e-3, cbs=None, opt=SGD, loader=DataLoader, **kw):
    x = torch.randn(n, 20, generator=torch.Generator().manual_seed(0))
    x -= x.mean(0)
    data = list(zip(x, torch.zeros(n)))
    dls = DataLoaders(loader(data, bs, shuffle=True, **kw), loader(data, bs))
    return Learner(dls, Quadratic(start), lambda d, _: .5*d.square().sum(1).mean(), opt, lr=lr, wd=0., cbs=cbs)

def fit(learn, *args):
    with learn.no_bar(), learn.no_logging(): learn.fit(*args)

class TestCallback:
    def test_dropout_odd_batches_and_all_leave_training_as_it_is(self, batch):
        def trained(cbs):
            with no_random(5, reproducible=False):
                dl = DataLoader(list(zip(batch[0].float(), batch[1])), 10, shuffle=True) # batches of 10, 10 and 4
                learn = Learner(DataLoaders(dl, dl), net(nn.BatchNorm2d, .5).float(), F.cross_entropy, Adam, cbs=cbs)
                fit(learn, 3, 1e-2)
                return learn,torch.rand(3),random.random()
        (alone,*a),(watched,*b),(single,*c) = trained(None),trained(NoiseScale(every=2)),trained(NoiseScale(parts=None))
        for o in (watched, single): assert same(alone.model.state_dict(), o.model.state_dict())
        assert a[1] == b[1] == c[1] and torch.equal(a[0], b[0]) and torch.equal(a[0], c[0])
        assert watched.noise_scale.to_df().step.tolist() == [0, 2, 4, 6, 8] and set(single.noise_scale.to_df().bs) == {10, 4}

    def test_truth_on_a_quadratic(self):
        "Weights hardly move: tr Σ = 20, |G|² = 20·0.5², a noise scale of 4"
        learn = quadratic(.5, lr=1e-6, cbs=NoiseScale(every=1))
        fit(learn, 1)
        df = learn.noise_scale.to_df()
        o = b_simple(df.g2, df.tr_sigma)
        assert o.lo < 4 < o.hi and o.value == pytest.approx(4, rel=.15) and len(df) == 100

    def test_second_fit_starts_afresh(self):
        learn = quadratic(.5, cbs=NoiseScale(every=50))
        fit(learn, 1); fit(learn, 1)
        assert len(learn.noise_scale.rows) == 2

    def test_curve(self):
        rng = np.random.default_rng(0)
        df = pd.DataFrame(dict(step=range(30), g2=np.r_[np.full(15, 1.), np.full(15, .1)] + .01*rng.standard_normal(30), tr_sigma=10.))
        c = noise_curve(df, beta=.5)
        assert c.b_simple.iloc[14] == pytest.approx(10, rel=.05) and c.b_simple.iloc[-1] == pytest.approx(100, rel=.2) and c.lo.iloc[0] == 0

class TestRecords:
    cfg = RunConfig('digits', 'small', 64, 1e-2, epochs=2)

    def test_a_run_with_noise_is_the_run(self):
        plain,noisy = train(self.cfg),train(self.cfg, measure='noise', catch=False)
        assert [{k: m[k] for k in p} for p,m in zip(plain.metrics, noisy.metrics)] == plain.metrics and noisy.env['measure'] == 'noise'
        assert all(m['b_simple'] == pytest.approx(m['tr_sigma']/m['g2']) for m in noisy.metrics if m['g2'] > 0)

    def test_store_and_frame(self, tmp_path):
        from dataclasses import replace
        from bs_lr_study.store import Store
        run = train(self.cfg, measure='noise')
        run.metrics[-1]['b_simple'] = math.inf
        s = Store(tmp_path/'a.jsonl')
        s.append(run)
        s.append(replace(run, cfg=replace(self.cfg, seed=1), metrics=[dict(m, b_simple=7.) for m in run.metrics]))
        assert s.to_df().b_simple.isna().tolist() == [True, False] and s.epochs_df().tr_sigma.notna().all()

    def test_unknown_measure(self):
        with pytest.raises(ValueError, match="'nois'; choose from noise"): train(self.cfg, measure='nois', catch=False)

    @pytest.mark.parametrize('engine', ['fast', 'fastai'])
    def test_a_study_measures_what_its_settings_say(self, tmp_path, engine):
        from bs_lr_study.sweep import load_study, run
        ini = tmp_path/'s.ini'
        ini.write_text('[s]\ndata=digits\nmodels=small\nlrs=1e-2\nepochs=1\n[s.grid]\nbatch_sizes=128 256\n'
                       '[s.path]\nbatch_sizes=128\nmeasure=noise\n')
        s = load_study('s', ini, tmp_path/'s.jsonl')
        assert len(s.runs) == 2 and run(s, engine=engine, workers=0, show=False)['ok'] == 2
        t = s.store.to_df().set_index('bs')
        assert t.b_simple.notna().to_dict() == {128: True, 256: False} and t.engine.to_dict() == {128: 'fastai', 256: engine}

    def test_settings_name_the_choices(self, tmp_path):
        from bs_lr_study.sweep import load_study
        from bs_lr_study.sweep.study import SettingsError
        ini = tmp_path/'s.ini'
        ini.write_text('[s]\ndata=digits\nmodels=small\nlrs=1e-2\nbatch_sizes=64\nmeasure=sound\n')
        with pytest.raises(SettingsError, match=r"\[s\]: measure: no measurement 'sound'; choose from noise"): load_study('s', ini)

class Stop(Callback):
    def after_backward(self): raise KeyboardInterrupt

class TestFinder:
    @pytest.mark.parametrize('fitted', [False, True])
    def test_no_trace(self, fitted):
        learn = make_learner(RunConfig('digits', 'small', 32, 1e-3, epochs=1))
        if fitted: fit(learn, 1, 1e-3)
        before = parts(learn)
        bs_find(learn, updates=6)
        assert changed(before, parts(learn)) == []
        with pytest.raises(KeyboardInterrupt): bs_find(learn, cbs=Stop())
        assert changed(before, parts(learn)) == []
        with pytest.raises(ValueError, match='the loss is .* a smaller learning rate than 1e.30'): bs_find(learn, 1e30)
        assert changed(before, parts(learn)) == []

    def test_training_afterwards_is_the_same(self):
        def trained(search):
            with no_random(2, reproducible=False):
                learn = make_learner(RunConfig('digits', 'small', 64, 1e-2, epochs=1))
                if search: bs_find(learn, updates=5)
                fit(learn, 1, 1e-2)
            return learn.model.state_dict()
        assert same(trained(False), trained(True))

    def test_truth(self):
        found = bs_find(quadratic(.5, lr=1e-6), updates=100)
        assert found.bs == 4 and found.noise.lo < 4 < found.noise.hi and found.lr == 1e-6
        assert 'bs 4 (90%' in repr(found) and 'does not say at which bs accuracy will be highest' in repr(found)

    def test_no_upper_bound(self):
        "At the minimum there is nothing but noise; one interval of twenty has an upper end all the same, by chance"
        def found(seed):
            with no_random(seed): return bs_find(quadratic(0., lr=1e-6), updates=40)
        tries = [found(o) for o in range(10)]
        assert sum(math.isinf(o.noise.hi) for o in tries) >= 8
        for o in tries:
            assert ('no upper bound' in repr(o)) == math.isinf(o.noise.hi) and (o.bs is None) == math.isinf(o.noise.value)

    def test_repeats(self):
        learn = quadratic(.5)
        a,b = (bs_find(learn, updates=10).steps for _ in range(2))
        assert a.equals(b)

    def test_torch_loaders(self):
        from torch.utils.data import DataLoader as TorchLoader
        learn = quadratic(.5, loader=lambda d, bs, **kw: TorchLoader(d, batch_size=bs, **kw))
        torch.manual_seed(3)
        before = torch.get_rng_state()
        found = bs_find(learn, updates=10)
        assert len(found.steps) == 10 and torch.equal(before, torch.get_rng_state())

    def test_mixed_precision_and_float32_gradients(self):
        from fastai.callback.fp16 import AMPMode, MixedPrecision
        learn = quadratic(.5)
        plain,mixed = bs_find(learn, updates=10),bs_find(learn, updates=10, cbs=MixedPrecision(amp_mode=AMPMode.BF16))
        assert mixed.steps.g2.iloc[0] == plain.steps.g2.iloc[0] # before the first update there is no difference at all

    @pytest.mark.parametrize('bs,updates,said', [(1, 10, 'of bs 1:'), (8, 2, 'updates = 2')])
    def test_refusals(self, bs, updates, said):
        with pytest.raises(ValueError, match=said): bs_find(quadratic(.5, bs=bs), updates=updates)

@pytest.mark.parametrize('r', [.05, .5, 1.2, 1.9])
def test_best_bs_is_where_an_example_brings_most(r):
    "A grid of batch sizes of one quadratic: the formula's is the best of them"
    h,e,c,lr_max = 2.,1.5,7.,.5
    worth = lambda bs, lr: (.5*h*e - .5*h*((1 - lr*h)**2*e + lr**2*c/bs))/bs
    grid = np.exp(np.linspace(-8, 12, 200_001))
    assert best_bs(r*lr_max, lr_max, c/(h**2*e)) == pytest.approx(grid[worth(grid, r*lr_max).argmax()], rel=1e-3)
