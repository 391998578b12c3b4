"The claims on cost: each number worked out again from the records' lines, each verdict seen to flip when the data do"
from dataclasses import replace

import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis.laws import paper_table
from bs_lr_study.lab.claims_cost import CLAIMS
from made_up import load, noisy, own, test

def test_time_to_97(verdicts):
    d = pd.concat([load('digits'), load('digits-updates')], ignore_index=True).query('lr > 5e-4')
    d = d[(d.bs <= 32) | (d.epochs == 100)].reset_index(drop=True)
    assert d[d.bs.isin([8, 32, 512])].groupby('bs').size().tolist() == [9, 9, 9] # tries
    hit = d.epoch_metrics.map(lambda o: next((m['epoch'] for m in o if m['acc'] >= .97), np.nan))
    one = load('cost')
    seconds = one.epoch_metrics.map(lambda o: o[-1]['cpu_seconds'])/(1297//one.bs)
    update = np.log(seconds).groupby(one.bs).mean()
    updates = hit*(1297//d.bs)
    def least(cost): return cost.groupby([d.bs, d.seed]).min().dropna().groupby('bs').mean()
    time,examples = least(np.log(updates) + d.bs.map(update)),least(np.log(updates*d.bs))
    ratio = {k: verdicts.numbers[k]['ratio'] for k in ('lower cost', 'what does it save', 'small for quick')}
    assert ratio['lower cost'] == ratio['what does it save'] == pytest.approx(np.exp(time[512] - time[32]))
    assert ratio['small for quick'] == pytest.approx(np.exp(time[8] - time[512]))
    assert verdicts.numbers['what does it save']['examples'] == pytest.approx(np.exp(examples[512] - examples[32]))

def test_fewer_updates(verdicts):
    z = paper_table('zhang2024_steps').groupby('model').steps.agg(['max', 'min'])
    fewer,n = z['max']/z['min'],verdicts.numbers['fewer updates']
    assert (n['least'], n['most']) == pytest.approx((fewer.min(), fewer.max()))

def costs(ev, f):
    "Evidence in which an update takes `f` seconds"
    t = ev.costs.assign(seconds_per_update=f)
    return replace(ev, costs=t.assign(images_per_second=t.bs/t.seconds_per_update))

def on_a_gpu(ev, **cols): return own(ev, **dict(device='cuda', bs=[8, 8, 64, 64], acc=[.5, .501, .5, .501]) | cols)

def more_steps(ev):
    "Evidence in which a larger batch needs more updates"
    t = ev.papers['zhang2024_steps']
    return replace(ev, papers=ev.papers | dict(zhang2024_steps=t.assign(steps=t.steps*t.batch_size_seqs**2)))

FLIPS = [ # claim, change of the evidence, verdict
    ('fewer updates', more_steps, 'does not hold'),
    ('uses the hardware better', lambda ev: costs(ev, lambda d: noisy(d)), 'holds'),
    ('uses the hardware better', lambda ev: costs(ev, lambda d: noisy(d)*d.bs**2), 'does not hold'),
    ('uses the hardware better', lambda ev: costs(ev, lambda d: noisy(d)*d.bs), 'within noise'),
    ('uses the hardware better', lambda ev: replace(ev, costs=ev.costs[ev.costs.seed == 0]), 'needs an experiment'),
    ('lower cost', lambda ev: costs(ev, lambda d: d.bs**-2.), 'holds'),
    ('lower cost', lambda ev: costs(ev, lambda d: d.bs**2), 'does not hold'),
    ('lower cost', lambda ev: replace(ev, costs=ev.costs[ev.costs.bs != 512]), 'needs an experiment'),
    ('what does it save', lambda ev: costs(ev, lambda d: d.bs**2), 'holds'),
    ('what does it save', lambda ev: costs(ev, lambda d: d.bs**-2.), 'does not hold'),
    ('small for quick', lambda ev: costs(ev, lambda d: d.bs**2), 'holds'),
    ('small for quick', lambda ev: costs(ev, lambda d: d.bs**-2.), 'does not hold'),
    ('half the cost', lambda ev: on_a_gpu(ev, seconds=[10., 10.1, 2., 2.02]), 'holds'),
    ('half the cost', lambda ev: on_a_gpu(ev, seconds=[10., 10.1, 9., 9.1]), 'does not hold'),
    ('half the cost', lambda ev: on_a_gpu(ev, seconds=[10., 10.1, 2., 2.02], opt=['adam', 'adam', 'sgd', 'sgd']), 'needs an experiment'),
    ('half the cost', lambda ev: on_a_gpu(ev, bs=[8, 64], acc=[.5, .501], seconds=[10., 2.]), 'needs an experiment'),
    ('imagenet in 30 minutes', lambda ev: own(ev, data='imagenet', acc=[.76], seconds=[1700.]), 'holds'),
    ('imagenet in 30 minutes', lambda ev: own(ev, data='imagenet', acc=[.76], seconds=[17000.]), 'does not hold'),
    ('contrastive learning', lambda ev: own(ev, regime='contrastive', bs=[8, 512], acc=[.5, .7]), 'holds'),
    ('contrastive learning', lambda ev: own(ev, regime='contrastive', bs=[8, 512], acc=[.7, .5]), 'does not hold')]

@pytest.mark.parametrize('name,how,verdict', FLIPS, ids=[f'{o[0]}-{o[2]}' for o in FLIPS])
def test_flips(ev, name, how, verdict): assert test(name, how(ev)).verdict == verdict

def test_half_cost_within_noise(ev):
    "Seconds that scatter as much as they differ"
    v = test('half the cost', on_a_gpu(ev, seconds=[10., 14., 4., 6.]))
    assert v.verdict == 'within noise' and v.numbers['least'] == pytest.approx(np.sqrt(4*6/10/14))

def test_what_has_no_interval_says_so(ev):
    assert 'without an interval' in test('imagenet in 30 minutes', own(ev, data='imagenet', acc=[.76], seconds=[1700.])).found

def test_every_claim_can_flip(): assert set(CLAIMS) == {o[0] for o in FLIPS}
