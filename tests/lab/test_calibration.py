"The calibration: that it counts right, and that its records are what the notebook says of them"
import importlib.util
from importlib.resources import files
from pathlib import Path

import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis.stats import best_sets

spec = importlib.util.spec_from_file_location('calibration', Path(__file__).parents[2]/'benchmarks'/'calibration.py')
spec.loader.exec_module(cal := importlib.util.module_from_spec(spec))

def test_runs_drawn_again_scatter_as_the_grid_does():
    grids = list(cal.real_grids('hpobench'))
    assert len(grids) == 24 and grids[0].shape == (10, 10, 5)
    assert [o.shape for o in cal.real_grids('fcnet')] == [(6, 4, 4)]*16
    truth,sd,y = cal._redraw(np.random.default_rng(0), grids[0], 4000)
    assert y.mean(-1) == pytest.approx(truth, abs=.02) and y.std(-1) == pytest.approx(sd, abs=.02)

def test_made_up_runs_scatter_as_they_are_said_to():
    truth,sd,y = cal.synthetic(np.random.default_rng(0), 5000, 'higher_more')
    assert y.mean(-1) == pytest.approx(truth, abs=.01) and y.std(-1) == pytest.approx(sd, abs=.01)

def test_the_quick_ways_are_those_of_the_package():
    truth,sd,y = cal.synthetic(np.random.default_rng(0), 3, 'each_its_own')
    sets = best_sets(cal.as_runs(y))
    keep = cal.WAYS['moderated'](y, 3, cal._logit) > .1
    assert [set(o) for o in sets.candidates] == [set(2**(1 + np.flatnonzero(k))) for k in keep]
    assert [set(o) for o in best_sets(cal.as_runs(y), sd='pooled').candidates] == [
        set(2**(1 + np.flatnonzero(k))) for k in cal.WAYS['pooled'](y, 3, None) > .1]

def test_a_way_that_keeps_all_always_holds_and_one_that_keeps_none_never():
    truth,sd,y = cal.synthetic(np.random.default_rng(0), 3, 'alike')
    ways = dict(all=lambda y, n, even: np.ones(y.shape[:2]), none=lambda y, n, even: np.zeros(y.shape[:2]))
    t = cal.try_grid(truth, sd, y, ways=ways).groupby('way')[['held', 'kept', 'family']].mean()
    assert t.loc['all'].tolist() == [1, 1, 1] and t.loc['none'].tolist() == [0, 0, 0]

@pytest.mark.parametrize('kind,values,so', [
    ('best cell', dict(lr=.2, bs=4), True), ('best cell', dict(lr=.1, bs=4), False),
    ('row', dict(lr=.1, candidates=(2, 4), back=None), True), ('row', dict(lr=.1, candidates=(4, 8), back=None), False),
    ('row', dict(lr=.1, candidates=(2,), back=(.1, 4, 8)), False), ('best batch size', dict(best={.1: 2, .2: 4}), True),
    ('best batch size', dict(best={.1: 8, .2: 4}), False), ('best learning rate', dict(best={2: .1, 4: .2}), True),
    ('bs moves', dict(moves=dict(grows=(.1, .2))), True), ('bs moves', dict(moves=dict(shrinks=(.1, .2))), False),
    ('lr moves', dict(moves=dict(grows=(2, 4))), True), ('spread', dict(least_bs=2, most_bs=4), True)])
def test_what_is_true(kind, values, so):
    truth = pd.DataFrame([[.5, .4, .45], [.45, .6, .5]], [.1, .2], [2, 4, 8])
    assert cal.TRUE[kind](truth, values) == so

def test_sets_hold_on_a_few_grids():
    quick = {k: cal.WAYS[k] for k in ('moderated',)}
    t = cal.try_synthetic(repeats=3, ways=quick)
    assert t.held.mean() > .9

def test_moderated_sets_hold_where_the_pool_does_not():
    quick = {k: cal.WAYS[k] for k in ('pooled', 'moderated')}
    t = cal.by_stratum(pd.concat([cal.try_real('hpobench', ways=quick), cal.try_synthetic(repeats=2, ways=quick)]))
    by = t.groupby('way').apply(lambda o: np.average(o.coverage, weights=o.rows), include_groups=False)
    assert by.moderated > .9

def test_a_few_clear_sentences_are_true():
    rng = np.random.default_rng(0)
    said = cal.try_sentences(('made up', *cal.synthetic(rng, 3, 'each_its_own')[::2]) for _ in range(1))
    assert said.clear.sum() > 0 and said.false.sum() <= .2*said.clear.sum()

def test_of_two_runs_moderated_is_the_wider():
    few = cal.try_rare(repeats=12, least=1.5).set_index(['noise', 'way'])
    kept = few.kept.unstack()
    assert (kept.moderated >= kept['as limma']).all() and set(few.rows.unstack().nunique(axis=1)) == {1}

def test_a_weighted_law_is_nearer_and_narrower():
    t = cal.try_laws(8, ratios=(10**.5,)).groupby('fit')[['exponent', 'width']].mean()
    assert t.exponent.weighted >= t.exponent.plain and t.width.weighted < t.width.plain

def record(name):
    with (files('bs_lr_study')/'records'/'calibration'/f'{name}.csv').open() as f: return pd.read_csv(f)

def test_recorded_coverage_holds_in_every_stratum():
    t = record('coverage').query('way == "moderated" and rows >= 30')
    assert len(t) > 25 and set(t.n) == {2, 3, 5} and t.coverage.min() >= .88

def test_recorded_coverage_holds_in_rows_that_scatter_most():
    t = record('rare').query('way == "moderated"')
    assert set(t.n) == {2, 3} and t.rows.min() >= 100 and t.coverage.min() >= .88

def test_recorded_intervals_of_weighted_laws_hold():
    by = record('laws').set_index(['fit', 'ratio', 'steep'])
    assert by.fits.min() >= 80 and by.loc['weighted'][['exponent', 'lr_1']].min(axis=None) >= .88
    assert by.loc['plain'].lr_1.min() < .8

def test_little_of_what_is_called_clear_is_false():
    t = record('sentences')
    assert t.clear.sum() >= 500 and t.false.sum() <= .1*t.clear.sum()
