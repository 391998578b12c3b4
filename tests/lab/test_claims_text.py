"The claims on language models: each verdict seen to flip when the runs do, numbers worked out again from the records' lines"
from dataclasses import replace
from itertools import product

import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.lab.claims_text import CLAIMS
from made_up import by_others, load, test

LRS = 3e-4,1e-3,3e-3,1e-2,3e-2
EIGHT = tuple(2**k for k in range(9)) # doublings

def made_up(best=lambda bs: 3e-3, floor=lambda bs: 2., bend=lambda bs: .1, sd=.002, bss=(1, 2, 4, 8, 16, 32, 64), lrs=LRS, **cols):
    "Runs of a text: a parabola in log lr about `best`, `floor` deep"
    rng = np.random.default_rng(0)
    rows = [dict(run=f'{bs}-{lr}-{s}-{cols}', data='python', model='gpt', bs=bs, lr=lr, seed=s, status='ok', opt='adam', beta2=.99,
                 micro_bs=np.nan, mom=np.nan, valid_loss=floor(bs) + bend(bs)*np.log(lr/best(bs))**2 + sd*rng.standard_normal())
            | cols for bs,lr,s in product(bss, lrs, range(3))]
    return pd.DataFrame(rows)

def beside(**cols): return lambda **how: pd.concat([made_up(), made_up(**cols | how)], ignore_index=True)

scaled = beside(beta2=.99**(1/32), bss=[1])
sgd = beside(opt='sgd', mom=0., bss=[1, 16], lrs=(.01, .03, .1, .3, 1.), best=lambda bs: .1)
parts = beside(micro_bs=1, bss=[16])

FLIPS = [ # claim, runs, verdict
    ('best lr by the root', lambda: made_up(best=lambda bs: 1e-3*bs**.5), 'holds'),
    ('best lr by the root', lambda: made_up(best=lambda bs: 1e-3), 'does not hold'),
    ('best lr in proportion', lambda: made_up(best=lambda bs: 2e-4*bs, bss=EIGHT, lrs=10**np.arange(-4.5, -.9, .5)), 'holds'),
    ('best lr in proportion', lambda: made_up(best=lambda bs: 1e-3*bs**.5), 'does not hold'),
    ('one sequence as good', lambda: made_up(floor=lambda bs: 2 + .1*np.log(bs)), 'holds'),
    ('one sequence as good', lambda: made_up(floor=lambda bs: 2 - .1*np.log(bs)), 'does not hold'),
    ('one sequence as good', lambda: made_up(sd=.05), 'within noise'),
    ('robust to lr on text', lambda: made_up(bend=lambda bs: .05*bs**.5), 'holds'),
    ('robust to lr on text', lambda: made_up(bend=lambda bs: .4/bs**.5), 'does not hold'),
    ('robust to lr on text', lambda: made_up(sd=.05), 'within noise'),
    ('scaled beta2 on text', lambda: scaled(floor=lambda bs: 1.9), 'holds'),
    ('scaled beta2 on text', lambda: scaled(floor=lambda bs: 2.1), 'does not hold'),
    ('plain sgd', lambda: sgd(floor=lambda bs: 1.9), 'holds'),
    ('plain sgd', lambda: sgd(floor=lambda bs: 2.5), 'does not hold'),
    ('sgd catches up', lambda: sgd(floor=lambda bs: 2.1 if bs == 1 else 2.5), 'holds'),
    ('sgd catches up', lambda: sgd(floor=lambda bs: 2.5 if bs == 1 else 2.1), 'does not hold'),
    ('accumulation on one device', lambda: parts(floor=lambda bs: 2.1), 'holds'),
    ('accumulation on one device', lambda: parts(floor=lambda bs: 1.9), 'does not hold'),
    *((name, lambda: made_up()[:0], 'needs an experiment') for name in CLAIMS)]

@pytest.mark.parametrize('name,runs,verdict', FLIPS, ids=[f'{o[0]}-{o[2]}' for o in FLIPS])
def test_flips(ev, name, runs, verdict): assert test(name, replace(ev, texts=runs())).verdict == verdict

def test_every_claim_can_flip(): assert {o[0] for o in FLIPS if o[2] != 'needs an experiment'} == set(CLAIMS)

def test_what_is_lacking_is_asked_for(ev):
    alone = replace(ev, texts=made_up())
    for name in ('scaled beta2 on text', 'plain sgd', 'sgd catches up', 'accumulation on one device'):
        assert test(name, alone).verdict == 'needs an experiment' and test(name, alone).needs.startswith('a text at bs 1')

def test_from_the_records_lines(ev, verdicts):
    "The best of each seed, worked out by loops"
    d = load('text').assign(acc=lambda t: -t.valid_loss)
    by = {bs: -by_others(o) for bs,o in d.groupby('bs')}
    n = verdicts.numbers['one sequence as good']
    more = by[n['bs']] - by[1]
    low,high = ss.t.interval(1 - .1/(len(by) - 1), 2, more.mean(), ss.sem(more))
    assert [n[k] for k in ('mid', 'lo', 'hi')] == pytest.approx([more.mean(), low, high])
    assert more.mean() == min((by[bs] - by[1]).mean() for bs in by if bs > 1)
