"""Metrics: what a name says, how a number reads, and the scale on which noise is even."""
from dataclasses import replace

import numpy as np, pandas as pd, pytest
from hypothesis import given, strategies as st
from scipy.special import expit, logit

from bs_lr_study.metrics import KNOWN, Metric, known_metric, metric, metric_of, metrics_of
from bs_lr_study.runs import CONFIG_FIELDS

ACC = known_metric('acc')

# What tools write: Keras, Lightning, Hugging Face, fastai, MLflow, W&B, Ray Tune, timm
AS_WRITTEN = [
    ('val_acc', 'accuracy', 'validation', False), ('val_accuracy', 'accuracy', 'validation', False),
    ('valid_loss', 'loss', 'validation', True), ('val/loss', 'loss', 'validation', True),
    ('eval_loss', 'loss', 'validation', True), ('eval/accuracy', 'accuracy', 'validation', False),
    ('metrics.val_acc', 'accuracy', 'validation', False), ('summary.val.loss', 'loss', 'validation', True),
    ('ptl/val_loss', 'loss', 'validation', True), ('test_auc', 'AUC', 'test', False), ('eval_f1', 'F1', 'validation', False),
    ('val_f1_macro', 'F1', 'validation', False), ('valLoss', 'loss', 'validation', True), ('Val Loss', 'loss', 'validation', True),
    ('val_loss_epoch', 'loss', 'validation', True), ('eval_top1', 'accuracy', 'validation', False),
    ('accuracy_top-1', 'accuracy', '', False), ('R²', 'R²', '', False), ('val_r2', 'R²', 'validation', False),
    ('mean_iou', 'IoU', '', False), ('dev_wer', 'WER', 'validation', True), ('sacrebleu', 'BLEU', '', False),
    ('ppl', 'perplexity', '', True), ('test error', 'error', 'test', True), ('val_mse', 'MSE', 'validation', True),
    ('mean_absolute_error', 'MAE', '', True), ('rmse', 'RMSE', '', True), ('best_val_acc', 'best accuracy', 'validation', False),
    ('train_loss', 'loss', 'training', True), ('train/loss_epoch', 'loss', 'training', True), ('trainAcc', 'accuracy', 'training', False)]

@pytest.mark.parametrize('name,label,part,lower', AS_WRITTEN)
def test_names_as_tools_write_them(name, label, part, lower):
    m = known_metric(name)
    assert (m.name, m.label, m.part, m.lower) == (name, label, part, lower)

@pytest.mark.parametrize('name', [*CONFIG_FIELDS, 'run', 'learning_rate', 'weight_decay', 'dropout', 'loss_fn', 'loss_scale',
    'metric_for_best_model',
                                  'label_smoothing', 'precision', 'train_seconds', 'eval_batch_size', 'time',
                                      'error_message', 'accumulate', 'val_split', '', '%', 'validation'])
def test_settings_are_no_metrics(name): assert known_metric(name) is None

def test_no_name_means_two_metrics():
    aliases = [alias for text,_ in KNOWN.values() for alias in text.split()]
    assert len(aliases) == len(set(aliases))

@given(st.sampled_from(['share', 'per cent', 'plain', 'log']), st.floats(.001, .999), st.booleans())
def test_the_even_scale_leads_back(unit, y, lower):
    m = Metric('y', 'y', lower, unit)
    y = 100*y if unit == 'per cent' else y
    assert m.uneven(m.even(y)) == pytest.approx(y, rel=1e-9)

@given(st.floats(1e-3, 1 - 1e-3))
def test_shares_are_even_in_logits(y):
    assert ACC.even(y) == pytest.approx(logit(y)) and ACC.uneven(logit(y)) == pytest.approx(expit(logit(y)))
    assert replace(ACC, unit='per cent').even(100*y) == pytest.approx(logit(y))
    assert metric('error').even(1 - y) == pytest.approx(-logit(y))

@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_numbers_are_short_and_true(v):
    text = metric('reward', lower=False).number(v)
    assert len(text) <= 10 and float(text.replace(',', '')) == pytest.approx(v, rel=6e-3)

def test_per_cent_and_shares_read_alike():
    per_cent = replace(ACC, unit='per cent')
    assert ACC.text(.8008) == per_cent.text(80.08) == '80.1 %'
    assert ACC.points(-.0112) == per_cent.points(-1.12) == '−1.1 points'
    assert ACC.apart(-.0001) == '0.0'

def test_what_less_is_better_of_falls_as_it_gets_better():
    assert (metric('loss').betters, metric('loss').worsens, metric('loss').best_word, metric('loss').sign) == ('falls',
        'rises', 'lowest', -1)
    assert (ACC.betters, ACC.worsens, ACC.best_word, ACC.sign) == ('rises', 'falls', 'highest', 1)

def test_the_metric_of_a_frame():
    df = pd.DataFrame(dict(run=['a', 'b'], acc=[.5, .6], val_loss=[.7, .6], train_loss=[.1, .2]))
    assert metric_of(df) == ACC and metric_of(df, 'val_loss').lower
    assert [o.name for o in metrics_of(df)] == ['acc', 'val_loss', 'train_loss']
    assert metric_of(df.drop(columns='acc')).name == 'val_loss', 'never the training loss'
    df.attrs['metric'] = metric('val_loss', unit='plain')
    assert metric_of(df[df.acc > .5]).name == 'val_loss' and metric_of(df, 'val_loss').unit == 'plain'
    assert metric_of(pd.concat([df, df.assign(x=1)])).name in ('acc', 'val_loss')
    with pytest.raises(ValueError, match='there is no column'): metric_of(df, 'f1')
    with pytest.raises(ValueError, match='say whether less of it is better'): metric_of(df.assign(score=1.), 'score')

def test_a_metric_that_attrs_name_but_the_frame_lacks_is_not_taken():
    df = pd.DataFrame(dict(run=['a'], acc=[.5]))
    df.attrs['metric'] = metric('val_loss')
    assert metric_of(df) == ACC

def test_values_below_zero_have_no_logarithm():
    assert metric_of(pd.DataFrame(dict(val_loss=[.1, -.1]))).unit == 'plain'
    assert metric_of(pd.DataFrame(dict(val_loss=[.1, np.nan]))).unit == 'log'
