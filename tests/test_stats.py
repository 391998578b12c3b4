"The error of a run and what follows from it, against closed forms, scipy, brute force and the published figures"
import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.analysis import inflection_table, load_runs
from bs_lr_study.shape import draw_curves, tapers
from bs_lr_study.stats import batch_effects, best_p, best_sets, binomial_sd, calibrate, compare, range_ppf, run_sd, winners_curse

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
def test_intervals_hold_what_they_promise(truth, n, dof): assert calibrate(truth, n, dof=dof, draws=150).coverage.iloc[0] >= .85

def test_plain_table_is_left_alone(both):
    df = load_runs()
    wide = inflection_table(df, interval=.9, sd=.0078)
    for m in df.model.unique(): assert wide[m]['bs'].tolist() == inflection_table(df)[m].tolist() or pd.testing.assert_series_equal(wide[m]['bs'], inflection_table(df)[m], check_names=False) is None

def test_winner_of_two_equal_cells(): assert winners_curse([.5, .5], .01)['flattery'] == pytest.approx(.01/np.pi**.5, rel=.02)

def test_line_has_its_slope():
    bs = 2**np.arange(8)
    c = draw_curves(bs, .8 - .03*np.arange(8), .001)[1]
    assert tapers(c[:, ::8], 4).mean() == pytest.approx(.03, abs=.001)
