"Two ways to train against each other, each at its best learning rate: verdicts that flip when the runs do"
from dataclasses import replace
from itertools import product

import numpy as np, pandas as pd, pytest

from bs_lr_study.lab.claims_papers import CLAIMS
from made_up import bare, own, photos, test, tuned

TWO = dict(norm=['group', 'batch'])
def norms(acc, **cols): return lambda ev: tuned(bare(ev), **TWO | dict(acc=acc) | cols)
def one(column, new, old, acc, **cols): return lambda ev: tuned(bare(ev), **{column: [new, old]}, acc=acc, **cols)
def texts(rows, **cols):
    "Evidence with runs of a text: a dict of columns = the loss at its best learning rate, three seeds each"
    rng = np.random.default_rng(0)
    usual = dict(data='python', model='gpt', status='ok', opt='adam', beta2=.99, mom=np.nan, micro_bs=np.nan, bs=64) | cols
    runs = [usual | one | dict(run=f'{i}-{lr}-{s}', lr=lr, seed=s, valid_loss=loss + .3*(lr != 1e-3) + .002*rng.standard_normal())
            for (i,(one,loss)),lr,s in product(enumerate(rows), (1e-4, 1e-3, 1e-2), range(3))]
    return lambda ev: replace(ev, texts=pd.DataFrame(runs))

def two(column, new, old, better, **cols): # of a text, the new way better by so much
    return texts([({column: new}, 2 - better), ({column: old}, 2.)], **cols)

def level(*losses): return texts([(dict(bs=4**i), o) for i,o in enumerate(losses)], schedule='constant')

HIGH,LOW = [.5, .7, .6],[.4, .6, .5] # accuracies at three learning rates

def both(*acc): return lambda ev: own(bare(ev), norm=['group']*3 + ['batch']*3, lr=[1e-4, 1e-3, 1e-2]*2, acc=list(acc))

FLIPS = [ # claim, runs, verdict
    ('group normalization', norms([.7, .5]), 'holds'),
    ('group normalization', norms([.5, .7]), 'does not hold'),
    ('group normalization', norms([.501, .5]), 'within noise'),
    ('group normalization', norms([.7, .5], bs=[8, 4]), 'needs an experiment'),
    ('group normalization', norms([.7, .5], wd=[.1, .01]), 'needs an experiment'),
    # worse in one cell of two
    ('group normalization', norms([.78, .68, .68, .78], norm=['group', 'batch']*2, opt=['adam', 'adam', 'sgd', 'sgd']), 'does not hold'),
    # each at its best learning rate
    ('group normalization', both(.3, .7, .2, .1, .5, .4), 'holds'),
    # at the edge, and it could only do better
    ('group normalization', both(.3, .7, .8, .1, .5, .4), 'holds'),
    # BatchNorm could do better still
    ('group normalization', both(.3, .7, .2, .1, .5, .6), 'needs an experiment'),
    # Group Normalization could
    ('group normalization', both(.1, .2, .3, .1, .6, .5), 'needs an experiment'),
    # and so BatchNorm is even farther above
    ('group normalization', both(.5, .62, .55, .5, .75, .79), 'does not hold'),
    # one learning rate is none chosen
    ('group normalization', lambda ev: own(bare(ev), norm=['group', 'batch'], acc=[.7, .5]), 'needs an experiment'),
    ('group normalization', norms([.7, .5], bs=1), 'needs an experiment'),
    ('weight decay', one('wd', .1, .01, [.7, .5]), 'holds'),
    ('other optimizers', one('opt', 'sgd', 'adam', [.6, .78]), 'does not hold'),
    ('other augmentation', one('aug', 'flip', 'usual', [.7, .5]), 'holds'),
    ('group normalization at bs 1', norms([.7, .5], bs=1), 'holds'),
    ('group normalization at bs 1', norms([.701, .7], bs=1), 'does not hold'),
    ('frozen batch norm', norms([.7, .5], norm=['frozen', 'batch'], bs=2), 'holds'),
    ('frozen batch norm', norms([.7, .5], norm=['frozen', 'batch'], bs=4), 'needs an experiment'),
    ('longer warm-up', one('warmup', .5, np.nan, [.7, .5], bs=1), 'holds'),
    ('longer warm-up', one('warmup', .5, np.nan, [.6, .78], bs=1), 'does not hold'),
    ('scaled beta2', one('beta2', .99**(1/32), .99, [.7, .5], bs=1), 'holds'),
    ('scaled beta2', one('beta2', .999, .99, [.7, .5], bs=1), 'needs an experiment'), # not the rule's
    ('group normalization on photographs', lambda ev: photos(ev, group={4: HIGH}, batch={4: LOW}), 'holds'),
    ('group normalization on photographs', lambda ev: photos(ev, group={4: LOW}, batch={4: HIGH}), 'does not hold'),
    ('group normalization on photographs', lambda ev: photos(ev, group={4: HIGH}, batch={4: HIGH}), 'within noise'),
    ('group normalization on photographs', lambda ev: photos(ev, group={4: LOW[1:]}, batch={4: HIGH}, seeds=1), 'needs an experiment'),
    ('group normalization loses nothing', lambda ev: photos(ev, group={4: HIGH, 32: LOW}), 'holds'),
    ('group normalization loses nothing', lambda ev: photos(ev, group={4: LOW, 32: HIGH}), 'does not hold'),
    ('group normalization loses nothing', lambda ev: photos(ev, group={4: HIGH, 32: HIGH}), 'within noise'),
    ('group normalization loses nothing', lambda ev: photos(ev, group={4: HIGH}, batch={32: HIGH}), 'needs an experiment'),
    ('sgd with momentum on text', two('opt', 'sgd', 'adam', 0., bs=4), 'holds'),
    ('sgd with momentum on text', two('opt', 'sgd', 'adam', -.1, bs=4), 'does not hold'),
    ('sgd with momentum on text', texts([(dict(opt='sgd', mom=0.), 1.), ({}, 2.)], bs=4), 'needs an experiment'),
    ('muon at large batches', two('opt', 'muon', 'adam', .1), 'holds'),
    ('muon at large batches', two('opt', 'muon', 'adam', -.1), 'does not hold'),
    ('late switch', two('switch', 'late', 'early', .1), 'holds'),
    ('late switch', two('switch', 'late', 'early', -.1), 'does not hold'),
    ('too small at a level lr', level(2.2, 2., 2.1), 'holds'),
    ('too small at a level lr', level(2., 2.1, 2.2), 'does not hold'),
    ('too small at a level lr', level(2., 2.1), 'needs an experiment')]

@pytest.mark.parametrize('name,how,verdict', FLIPS, ids=[f'{o[0]}-{o[2]}' for o in FLIPS])
def test_flips(ev, name, how, verdict): assert test(name, how(ev)).verdict == verdict

def test_what_lies_at_an_edge_is_asked_for(ev):
    v = test('group normalization', both(.3, .7, .2, .1, .5, .6)(ev))
    assert v.needs == 'norm batch: larger learning rates than 1e-2' and v.numbers['edges'] == 1
    assert test('group normalization', both(.1, .2, .3, .1, .6, .5)(ev)).needs == 'norm group: larger learning rates than 1e-2'
    assert test('group normalization', both(.5, .2, .3, .1, .6, .5)(ev)).needs == 'norm group: smaller learning rates than 1e-4'

def test_one_seed_has_an_error_that_is_called_assumed(ev):
    assert 'assumed' in test('group normalization', norms([.7, .5])(ev)).found
    twice = tuned(bare(ev), norm=['group']*2 + ['batch']*2, acc=[.7, .703, .5, .504])
    assert 'assumed' not in test('group normalization', twice).found

def test_a_seed_that_is_not_whole_decides_nothing(ev):
    "A second seed with one learning rate only does not move the first to that learning rate"
    whole = photos(ev, group={4: HIGH}, batch={4: LOW}, seeds=1)
    begun = photos(ev, group={4: HIGH[:1]}, batch={4: LOW[:1]}, seeds=2).photos.query('seed == 1')
    more = replace(ev, photos=pd.concat([whole.photos, begun], ignore_index=True))
    a,b = (test('group normalization on photographs', o) for o in (whole, more))
    assert a.verdict == b.verdict == 'holds' and a.numbers['gaps'] == b.numbers['gaps']

def test_every_claim_can_flip(): assert set(CLAIMS) == {o[0] for o in FLIPS}
