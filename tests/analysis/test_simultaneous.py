"p values and quantiles for many cells at once, against slow adaptive quadrature, scipy and brute force"
import numpy as np, pytest
from scipy import stats as ss
from scipy.integrate import quad
from scipy.special import ndtr

from bs_lr_study.analysis.simultaneous import best_p, range_ppf, range_sf

def slow_p(y, se, dof, i):
    "The chance of so large a lead over cell `i`, by adaptive quadrature within adaptive quadrature"
    others = [j for j in range(len(y)) if j != i]
    t = max((y[j] - y[i])/np.hypot(se[i], se[j]) for j in others)
    def below(z, s): return np.prod([ndtr((z*se[i] + s*t*np.hypot(se[i], se[j]))/se[j]) for j in others])
    def above(s): return quad(lambda z: (1 - below(z, s))*ss.norm.pdf(z), -9, 9, limit=200, epsabs=1e-11)[0]
    if np.isinf(dof): return above(1.)
    density = ss.chi(dof, scale=dof**-.5).pdf
    return quad(lambda u: above(np.exp(u))*density(np.exp(u))*np.exp(u), -30/dof, 2, limit=200, epsabs=1e-10)[0]

@pytest.mark.parametrize('lead,dof', [(1.5, 1), (6., 3), (1.5, 8), (3., np.inf)])
def test_best_p_is_the_slow_integral(dof, lead):
    y,se = np.array([0., lead, lead - .3]),np.ones(3)
    got = best_p(y, [1]*3, 1., dof)[0]
    assert got == pytest.approx(slow_p(y, se, dof, 0), rel=2e-3) if got > 1e-4 else got < 1e-4

def test_a_p_value_of_a_thousandth_at_three_degrees_of_freedom():
    "Equally likely values of the error made .0003 of it"
    y = np.array([0., ss.t.isf(.001, 3)*2**.5])
    assert best_p(y, [1, 1], 1., 3)[0] == pytest.approx(.001, rel=1e-3)

@pytest.mark.parametrize('se', [[1., .5, 2.], [.3, 1., .4], [2., .7, 1.1]])
def test_cells_of_different_errors(se):
    y = np.array([.2, 1.4, 1.6])
    for i,dof in enumerate((4, np.inf, np.inf)): assert best_p(y, [1]*3, np.array(se),
        dof)[i] == pytest.approx(slow_p(y, se, dof, i), rel=2e-3)

def test_by_runs_or_by_errors_is_the_same():
    y,n = np.array([.2, .5, .1, .4]),np.array([1, 5, 2, 3])
    assert best_p(y, n, .2, 7) == pytest.approx(best_p(y, [1]*4, .2/np.sqrt(n), 7))

def test_rivals_that_hardly_scatter():
    "Taken to scatter a tenth as much: p errs to the safe side, and not by far"
    y,se = np.array([0., 1.5, 1.4, 1.]),np.array([1., .001, .02, .05])
    exact = slow_p(y, se, np.inf, 0)
    assert exact*(1 - 1e-3) <= best_p(y, [1]*4, se)[0] < 1.2*exact

def test_the_fewer_degrees_of_freedom_of_a_pair_count():
    y,dof = np.array([0., 3.]),np.array([4., 40.])
    p = best_p(y, [1, 1], np.array([1., 1.]), dof)
    assert p[0] == pytest.approx(ss.t.sf(3/2**.5, 4), rel=1e-3)

def test_small_p_values_are_bounds():
    y = np.array([0., 9., 9., 9.])
    p = best_p(y, [1]*4, 1.)[0]
    assert ss.norm.sf(9/2**.5) < p <= 3*ss.norm.sf(9/2**.5)*(1 + 1e-9)

def test_holes_and_lonely_cells():
    p = best_p(np.array([[.5, np.nan, np.nan], [.5, .6, np.nan]]), [[1, 0, 0], [1, 1, 0]], .1)
    assert p[0, 0] == 1 and np.isnan(p[0, 1:]).all() and np.isnan(p[1, 2]) and p[1, :2].sum() == pytest.approx(1)

def test_large_grids_are_worked_off_in_parts():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 25))
    whole = best_p(y, np.ones(y.shape), .7, 12)
    assert whole[17] == pytest.approx(best_p(y[17], np.ones(25), .7, 12))

@pytest.mark.parametrize('dof', [2, 3, 60])
@pytest.mark.parametrize('k', [2, 12])
def test_range_is_scipys(k, dof):
    assert range_ppf(.9, k, dof) == pytest.approx(ss.studentized_range.ppf(.9, k, dof), rel=1e-3)
    q = ss.studentized_range.ppf(.999, k, dof)
    assert range_sf(np.array([q]), k, dof)[0] == pytest.approx(.001, rel=5e-3)

@pytest.mark.parametrize('enough', [.05, .1, .5])
def test_what_need_not_be_told_apart_is_a_bound(enough):
    "Up to there the p values are those of all; beyond, no smaller than that"
    rng = np.random.default_rng(0)
    y,n = rng.normal(size=(200, 9))*rng.uniform(.1, 3, (200, 1)),rng.integers(0, 4, (200, 9))
    y[n == 0] = np.nan
    args = y,n,rng.uniform(.5, 2, (200, 9)),rng.uniform(1, 40, (200, 9))
    whole,spared = best_p(*args),best_p(*args, enough)
    told = whole < enough
    assert told.any() and (~told).any()
    np.testing.assert_allclose(spared[told], whole[told], rtol=1e-5)
    assert (spared[~told & ~np.isnan(y)] >= enough - 1e-6).all() and np.array_equal(np.isnan(whole), np.isnan(spared))
