"Claims are about whatever metric the runs are about: of a loss that is the negative of accuracy the ledger says the same"
from dataclasses import replace

import pandas as pd, pytest

from bs_lr_study.analysis.stats import tuned
from bs_lr_study.lab import claims_grid, claims_papers
from bs_lr_study.lab.claims_forum import parts_less_whole
from bs_lr_study.lab.comparisons import best_cell, cell_gap, cells_with_errors, plain
from bs_lr_study.metrics import Metric
from made_up import photos

NEGATED = Metric('val_loss', 'loss', lower=True, part='validation')

def negated(df):
    "The same runs, about a loss"
    df = df.assign(val_loss=-df.acc).drop(columns='acc')
    df.attrs['metric'] = NEGATED
    return df

@pytest.fixture(scope='module')
def other(ev): return replace(ev, grid=negated(ev.grid), first=negated(ev.first), own=negated(ev.own), parts=negated(ev.parts))

DRAWN = 'slower fall','inflection points' # curves of which draws, and tables of which cells, go by the metric itself
VALUES = 'acc','stable','others','below','too near to tell','ten','within','right','sds'

PHOTOS = '21_photographs.ipynb' # one seed of these has an error only where they are about accuracy
ON_PHOTOS = [o for o in {**claims_grid.CLAIMS, **claims_papers.CLAIMS}.values() if o.experiment == PHOTOS]

@pytest.mark.parametrize('name', [o.name for o in claims_grid.CLAIMS.values() if o.name not in DRAWN and o.experiment != PHOTOS])
def test_the_published_grid(ev, other, name):
    ours,theirs = (claims_grid.CLAIMS[name].test(o) for o in (other, ev))
    assert ours.verdict == theirs.verdict and ours.needs == theirs.needs
    assert set(ours.numbers) == set(theirs.numbers)
    for k in set(theirs.numbers) - {*VALUES, 'models'}:
        if not isinstance(theirs.numbers[k], str): assert ours.numbers[k] == pytest.approx(theirs.numbers[k]), k

@pytest.mark.parametrize('name', DRAWN)
def test_curves_and_sets(ev, other, name):
    assert claims_grid.CLAIMS[name].test(other).verdict == claims_grid.CLAIMS[name].test(ev).verdict

@pytest.mark.parametrize('claim', ON_PHOTOS, ids=lambda o: o.name)
def test_photographs(ev, claim):
    "With three seeds, so that the runs have an error of their own"
    rows = {4: [.5, .6, .4], 16: [.65, .75, .6], 32: [.6, .7, .5], 256: [.5, .6, .4]}
    theirs = photos(ev, batch=rows, group=rows)
    a,b = (claim.test(o) for o in (replace(ev, photos=negated(theirs.photos)), theirs))
    diffs = [[o['diff'] for o in v.numbers.get('sizes', v.numbers.get('gaps'))] for v in (a, b)]
    assert a.verdict == b.verdict and diffs[0] == pytest.approx(diffs[1])
    assert 'gained in loss' in a.found and 'points' not in a.found and 'points more' in b.found

@pytest.mark.parametrize('name', [o.name for o in claims_papers.CLAIMS.values() if o.experiment == '10_small_batches.ipynb'])
def test_ways_to_train(ev, other, name):
    ours,theirs = (claims_papers.CLAIMS[name].test(o) for o in (other, ev))
    assert (ours.verdict, ours.numbers.keys()) == (theirs.verdict, theirs.numbers.keys())
    for a,b in zip(ours.numbers['gaps'], theirs.numbers['gaps']):
        assert [a[k] for k in ('bs', 'diff', 'lo', 'hi')] == pytest.approx([b[k] for k in ('bs', 'diff', 'lo', 'hi')])
    assert 'points' not in ours.found and 'gained in loss' in ours.found

def test_parts_and_wholes(ev, other):
    pd.testing.assert_frame_equal(parts_less_whole(other.parts), parts_less_whole(ev.parts))

def test_each_cell_has_an_error_of_its_own(ev):
    "Of two cells of which one scatters ten times as much, a difference errs as the two do together"
    runs = [dict(run=f'{bs}{s}', data='d', model='m', lr=.1, bs=bs, seed=s, acc=.8 + bs/100 + sd*z)
            for bs,sd in ((1, .02), (2, .002), (4, .002), (8, .002)) for s,z in enumerate((-1, 0, 1))]
    c = cells_with_errors(pd.DataFrame(runs))
    def half(a, b):
        gap = cell_gap(best_cell(c, '', bs=a), best_cell(c, '', bs=b), 2)
        return float(gap[2] - gap[0])
    assert half(1, 2) > 2*half(4, 8)

def test_a_way_that_lost_a_run_where_the_others_went_has_no_result_for_it():
    runs = pd.DataFrame([dict(way='a', seed=s, lr=lr, acc=acc) for lr,accs in {.1: [.5, .5, .5], .2: [None, .6, .6]}.items()
                         for s,acc in enumerate(accs)])
    t = tuned(runs, ['way']).set_index('seed')
    assert pd.isna(t.acc[0]) and t.lr.tolist() == [.2, .1, .1] and t.acc[1:].tolist() == [.5, .5]
    assert tuned(runs[runs.seed == 0], ['way']).empty # one seed has no others

def test_plain_runs_keep_their_metric(ev):
    assert plain(negated(ev.own)).attrs['metric'] == NEGATED and 'val_loss' in plain(negated(ev.own))
