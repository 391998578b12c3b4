"Each kind of finding in words, by its numbers"
import numpy as np, pytest

from bs_lr_study.analysis import findings as module, wording
from bs_lr_study.analysis.findings import findings
from bs_lr_study.analysis.wording import Finding, WORDS, counted, listed, ranges, sentence
from bs_lr_study.metrics import known_metric, metric
from bs_lr_study.readers.load import load_runs

LOSS = known_metric('val_loss')

def say(kind, model='m', metric=known_metric('acc'), **values):
    return sentence(Finding(kind, model, 'fact', values, metric=metric))

ROW = dict(lr=.1, bs=8, acc=.6, candidates=(8,), low_edge=False, high_edge=False, back=None, diverges=False,
           end=None, tried=[2, 4, 8, 16, 32])

@pytest.mark.parametrize('change,words', [
    ({}, 'rises up to bs 8 and falls past it; none of the others tried can be as good.'),
    (dict(candidates=(8, 16)), 'rises up to one of bs 8 and 16 and falls past it; bs 16 cannot be told from 8.'),
    (dict(candidates=(4, 8, 16)), 'rises up to one of bs 4 to 16 and falls past it; bs 4 to 16 cannot be told from 8.'),
    (dict(candidates=(2, 8, 16, 32), low_edge=True, high_edge=True), 'is highest at bs 8; bs 2 and 8 to 32 cannot be told from 8.'),
    (dict(candidates=(2, 4, 8, 16, 32), low_edge=True, high_edge=True), 'is highest at bs 8; any of those tried may be the best.'),
    (dict(high_edge=True), 'rises up to bs 8; whether it falls past it is within noise; none of the others tried can be as good.'),
    (dict(low_edge=True), 'falls past bs 8; whether it rises up to it is within noise; none of the others tried can be as good.'),
    (dict(diverges=True), 'rises up to bs 8 and diverges past it; none of the others tried can be as good.'),
    (dict(back=(.2, 2, 4)),
     'rises up to bs 8 and falls past it; not in one sweep, for bs 2 is 20.0 points above bs 4; none of the others tried can be as good.'),
    (dict(bs=32, candidates=(32,), high_edge=True, end=('largest', False)),
     'rises up to bs 32, the largest tried: a larger one may be better; none of the others tried can be as good.'),
    (dict(bs=32, candidates=(32,), high_edge=True, end=('largest', True)),
     'rises up to bs 32, the largest with an accuracy: a larger one may be better; none of the others tried can be as good.'),
    (dict(bs=2, candidates=(2,), low_edge=True, end=('smallest', False)),
     'falls from bs 2 on, the smallest tried: a smaller one may be better; none of the others tried can be as good.'),
    (dict(bs=2, candidates=(2, 32), low_edge=True, high_edge=True, end=('smallest', False)),
     'is highest at bs 2, the smallest tried; bs 32 cannot be told from 2.'),
    (dict(bs=1, candidates=(1,), low_edge=True, end=('smallest', False)), 'falls from bs 1 on; none of the others tried can be as good.')])
def test_rows(change, words): assert say('row', **ROW | change) == f'At lr 1e-1 the accuracy of m {words}'

def test_rows_without_a_best():
    assert say('one cell', lr=.1, bs=2, acc=.5, tried=1) == 'At lr 1e-1 m was run at bs 2 only (50.0 %).'
    assert say('one cell', lr=.1, bs=2, acc=.5, tried=3) == 'At lr 1e-1 m has an accuracy at bs 2 only (50.0 %).'
    assert say('lost row', lr=.2, how='diverged', bss=[2, 4, 8]) == 'At lr 2e-1 m diverged at every batch size tried (bs 2 to 8).'
    assert say('lost row', lr=.2, how='blank', bss=[2, 4]) == 'At lr 2e-1 m has no accuracy at any batch size tried (bs 2 and 4).'

def test_lost():
    at,grid = [(8, .1, 2, 3)],dict(bss=[4, 8], lrs=[.1, .2])
    flattered = '1 cell still has an accuracy, which is of the survivors and flatters.'
    assert say('lost', how='diverged', lost=2, runs=9, share=2/9, in_part=1, at=at, **grid) == (
        f'2 of 9 runs of m diverged, at bs 8, lr 1e-1 (2 of 3). {flattered}')
    assert say('lost', how='blank', lost=1, runs=1, share=1, in_part=0, at=[(4, .1, 1, 1)], **grid) == (
        '1 of 1 run of m has no accuracy, at bs 4, lr 1e-1 (1 of 1).')
    every = [(bs, lr, 1, 1) for bs in (4, 8) for lr in (.1, .2)]
    assert say('lost', how='failed', lost=4, runs=4, share=1, in_part=0, at=every, **grid) == (
        '4 of 4 runs of m failed, in 4 cells: lr 1e-1 and 2e-1, bs 4 and 8.')

BEST = dict(winner='m', bs=16, lr=.2, acc=.6003, cells=10, rivals=1, rival_cells=[('m', 8, .1)],
            flattery=.001, found=.5, regret=0., ends={})

def test_best_cell():
    assert say('best cell', **BEST) == ('The best of 10 cells of m is bs 16, lr 2e-1 (60.0 %, by luck about 0.1 points too high); '
                                        '1 other cannot be told from it (bs 8, lr 1e-1).')
    assert 'is m at bs 16, lr 2e-1 (' in say('best cell', '', **BEST) and '(m at bs 8, lr 1e-1)' in say('best cell', '', **BEST)
    many = [('m', bs, lr) for bs in (2, 32) for lr in (.1, .2)]
    assert '4 others cannot be told from it (all within bs 2 to 32, lr 1e-1 to 2e-1)' in say('best cell', **BEST | dict(rival_cells=many))
    alone = say('best cell', **BEST | dict(rival_cells=[], flattery=0., ends=dict(bs=('largest', True), lr=('smallest', False))))
    assert alone.endswith('by luck less than 0.1 points too high); none of the others can be as good; '
                          'its batch size is the largest with an accuracy; its learning rate is the smallest tried.')

def test_moves():
    assert say('best batch size', best={.1: 4, .2: 16}) == 'The best batch size of m is 4 at lr 1e-1 and 16 at lr 2e-1.'
    assert say('bs moves', moves=dict(grows=(.1, .2)), common=[], lines=4, edges=1) == (
        'The best batch size of m grows from lr 1e-1 to 2e-1 (in 1 of 4 the best lies at the edge of what was tried).')
    assert say('bs moves', moves={}, common=[8.], lines=3, edges=0) == 'The best batch size of m may be the same for all 3, bs 8.'
    assert say('bs moves', moves={}, common=[], lines=3, edges=0) == 'The best batch size of m moves nowhere beyond noise.'
    assert say('best learning rate', best={2: .1, 4: .1, 8: .2, 16: .2, 32: .2}) == (
        'The best learning rate of m is 1e-1 (bs 2 and 4), 2e-1 (bs 8 to 32).')
    assert say('lr moves', moves=dict(grows=(2, 16), shrinks=(16, 32)), common=[], lines=3, edges=0) == (
        'The best learning rate of m grows from bs 2 to 16 and shrinks from bs 16 to 32.')
    assert say('lr moves', moves=dict(grows=(2, 16)), common=[], lines=5, edges=0, alone=dict(at=16, others=4, common=[.1, .2])) == (
        'The best learning rate of m grows from bs 2 to 16; only bs 16 shows it: at the other 4 it may be 1e-1 or 2e-1.')
    assert say('edge', bss=[8, 16, 32], of=5, edge='max', end=('largest', False), tried=[2, 4, 8, 16, 32]) == (
        'At 3 of 5 batch sizes (8 to 32) the best learning rate of m is the largest tried: a larger one may be better.')
    assert say('edge', bss=[32], of=1, edge='max', end=('largest', True), tried=[32]) == (
        'At bs 32 the best learning rate of m is the largest with an accuracy: a larger one may be better.')

POWER = dict(exponent=.48, lo=.31, hi=.66, rules={'constant': False, 'square root': True, 'linear': False}, bss=[2, 4, 8, 16],
             edges=[], known=True, level=.9, models=1, ways=['grows'])

@pytest.mark.parametrize('change,words', [
    ({}, '0.48 (0.31 to 0.66 at 90 %), from 4 batch sizes: square root fits, constant and linear do not.'),
    (dict(edges=[32, 64], models=2), '0.48 (0.31 to 0.66 at 90 %, all 2 models at once), from 4 batch sizes; at 2 more it is best at '
     'the edge of what was tried: square root fits, constant and linear do not.'),
    (dict(known=False), '0.48 (0.31 to 0.66 at 90 %), from 4 batch sizes, judged by how they scatter: square root fits, constant '
     'and linear do not.'),
    (dict(ways=[]), '0.48 (0.31 to 0.66 at 90 %), from 4 batch sizes: square root fits, constant and linear do not; '
     'it takes all of them to tell, no two do alone.'),
    (dict(ways=['grows', 'shrinks']), '0.48 (0.31 to 0.66 at 90 %), from 4 batch sizes: square root fits, constant and linear do not; '
     'but between some batch sizes it shrinks.'),
    (dict(lo=-.1, rules={'constant': True, 'square root': True, 'linear': False}),
     '0.48 (−0.10 to 0.66 at 90 %), from 4 batch sizes: constant and square root fit, linear does not; but between '
     'some batch sizes it grows.'),
    (dict(exponent=-.04, lo=-.2, hi=.1, rules={'constant': True, 'square root': False, 'linear': False}),
     '−0.04 (−0.20 to 0.10 at 90 %), from 4 batch sizes: constant fits, square root and linear do not; '
     'but between some batch sizes it grows.'),
    (dict(exponent=0, lo=-.2, hi=.1, rules={'constant': True, 'square root': False, 'linear': False}, ways=[]),
     '0.00 (−0.20 to 0.10 at 90 %), from 4 batch sizes: constant fits, square root and linear do not.'),
    (dict(lo=-np.inf, hi=np.inf, rules={'constant': True, 'square root': True, 'linear': True}, ways=[]),
     '0.48 (or any other), from 4 batch sizes: constant, square root and linear fit.'),
    (dict(exponent=.7, lo=.6, hi=.8, rules={'constant': False, 'square root': False, 'linear': False}),
     '0.70 (0.60 to 0.80 at 90 %), from 4 batch sizes: constant, square root and linear do not fit.')])
def test_powers(change, words):
    assert say('lr power', **POWER | change) == f'The best learning rate of m goes as bs to the power {words}'

def test_budgets():
    assert say('budget', '', updates={1: 6485., 8: 900., 512: 10.}, follow=[]).startswith('A run made 6,485 updates at bs 1 and 10 at bs 512')
    assert say('budget', '', updates={64: 200., 512: 200.}, follow=['epochs']) == 'Every run made 200 updates, for which epochs follows bs.'
    assert say('budget', '', updates={1: 512., 64: 512.}, follow=['epochs', 'x.tokens']) == (
        'Every run made 512 updates, for which epochs and x.tokens follow bs.')

def test_too_few_for_a_power():
    few = say('lr powers open', '', models=dict(a=dict(inside=2, of=8), b=dict(inside=0, of=5)))
    assert few.endswith('and there are fewer of a (2 of 8) and b (none of 5).')

def test_noise():
    known = dict(sd=.005, lo=.004, hi=.006, how='120 runs of 40 cells', assumed=False)
    assert say('noise', '', dof=80, **known) == (
        'Made again, a run moves by 0.5 points (one standard deviation; 0.4 to 0.6 at 95 %), from 120 runs of 40 cells.')
    assert '(one standard deviation). That is assumed.' in say('noise', '', dof=np.inf, **known | dict(how='assumed', assumed=True))

def test_what_is_assumed_is_said():
    o = dict(kind='one cell', model='m', certainty='open', values=dict(lr=.1, bs=2, acc=.5, tried=1), assumed=.008)
    assert str(Finding(**o)).endswith(' (50.0 %) (assuming that a run moves by 0.8 points).')
    assert str(Finding(**o, frail=True)).endswith('(assuming that a run moves by 0.8 points; not so if by twice that).')

def test_every_kind_has_its_words():
    kinds = {k for name in ('2025-06-04', 'digits') for k in findings(load_runs(name)).kind}
    assert kinds <= set(WORDS) and module._ON_ERROR <= set(WORDS) and set(wording._TOPIC) <= set(WORDS)

def test_small_words():
    assert ranges([1, 2, 4, 16], [1, 2, 4, 8, 16]) == '1 to 4 and 16' and ranges([2, 4], [2, 4]) == '2 and 4'
    assert (listed(['a']), listed('ab'), counted(0, 'cell'), counted(1, 'cell')) == ('a', 'a and b', '0 cells', '1 cell')

# Another metric, in its own words

LOST = {k: v for k,v in ROW.items() if k != 'acc'} | dict(val_loss=.6)

@pytest.mark.parametrize('change,words', [
    ({}, 'falls up to bs 8 and rises past it; none'), (dict(diverges=True), 'falls up to bs 8 and diverges past it; none'),
    (dict(candidates=(2, 4, 8, 16, 32), low_edge=True, high_edge=True), 'is lowest at bs 8; any of those tried may be the best.'),
    (dict(high_edge=True), 'falls up to bs 8; whether it rises past it is within noise; none'),
    (dict(low_edge=True), 'rises past bs 8; whether it falls up to it is within noise; none'),
    (dict(back=(.0123, 2, 4)), 'falls up to bs 8 and rises past it; not in one sweep, for bs 2 is 0.012 below bs 4; none'),
    (dict(bs=32, candidates=(32,), high_edge=True, end=('largest', True)),
        'falls up to bs 32, the largest with a validation loss: a larger one')])
def test_rows_of_a_loss(change, words):
    assert say('row', metric=LOSS, **LOST | change).startswith(f'At lr 1e-1 the validation loss of m {words}')

def test_other_sentences_of_a_loss():
    best = {k: v for k,v in BEST.items() if k != 'acc'} | dict(val_loss=.41234)
    assert '(0.412, by luck about 0.0010 too low)' in say('best cell', metric=LOSS, **best)
    assert '(0.412);' in say('best cell', metric=LOSS, **best | dict(flattery=np.nan))
    assert say('one cell', metric=LOSS, lr=.1, bs=2, val_loss=.5, tried=3) == 'At lr 1e-1 m has a validation loss at bs 2 only (0.500).'
    apart = dict(a='a', b='b', diff=.0123, lo=.001, hi=.02)
    assert say('models', '', LOSS, **apart) == 'The best of a is 0.012 below that of b (0.0010 to 0.020): it is better.'
    assert say('models', '', LOSS, **apart | dict(lo=-np.inf,
        hi=np.inf)) == 'The best of a is 0.012 below that of b: they cannot be told apart.'
    nothing = say('noise', '', LOSS, sd=np.inf, dof=np.inf, lo=np.inf, hi=np.inf,
        how='unknown: no two runs of a cell differ', assumed=False)
    assert nothing.startswith('Nothing says how far a run moves') and 'inf' not in nothing

def test_points_are_of_shares_alone():
    known = dict(sd=.005, lo=.004, hi=.006, how='120 runs of 40 cells', assumed=False, dof=80)
    assert 'moves by 0.5 points' in say('noise', '', metric('f1'), **known)
    assert 'moves by 0.0050 (one standard deviation; 0.0040 to 0.0060 at 95 %)' in say('noise', '', LOSS, **known)

def test_runs_that_did_not_end():
    at = dict(bss=[4, 8], lrs=[.1, .2], at=[(8, .1, 2, 3)])
    assert '2 of 9 runs of m were not trained to the end, at bs 8' in say('lost', how='unfinished', lost=2, runs=9,
        share=2/9, in_part=1, **at)
    assert 'm was not trained to the end at every batch size tried' in say('lost row', lr=.1, how='unfinished', bss=[2, 4])
