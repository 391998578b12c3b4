"The error of a run and what follows from it, against closed forms, scipy, brute force and the published figures"
from itertools import product

import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.analysis import inflection_table, load_runs
from bs_lr_study.analysis.best_lr import best_lrs
from bs_lr_study.analysis.curves import draw_curves, tapers
from bs_lr_study.analysis.stats import (best_lr_by_way, best_p, best_sets, compare, each_level, mean_interval, paired, paired_at_best,
                                        paired_ratio, range_ppf, sign_flip_p, winners_curse)
from bs_lr_study.analysis.replicates import batch_effects, binomial_sd, run_sd

@pytest.fixture(scope='module')
def both(): return pd.concat([load_runs().assign(post='b'), load_runs('2025-06-01').assign(post='a')], ignore_index=True)

def test_published_figures(both):
    e = run_sd(both)
    assert [round(100*o, 2) for o in (e.sd, *e.interval(), e.sd*2**.5)] == [.78, .54, 1.43, 1.10]
    assert round(100*binomial_sd(.8, 3925), 2) == .64
    assert (100*batch_effects(both, 'post').effect).round(2).tolist() == [.44, -.57, -1.49]

def test_error_must_be_known():
    with pytest.raises(ValueError, match='no cell has two runs.*sd'): best_sets(load_runs())
    assert best_sets(load_runs(), sd=.008).sd_from.eq('assumed').all()

@pytest.mark.parametrize('n,dof', [([1, 1, 1, 1], 9), ([1, 5, 2, 1], 6), ([3, 3, 3, 3], np.inf)])
def test_best_p_by_brute_force(n, dof):
    rng,n = np.random.default_rng(0),np.array(n)
    y = np.array([.80, .79, .795, .785])
    p = best_p(y, n, .01, dof)
    z = rng.normal(size=(200_000, 4))/np.sqrt(n)
    s = np.ones(len(z)) if np.isinf(dof) else np.sqrt(rng.chisquare(dof, len(z))/dof)
    for i in range(4):
        j = [o for o in range(4) if o != i]
        se = np.sqrt(1/n[i] + 1/n[j])
        seen = ((y[j] - y[i])/(.01*se)).max()
        assert p[i] == pytest.approx((((z[:, j] - z[:, [i]])/se).max(1)/s >= seen).mean(), abs=.006)

def test_range_is_scipys(): assert range_ppf(.9, 12, 9) == pytest.approx(ss.studentized_range.ppf(.9, 12, 9), abs=.03)

def test_two_cells_are_a_t_test(both):
    rng = np.random.default_rng(0)
    d = pd.DataFrame(dict(run=[f'r{i}' for i in range(8)], model='m', bs=[4]*4 + [8]*4, lr=.1, acc=.5 + .01*rng.normal(size=8)))
    got,want = compare(d).iloc[0],ss.ttest_ind(d.acc[:4], d.acc[4:])
    assert 2*(1 - got.p_beats) == pytest.approx(want.pvalue, abs=1e-6) and got.p_all == pytest.approx(want.pvalue, abs=.01)

@pytest.mark.parametrize('truth,n,dof', [(.78 + .0005*(np.arange(8) == 2), 3, None), (.78 - .03*(np.arange(8) - 4)**2, 3, None),
    (.78 - .01*np.arange(8), 3, None), (.78 - .002*(np.arange(8) - 4)**2, 1, 9), (.78 - .002*(np.arange(8) - 4)**2, 5, None)])
def test_intervals_hold_what_they_promise(truth, n, dof):
    "Rows of `n` runs a cell drawn from a known truth"
    rng,sd,k = np.random.default_rng(0),.0078,len(truth)
    runs = truth + sd*rng.standard_normal((150, n, k))
    dof = dof or (n-1)*k
    seen_sd = runs.var(1, ddof=1).mean(-1)**.5 if n > 1 else sd*np.sqrt(rng.chisquare(dof, len(runs))/dof)
    keep = best_p(runs.mean(1), np.full((len(runs), k), n), seen_sd, dof) > .1
    lo,hi = keep.argmax(1),k - 1 - keep[:, ::-1].argmax(1)
    best = truth.argmax()
    assert ((lo <= best) & (best <= hi)).mean() >= .85

def test_plain_table_is_left_alone(both):
    df = load_runs()
    plain,wide = inflection_table(df),inflection_table(df, sets=best_sets(df, sd=.0078))
    pd.testing.assert_frame_equal(wide.xs('bs', axis=1, level=1), plain, check_names=False)

def test_winner_of_two_equal_cells(): assert winners_curse([.5, .5], .01)['flattery'] == pytest.approx(.01/np.pi**.5, rel=.02)

def test_winners_curse_leaves_out_what_has_no_accuracy():
    acc,n = np.array([[.5, np.nan], [.6, .55]]),np.array([[1, 0], [2, 4]])
    assert winners_curse(acc, .01, n) == winners_curse([.5, .6, .55], .01, [1, 2, 4])

def test_batch_effects_are_of_the_last_in_order_over_the_first(both):
    want = batch_effects(both, 'post')
    for d in (both[::-1], both.sample(frac=1, random_state=0), both.assign(post=both.post.map(dict(a=9, b=10)))):
        pd.testing.assert_frame_equal(batch_effects(d, 'post').loc[want.index], want, check_exact=False)
    pair = both[both.post == 'b'].merge(both[both.post == 'a'], on=['model', 'lr', 'bs'])
    assert want.effect.to_dict() == pytest.approx((pair.acc_x - pair.acc_y).groupby(pair.model).mean().to_dict())

def test_batches_without_a_common_cell():
    d = pd.DataFrame(dict(run=[f'r{i}' for i in range(4)], model='m', bs=[4, 4, 8, 8], lr=.1, acc=[.5, .51, .6, .61],
                          post=['a', 'a', 'b', 'b']))
    with pytest.raises(ValueError, match="no cell has runs of both 'a' and 'b'"): batch_effects(d, 'post')
    with pytest.raises(ValueError, match='post has 1 values'): batch_effects(d.assign(post='a'), 'post')

class TestNothingToCompare:
    none = load_runs().query('model == "xresnet18"').assign(acc=np.nan)

    @pytest.mark.parametrize('d', [none, none.assign(status='diverged'), none.assign(status='oom', message='')])
    def test_no_accuracy_is_said(self, d):
        for f in (best_sets, compare, lambda d, sd: winners_curse(d.acc, sd), lambda d, sd: best_lrs(d)):
            with pytest.raises(ValueError, match='is missing everywhere: no run has'): f(d, sd=.01)

    def test_one_cell_has_no_pairs(self):
        assert compare(load_runs().head(1), sd=.01).empty and range_ppf(.9, 1) == 0
        assert best_sets(load_runs().head(1), sd=.01).candidates.tolist() == [(1,)]

    def test_counts_are_worded(self):
        d = pd.DataFrame(dict(run=['a', 'b'], model='m', bs=4, lr=.1, acc=[.5, .51], seed=[0, 1]))
        assert run_sd(d).how == '2 runs of 1 cell'

def test_line_has_its_slope():
    bs = 2**np.arange(8)
    c = draw_curves(bs, .8 - .03*np.arange(8), .001)[1]
    assert tapers(c[:, ::8], 4).mean() == pytest.approx(.03, abs=.001)

class TestPairs:
    new,old = pd.Series([.7, .8, .9, .75], [0, 1, 2, 3]),pd.Series([.74, .68, .75, .8, .2], [3, 0, 1, 2, 9])

    def test_against_scipy(self):
        o,want = paired(self.new, self.old, .95),ss.ttest_rel([.7, .8, .9, .75], [.68, .75, .8, .74]).confidence_interval(.95)
        assert (o.mid, o.lo, o.hi, o.n) == pytest.approx((.0450, *want, 4))
        assert paired(self.new.to_numpy(), [.68, .75, .8, .74], .95) == pytest.approx(o)
        assert mean_interval(self.new)[1:3] == pytest.approx(tuple(ss.ttest_1samp(self.new, 0).confidence_interval(.9)))

    def test_what_lacks_a_partner_gives_no_number(self):
        for new,old in ((self.new, self.old.drop(0)), (self.new.where(self.new > .7), self.old), (self.new[:1], self.old)):
            assert np.isnan(paired(new, old)[:3]).all()
        assert mean_interval([.5]).mid == .5 and np.isnan(mean_interval([.5]).lo)

    def test_ratios(self):
        o = paired_ratio(2*self.new, self.old)
        assert np.log(o[:3]) == pytest.approx(np.log(2) + np.array(paired(np.log(self.new), np.log(self.old))[:3]))
        assert paired_ratio(self.new.where(self.new > .7), self.old)[:3] == (np.inf,)*3

    @pytest.mark.parametrize('x', [[.3, -.1, .2, .5], [1., 1., 1.], [-1., 2.], [0., 0.]])
    def test_sign_flips_by_hand(self, x):
        signs = np.array(np.meshgrid(*[[-1, 1]]*len(x))).reshape(len(x), -1).T
        assert sign_flip_p(x) == pytest.approx(((signs*x).mean(1) >= np.mean(x) - 1e-12).mean())

    def test_level_of_each(self): assert (each_level(.9, 5), each_level(.9, 0)) == pytest.approx((.98, .9))

    def test_each_way_at_its_best(self):
        rng = np.random.default_rng(0)
        every = product((8, 16), 'abc', (.1, .2, .3), range(4))
        d = pd.DataFrame(every, columns=['bs', 'way', 'lr', 'seed'])
        d['loss'] = 1 + (d.lr - d.way.map(dict(a=.2, b=.3, c=.1)))**2 + .001*rng.random(len(d))
        best = best_lr_by_way(d, 'loss', lowest=True).set_index(['bs', 'way'])
        assert best.lr.xs(8).to_dict() == dict(a=.2, b=.3, c=.1) and best.at_edge.xs(16).to_dict() == dict(a=False, b=True, c=True)
        t = paired_at_best(d, 'a', 'loss', lowest=True)
        at = d[d.bs == 16].set_index(['way', 'lr', 'seed']).loss
        want = ss.ttest_rel(at['b', .3], at['a', .2]).confidence_interval(each_level(.9, 4))
        assert t.loc[(16, 'b'), ['diff', 'lo', 'hi', 'n']].tolist() == pytest.approx([(at['b', .3] - at['a', .2]).mean(), *want, 4])
