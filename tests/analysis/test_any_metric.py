"""Whatever is said of an accuracy is said of a loss that is its negative, and of the error that is what it lacks of one."""
import warnings
from dataclasses import replace
from functools import cache

import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import (best_by, best_run, by_setting, cells, crosstab, crosstab_acc, crosstab_text,
    inflection_table, load_runs, optima, records, top_runs)
from bs_lr_study.analysis import findings as module
from bs_lr_study.analysis.budgets import to_target
from bs_lr_study.analysis.curves import lr_spread, peak_table
from bs_lr_study.analysis.findings import findings
from bs_lr_study.analysis.best_lr import best_lrs
from bs_lr_study.analysis.laws import LR_LAWS, STEP_LAWS, fit_law
from bs_lr_study.analysis.next_runs import next_runs
from bs_lr_study.analysis.pairs import paired_grid
from bs_lr_study.analysis.replicates import LentSd, batch_effects, run_error, run_sd
from bs_lr_study.analysis.stats import best_sets, compare, may_win, winners_curse
from bs_lr_study.metrics import Metric, known_metric, metric
from bs_lr_study.readers.load import find_record
from bs_lr_study.store import Store

ACC,ERROR = known_metric('acc'),metric('error')
NEGATED = Metric('val_loss', 'loss', lower=True, part='validation')

def as_loss(df): return df.assign(val_loss=-df.acc).drop(columns='acc'),NEGATED,lambda y: -y
def as_error(df): return df.assign(error=1 - df.acc).drop(columns='acc'),ERROR,lambda y: 1 - y

def of(df, m):
    "Runs that say which metric they are about"
    df.attrs['metric'] = m
    return df

def numbers(x):
    "A finding's evidence as numbers alone, rounded so that sums in another order agree"
    if isinstance(x, dict): return {k: numbers(v) for k,v in x.items()}
    if isinstance(x, (list, tuple)): return [numbers(o) for o in x]
    return round(float(x), 8) if isinstance(x, float) and np.isfinite(x) else x

def without_how(evidence): return {k: numbers(v) for k,v in evidence.items() if k != 'how'}

SHOWN = ['run', 'acc', 'model', 'bs', 'lr', 'seed', 'status', 'data', 'steps'] # the rest is the same within a set

@cache
def sets_of(name):
    "The sets of shipped runs that can share a table, each with its error and what is found in it"
    def one(df):
        err = None if df.acc.isna().all() else run_error(df)
        return df,err,err and findings(df, err)
    df = load_runs(name)
    if 'acc' not in df: return {}
    return {k: one(of(o[[c for c in SHOWN if c in o]], ACC)) for k,o in by_setting(df).items()}

@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    "How often a grid is made again does not matter here"
    monkeypatch.setattr(module, 'winners_curse', lambda *args, draws, **kw: winners_curse(*args, draws=200, **kw))

def error_of(err, m, back):
    "An error of accuracies as that of what they were turned into"
    return replace(err, name=m.name, lo=back(err.hi), hi=back(err.lo)) if isinstance(err, LentSd) else err

def same_sets(df, other, m, err, back):
    "The same best cells, told from the same others"
    for along in ('bs', 'lr'):
        pairs = (other, error_of(err, m, back)),(df, err)
        ours,theirs = (optima(o, along) if e is None else best_sets(o, along, sd=e) for o,e in pairs)
        pd.testing.assert_frame_equal(ours.drop(columns=m.name), theirs.drop(columns='acc'), rtol=1e-9)
    assert inflection_table(other, detail=True).equals(inflection_table(df, detail=True))

def same_laws(df, other):
    "The same best learning rates, so the same laws"
    for model in df.model[df.acc.notna()].unique():
        ours,theirs = (best_lrs(o, model) for o in (other, df))
        assert ours[['bs', 'lr', 'n_lrs', 'ratio', 'at_edge']].equals(theirs.drop(columns='acc'))
        few = [o for o in LR_LAWS.values() if len(o.params) < 3 and len(o.params) <= len(theirs)]
        for law in few: assert fit_law(ours.bs, ours.lr, law).values == fit_law(theirs.bs, theirs.lr, law).values

def same_verdicts(ours, theirs, m, back):
    "The same findings, as sure, on the same numbers"
    assert ours[['topic', 'model', 'certainty', 'kind']].equals(theirs[['topic', 'model', 'certainty', 'kind']])
    for a,b in zip(ours.evidence, theirs.evidence):
        if m.name in a: a = {('acc' if k == m.name else k): back(v) if k == m.name else v for k,v in a.items()}
        assert without_how(a) == without_how(b)

# A record of each kind: a grid with seeds, several settings, cells of different numbers of runs; `make test-all` takes them all
FEW = 'digits-fast', 'optimizers', 'photographs'
TURNED = [pytest.param(o, as_loss, marks=[pytest.mark.slow]*(o not in FEW), id=f'{o}-as_loss') for o in records()]
TURNED += [pytest.param(o, as_error, id=f'{o}-as_error') for o in ('2025-06-04-imagenette', 'digits')]

@pytest.mark.parametrize('name,turn', TURNED)
def test_same_sets_laws_and_verdicts_on_all_records(name, turn):
    if not sets_of(name): pytest.skip('its runs have no accuracy')
    for df,err,theirs in sets_of(name).values():
        other,m,back = turn(df)
        other = of(other, m)
        same_sets(df, other, m, err, back)
        if err is None: continue
        same_laws(df, other)
        same_verdicts(findings(other, error_of(err, m, back)), theirs, m, back)

@pytest.mark.parametrize('name', ['2025-06-04-imagenette', 'digits', 'hoffer'])
def test_same_best_runs(name):
    for df,*_ in sets_of(name).values():
        other,m,back = as_loss(df)
        other = of(other, m)
        for key in ('model', 'bs', 'lr'): pd.testing.assert_series_equal(back(best_by(other, key)), best_by(df, key), check_names=False)
        assert top_runs(other, 10).run.tolist() == top_runs(df, 10).run.tolist()

def test_same_updates_to_a_target_and_their_laws():
    store = Store(find_record('digits'))
    runs,epochs = store.to_df(),store.epochs_df()
    loss = of(*as_loss(epochs)[:2])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # reached in mid-schedule
        theirs,ours = to_target(runs, epochs, .9, model='small'),to_target(runs, loss, -.9, model='small')
    pd.testing.assert_frame_equal(ours, theirs)
    hit = theirs.dropna(subset='steps')
    assert len(hit) > 3 and fit_law(hit.bs, ours.steps.loc[hit.index], STEP_LAWS['trade-off']).values == \
        fit_law(hit.bs, hit.steps, STEP_LAWS['trade-off']).values

def test_same_pairs_and_same_next_runs():
    df = load_runs('optimizers').query('schedule == "one_cycle"')
    ours,theirs = (paired_grid(o, 'opt') for o in (of(*as_loss(df)[:2]), df))
    assert (ours.clear == theirs.clear).all() and theirs.clear.any()
    pd.testing.assert_frame_equal(ours.assign(diff=-ours['diff'], lo=-ours.hi, hi=-ours.lo), theirs, check_exact=False, atol=1e-9)
    df = load_runs('digits')
    pd.testing.assert_frame_equal(next_runs(of(*as_loss(df)[:2]), sd='pooled'), next_runs(df, sd='pooled'), check_exact=False)

def same_frame(a, b, name):
    "The same but for the metric, which is its negative"
    a = a.rename(columns={name: 'acc'}).assign(**{'acc': lambda t: -t.acc} if name in a else {})
    pd.testing.assert_frame_equal(a[list(b)], b, check_exact=False, atol=1e-9)

def test_same_statistics():
    df = load_runs('digits')
    other = of(*as_loss(df)[:2])
    assert run_sd(other).sd == pytest.approx(run_sd(df).sd) and run_sd(other).how == run_sd(df).how
    assert run_error(of(*as_error(load_runs())[:2])).sd == run_error(load_runs()).sd, 'an error is as sure as its accuracy'
    few = df[df.bs.isin([32, 128, 512])]
    same_frame(compare(of(*as_loss(few)[:2]), 'small', sd='pooled'), compare(few, 'small', sd='pooled'), 'val_loss')
    error = of(*as_error(few)[:2]) # the trend of variances in the mean is on a scale that an error shares with its accuracy
    same_frame(compare(error, 'small'), compare(few, 'small'), 'error')
    same_frame(may_win(cells(other), run_sd(df)), may_win(cells(df), run_sd(df)), 'val_loss')
    same_frame(lr_spread(other, 'pooled'), lr_spread(df, 'pooled'), 'val_loss')
    pd.testing.assert_frame_equal(-crosstab(other, 'small'), crosstab_acc(df, 'small'))
    half = df.assign(half=np.where(df.seed == 0, 'a', 'b'))
    pd.testing.assert_series_equal(-batch_effects(of(*as_loss(half)[:2]), 'half').effect, batch_effects(half, 'half').effect)

def test_curves_of_a_loss_dip_where_those_of_accuracy_peak():
    df = load_runs().query('model == "xresnet18"')
    err = run_error(df)
    ours,theirs = peak_table(of(*as_error(df)[:2]), err),peak_table(df, err)
    pd.testing.assert_frame_equal(ours[['peak', 'taper', 'at_end']], theirs[['peak', 'taper', 'at_end']], atol=1e-6)
    assert np.allclose(1 - ours.error, theirs.acc)

def test_a_loss_without_two_runs_of_a_cell_is_sure_of_nothing():
    df = load_runs().assign(val_loss=lambda t: -np.log(t.acc + .01))
    assert not run_error(df, metric='val_loss').known
    found = findings(df, metric='val_loss')
    assert 'clear' not in set(found.certainty) and 'points' not in ' '.join(found.sentence) and ' inf' not in ' '.join(found.sentence)

def test_per_cent_reads_like_the_share_it_is():
    df = load_runs('digits')
    percent = of(df.assign(acc=100*df.acc), replace(ACC, unit='per cent'))
    assert crosstab_text(percent, 'small').equals(crosstab_text(df, 'small'))
    assert findings(percent).sentence.tolist() == findings(df).sentence.tolist()

@pytest.mark.parametrize('size', [1e-6, 1., 1e6])
def test_losses_of_any_size(size):
    "Mean squared errors of a millionth are read as those of a million are"
    df = load_runs('digits')
    loss = of(df.assign(mse=size*(1 - df.acc + 1e-3)).drop(columns='acc'), metric('mse'))
    plain = of(df.assign(mse=1 - df.acc + 1e-3).drop(columns='acc'), metric('mse'))
    assert findings(loss).certainty.tolist() == findings(plain).certainty.tolist()
    assert inflection_table(loss).equals(inflection_table(plain)) and best_run(loss).run == best_run(plain).run

def test_runs_of_several_metrics_keep_them_all():
    df = load_runs().assign(val_loss=lambda t: 1 - t.acc, train_loss=.1)
    assert best_run(df).run == best_run(df, 'val_loss').run == best_run(df[['run', 'model', 'bs', 'lr', 'val_loss', 'train_loss']]).run
    assert {'acc', 'val_loss', 'train_loss'} <= set(top_runs(df, 3, 'val_loss'))

@pytest.mark.parametrize('turned', [as_loss, as_error])
def test_accuracy_that_is_not_there(turned):
    "The error of the table of accuracies names the metrics there are and the table of any metric"
    df = of(*turned(load_runs('digits-fast'))[:2])
    with pytest.raises(ValueError, match=rf"no column 'acc'.*{df.attrs['metric'].name}.*crosstab\(df\)"): crosstab_acc(df)
