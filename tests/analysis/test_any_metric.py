"""Whatever is said of an accuracy is said of a loss that is its negative, and of the error that is what it lacks of one."""
from dataclasses import replace
from functools import cache

import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import (best_by, best_run, by_setting, cells, crosstab, crosstab_acc, crosstab_text,
    inflection_table, load_runs, optima,
                                  records, top_runs)
from bs_lr_study.analysis import findings as module
from bs_lr_study.analysis.curves import lr_spread, peak_table
from bs_lr_study.analysis.findings import findings
from bs_lr_study.analysis.replicates import LentSd, batch_effects, run_error, run_sd
from bs_lr_study.analysis.stats import best_sets, compare, may_win, winners_curse
from bs_lr_study.metrics import Metric, known_metric, metric

ACC,ERROR = known_metric('acc'),metric('error')
NEGATED = Metric('val_loss', 'loss', lower=True, part='validation')

def settings():
    "Each set of shipped runs that can share a table"
    return [pytest.param(name, setting, id=f'{name} {setting}'.strip()) for name in records() for setting in by_setting(load_runs(name))]

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

@cache
def read(name, setting):
    "One set of runs, its error and what is found in it"
    df = by_setting(load_runs(name))[setting]
    err = None if df.acc.isna().all() else run_error(df)
    return df,err,err and findings(df, err)

@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    "How often a grid is made again does not matter here"
    monkeypatch.setattr(module, 'winners_curse', lambda *args, draws, **kw: winners_curse(*args, draws=200, **kw))

def error_of(err, m, back):
    "An error of accuracies as that of what they were turned into"
    return replace(err, name=m.name, lo=back(err.hi), hi=back(err.lo)) if isinstance(err, LentSd) else err

ALL,SOME = settings(),[o for o in settings() if o.id in ('2025-06-04-imagenette', 'digits', 'hoffer epochs 9')]

@pytest.mark.parametrize('name,setting,turn', [pytest.param(*o.values, turn, id=f'{o.id} {turn.__name__}')
                                               for turn,some in ((as_loss, ALL), (as_error, SOME)) for o in some])
def test_same_verdicts_on_all_records(name, setting, turn):
    df,err,theirs = read(name, setting)
    other,m,back = turn(df)
    other = of(other, m)
    assert optima(other).drop(columns=m.name).equals(optima(df).drop(columns='acc'))
    assert optima(other, 'lr').drop(columns=m.name).equals(optima(df, 'lr').drop(columns='acc'))
    assert inflection_table(other, detail=True).equals(inflection_table(df, detail=True))
    for key in ('model', 'bs', 'lr'): pd.testing.assert_series_equal(back(best_by(other, key)), best_by(df, key), check_names=False)
    assert top_runs(other, 10).run.tolist() == top_runs(df, 10).run.tolist()
    if err is None: return
    err,theirs_err = error_of(err, m, back),err
    for along in ('bs', 'lr'):
        ours = best_sets(other, along, sd=err).drop(columns=m.name)
        pd.testing.assert_frame_equal(ours, best_sets(df, along, sd=theirs_err).drop(columns='acc'), rtol=1e-9)
    ours = findings(other, err)
    assert ours[['topic', 'model', 'certainty', 'kind']].equals(theirs[['topic', 'model', 'certainty', 'kind']])
    for a,b in zip(ours.evidence, theirs.evidence):
        if m.name in a: a = {('acc' if k == m.name else k): back(v) if k == m.name else v for k,v in a.items()}
        assert without_how(a) == without_how(b)

def same_frame(a, b, name):
    "The same but for the metric, which is its negative"
    a = a.rename(columns={name: 'acc'}).assign(**{'acc': lambda t: -t.acc} if name in a else {})
    pd.testing.assert_frame_equal(a[list(b)], b, check_exact=False, atol=1e-9)

def test_same_statistics():
    df = load_runs('digits')
    other = of(*as_loss(df)[:2])
    assert run_sd(other).sd == pytest.approx(run_sd(df).sd) and run_sd(other).how == run_sd(df).how
    assert run_error(of(*as_error(load_runs())[:2])).sd == run_error(load_runs()).sd, 'an error is as sure as its accuracy'
    same_frame(compare(other, 'small', sd='pooled'), compare(df, 'small', sd='pooled'), 'val_loss')
    error = of(*as_error(df)[:2]) # the trend of variances in the mean is on a scale that an error shares with its accuracy
    same_frame(compare(error, 'small'), compare(df, 'small'), 'err')
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
