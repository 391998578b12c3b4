"The thread's claims: numbers worked out again, each verdict seen to flip when the data do"
from dataclasses import replace

import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.lab.claims_forum import CLAIMS, parts_less_whole
from made_up import bare, load, own, test, tuned

def test_accumulation_by_counting(verdicts):
    assert verdicts.numbers['over-weighted gradient']['counted'] == [1.5, 1.25, 1.28]

def test_accumulation_in_pairs(ev):
    "scipy's paired t test, for all cells at once, on the record read anew"
    d = load('accumulation').fillna(dict(micro_bs=0))
    w = d.pivot_table(index=['norm', 'bs', 'seed'], columns='micro_bs', values='acc')
    m = w.drop(columns=0.).notna().groupby(['norm', 'bs']).any().sum().sum()
    found = parts_less_whole(ev.parts)
    for o in found.itertuples():
        pair = w.loc[o.norm, o.bs][[o.micro_bs, 0.]].dropna()
        diff = pair[o.micro_bs] - pair[0.]
        ci = ss.ttest_rel(pair[o.micro_bs], pair[0.]).confidence_interval(1 - .1/m)
        assert (o.n, o.diff) == (len(pair), pytest.approx(diff.mean()))
        if diff.std() > 1e-12: assert (o.lo, o.hi) == pytest.approx((ci.low, ci.high))
    assert len(found) == m

def in_parts(ev, parts, whole, **of_whole):
    "Evidence with runs of these accuracies in parts of 8 and in one piece, a seed each"
    base = dict(model='m', bs=64, lr=.1, data='new', norm='batch', opt='adam')
    rows = [base | dict(run=f'p{i}', acc=o, seed=i, micro_bs=8.) for i,o in enumerate(parts)]
    rows += [base | dict(run=f'w{i}', acc=o, seed=i, micro_bs=np.nan) | of_whole for i,o in enumerate(whole)]
    return replace(ev, parts=pd.DataFrame(rows))

def with_gradients(ev, apart):
    t = pd.DataFrame(dict(norm=['batch', 'group'], micro_bs=8, apart=[apart, 0.]))
    return replace(ev, papers=ev.papers | dict(gradients_accumulation=t))

def at_8(ev, early, inside=True):
    "Evidence with rows whose best batch size is 8 for sure, and these noise scales, each to a tenth"
    e = np.array(early)
    best = dict(model='m', lr=1e-3, bs=8, bs_lo=8, bs_hi=8, inside=inside)
    scales = dict(early=e, early_lo=e*.9, early_hi=e*1.1, late=e, late_lo=e, late_hi=e)
    return replace(ev, noise=pd.DataFrame(best | scales))

def optimizers(new, acc, **cols): return lambda ev: tuned(bare(ev), opt=[new, 'adam'], acc=acc, **cols)

FLIPS = [ # claim, change of the evidence, verdict
    ('accumulation', lambda ev: with_gradients(ev, 1e-15), 'holds'),
    ('accumulation', lambda ev: with_gradients(ev, .01), 'does not hold'),
    ('same run in parts', lambda ev: in_parts(ev, [.5, .501], [.5, .502]), 'holds'),
    ('same run in parts', lambda ev: in_parts(ev, [.5, .51], [.7, .71]), 'does not hold'),
    ('same run in parts', lambda ev: in_parts(ev, [.5, .6], [.51, .58]), 'within noise'),
    ('same run in parts', lambda ev: in_parts(ev, [.5], [.7]), 'needs an experiment'), # one seed
    ('same run in parts', lambda ev: in_parts(ev, [.5, .51], [.7, .71], opt='sgd'), 'needs an experiment'), # no pairs
    ('several devices', lambda ev: own(ev, several_gpus=[True, False], acc=[.5, .7]), 'does not hold'),
    ('lamb', optimizers('lamb', [.7, .5], bs=512), 'holds'),
    ('lamb', optimizers('lamb', [.7, .5], bs=8), 'needs an experiment'),
    ('ranger', optimizers('ranger', [.5, .7], bs=512, schedule='flat_cos'), 'does not hold'),
    ('ranger', optimizers('ranger', [.5, .7], bs=512), 'needs an experiment'),
    ('batch size finder', lambda ev: at_8(ev, [7., 9.]), 'holds'),
    ('batch size finder', lambda ev: at_8(ev, [7., 90.]), 'does not hold'),
    ('batch size finder', lambda ev: at_8(ev, [9., 16.]), 'within noise'),
    ('batch size finder', lambda ev: at_8(ev, [90., 90.], inside=False), 'needs an experiment'),
    ('batch size finder', lambda ev: replace(ev, noise=ev.noise[:0]), 'needs an experiment'),
    ('loss in the millions', lambda ev: own(ev, printed_loss=[2e6]), 'holds'),
    ('loss in the millions', lambda ev: own(ev, printed_loss=[2.]), 'does not hold'),
    ('over-weighted gradient', lambda ev: own(ev, grad_factor_48_64=[1.5]), 'holds'),
    ('over-weighted gradient', lambda ev: own(ev, grad_factor_48_64=[1.]), 'does not hold'),
    ('partial window', lambda ev: own(ev, carried_over=[16.]), 'holds'),
    ('partial window', lambda ev: own(ev, carried_over=[0.]), 'does not hold'),
    ('left-over gradients', lambda ev: own(ev, first_step_factor=[1.78]), 'holds'),
    ('left-over gradients', lambda ev: own(ev, first_step_factor=[1.]), 'does not hold')]

@pytest.mark.parametrize('name,how,verdict', FLIPS, ids=[f'{o[0]}-{o[2]}' for o in FLIPS])
def test_flips(ev, name, how, verdict): assert test(name, how(ev)).verdict == verdict

def test_what_has_no_interval_says_so(ev): assert 'without an interval' in test('loss in the millions', own(ev, printed_loss=[2e6])).found

def test_every_claim_can_flip(): assert set(CLAIMS) == {o[0] for o in FLIPS}
