"The claims on language models: each verdict seen to flip when the runs do, numbers worked out again from the records' lines"
from dataclasses import replace
from itertools import product

import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.lab.claims_text import CLAIMS, bearable_table
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

def budgets(grows=2, size=0, sd=.002):
    "Two models at three budgets: flat up to a batch size that grows with the tokens, then .2 a doubling"
    floor = lambda i,j: lambda bs: 2 + .2*max(0, np.log2(bs) - size*j - grows*i)
    runs = [made_up(floor=floor(i, j), sd=0, **{'x.width': w, 'tokens': 4**i*65536})
            for j,w in enumerate((16, 32)) for i in range(3)]
    df = pd.concat(runs, ignore_index=True)
    return df.assign(valid_loss=df.valid_loss + sd*np.random.default_rng(0).standard_normal(len(df)))

def decays(best, sd=.002):
    "A parabola in log wd about the best at each batch size"
    runs = [made_up(bss=[bs], floor=lambda _: 2 + .1*np.log(wd/best(bs))**2, wd=wd, sd=sd)
            for bs in (2, 8, 32) for wd in (.03, .1, .3, 1., 3.)]
    return pd.concat(runs, ignore_index=True)

def gradients(first, last, tokens=1048576):
    "The noise scale of two models over eight epochs, in a straight line of logs"
    rng,at = np.random.default_rng(0),np.linspace(0, 1, 8)
    noise = lambda a: first**(1 - a)*last**a*np.exp(.01*rng.standard_normal())
    rows = [{'x.width': w, 'tokens': tokens, 'seed': s, 'epoch': e + 1, 'b_simple': noise(a)}
            for w in (16, 32) for s in range(3) for e,a in enumerate(at)]
    return pd.DataFrame(rows)

def seesaws(**how): return pd.concat([made_up(regime='none'), made_up(regime='seesaw', **how)], ignore_index=True)

def warmed(floor):
    "Batches that stay, the smallest the best, and one that grows"
    stays = made_up(floor=lambda bs: 2 + .05*np.log(bs/4), bss=[4, 16], regime='none')
    runs = pd.concat([stays, made_up(floor=lambda _: floor, bss=[4], regime='grow')], ignore_index=True)
    return runs.assign(steps=np.where(runs.regime == 'grow', 1280, 8192//runs.bs))

def muons(floor):
    runs = [made_up(bss=[1, 4, 16], opt='adam'), made_up(bss=[1, 4, 16], opt='muon', floor=floor)]
    return pd.concat(runs, ignore_index=True)

SMALL = { # claim: runs of smaller models, verdict
    'critical bs and tokens': [(dict(budgets=budgets), 'holds'), (dict(budgets=lambda: budgets(grows=-1, size=3)), 'does not hold')],
    'critical bs and size': [(dict(budgets=budgets), 'holds'), (dict(budgets=lambda: budgets(grows=1, size=3)), 'does not hold'),
                             (dict(budgets=lambda: budgets(size=.7, sd=.03)), 'within noise')],
    'weight decay and bs': [(dict(decays=lambda: decays(lambda bs: .03*bs)), 'holds'),
                            (dict(decays=lambda: decays(lambda bs: 1/bs)), 'does not hold'),
                            (dict(decays=lambda: decays(lambda bs: .3)), 'within noise')],
    'noise scale on text': [(dict(gradients=lambda: gradients(1, 100)), 'holds'),
                            (dict(gradients=lambda: gradients(100, 1)), 'does not hold')],
    'noise scale and critical bs': [(dict(gradients=lambda: gradients(20, 20), budgets=budgets), 'holds'),
                                    (dict(gradients=lambda: gradients(200, 200), budgets=budgets), 'does not hold')],
    'seesaw': [(dict(seesaws=lambda: seesaws(floor=lambda bs: 1.9)), 'holds'),
               (dict(seesaws=lambda: seesaws(floor=lambda bs: 2.1)), 'does not hold')],
    'best lr at as many updates': [(dict(updates=lambda: made_up(best=lambda bs: 1e-3*bs**.5)), 'holds'),
                                   (dict(updates=lambda: made_up(best=lambda bs: 1e-2/bs**.5)), 'does not hold'),
                                   (dict(updates=made_up), 'within noise')],
    'larger at as many updates': [(dict(updates=lambda: made_up(floor=lambda bs: 2 - .1*np.log(bs))), 'holds'),
                                  (dict(updates=lambda: made_up(floor=lambda bs: 2 + .1*np.log(bs))), 'does not hold'),
                                  (dict(updates=lambda: made_up(floor=lambda bs: 2 + .008*np.log2(bs), sd=.05)), 'within noise')],
    'batch warm-up': [(dict(warmed=lambda: warmed(2.)), 'holds'), (dict(warmed=lambda: warmed(2.05)), 'does not hold')],
    'muon': [(dict(muons=lambda: muons(lambda bs: 1.9)), 'holds'), (dict(muons=lambda: muons(lambda bs: 2.1)), 'does not hold')],
    'muon and bs': [(dict(muons=lambda: muons(lambda bs: 2 - .1*np.log(bs))), 'holds'),
                    (dict(muons=lambda: muons(lambda bs: 2 + .1*np.log(bs))), 'does not hold')]}
SMALL_FLIPS = [(name, tables, verdict) for name,rows in SMALL.items() for tables,verdict in rows]

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
    *((name, lambda: made_up()[:0], 'needs an experiment') for name in CLAIMS if name not in SMALL)]

@pytest.mark.parametrize('name,runs,verdict', FLIPS, ids=[f'{o[0]}-{o[2]}' for o in FLIPS])
def test_flips(ev, name, runs, verdict): assert test(name, replace(ev, texts=runs())).verdict == verdict

@pytest.mark.parametrize('name,tables,verdict', SMALL_FLIPS, ids=[f'{o[0]}-{o[2]}' for o in SMALL_FLIPS])
def test_small_flips(ev, name, tables, verdict):
    assert test(name, replace(ev, **{k: runs() for k,runs in tables.items()})).verdict == verdict

def test_every_claim_can_flip():
    assert {o[0] for o in FLIPS if o[2] != 'needs an experiment'} | {*SMALL} == set(CLAIMS)

def test_the_band_is_left_where_a_line_says(ev):
    "Flat up to bs 4 and then .2 a doubling: .1 more at half of the next doubling"
    t = bearable_table(replace(ev, budgets=budgets(sd=1e-9).query('tokens == 262144')))
    np.testing.assert_allclose(t, 2.5, atol=1e-6)

def test_what_is_lacking_is_asked_for(ev):
    alone = replace(ev, texts=made_up())
    for name in ('scaled beta2 on text', 'plain sgd', 'sgd catches up', 'accumulation on one device'):
        assert test(name, alone).verdict == 'needs an experiment' and test(name, alone).needs.startswith('a text at bs 1')

def others(d, *by):
    "Each seed's loss at the learning rate that the other seeds found best, by loops"
    return {k if len(by) > 1 else k[0]: -by_others(o.assign(acc=-o.valid_loss)) for k,o in d.groupby([*by])}

def test_slope_at_as_many_updates_from_the_lines(verdicts):
    "SciPy's lines through the losses of each seed, and the updates counted"
    d = load('text-updates')
    assert set(d.steps) == {512} and (d.tokens == 512*32*d.bs).all()
    by = pd.DataFrame(others(d, 'bs'))
    gain = -np.array([ss.linregress(np.log2(by.columns.to_numpy(float)), row).slope for row in by.to_numpy()])
    n = verdicts.numbers['larger at as many updates']
    assert [n['lo'], n['hi']] == pytest.approx(ss.t.interval(.9, 2, gain.mean(), ss.sem(gain)))
    assert n['mid'] == pytest.approx(gain.mean())

def test_a_growing_batch_from_the_lines(verdicts):
    "The ways in pairs of one seed, by the t interval at a third of the error each"
    d = load('text-grow')
    by = others(d, 'regime', 'bs')
    n = verdicts.numbers['batch warm-up']
    assert n['n'] == 8 and n['grown'] == 1280 and [o['bs'] for o in n['rows']] == [4, 8, 16]
    for o in n['rows']:
        more = by['grow', 4] - by['none', o['bs']]
        low,high = ss.t.interval(1 - .1/3, 7, more.mean(), ss.sem(more))
        assert [o[k] for k in ('mid', 'lo', 'hi')] == pytest.approx([more.mean(), low, high])
        assert o['steps'] == 8192//o['bs']

def test_muon_from_the_lines(verdicts):
    by = others(load('text-muon'), 'opt', 'bs')
    for o in verdicts.numbers['muon']['gaps']:
        gain = by['adam', o['bs']] - by['muon', o['bs']]
        low,high = ss.t.interval(1 - .1/3, 2, gain.mean(), ss.sem(gain))
        assert [o[k] for k in ('diff', 'lo', 'hi')] == pytest.approx([gain.mean(), low, high])

def test_from_the_records_lines(ev, verdicts):
    "The best of each seed, worked out by loops"
    d = load('text').assign(acc=lambda t: -t.valid_loss)
    by = {bs: -by_others(o) for bs,o in d.groupby('bs')}
    n = verdicts.numbers['one sequence as good']
    more = by[n['bs']] - by[1]
    low,high = ss.t.interval(1 - .1/(len(by) - 1), 2, more.mean(), ss.sem(more))
    assert [n[k] for k in ('mid', 'lo', 'hi')] == pytest.approx([more.mean(), low, high])
    assert more.mean() == min((by[bs] - by[1]).mean() for bs in by if bs > 1)
