"lr_find leaves no trace, its curves survive what kills it, and its advice is counted right"
import copy, random
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from fastai.callback.core import Callback
from fastai.callback.schedule import minimum, slide, steep, valley
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Recorder
from fastai.metrics import accuracy
from fastai.optimizer import OptimWrapper
from fastai.torch_core import no_random
from torch import nn

from bs_lr_study import cli
from bs_lr_study.analysis import load_runs
from bs_lr_study.probe.lr_find import advice, curve_store, find_cfgs, find_epochs, find_lrs, find_study, followed, load_curves, lr_curve, mean_regret, over_seeds, smoothed, stable_range, suggestions, three_lrs
from bs_lr_study.runs import Run
from bs_lr_study.store import StoreError
from bs_lr_study.sweep import make_study

pytestmark = pytest.mark.usefixtures('one_thread')

class Ends(Callback):
    def __init__(self, at, error): self.at,self.error,self.seen = at,error,[]
    def after_step(self):
        self.seen.append(self.learn.train_iter)
        if len(self.seen) == self.at: raise self.error

def data(torch_loaders=False):
    "Three classes of 64 numbers, in loaders of 16"
    g = torch.Generator().manual_seed(0)
    x,y = torch.randn(96, 12, generator=g),torch.arange(96) % 3
    x[torch.arange(96), y] += 2
    ds = list(zip(x, y))
    if torch_loaders:
        return DataLoaders(torch.utils.data.DataLoader(ds[:64], 16, shuffle=True, generator=torch.Generator().manual_seed(1)), torch.utils.data.DataLoader(ds[64:], 16))
    return DataLoaders.from_dsets(ds[:64], ds[64:], bs=16, num_workers=0, device='cpu')

class Odd(nn.Module):
    "Weights that deepcopy refuses once used, a buffer that no state_dict holds, dropout"
    def __init__(self):
        super().__init__()
        with pytest.warns(FutureWarning): self.lin = nn.utils.weight_norm(nn.Linear(12, 8))
        self.norm,self.out = nn.BatchNorm1d(8),nn.Linear(8, 3)
        self.register_buffer('calls', torch.zeros(()), persistent=False)
    def forward(self, x):
        if self.training: self.calls += 1
        return self.out(nn.functional.dropout(self.norm(self.lin(x)), .3, self.training))

def own(kind, path):
    "A reader's Learner of some kind"
    with no_random(1):
        net = Odd() if kind == 'odd model' else nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(.3), nn.Linear(8, 3))
        kw = dict(opt_func=OptimWrapper(opt=torch.optim.AdamW(net.parameters(), lr=.01))) if kind == 'optimizer of torch' else {}
        if kind == 'groups': kw = dict(splitter=lambda m: [list(m[:2].parameters()), list(m[2:].parameters())])
        learn = Learner(data(kind == 'loaders of torch'), net, nn.CrossEntropyLoss(), metrics=accuracy, path=path, cbs=[], **kw)
        if kind == 'groups': learn.freeze_to(-1)
        if kind != 'fresh':
            with learn.no_logging(), learn.no_mbar(): learn.fit(1, .01)
        if kind == 'gradients left':
            learn.loss_func(learn.model(torch.randn(16, 12)), torch.arange(16) % 3).backward()
    return learn

KINDS = ['fresh', 'trained', 'odd model', 'optimizer of torch', 'loaders of torch', 'groups', 'gradients left']

# An error leaves most behind; Ctrl-C ends by the same way
ENDS = [pytest.param(k, e, id=f'{k}-{name}', marks=[pytest.mark.slow]*(name != 'error' and k not in ('trained', 'odd model')))
        for k in KINDS for name,e in dict(done=None, error=RuntimeError('a fault')).items()] + [pytest.param('groups', KeyboardInterrupt(), id='groups-Ctrl-C')]

def parts(learn):
    "All that a next fit, or its owner, could notice"
    opt = learn.opt.state_dict() if learn.opt else None
    gen = getattr(learn.dls.train, 'generator', None) if isinstance(learn.dls.train, torch.utils.data.DataLoader) else None
    return dict(params=[p.detach().clone() for p in learn.model.parameters()], buffers=[b.clone() for b in learn.model.buffers()], grads=[None if p.grad is None else p.grad.clone() for p in learn.model.parameters()],
                opt=copy.deepcopy(opt), training=[m.training for m in learn.model.modules()], needs=[p.requires_grad for p in learn.model.parameters()],
                torch=torch.get_rng_state(), numpy=np.random.get_state()[1], python=random.getstate(), generator=gen.get_state() if gen else None,
                order=None if gen else learn.dls.train.rng.getstate(), cbs=[type(o).__name__ for o in learn.cbs], attrs=sorted(vars(learn)), recorder=copy.deepcopy({k: getattr(learn.recorder, k, None) for k in ('lrs', 'losses', 'values', 'iters')}),
                smooth=vars(learn.recorder.smooth_loss).copy(), path=(learn.path, learn.model_dir))

def same(a, b):
    if isinstance(a, torch.Tensor): return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray): return np.array_equal(a, b)
    if isinstance(a, dict): return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a == b

class TestUntouched:
    @pytest.mark.parametrize('kind,error', ENDS)
    def test_nothing_is_left_changed(self, kind, error, tmp_path):
        learn = own(kind, tmp_path)
        before = parts(learn)
        if error is None: lr_curve(learn)
        else:
            with pytest.raises(type(error)):
                with learn.added_cbs(Ends(30, error)): lr_curve(learn)
        after = parts(learn)
        assert [k for k in before if not same(before[k], after[k])] == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize('kind', KINDS)
    def test_the_next_fit_is_what_it_would_have_been(self, kind, tmp_path):
        ends = []
        for looks in (False, True):
            learn = own(kind, tmp_path)
            with no_random(3):
                if looks: lr_curve(learn)
                with learn.no_logging(), learn.no_mbar(): learn.fit(2, .02)
            ends.append([p.detach() for p in learn.model.parameters()] + [learn.recorder.values])
        assert same(*ends)

    def test_fastai_alone_does_change_it(self, tmp_path):
        "Else the tests above would hold whatever we did"
        learn = own('trained', tmp_path)
        before = parts(learn)
        with pytest.raises(RuntimeError), learn.added_cbs(Ends(30, RuntimeError('a fault'))): learn.lr_find(show_plot=False)
        assert not same(before['params'], parts(learn)['params']) and list(tmp_path.iterdir())

    def test_a_callback_gets_its_own_state_back(self, tmp_path):
        learn = own('trained', tmp_path)
        cb = Ends(10**9, None)
        seen = cb.seen
        with learn.added_cbs(cb): lr_curve(learn)
        assert cb.seen is seen == []

    def test_where_nothing_can_be_written(self):
        learn = own('trained', Path('/proc/nowhere'))
        assert len(lr_curve(learn)) > 20

    def test_without_a_recorder(self, tmp_path):
        learn = own('trained', tmp_path)
        learn.remove_cbs(Recorder)
        assert len(lr_curve(learn)) > 20 and not hasattr(learn, 'recorder')

    def test_an_optimizer_that_cannot_be_copied_is_told_before_anything_is_done(self, tmp_path):
        learn = own('trained', tmp_path)
        learn.opt.lock = open(tmp_path/'x', 'w')
        before = parts(own('trained', tmp_path))['params']
        with pytest.raises(TypeError): lr_curve(learn)
        assert same([p.detach() for p in learn.model.parameters()], before)

@pytest.mark.parametrize('kw,said', [(dict(start_lr=1, end_lr=.1), 'the smaller one first'), (dict(start_lr=0), 'above 0'), (dict(end_lr=float('inf')), 'two numbers'), (dict(num_it=5), 'no curve')])
def test_ranges_that_make_no_curve(kw, said, tmp_path):
    with pytest.raises(ValueError, match=said): lr_curve(own('trained', tmp_path), **kw)

def test_more_images_a_batch_than_there_are(tmp_path):
    learn = own('trained', tmp_path)
    learn.dls = DataLoaders.from_dsets(learn.dls.train_ds, learn.dls.valid_ds, bs=1000, num_workers=0, device='cpu')
    with pytest.raises(ValueError, match='has no batch'): lr_curve(learn)

@pytest.mark.parametrize('kw', [{}, dict(stop_div=False, end_lr=1e8), dict(num_it=30), dict(start_lr=1e-3, end_lr=1e12)])
def test_curve_and_suggestions_are_fastais(kw, tmp_path):
    "Also where losses grow beyond all numbers"
    learn = own('trained', tmp_path)
    with no_random(0): c = lr_curve(learn, **kw) # the model has dropout
    num_it = kw.get('num_it', 100)
    n = len(c)
    with no_random(0):
        try: said = learn.lr_find(show_plot=False, suggest_funcs=(valley, slide, minimum, steep), **kw)._asdict()
        except (IndexError, RuntimeError): said = None # too short a curve; the iterations themselves were made
    assert np.array_equal(learn.recorder.lrs, c.lr) and np.array_equal([float(o) for o in learn.recorder.losses], c.smooth, equal_nan=True)
    ranges = dict(start_lr=1e-7, end_lr=10, num_it=100) | {k: v for k,v in kw.items() if k != 'stop_div'}
    assert np.array_equal(find_lrs(n, **ranges), c.lr) and np.array_equal(smoothed(c.loss), c.smooth, equal_nan=True)
    if said: assert suggestions(c.lr, c.smooth, num_it) == pytest.approx(said, nan_ok=True)

class TestRange:
    def test_a_fall_and_a_rise(self):
        x = find_lrs(100)
        t = np.log10(x)
        y = np.where(t < -4, 2., np.where(t < -1, 2 - (t+4)/2, .5 + (t+1)*5))
        lo,hi = np.log10(stable_range(x, y))
        assert -4 <= lo <= -3.2 and -1.5 <= hi <= -.9

    @pytest.mark.parametrize('y', [[], [2.]*10, [2.]*100, [float('nan')]*100, list(np.linspace(1, 5, 100))])
    def test_no_fall_no_range(self, y): assert np.isnan(stable_range(find_lrs(len(y)), y)).all()

    def test_what_follows_a_loss_that_is_no_number_does_not_count(self):
        x,y = find_lrs(100),np.r_[np.full(40, 2.), np.linspace(2, 1, 30), [np.nan], np.full(29, 0.)]
        assert stable_range(x, y) == stable_range(x[:70], y[:70])
        assert stable_range(x, y)[1] <= x[70]

    def test_three(self):
        assert three_lrs(1e-5, 1e-2).tolist() == [3.2e-5, 3.2e-4, 3.2e-3]
        assert find_epochs(64, 1297) == pytest.approx(4.934, abs=1e-3)

def tiny(folder, **kw): return make_study('tiny', folder/'tiny.jsonl', **dict(data='digits', models='small', batch_sizes=[16, 64], lrs=[1e-3, 1e-2], seeds=[0, 1], epochs=1) | kw)

class TestStudy:
    def test_a_curve_for_each_model_bs_and_seed(self, tmp_path):
        s = tiny(tmp_path)
        s.store.append(Run(s.cfgs[0], status='failed'))
        runs = s.store.path.read_bytes()
        state = torch.get_rng_state()
        curves = find_study(s, show=False)
        assert torch.equal(torch.get_rng_state(), state)
        assert sorted(zip(curves.bs, curves.seed)) == [(16, 0), (16, 1), (64, 0), (64, 1)] and set(curves.status) == {'ok'}
        assert s.store.path.read_bytes() == runs and len(s.store.records()) == 1
        assert not any(np.array_equal(a, b) for i,a in enumerate(curves.losses) for b in curves.losses[:i])
        assert curves.epochs.tolist() == [100*o/1297 for o in curves.bs]

    def test_what_plays_no_part_makes_no_curve_of_its_own(self, tmp_path):
        a,b = find_cfgs(tiny(tmp_path)),find_cfgs(tiny(tmp_path, lrs=[.5], epochs=9, schedule='constant'))
        assert a == b
        assert find_cfgs(tiny(tmp_path, wd=[0, .1], seeds=0)) != a and len(find_cfgs(tiny(tmp_path, wd=[0, .1]))) == 8

    def test_stopped_and_started_again(self, tmp_path):
        made,stop = [],[True]
        def net(n_out, n_in):
            made.append(1)
            if stop[0] and len(made) == 3: raise KeyboardInterrupt
            return nn.Sequential(nn.Flatten(), nn.Linear(64, n_out))
        s = tiny(tmp_path, models='net')
        with pytest.raises(KeyboardInterrupt): find_study(s, models=dict(net=net), show=False)
        kept = curve_store(s).path.read_bytes()
        assert len(curve_store(s).records()) == 2
        stop[0] = False
        with curve_store(s).path.open('ab') as f: f.write(b'{"schema":1,"id":"torn') # killed in the middle of a line
        with pytest.warns(UserWarning, match='set aside'): curves = find_study(s, models=dict(net=net), show=False)
        assert len(curves) == 4 and len(made) == 5 and curve_store(s).path.read_bytes().startswith(kept)

    def test_other_settings_are_other_curves(self, tmp_path):
        s = tiny(tmp_path, batch_sizes=64, seeds=0)
        find_study(s, show=False)
        curves = find_study(s, num_it=40, show=False)
        assert curves.num_it.tolist() == [40] and len(curve_store(s).records()) == 2

    def test_a_model_that_cannot_train_is_a_record(self, tmp_path):
        def net(n_out, n_in): return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, n_out))
        s = tiny(tmp_path, models='net', batch_sizes=[1, 16, 2048], seeds=0)
        curves = find_study(s, models=dict(net=net), show=False).set_index('bs')
        assert curves.status.to_dict() == {1: 'untrainable', 16: 'ok', 2048: 'untrainable'} and 'more than 1 value' in curves.message[1]
        a = advice(curves.reset_index())
        assert a.set_index('bs').valley.isna().to_dict() == {1: True, 16: False, 2048: True}
        assert len(over_seeds(a)) == 3
        assert len(find_study(s, models=dict(net=net), retry=['untrainable'], show=False)) == 3 and len(curve_store(s).read()[0]) == 5

    def test_losses_that_are_no_numbers_are_kept_as_such(self, tmp_path):
        class Breaks(nn.Module):
            def __init__(self, n_out):
                super().__init__()
                self.lin,self.n = nn.Linear(64, n_out),0
            def forward(self, x):
                self.n += 1
                return self.lin(x.flatten(1))*(1. if self.n <= 50 else float('nan'))
        s = tiny(tmp_path, models='breaks', batch_sizes=64, seeds=0)
        c = find_study(s, models=dict(breaks=lambda n_out, n_in: Breaks(n_out)), show=False)
        assert np.isnan(c.losses[0]).tolist() == [False]*50 + [True]*50 and 'NaN' not in curve_store(s).path.read_text()
        assert advice(c).valley[0] < 1e-3 # fastai stops reading there, too

    def test_files_of_another_kind(self, tmp_path):
        s = tiny(tmp_path, batch_sizes=64, seeds=0)
        find_study(s, show=False)
        s.store.append(Run(s.cfgs[0], status='failed'))
        with pytest.raises(StoreError, match='holds runs'): load_curves(s.store.path)
        with pytest.raises(StoreError, match='lr_find'): load_runs(curve_store(s).path)
        with pytest.raises(FileNotFoundError, match='no such file of curves'): load_curves('mnist')

    def test_what_cannot_work_is_told_before_the_first_curve(self, tmp_path):
        with pytest.raises(ValueError, match='no model'): find_study(tiny(tmp_path, models='smal'), show=False)
        with pytest.raises(ValueError, match='no curve'): find_study(tiny(tmp_path), num_it=3, show=False)
        with pytest.raises(ValueError, match='status'): find_study(tiny(tmp_path), retry=['bad'], show=False)
        assert not curve_store(tiny(tmp_path)).path.exists()

class TestTrust:
    def runs(self):
        rows = [(bs, lr, s, a + d) for bs,accs in {8: (.2, .9, .8), 32: (.1, .5, .9)}.items() for lr,a in zip((1e-4, 1e-3, 1e-2), accs) for s,d in ((0, .01), (1, -.01))]
        df = pd.DataFrame(rows, columns=['bs', 'lr', 'seed', 'acc']).assign(model='m', data='d')
        return df.assign(run=[f'd-m-bs-{b}-lr-{l}-seed-{s}' for b,l,s in zip(df.bs, df.lr, df.seed)])

    def adv(self, **kw): return pd.DataFrame(dict(model='m', bs=[8, 8, 32, 32], seed=[0, 1, 0, 1], **kw))

    def test_regret_by_hand(self):
        f = followed(self.adv(valley=[2e-3, 2e-4, 1.2e-2, np.nan]), self.runs(), ['valley'], sd=.01)
        assert f.near.tolist() == [1e-3, 1e-4, 1e-2] and f.best.tolist() == [1e-3, 1e-3, 1e-2]
        assert f.regret.tolist() == pytest.approx([0, .7, 0]) and f.hit.tolist() == [True, False, True]
        m = mean_regret(f, self.runs(), sd=.01).loc['valley']
        assert m.hit == pytest.approx(2/3) and m.regret == pytest.approx(.7/3) and m.lo <= m.regret <= m.hi and m.worst == pytest.approx(.35)

    def test_the_interval_is_that_of_the_runs_where_the_advice_does_not_vary(self):
        f = followed(self.adv(valley=1e-4), self.runs(), ['valley'], sd=.01)
        m = mean_regret(f, self.runs(), sd=.01, draws=40_000).loc['valley']
        se = .01*np.sqrt(2/2)/np.sqrt(2) # a difference of means of two runs, averaged over two batch sizes
        assert (m.hi - m.lo)/2 == pytest.approx(1.645*se, rel=.03)

    def test_advice_that_diverges_is_worth_nothing(self):
        df = self.runs().assign(status='ok')
        df.loc[(df.lr == 1e-4) & (df.bs == 8), ['acc', 'status']] = [np.nan, 'diverged']
        f = followed(self.adv(valley=1e-4), df, ['valley'], sd=.01)
        assert f.regret.tolist() == pytest.approx([.9, .9, .8, .8])

    def test_batch_sizes_without_runs_are_left_out(self):
        df = self.runs()
        assert set(followed(self.adv(valley=1e-4), df[df.bs == 8], ['valley'], sd=.01).bs) == {8}

def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('settings.ini').write_text('[tiny]\ndata = digits\nmodels = small\nbatch_sizes = 16 64\nlrs = 1e-3 1e-2\n')
    cli.lr_find('tiny')
    out = capsys.readouterr().out
    assert '16' in out and 'valley' in out and '1.2' in out and 'plots/tiny/lr_find-small.png' in out
    assert Path('plots/tiny/lr_find-small.png').stat().st_size > 10_000 and Path('runs/tiny.lrfind.jsonl').exists()
