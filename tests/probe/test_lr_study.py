"Curves of a study survive what kills it, and what their advice is worth is counted right"
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from torch import nn

from bs_lr_study import cli
from bs_lr_study.analysis import load_runs
from bs_lr_study.probe.lr_study import advice_regret, curve_store, find_cfgs, find_study, load_curves, lr_advice, mean_regret, median_advice
from bs_lr_study.runs import Run
from bs_lr_study.store import StoreError
from bs_lr_study.sweep import make_study

pytestmark = pytest.mark.usefixtures('one_thread')

def tiny(folder, **kw):
    grid = dict(data='digits', models='small', batch_sizes=[16, 64], lrs=[1e-3, 1e-2], seeds=[0, 1], epochs=1)
    return make_study('tiny', folder/'tiny.jsonl', **grid | kw)

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
        assert find_cfgs(tiny(tmp_path, wd=[0, .1], seeds=0)) != a
        assert len(find_cfgs(tiny(tmp_path, wd=[0, .1]))) == 8

    def test_stopped_and_started_again(self, tmp_path):
        stop = [True]
        def net(n_out, n_in):
            if stop[0] and curve_store(s).path.exists() and len(curve_store(s).records()) == 2: raise KeyboardInterrupt
            return nn.Sequential(nn.Flatten(), nn.Linear(64, n_out))
        s = tiny(tmp_path, models='net')
        with pytest.raises(KeyboardInterrupt): find_study(s, models=dict(net=net), show=False)
        kept = curve_store(s).path.read_bytes()
        assert len(curve_store(s).records()) == 2
        stop[0] = False
        with curve_store(s).path.open('ab') as f: f.write(b'{"schema":1,"id":"torn') # killed in the middle of a line
        with pytest.warns(UserWarning, match='set aside'): curves = find_study(s, models=dict(net=net), show=False)
        assert len(curves) == 4 and len(curve_store(s).read()[0]) == 4 # none was made twice
        assert curve_store(s).path.read_bytes().startswith(kept)

    def test_other_settings_are_other_curves(self, tmp_path):
        s = tiny(tmp_path, batch_sizes=64, seeds=0)
        find_study(s, show=False)
        curves = find_study(s, num_it=40, show=False)
        assert curves.num_it.tolist() == [40] and len(curve_store(s).records()) == 2

    def test_a_model_that_cannot_train_is_a_record(self, tmp_path):
        def net(n_out, n_in): return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, n_out))
        s = tiny(tmp_path, models='net', batch_sizes=[1, 16, 2048], seeds=0)
        curves = find_study(s, models=dict(net=net), show=False).set_index('bs')
        assert curves.status.to_dict() == {1: 'untrainable', 16: 'ok', 2048: 'untrainable'}
        assert 'more than 1 value' in curves.message[1]
        a = lr_advice(curves.reset_index())
        assert a.set_index('bs').valley.isna().to_dict() == {1: True, 16: False, 2048: True}
        assert len(median_advice(a)) == 3
        assert len(find_study(s, models=dict(net=net), retry=['untrainable'], show=False)) == 3
        assert len(curve_store(s).read()[0]) == 5

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
        assert np.isnan(c.losses[0]).tolist() == [False]*50 + [True]*50
        assert 'NaN' not in curve_store(s).path.read_text()
        assert lr_advice(c).valley[0] < 1e-3 # fastai stops reading there, too

    def test_files_of_another_kind(self, tmp_path):
        s = tiny(tmp_path, batch_sizes=64, seeds=0)
        find_study(s, show=False)
        s.store.append(Run(s.cfgs[0], status='failed'))
        with pytest.raises(StoreError, match='holds runs'): load_curves(s.store.path)
        with pytest.raises(StoreError, match='lr_find'): load_runs(curve_store(s).path)
        with pytest.raises(FileNotFoundError, match='no such file of curves'): load_curves('mnist')

    def test_what_cannot_work_is_told_before_the_first_curve(self, tmp_path):
        with pytest.raises(ValueError, match='no model'): find_study(tiny(tmp_path, models='smal'), show=False)
        with pytest.raises(ValueError, match='20 iterations or more'): find_study(tiny(tmp_path), num_it=3, show=False)
        with pytest.raises(ValueError, match='status'): find_study(tiny(tmp_path), retry=['bad'], show=False)
        assert not curve_store(tiny(tmp_path)).path.exists()

class TestTrust:
    def runs(self):
        accs = {8: (.2, .9, .8), 32: (.1, .5, .9)}
        cells = [(bs, lr, acc) for bs in accs for lr,acc in zip((1e-4, 1e-3, 1e-2), accs[bs])]
        rows = [(*c[:2], seed, c[2] + d) for c in cells for seed,d in ((0, .01), (1, -.01))]
        df = pd.DataFrame(rows, columns=['bs', 'lr', 'seed', 'acc']).assign(model='m', data='d')
        return df.assign(run=[f'd-m-bs-{b}-lr-{l}-seed-{s}' for b,l,s in zip(df.bs, df.lr, df.seed)])

    def adv(self, **kw): return pd.DataFrame(dict(model='m', bs=[8, 8, 32, 32], seed=[0, 1, 0, 1], **kw))

    def test_regret_by_hand(self):
        f = advice_regret(self.adv(valley=[2e-3, 2e-4, 1.2e-2, np.nan]), self.runs(), ['valley'], sd=.01)
        assert f.near.tolist() == [1e-3, 1e-4, 1e-2] and f.best.tolist() == [1e-3, 1e-3, 1e-2]
        assert f.regret.tolist() == pytest.approx([0, .7, 0]) and f.hit.tolist() == [True, False, True]
        m = mean_regret(f, self.runs(), sd=.01).loc['valley']
        assert (m.hit, m.regret, m.worst) == pytest.approx((2/3, .7/3, .35)) and m.lo <= m.regret <= m.hi

    def test_the_interval_is_that_of_the_runs_where_the_advice_does_not_vary(self):
        f = advice_regret(self.adv(valley=1e-4), self.runs(), ['valley'], sd=.01)
        m = mean_regret(f, self.runs(), sd=.01, draws=40_000).loc['valley']
        se = .01*np.sqrt(2/2)/np.sqrt(2) # a difference of means of two runs, averaged over two batch sizes
        assert (m.hi - m.lo)/2 == pytest.approx(1.645*se, rel=.03)

    def test_advice_that_diverges_is_worth_nothing(self):
        df = self.runs().assign(status='ok')
        df.loc[(df.lr == 1e-4) & (df.bs == 8), ['acc', 'status']] = [np.nan, 'diverged']
        f = advice_regret(self.adv(valley=1e-4), df, ['valley'], sd=.01)
        assert f.regret.tolist() == pytest.approx([.9, .9, .8, .8])

    def test_batch_sizes_without_runs_are_left_out(self):
        df = self.runs()
        assert set(advice_regret(self.adv(valley=1e-4), df[df.bs == 8], ['valley'], sd=.01).bs) == {8}

def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('settings.ini').write_text('[tiny]\ndata = digits\nmodels = small\nbatch_sizes = 16 64\nlrs = 1e-3 1e-2\n')
    cli.lr_find('tiny')
    out = capsys.readouterr().out
    assert '16' in out and 'valley' in out and '1.2' in out and 'plots/tiny/lr_find-small.png' in out
    assert Path('plots/tiny/lr_find-small.png').stat().st_size > 10_000 and Path('runs/tiny.lrfind.jsonl').exists()

def test_a_study_that_fine_tunes_has_curves(tmp_path):
    "What only its schedule knows is left out of them"
    from bs_lr_study.probe.lr_study import find_cfgs, find_study
    from bs_lr_study.sweep import make_study
    keys = dict(data='digits', models='small', batch_sizes=64, lrs=[1e-3, 1e-2], epochs=3)
    s = make_study('tuned', tmp_path/'tuned.jsonl', schedule='fine_tune', freeze_epochs=1, lr_mult=10, **keys)
    assert find_cfgs(s) == find_cfgs(make_study('plain', tmp_path/'plain.jsonl', **keys))
    curves = find_study(s, num_it=20, show=False)
    assert curves.status.tolist() == ['ok'] and len(curves.losses[0]) > 5
