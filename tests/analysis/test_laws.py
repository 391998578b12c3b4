"Scaling laws against published figures, other programs' answers and data whose law is known"
import subprocess, sys
from itertools import product
from pathlib import Path

import numpy as np, pandas as pd, pytest
from scipy import optimize, stats

from bs_lr_study.analysis.laws import (LR_LAWS, STEP_LAWS, UNITS, compare_laws, critical_bs, fit_law, held_out, paper_table,
                                       params_table, predict, rounding)

ALL = LR_LAWS | STEP_LAWS
TRADE = STEP_LAWS['trade-off']
BS = 2.**np.arange(4, 15)
SHARED = Path(__file__).resolve().parents[3]/'shared'/'data'/'cbs_zhang2024'

def curve(name, bs, **p):
    "The laws once more, as the papers write them"
    return {'none': lambda: p['lr'] + 0*bs, 'square root': lambda: p['lr_1']*np.sqrt(bs), 'linear': lambda: p['lr_1']*bs,
            'power': lambda: p['lr_1']*bs**p['exponent'], 'mccandlish': lambda: p['lr_max']/(1 + p['b_noise']/bs),
            'surge': lambda: p['lr_max']/(.5*(np.sqrt(p['b_noise']/bs) + np.sqrt(bs/p['b_noise']))), 'perfect': lambda: p['e_min']/bs,
            'trade-off': lambda: p['s_min'] + p['s_min']*p['b_crit']/bs, 'break': lambda: p['s_min']*np.maximum(1, p['b_crit']/bs),
            'free exponent': lambda: p['s_min']*(1 + (p['b_half']/bs)**p['exponent'])}[name]()

TRUE = dict(lr=.03, lr_1=.001, lr_max=.2, exponent=.7, b_noise=300., e_min=1e6, s_min=900., b_crit=700., b_half=700.)


class TestZhang:
    "Zhang et al. 2024: the fits they published, from the table they fitted"
    fits = {m: fit_law(o.batch_size_seqs, o.steps, TRADE) for m,o in paper_table('zhang2024_steps').groupby('model')}

    @pytest.mark.parametrize('model, b_star', [('85M', '745.32'), ('151M', '955.158'), ('302M', '1393.73'), ('604M', '1888.52'),
                                               ('1.2B', '2533.41')])
    def test_critical_batch_sizes_to_six_digits(self, model, b_star):
        assert f"{critical_bs(self.fits[model]).value['b_star']:.6g}" == b_star

    def test_parameters_to_six_digits(self):
        for o in paper_table('zhang2024_fits').itertuples():
            p = params_table(self.fits[o.model]).value
            assert p['s_min'] == pytest.approx(o.a_Smin, rel=1e-6) and p['e_min'] == pytest.approx(o.b_Emin, rel=1e-6)
            assert p['b_crit'] == pytest.approx(o.Bcrit_b_over_a, rel=1e-6)

    def test_fewer_points_give_other_numbers(self):
        "It is all points from 64 up that the published fits used"
        o = paper_table('zhang2024_steps').query('model == "302M" and batch_size_seqs > 64')
        assert abs(critical_bs(fit_law(o.batch_size_seqs, o.steps, TRADE)).value['b_star'] - 1393.73) > 10

    @pytest.mark.skipif(not SHARED.exists(), reason='the original tables are not beside this checkout')
    def test_tables_are_copies(self):
        pd.testing.assert_frame_equal(paper_table('zhang2024_steps'), pd.read_csv(SHARED/'steps_to_target.csv'))
        pd.testing.assert_frame_equal(paper_table('zhang2024_fits'), pd.read_csv(SHARED/'published_fit.csv'))

    def test_b_star_needs_the_overhead_it_is_defined_by(self):
        fit = self.fits['604M']
        b = critical_bs(fit, base=128, overhead=.5).value['b_star']
        assert fit(b)*b == pytest.approx(1.5*fit(128)*128, rel=1e-12)

    def test_trade_off_is_mccandlish_equation(self):
        fit = self.fits['85M']
        p = params_table(fit).value
        s,e = fit(BS),fit(BS)*BS
        np.testing.assert_allclose((s/p['s_min'] - 1)*(e/p['e_min'] - 1), 1, rtol=1e-9)


class TestFit:
    @pytest.mark.parametrize('name', ALL)
    def test_recovers_every_law(self, name):
        law = ALL[name]
        fit = fit_law(BS, curve(name, BS, **TRUE), law)
        assert fit.values == pytest.approx({k: TRUE[k] for k in law.params}, rel=1e-5)
        np.testing.assert_allclose(fit(BS), curve(name, BS, **TRUE), rtol=1e-6)

    @pytest.mark.parametrize('name', ['trade-off', 'mccandlish', 'surge', 'free exponent'])
    def test_no_start_finds_a_better_fit(self, name):
        law,rng = ALL[name],np.random.default_rng(3)
        y = curve(name, BS, **TRUE)*np.exp(.3*rng.normal(size=len(BS)))
        logs = lambda q: np.log(curve(name, BS, **{k: v if k == 'exponent' else np.exp(v) for k,v in zip(law.params, q)}))
        truth = [TRUE[k] if k == 'exponent' else np.log(TRUE[k]) for k in law.params]
        starts = [truth + .5*rng.normal(size=len(truth)) for _ in range(20)]
        found = min((optimize.least_squares(lambda q: logs(q) - np.log(y), o) for o in starts), key=lambda o: o.cost)
        mine = ((np.log(fit_law(BS, y, law)(BS)) - np.log(y))**2).sum()
        assert mine <= 2*found.cost*(1 + 1e-9)

    def test_replicates_and_order_do_not_matter(self):
        y = 100 + 5e4/BS
        two = np.r_[y*1.1, y/1.1]
        assert fit_law(np.r_[BS, BS], two, TRADE).values == pytest.approx(fit_law(np.r_[BS, BS][::-1], two[::-1], TRADE).values)
        assert fit_law(np.r_[BS, BS], two, TRADE).values == pytest.approx(dict(s_min=100, b_crit=500), rel=1e-6)

    def test_surge_peaks_at_its_noise_scale(self):
        fit = fit_law(BS, curve('surge', BS, **TRUE), LR_LAWS['surge'])
        near = fit(np.array([299., 300., 301.]))
        assert near.argmax() == 1 and near[1] == pytest.approx(.2)

    @pytest.mark.parametrize('bs, y, said', [([1, 2, 0], [1, 2, 3], 'batch size 2 .* is 0'), ([1, 2, 4], [1, -2, 3], 'value 1 .* is -2'),
        ([1, 2, 4], [1, np.inf, 3], 'value 1 .* is inf'), ([1, 2], [1, 2, 3], '2 batch sizes for 3 values'),
        ([], [], '0 different batch sizes'),
        ([4, 4, 4], [1, 2, 3], '1 different batch sizes are too few')])
    def test_names_what_is_wrong(self, bs, y, said):
        with pytest.raises(ValueError, match=said): fit_law(bs, y, TRADE)


class TestIntervals:
    def by_profile(self, fit, level):
        "The interval of log b_crit found the long way: fit the rest anew at each value, and look for the crossing"
        rss = lambda b: optimize.minimize_scalar(lambda s: ((s + np.logaddexp(0, b - fit.x) - fit.z)**2).sum()).fun
        least = optimize.minimize_scalar(rss, bracket=(np.log(fit.values['b_crit']) - 1, np.log(fit.values['b_crit']) + 1))
        cut = least.fun*(1 + stats.t.ppf((1 + level)/2, len(fit.x) - 2)**2/(len(fit.x) - 2))
        return [np.exp(optimize.brentq(lambda b: rss(b) - cut, least.x, least.x + d)) for d in (-8, 8)]

    @pytest.mark.parametrize('level', [.5, .9, .99])
    def test_against_the_long_way(self, level):
        y = curve('trade-off', BS, **TRUE)*np.exp(.15*np.random.default_rng(1).normal(size=len(BS)))
        fit = fit_law(BS, y, TRADE)
        assert params_table(fit, level).loc['b_crit', ['lo', 'hi']].tolist() == pytest.approx(self.by_profile(fit, level), rel=1e-3)

    def test_one_parameter_is_the_t_interval(self):
        y = .01*np.exp(np.random.default_rng(0).normal(size=8))
        p = params_table(fit_law(2.**np.arange(8), y, LR_LAWS['none']), .95).loc['lr']
        assert np.log([p.lo, p.hi]) == pytest.approx(stats.t.interval(.95, 7, np.log(y).mean(), stats.sem(np.log(y))))

    @pytest.mark.parametrize('name', ['trade-off', 'mccandlish', 'power'])
    def test_nine_in_ten_hold_the_truth(self, name):
        law,rng,held = ALL[name],np.random.default_rng(5),[]
        true = {k: TRUE[k] for k in law.params} | (dict(e_min=TRUE['s_min']*TRUE['b_crit']) if law.product else {})
        for _ in range(150):
            t = params_table(fit_law(BS, curve(name, BS, **TRUE)*np.exp(.15*rng.normal(size=len(BS))), law))
            held.append([t.lo[k] <= v <= t.hi[k] for k,v in true.items()])
        assert np.all(np.mean(held, 0) >= .84) and np.all(np.mean(held, 0) <= .96) # 2.5 standard errors of 150 draws about .9

    def test_open_where_nothing_was_tested(self):
        noise = np.exp(.05*np.random.default_rng(2).normal(size=len(BS)))
        t = params_table(fit_law(BS, 1e6/BS*noise, TRADE)) # perfect scaling throughout: no bend in sight
        assert t.hi['b_crit'] == np.inf and t.lo['s_min'] == 0 and t.lo['b_crit'] > BS[-1]
        assert 9e5 < t.lo['e_min'] < 1e6 < t.hi['e_min'] < 1.2e6
        t = params_table(fit_law(BS, 500*noise, TRADE)) # larger batches gain nothing
        assert t.lo['b_crit'] == 0 and t.hi['b_crit'] < BS[0] and 450 < t.lo['s_min'] < t.hi['s_min'] < 550

    def test_no_interval_without_a_point_to_spare(self):
        fit = fit_law([8, 64], [300, 90], TRADE)
        assert params_table(fit)[['lo', 'hi']].isna().all(axis=None)
        assert params_table(fit_law([8, 64], [300, 90], TRADE, floor=.1)).hi['s_min'] > 0

    def test_rounding_keeps_intervals_honest(self):
        "Best learning rates on a grid of decades: all equal, though the law behind them is a power"
        t = params_table(fit_law(BS, 0*BS + .01, LR_LAWS['power'], floor=rounding(10)))
        assert t.lo['exponent'] < -.1 and t.hi['exponent'] > .1

    def test_level_is_checked(self):
        with pytest.raises(ValueError, match='level is 90'): params_table(fit_law(BS, 1/BS + 1, TRADE), 90)

    def test_band_holds_the_curve(self):
        fit = fit_law(BS, curve('trade-off', BS, **TRUE)*np.exp(.1*np.random.default_rng(0).normal(size=len(BS))), TRADE)
        b = predict(fit, BS)
        assert (b.lo < b.value).all() and (b.value < b.hi).all()
        np.testing.assert_allclose(b.value, fit(BS))

    def test_every_parameter_has_a_unit(self):
        for law in ALL.values(): assert set(params_table(fit_law(BS, curve(law.name, BS, **TRUE), law)).index) <= set(UNITS)


class TestCompare:
    def test_held_out_by_hand(self):
        rng = np.random.default_rng(0)
        y = .01*BS**.5*np.exp(.2*rng.normal(size=len(BS)))
        t = held_out(BS, y, LR_LAWS['power'])
        for i in (0, 5, len(BS)-1):
            slope,at = np.polyfit(np.log(np.delete(BS, i)), np.log(np.delete(y, i)), 1)
            assert t.predicted[i] == pytest.approx(np.exp(at)*BS[i]**slope, rel=1e-6)
        assert t.at_end.tolist() == [True] + [False]*(len(BS)-2) + [True]

    def test_replicates_are_left_out_together(self):
        t = held_out(np.r_[BS, BS], np.r_[BS, 4*BS], LR_LAWS['linear'])
        assert len(t) == len(BS) and np.allclose(t.y, 2*BS) and np.allclose(t.predicted, 2*BS)

    @pytest.mark.parametrize('name', ['none', 'square root', 'linear', 'mccandlish', 'surge'])
    def test_the_true_law_comes_first(self, name):
        y = curve(name, BS, **TRUE)*np.exp(.01*np.random.default_rng(0).normal(size=len(BS)))
        t = compare_laws(BS, y, LR_LAWS)
        assert t.off_by[name] < 1.02 and (t.p[t.off_by > 1.1] < .05).all()
        assert t.index[0] == name or t.p[name] > .05

    def test_p_by_counting(self):
        y = .01*BS**.5*np.exp(.3*np.random.default_rng(4).normal(size=len(BS)))
        laws = {k: LR_LAWS[k] for k in ('none', 'square root')}
        t = compare_laws(BS, y, laws)
        a,b = (held_out(BS, y, laws[k]).error**2 for k in t.index)
        d = (b - a).values
        sums = [np.dot(d, s) for s in product([1, -1], repeat=len(d))]
        assert t.p.iloc[1] == pytest.approx(np.mean([s >= d.sum() - 1e-12 for s in sums]), abs=1e-9)

    def test_laws_that_need_more_points_are_left_out(self):
        laws = set(compare_laws([1, 2, 4], [9, 5, 3], STEP_LAWS).index)
        assert laws and 'free exponent' not in laws
        with pytest.raises(ValueError, match='too few'): compare_laws([8, 8], [1, 2], STEP_LAWS)


def test_goyal_rules_are_the_laws():
    t = paper_table('goyal2017_lr_rules').query('batch == 8192').set_index('lr_rule').lr
    for law,rule in [('none', 'none'), ('square root', 'sqrt_0.10xsqrt32'), ('linear', 'linear_0.10x32')]:
        assert fit_law([256], [.1], LR_LAWS[law])(8192) == pytest.approx(t[rule], rel=1e-5)

def test_import_is_light():
    code = ('import sys, bs_lr_study.analysis.laws, bs_lr_study.analysis.budgets, bs_lr_study.lab.nqm\n'
            "print([m for m in ('torch', 'fastai', 'scipy', 'matplotlib', 'wandb') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
