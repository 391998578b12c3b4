"Seeds as blocks, against scipy's paired test, a two-way analysis of variance and simulation"
import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.analysis.seeds import seed_effects, without_effects
from bs_lr_study.analysis.stats import best_sets
from bs_lr_study.analysis.variances import cell_sds

def test_equal_weights_are_the_two_way_analysis_of_variance():
    y = np.random.default_rng(0).normal(size=(6, 4)) + np.array([0, 1, 2, 3])
    got = seed_effects(y, np.ones(6))
    resid = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    between = 6*((y.mean(0) - y.mean())**2).sum()/3
    F = between/((resid**2).sum()/15)
    assert got.p == pytest.approx(ss.f.sf(F, 3, 15)) and got.effects == pytest.approx(y.mean(0) - y.mean())

def test_two_cells_are_the_paired_test():
    y = np.random.default_rng(0).normal(size=(2, 7)) + 5*np.random.default_rng(1).normal(size=7)
    var,dof = without_effects(y, seed_effects(y, [1, 1]).effects)
    t = (y[0].mean() - y[1].mean())/np.sqrt(var.sum()/7)
    assert t == pytest.approx(ss.ttest_rel(*y).statistic) and dof.sum() == 6

def test_seldom_found_where_there_is_none():
    rng = np.random.default_rng(0)
    sd = 10.**rng.uniform(-3, -1, 30)
    p = [seed_effects(sd[:, None]*rng.normal(size=(30, 4)), sd).p for _ in range(400)]
    assert np.mean(np.array(p) < .05) == pytest.approx(.05, abs=.035)

def grid(shift, n=4, seed=0):
    rng = np.random.default_rng(seed)
    move = shift*rng.normal(size=n)
    rows = [dict(run=f'{b}-{l}-{s}', model='m', bs=b, lr=l, seed=s, acc=.7 - .004*abs(np.log2(b) - 4) + move[s] + .001*rng.normal())
            for b in (2, 4, 8, 16, 32, 64) for l in (.1, .2) for s in range(n)]
    return pd.DataFrame(rows)

def test_taken_out_where_the_design_is_balanced():
    df = grid(.03)
    err = cell_sds(df)
    assert err.seeds['m'].share > .9 and err.table.sd.max() < .004 < .008 < err.pooled.sd and 'seeds taken out' in err.how
    assert best_sets(df).candidates.map(len).max() <= 3 < best_sets(df, sd='pooled').candidates.map(len).max()

def test_left_in_where_it_is_not_or_there_is_none():
    assert cell_sds(grid(.03).iloc[1:]).seeds == {} # a cell lacks a seed
    assert cell_sds(grid(.03).drop(columns='seed')).seeds == {}
    assert cell_sds(grid(0.)).seeds == {}
