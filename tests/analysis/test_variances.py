"Moderated variances, against the published formulas done slowly, closed forms, limits and simulation"
import numpy as np, pandas as pd, pytest
from scipy import stats as ss
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from bs_lr_study.analysis.replicates import RunSd, run_sd
from bs_lr_study.analysis.tables import cells
from bs_lr_study.analysis.variances import cell_sds, fit_prior, moderated

def by_smyth(var, dof):
    "Section 6.2 of Smyth (2004), for equally many runs a cell and no trend: d0 and s0², a number at a time"
    e = [np.log(v) - digamma(d/2) + np.log(d/2) for v,d in zip(var, dof)]
    mean = sum(e)/len(e)
    beyond = sum((o - mean)**2 for o in e)/(len(e) - 1) - sum(polygamma(1, d/2) for d in dof)/len(dof)
    if beyond <= 0: return np.inf,None
    d0 = 2*brentq(lambda x: polygamma(1, x) - beyond, 1e-6, 1e6)
    return d0,np.exp(mean + digamma(d0/2) - np.log(d0/2))

def drawn(rng, n, dof, d0, scale=1.):
    "Variances of cells as the law has them"
    true = scale*(d0/rng.chisquare(d0, n) if np.isfinite(d0) else np.ones(n))
    return true*rng.chisquare(dof, n)/dof,true

@pytest.mark.parametrize('d0,dof,seed', [(1., 2, 0), (2., 2, 1), (1., 1, 2), (6., 4, 3)])
def test_without_a_trend_it_is_smyths(d0, dof, seed):
    var,_ = drawn(np.random.default_rng(seed), 60, dof, d0, 1e-4)
    dofs = np.full(60, dof)
    got,(want,scale) = fit_prior(var, dofs, np.zeros(60)),by_smyth(var, dofs)
    assert got.dof == pytest.approx(want, rel=1e-8) and got([0.])[0] == pytest.approx(scale, rel=1e-8)

def test_the_trend_is_the_natural_spline_of_least_squares():
    "With a basis made another way: the natural splines that are 1 at one knot and 0 at the others"
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    var,_ = drawn(rng, 80, 2, 5., np.exp(x - x**2/3))
    got = fit_prior(var, np.full(80, 2), x)
    basis = CubicSpline(np.quantile(x, [0, 1/3, 2/3, 1]), np.eye(4), bc_type='natural')(x)
    z = np.log(var) - digamma(1) + np.log(1)
    fitted = basis @ np.linalg.lstsq(basis, z, rcond=None)[0]
    beyond = ((z - fitted)**2).sum()/(80 - 4) - polygamma(1, 1)
    assert polygamma(1, got.dof/2) == pytest.approx(beyond)
    assert np.log(got(x)) == pytest.approx(fitted + digamma(got.dof/2) - np.log(got.dof/2), abs=1e-8)

def test_of_unequal_numbers_of_runs_the_moments_hold():
    "Weighted least squares done with whole matrices: what is expected of the squares left is what was found"
    rng = np.random.default_rng(1)
    dof = np.repeat([1, 2, 4, 9], 25)
    var = np.concatenate([drawn(rng, 25, d, 3.)[0] for d in (1, 2, 4, 9)])
    x = rng.uniform(size=100)
    got = fit_prior(var, dof, x)
    beyond,sampling = polygamma(1, got.dof/2),polygamma(1, dof/2)
    basis = CubicSpline(np.quantile(x, [0, 1/3, 2/3, 1]), np.eye(4), bc_type='natural')(x)
    z = np.log(var) - digamma(dof/2) + np.log(dof/2)
    W = np.diag(1/(beyond + sampling))
    M = np.eye(100) - basis @ np.linalg.inv(basis.T @ W @ basis) @ basis.T @ W
    left,expected = z @ M.T @ W @ M @ z,np.trace(W @ M @ np.diag(beyond + sampling) @ M.T)
    assert left == pytest.approx(expected, rel=1e-3)

@pytest.mark.parametrize('d0', [2., 6., 20.])
def test_it_finds_the_law_that_variances_were_drawn_from(d0):
    n = 4000
    found = [fit_prior(drawn(np.random.default_rng(i), n, 3, d0)[0], [3]*n, np.zeros(n)) for i in range(20)]
    assert np.median([o.dof for o in found]) == pytest.approx(d0, rel=.15)
    assert np.median([o([0.])[0] for o in found]) == pytest.approx(1, rel=.1)

def test_limits():
    rng = np.random.default_rng(0)
    alike = [fit_prior(drawn(np.random.default_rng(i), 300, 2, np.inf)[0], [2]*300, rng.normal(size=300)).dof for i in range(20)]
    assert np.median(alike) > 100
    assert fit_prior(10.**rng.uniform(-8, 0, 300), [2]*300, np.zeros(300)).dof < .6
    same = fit_prior([1., 1.2, .9, 1.1], [2]*4, [0, 1, 2, 3])
    assert same.dof == np.inf and same([5.])[0] == pytest.approx(1.05) and same.most == 8

def test_ratio_to_the_prior_is_F():
    "What a cell shows over what is expected of it, and the moderated t, are distributed as the theory has them"
    rng,n,d0,dof = np.random.default_rng(0),20_000,4.,2
    var,true = drawn(rng, n, dof, d0)
    prior = fit_prior(var, np.full(n, dof), np.zeros(n))
    assert ss.kstest(var/prior(np.zeros(n)), ss.f(dof, prior.dof).cdf).statistic < .015
    v,d = moderated(np.zeros(n), var, np.full(n, dof + 1), prior)
    t = rng.normal(size=n)*np.sqrt(true/v)
    assert ss.kstest(t, ss.t(prior.dof + dof).cdf).statistic < .015 and d == pytest.approx(prior.dof + dof)

def test_moderated_lies_between_and_moves_less_with_more_runs():
    prior = fit_prior(*[drawn(np.random.default_rng(3), 50, 2, 4.)[0], [2]*50, np.zeros(50)])
    expected = prior([0.])[0]
    v,d = moderated([0.]*4, [np.nan, 9., 9., 9.], [1, 3, 5, 50], prior)
    assert v[0] == expected and d[0] == prior.dof
    assert expected < v[1] < v[2] < v[3] < 9 and (np.diff(d) > 0).all() and d[3] == prior.dof + 49

def test_of_two_runs_a_cell_that_scatters_more_is_taken_at_its_word():
    prior = fit_prior(*[drawn(np.random.default_rng(3), 50, 2, 4.)[0], [2]*50, np.zeros(50)])
    low,high = prior([0.])[0]/9,9*prior([0.])[0]
    v,_ = moderated([0.]*3, [low, high, high], [2, 2, 3], prior)
    assert low < v[0] < prior([0.])[0] and v[1] == high and v[2] < high

def test_beyond_the_cells_the_trend_is_flat():
    x = np.linspace(0, 1, 40)
    prior = fit_prior(np.exp(3*x)*drawn(np.random.default_rng(0), 40, 4, 9.)[0], [4]*40, x)
    assert prior([-5., 7.]) == pytest.approx(prior([0., 1.]))

def test_cells_that_never_move_do_not_ruin_the_rest():
    "Cells stuck at chance: no logarithm of zero, and the others are as they were"
    rng = np.random.default_rng(0)
    var,_ = drawn(rng, 40, 2, 6., 1e-4)
    alone = fit_prior(var, [2]*40, np.zeros(40))
    both = fit_prior(np.r_[var, np.zeros(25)], [2]*65, np.zeros(65))
    assert both.dof == pytest.approx(alone.dof) and both([0.]) == pytest.approx(alone([0.]))
    v,_ = moderated(np.zeros(65), np.r_[var, np.zeros(25)], [3]*65)
    assert (v > 0).all() and np.isfinite(v).all()

def test_no_cell_repeated_is_said():
    with pytest.raises(ValueError, match='no cell has two runs'): fit_prior([np.nan]*3, [0]*3, [0, 1, 2])

@pytest.mark.parametrize('var', [[0., 0., 0., 0.], [1e-12, 0., 0., 0.]])
def test_runs_that_all_agree_give_numbers(var):
    v,d = moderated([.1, .2, .3, .4], var, [2]*4)
    assert np.isfinite(v).all() and (d > 0).all()

# Of runs in a table

def runs(sds, n=4, seed=0, **columns):
    "A row of cells for each model, with these standard deviations"
    rng = np.random.default_rng(seed)
    rows = [dict(run=f'{m}{i}{s}', model=m, bs=2**i, lr=.1, seed=s, acc=.5 + .02*i + sd*rng.normal())
            for m,each in sds.items() for i,sd in enumerate(each) for s in range(n)]
    return pd.DataFrame(rows).assign(**columns)

def test_models_have_laws_of_their_own():
    d = runs(dict(calm=[.001]*10, wild=[.05]*10))
    err,c = cell_sds(d),cells(d)
    sd,_ = err.at(c)
    calm = (c.model == 'calm').to_numpy()
    assert sd[calm].max() < .003 and sd[~calm].min() > .02
    assert cell_sds(d[d.model == 'calm']).at(c[calm])[0] == pytest.approx(sd[calm])

def test_a_model_never_repeated_is_given_what_all_show():
    d = pd.concat([runs(dict(a=[.01]*8)), runs(dict(b=[.01]*8), n=1)], ignore_index=True)
    c = cells(d)
    sd,dof = cell_sds(d).at(c)
    assert np.isfinite(sd).all() and .004 < sd[(c.model == 'b').to_numpy()].mean() < .02

def test_choices():
    d = runs(dict(a=[.01]*8))
    assert cell_sds(d, 'pooled') == run_sd(d) and cell_sds(d, .02).sd == .02
    err = cell_sds(d)
    assert cell_sds(d, err) is err and not err.assumed and err.pooled == run_sd(d)
    one = RunSd(.01, 7, 'assumed')
    assert [o.tolist() for o in one.at(cells(d))] == [[.01]*8, [7]*8]
    with pytest.raises(ValueError, match='no cell has two runs'): cell_sds(runs(dict(a=[.01]*8), n=1))
