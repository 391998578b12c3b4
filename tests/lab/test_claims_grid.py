"The claims on the published grid: each number worked out again from the CSV, each verdict seen to flip when the data do"
import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.analysis.replicates import RunSd
from bs_lr_study.lab.claims_grid import CLAIMS
from made_up import change, load, own, photos, test

EXACT = RunSd(1e-9, np.inf, 'exact')
SD = .00780846 # of a run, from the nine cells that were run twice
SDS = dict(xresnet18=.00564134, xresnet34=.00504436, xse_resnext50=.01120920) # and from the three of each model

def margin(k, a, b, level=.9):
    "Of the difference of a run of model `a` and one of model `b`"
    return ss.studentized_range.ppf(level, k, 3)*np.sqrt((SDS[a]**2 + SDS[b]**2)/2)

def test_error(ev, raw):
    both = load('2025-06-01').merge(raw, on=['model', 'bs', 'lr'])
    assert ev.err.sd == pytest.approx(np.sqrt(((both.acc_x - both.acc_y)**2).sum()/18))
    assert ev.err.sd == pytest.approx(SD, abs=1e-8)
    own = np.sqrt(((both.acc_x - both.acc_y)**2).groupby(both.model).sum()/6)
    assert own.to_dict() == pytest.approx(SDS, abs=1e-7)
    assert ev.err.table.sd.groupby('model').max().to_dict() == pytest.approx(SDS, abs=1e-7)

def test_top_ten(verdicts, raw):
    tenth,other = raw.nlargest(10, 'acc').iloc[-1],raw[raw.lr < 1e-3].nlargest(1, 'acc').iloc[0]
    gap,half = tenth.acc - other.acc,margin(123, tenth.model, other.model)
    assert raw[raw.acc >= tenth.acc].lr.isin([1e-3, 1e-2]).all()
    n = verdicts.numbers['top ten']
    assert (n['diff'], n['lo'], n['hi']) == pytest.approx((gap, gap - half, gap + half), abs=1e-4)

def test_models_and_batch_sizes(verdicts, raw):
    best = raw.groupby('model').acc.max()
    assert verdicts.numbers['models alike']['diff'] == pytest.approx(best.max() - best.min())
    by = raw.groupby('bs').acc.max()
    below = by[16] - by[[8, 32, 64, 128]]
    near,far = verdicts.numbers['near bs 16'],verdicts.numbers['far from bs 16']
    assert (near['least'], near['most']) == pytest.approx((below.min(), below.max()))
    assert far['diff'] == pytest.approx((by[16] - by[[1, 1024, 2048]]).tolist())
    # the margin runs over the cells picked from
    for n,bss in ((near, [8, 16, 32, 64, 128]), (far, [1, 16, 1024, 2048])):
        best = raw.loc[raw.groupby('bs').acc.idxmax()].set_index('bs').model
        widest = max(margin(raw.bs.isin(bss).sum(), best[16], best[bs]) for bs in bss if bs != 16)
        assert n['half'] == pytest.approx(widest, abs=1e-4)

def test_inflection_table(verdicts):
    n = verdicts.numbers['inflection points']
    assert (n['same'], n['entries'], n['refuted']) == (15, 15, 0)

def test_hierarchy(verdicts, raw):
    first = load('2025-06-01')
    d = pd.concat([raw, first]).query('bs == 64 and .00009 < lr < .02')
    m = d.pivot_table(index='model', columns='lr', values='acc')
    steps = np.r_[m[.01] - m[.001], m[.001] - m[.0001]]
    def half(sd, dof): return ss.studentized_range.ppf(.9, 9, dof)*sd/2**.5
    n = verdicts.numbers['hierarchy']
    sds = np.tile(m.index.map(SDS), 2)
    assert (n['clear'], n['steps']) == ((steps > half(sds, 3)).sum(), 6) and n['diff'] == pytest.approx(steps.min())
    both = first.merge(raw, on=['model', 'bs', 'lr'])
    moved = both.acc_x - both.acc_y
    shift = moved - moved.groupby(both.model).transform('mean')
    sd = np.sqrt((shift**2).sum()/2/6) # nine differences of two runs, less three shifts
    low = steps.min() - half(sd, 6)
    within, = n['within']
    assert low > 0 and within['verdict'] == 'holds' and (within['clear'], within['steps']) == (6, 6)
    assert (*within['sds'], within['diff'], within['lo']) == pytest.approx((sd, sd, steps.min(), low), abs=1e-5)

@pytest.mark.parametrize('model', ['xresnet34', 'xse_resnext50'])
def test_lr_find(verdicts, raw, model):
    d = raw[(raw.model == model) & raw.bs.between(2, 16)]
    n = verdicts.numbers[f'lr_find for {model}']
    for k,low in dict(stable=d.lr < 5e-5, others=d.lr > 5e-5).items():
        assert n[k] == pytest.approx(d[low].groupby('bs').acc.max().tolist())

def test_lr_find_18_accounts_for_every_cell(verdicts, raw):
    over = raw[raw.model == 'xresnet18'].acc - .1
    half = margin(36, 'xresnet18', 'xresnet18')
    n = verdicts.numbers['lr_find for xresnet18']
    assert (n['clear'], n['cells'], len(n['below'])) == ((over > half).sum(), 36, (over < -half).sum())
    assert n['clear'] + len(n['below']) + len(n['too near to tell']) == 36

def test_robust_to_lr(verdicts, raw):
    found = {o['model']: o for o in verdicts.numbers['robust to lr']['models']}
    for model,o in raw[raw.lr > 5e-5].groupby('model'):
        s = o.groupby('bs').acc.max() - o.groupby('bs').acc.min()
        d = np.subtract.outer(s[s.index >= 64].to_numpy(), s[[2, 4, 8, 16]].to_numpy())
        n,half = found.pop(model),margin(3, model, model, .9**(1/33))
        assert (n['clear'], n['pairs'], n['reverse']) == ((d > 2*half).sum(), d.size, (d < -2*half).sum())
    assert not found

FLIPS = [ # claim, change of the published grid, verdict
    ('best run', dict(model='xresnet34', bs=16, lr=1e-3, by=.1), 'holds'),
    ('best run', dict(model='xresnet34', bs=16, lr=1e-3, by=-.2), 'does not hold'),
    ('top ten', dict(model='xresnet18', bs=8, lr=1e-4, by=.05), 'within noise'),
    ('top ten', dict(model='xresnet18', bs=8, lr=1e-4, by=.2), 'does not hold'),
    ('models alike', dict(model='xse_resnext50', bs=32, lr=1e-2, by=.15), 'does not hold'),
    ('models alike', dict(model='xse_resnext50', bs=32, lr=1e-2, by=.005, err=EXACT), 'holds'),
    ('near bs 16', dict(bs=128, by=-.2), 'does not hold'),
    ('near bs 16', dict(bs=64, by=0, err=EXACT), 'holds'),
    ('far from bs 16', dict(model='xresnet34', bs=1024, lr=1e-2, by=.05), 'within noise'),
    ('far from bs 16', dict(model='xresnet34', bs=1024, lr=1e-2, by=.2), 'does not hold'),
    ('too small', dict(model='xresnet18', bs=1, lr=1e-4, by=.33), 'within noise'),
    ('too small', dict(model='xresnet18', bs=1, lr=1e-4, by=.5), 'does not hold'),
    ('too large', dict(model='xse_resnext50', bs=512, lr=1e-2, by=.05), 'within noise'),
    ('too large', dict(model='xse_resnext50', bs=512, lr=1e-2, by=.2), 'does not hold'),
    ('inflection points', dict(model='xresnet18', bs=64, lr=1e-3, by=.1), 'does not hold'),
    ('inflection points', dict(bs=64, by=0, err=EXACT), 'holds'),
    ('slower fall', dict(model='xse_resnext50', bs=[128, 256, 512], to=.1), 'does not hold'),
    ('hierarchy', dict(bs=64, lr=1e-2, by=.1), 'holds'),
    ('hierarchy', dict(bs=64, lr=1e-2, by=-.2), 'does not hold'),
    ('lr_find for xresnet34', dict(model='xresnet34', lr=[1e-7, 1e-6, 1e-5], to=.95), 'holds'),
    ('lr_find for xse_resnext50', dict(model='xse_resnext50', lr=[1e-7, 1e-6, 1e-5], to=.95), 'holds'),
    ('lr_find for xresnet34', dict(model='xresnet34', lr=[1e-3], bs=[2, 4, 8, 16], to=.44), 'does not hold'),
    ('lr_find for xresnet18', dict(model='xresnet18', bs=[1024, 2048], to=.5), 'holds'),
    ('lr_find for xresnet18', dict(model='xresnet18', bs=2048, lr=1e-4, to=.11), 'within noise'),
    ('robust to lr', dict(model='xse_resnext50', bs=[2, 4, 8, 16], lr=1e-2, to=.1), 'does not hold'),
    ('robust to lr', dict(model='xse_resnext50', bs=[4, 8], to=.7), 'within noise'),
    ('robust to lr', dict(bs=[2, 4, 8, 16], to=.7, err=EXACT), 'holds')]

@pytest.mark.parametrize('name,how,verdict', FLIPS, ids=[f'{o[0]}-{o[2]}' for o in FLIPS])
def test_flips_with_the_grid(ev, name, how, verdict): assert test(name, change(ev, **how)).verdict == verdict

CELL = dict(data='imagenette', model='xresnet18', bs=[2048], lr=1e-4, size=128)
BIG = dict(model='xse_resnext50', bs=[1])
A100 = dict(bs=64, size=128, device='cuda (A100)')

OWN = [ # claim, own runs, verdict
    ('untrainable at bs 1', BIG | dict(status='untrainable', acc=np.nan), 'holds'),
    ('untrainable at bs 1', BIG, 'does not hold'),
    ('thousand outputs', CELL | dict(n_out=10, acc=.3), 'holds'),
    ('thousand outputs', CELL | dict(n_out=10, acc=.105), 'within noise'),
    ('thousand outputs', CELL | dict(n_out=10, acc=.02), 'does not hold'),
    ('thousand outputs', CELL | dict(n_out=1000, acc=.3), 'needs an experiment'),
    ('epoch times', A100 | dict(model=['xresnet18', 'xresnet34'], seconds=[36., 44.]), 'holds'),
    ('epoch times', A100 | dict(model=['xresnet18'], seconds=[90.]), 'does not hold')]

@pytest.mark.parametrize('name,cols,verdict', OWN, ids=[f'{o[0]}-{o[2]}' for o in OWN])
def test_flips_with_own_runs(ev, name, cols, verdict): assert test(name, own(ev, **cols)).verdict == verdict

LOW,MID,HIGH = [.5, .6, .4],[.6, .7, .5],[.65, .75, .6] # accuracies at three learning rates
PHOTOS = [ # claim, accuracies by batch size, seeds, verdict
    ('both ends on photographs', {4: LOW, 16: HIGH, 256: LOW}, 3, 'holds'),
    ('both ends on photographs', {4: HIGH, 16: MID, 256: LOW}, 3, 'does not hold'),
    ('both ends on photographs', {4: LOW, 16: HIGH, 256: LOW}, 1, 'holds'),
    ('both ends on photographs', {4: HIGH, 16: HIGH, 256: LOW}, 3, 'within noise'),
    ('both ends on photographs', {4: LOW, 16: MID, 256: [.4, .5, .695]}, 3, 'needs an experiment'), # at the edge
    ('both ends on photographs', {4: LOW, 16: MID}, 3, 'needs an experiment'),
    ('best lr on photographs', {4: MID, 16: HIGH}, 3, 'holds'),
    ('best lr on photographs', {4: MID, 16: HIGH[::-1]}, 3, 'holds'),
    ('best lr on photographs', {4: MID, 16: [.8, .6, .5]}, 3, 'does not hold'),
    ('best lr on photographs', {4: MID, 16: [.7, .7, .7]}, 3, 'within noise')]

@pytest.mark.parametrize('name,accs,seeds,verdict', PHOTOS, ids=[f'{o[0]}-{o[3]}-{i}' for i,o in enumerate(PHOTOS)])
def test_flips_with_photographs(ev, name, accs, seeds, verdict):
    assert test(name, photos(ev, seeds, batch=accs)).verdict == verdict

def test_one_seed_of_photographs_has_an_error_that_is_called_assumed(ev):
    "And two have one of their own; the numbers are those of the best cells, by hand"
    one,two = (photos(ev, seeds, batch={4: LOW, 16: MID, 256: LOW}) for seeds in (1, 2))
    found = [test('both ends on photographs', o) for o in (one, two)]
    assert 'assumed' in found[0].found and 'pairs of one seed, 2 each' in found[1].found
    best = one.photos.groupby('bs').acc.max()
    assert [o['diff'] for o in found[0].numbers['sizes']] == pytest.approx([best[16] - best[4], best[16] - best[256]])

def test_what_has_no_interval_says_so(ev):
    assert 'without an interval' in test('epoch times', own(ev, model=['xresnet18'], seconds=[36.], **A100)).found

def test_every_claim_can_flip(): assert set(CLAIMS) == {o[0] for o in FLIPS + OWN + PHOTOS}
