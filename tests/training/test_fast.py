"""The fast engine beside fastai's, run by run, and what can go wrong in a row."""
import gc, itertools, shutil, weakref

import numpy as np, pytest, torch
from scipy import stats
from torch import nn

from bs_lr_study.training import fast
from bs_lr_study.training.fast import Digits, Plan, batches, get_source, plan_row, train_many, train_row
from bs_lr_study.runs import RunConfig, grid
from bs_lr_study.training.learner import train

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

def member(row, i):
    "Parameters and statistics of a member"
    ms = row.members
    return torch.cat([p.detach().reshape(ms.k, -1)[i] for p in [*ms.parameters(), *(b for b in ms.buffers() if b.numel() > 1)]])

class Noise:
    "Images of noise in float64, other crops for each seed"
    n_classes,n_in,n_train,n_valid = 3,3,40,8
    def __init__(self):
        rng = np.random.default_rng(0)
        self.x,self.y = torch.from_numpy(rng.normal(size=(40, 3, 36, 36))),torch.from_numpy(rng.integers(0, 3, 40))
    def train_batch(self, idx, gen):
        at = torch.randint(0, 5, (2,), generator=gen)
        return self.x[idx,:,at[0]:at[0]+32,at[1]:at[1]+32],self.y[idx]
    def valid_batches(self): return [(self.x[:8,:,:32,:32], self.y[:8])]

@pytest.mark.parametrize('model,n', [('xresnet18', 2), pytest.param('xresnet34', 4, marks=pytest.mark.slow), pytest.param('xse_resnext50', 2, marks=pytest.mark.slow)])
def test_each_member_is_its_own_single_run(model, n, monkeypatch):
    "Twenty updates in float64: weights and BatchNorm's statistics to 1e-10, two seeds or one"
    monkeypatch.setattr(fast, 'batches', lambda *args, **kw: batches(*args, **kw, block=1))
    cfgs = grid(data='noise', model=model, size=32, bs=8, epochs=4, seed=[0, 1], lr=[1e-4, 1e-3])[::5-n]
    ends,row = train_row(cfgs, Noise(), dtype=torch.float64)
    for i in {0, n - 1}:
        (end,),alone = train_row([cfgs[i]], Noise(), dtype=torch.float64)
        assert (member(row, i) - member(alone, 0)).abs().max() < 1e-10
        assert end['metrics'][-1]['valid_loss'] == pytest.approx(ends[i]['metrics'][-1]['valid_loss'], rel=1e-9)

def interval(diffs, level=.95):
    "Of the mean, by Student's t"
    half = stats.t.ppf((1 + level)/2, len(diffs) - 1)*stats.sem(diffs)
    return np.mean(diffs) - half, np.mean(diffs) + half

@pytest.mark.parametrize('where,bs,lr', [pytest.param('left slope', 8, 1e-1, marks=pytest.mark.slow), ('plateau', 32, 1e-2), ('right slope', 128, 1e-3)])
def test_engines_are_equivalent(where, bs, lr):
    "The mean difference in accuracy over seeds, with its 95 % interval, lies within one point"
    cfgs = grid(data='digits', model='small', bs=bs, lr=lr, seed=range(5))
    mine = {r.id: r.acc for r in train_many(cfgs)}
    lo,hi = interval([mine[c.id] - train(c).acc for c in cfgs])
    assert -.01 < lo <= hi < .01

def test_images_learn_as_with_fastai(colours):
    cfgs = grid(data='colours', model='small', size=24, bs=4, lr=[1e-2, 1e-3], epochs=3)
    runs = list(train_many(cfgs, path=colours))
    ref = train(cfgs[0], path=colours)
    for r in runs:
        assert (r.status, r.env['engine'], r.cost['steps'], len(r.metrics)) == ('ok', 'fast', 36, 3)
        assert r.env['data_fingerprint'] == ref.env['data_fingerprint'] and r.env['n_params'] == ref.env['n_params'] and r.env['n_valid'] == 24
    assert {r.cfg.lr: r for r in runs}[1e-2].acc == ref.acc == 1.

def test_a_run_does_not_depend_on_its_neighbours_nor_on_the_block():
    "Crops, order and weights come from the seed alone"
    source = Noise()
    cfgs = grid(data='noise', model='small', size=32, bs=4, epochs=2, lr=[1e-3, 1e-2], seed=[3, 4])
    ends,_ = train_row(cfgs, source, dtype=torch.float64)
    for c,end in zip(cfgs, ends):
        (alone,),_ = train_row([c], source, dtype=torch.float64)
        assert alone['metrics'][-1]['valid_loss'] == pytest.approx(end['metrics'][-1]['valid_loss'], rel=1e-9)
    runs = lambda block: [y.tolist() for epoch in batches(cfgs[0], [3, 4], Digits(), block) for x,y in itertools.islice(epoch, 99)]
    assert runs(1) == runs(256)

def test_crops_do_not_depend_on_the_block(colours):
    source = get_source(cfg := RunConfig('colours', 'small', 4, 1e-3, size=24), colours)
    xs = [torch.cat([x for x,y in next(batches(cfg, [0], source, block))]) for block in (1, 8, 256)]
    assert torch.equal(xs[0], xs[1]) and torch.equal(xs[0], xs[2])

def test_random_state_is_left_alone():
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    list(train_many(grid(data='digits', model='small', bs=128, lr=[1e-3, 1e-2], epochs=1)))
    assert torch.equal(torch.rand(3), want)

def test_a_row_too_large_for_the_memory_is_halved(monkeypatch):
    "Rows of up to two fit: all runs are trained, and say why they were not more together"
    def small_memory(cfgs, source, **opts):
        if len(cfgs) > 2: raise RuntimeError('CUDA error: out of memory')
        return train_row(cfgs, source, **opts)
    monkeypatch.setattr(fast, 'cached_plan', lambda *a, **k: Plan(8))
    monkeypatch.setattr(fast, 'train_row', small_memory)
    runs = list(train_many(cfgs := grid(data='digits', model='small', bs=256, lr=[1e-4, 1e-3, 1e-2, 1e-1], seed=[0, 1], epochs=1)))
    assert {r.id for r in runs} == {c.id for c in cfgs} and len(runs) == 8
    assert all(r.status == 'ok' and r.env['members'] == 2 and 'memory' in r.env['why'] for r in runs)

def test_what_fails_alone_is_recorded_as_such():
    "Too large for any memory, a mistake in the model, a batch larger than the data"
    hungry = lambda n_out, n_in: nn.Linear(10**7, 10**7)
    def faulty(n_out, n_in): raise KeyError('a mistake')
    cfgs = [c for m in ('hungry', 'faulty') for c in grid(data='digits', model=m, bs=64, lr=[1e-3, 1e-2], epochs=1)]
    runs = list(train_many(cfgs + grid(data='digits', model='small', bs=1298, lr=1e-2), models=dict(hungry=hungry, faulty=faulty)))
    assert [(r.cfg.model, r.status) for r in runs] == [('hungry', 'oom')]*2 + [('faulty', 'failed')]*2 + [('small', 'untrainable')]
    assert 'a mistake' in runs[2].message and all(r.env['engine'] == 'fast' for r in runs)

def test_batchnorm_in_a_head_cannot_train_on_one_image():
    head = lambda n_out, n_in: nn.Sequential(nn.Conv2d(n_in, 4, 8), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, n_out))
    runs = list(train_many(grid(data='digits', model='head', bs=1, lr=[1e-3, 1e-2], epochs=1), models=dict(head=head)))
    assert [r.status for r in runs] == ['untrainable']*2 and 'more than 1 value per channel' in runs[0].message

def test_a_broken_image_fails_the_group_and_names_it(colours):
    (colours/'train'/'red'/'3.png').write_bytes(b'no image')
    runs = list(train_many(grid(data='colours', model='small', size=24, bs=4, lr=[1e-2, 1e-3], epochs=1), path=colours))
    assert [r.status for r in runs] == ['failed']*2 and all('3.png' in r.message for r in runs)

def test_a_diverged_member_leaves_the_others_as_they_were():
    cfgs = grid(data='digits', model='small', bs=64, lr=[1e-2, 1e30], epochs=2, opt='sgd')
    (good,bad),_ = train_row(cfgs, Digits(dtype=torch.float64), dtype=torch.float64)
    (alone,),_ = train_row(cfgs[:1], Digits(dtype=torch.float64), dtype=torch.float64)
    assert bad['status'] == 'diverged' and 'in epoch 1' in bad['message'] and not bad['metrics']
    assert good['metrics'][-1]['valid_loss'] == pytest.approx(alone['metrics'][-1]['valid_loss'], rel=1e-9)

class LeNet(nn.Module):
    "As many people write it: `view` asks for the usual order in memory"
    def __init__(self, n_out, n_in):
        super().__init__()
        self.conv,self.drop,self.a,self.b = nn.Conv2d(n_in, 6, 3),nn.Dropout(.2),nn.Linear(216, 32),nn.Linear(32, n_out)
    def forward(self, x):
        x = self.drop(torch.relu(self.conv(x)))
        return self.b(self.drop(torch.relu(self.a(x.view(x.size(0), -1)))))

class InPlace(nn.Module):
    "Changes the batch it is given"
    def __init__(self, n_out, n_in):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64*n_in, n_out))
    def forward(self, x):
        x -= .5
        return self.net(x)

def normed(n_out, n_in): return nn.Sequential(nn.utils.weight_norm(nn.Conv2d(n_in, 4, 3)), nn.Flatten(), nn.Linear(144, n_out))

@pytest.mark.parametrize('model', [LeNet, InPlace, normed])
def test_own_models_train_as_with_the_reference(model):
    "The default engine takes what fastai takes"
    cfgs = grid(data='digits', model='own', bs=64, lr=[1e-2, 1e-3], epochs=2)
    runs = list(train_many(cfgs, models=dict(own=model)))
    assert [r.status for r in runs] == ['ok']*2
    best = max(runs, key=lambda r: r.cfg.lr)
    assert abs(best.acc - train(best.cfg, models=dict(own=model)).acc) < .06

def test_a_layer_used_twice_drops_as_it_would_alone():
    "One Dropout at two places of a net"
    def twice(n_out, n_in):
        d = nn.Dropout(.5)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), d, nn.Linear(32, 16), d, nn.Linear(16, n_out))
    cfgs = grid(data='digits', model='twice', bs=64, lr=[1e-3, 1e-2], epochs=1)
    opts = dict(models=dict(twice=twice), dtype=torch.float64)
    ends,_ = train_row(cfgs, source := Digits(dtype=torch.float64), **opts)
    alone = [train_row([c], source, **opts)[0][0] for c in cfgs]
    assert [e['metrics'][0]['valid_loss'] for e in ends] == pytest.approx([e['metrics'][0]['valid_loss'] for e in alone], rel=1e-9)

def test_a_row_that_failed_is_let_go_before_its_halves_train(monkeypatch):
    held = []
    def watched(cfgs, source, **opts):
        gc.collect()
        held.append(sum(o() is not None for o in rows))
        row = fast.Row(cfgs, source, **opts)
        rows.append(weakref.ref(row.members))
        if len(cfgs) > 1: raise RuntimeError('out of memory')
        return train_row(cfgs, source, **opts)
    rows = []
    monkeypatch.setattr(fast, 'cached_plan', lambda *a, **k: Plan(4))
    monkeypatch.setattr(fast, 'train_row', watched)
    assert [r.status for r in train_many(grid(data='digits', model='small', bs=512, lr=[1e-4, 1e-3, 1e-2, 1e-1], epochs=1))] == ['ok']*4
    assert held == [0]*7

def test_a_cache_that_cannot_be_written_costs_no_members(monkeypatch, tmp_path):
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'file'))
    with pytest.warns(UserWarning, match='could not be kept'): runs = list(train_many(grid(data='digits', model='small', bs=256, lr=[1e-3, 1e-2], epochs=1)))
    assert [r.env['members'] for r in runs] == [2, 2]

def test_a_folder_that_changed_is_read_again(colours):
    cfg = RunConfig('colours', 'small', 4, 1e-3, size=24)
    before = get_source(cfg, colours).n_train
    shutil.copy(colours/'train'/'red'/'0.png', colours/'train'/'red'/'more.png')
    assert (before, get_source(cfg, colours).n_train) == (48, 49)

def test_a_diverged_run_counts_the_updates_it_made():
    bad, = train_many(grid(data='digits', model='small', bs=64, lr=1e30, epochs=2, opt='sgd'))
    ref = train(bad.cfg)
    assert (bad.status, bad.cost['steps'], bad.cost['examples']) == ('diverged', ref.cost['steps'], ref.cost['examples'])
    assert 0 < bad.cost['train_seconds'] < bad.cost['seconds']

def test_mixed_precision(colours):
    "bfloat16 here; float16 by the reference, and the record says who trained"
    cfg = grid(data='colours', model='small', size=24, bs=8, lr=1e-2, epochs=2)
    bf16, = train_many(cfg, path=colours, amp='bf16')
    fp16, = train_many(cfg, path=colours, amp='fp16')
    assert (bf16.status, bf16.env['engine'], bf16.env['amp']) == ('ok', 'fast', 'bf16') and bf16.acc > .9
    assert fp16.env['engine'] == 'fastai'

@pytest.mark.parametrize('taken,members', [({1: .5}, 1), ({1: .01, 4: .05, 6: .05, 12: .09}, 4*3), ({1: .01, 4: .09}, 1), ({1: .01, 4: .03, 6: .02, 12: .2}, 6), ({1: .01, 4: .02, 6: .03, 12: .06}, 12)])
def test_the_plan_is_the_fastest(monkeypatch, taken, members):
    "From made-up times of a step: one if a step is long, else the least time for each member"
    monkeypatch.setattr(fast, 'seconds_a_step', lambda cfgs, source, n=6, onednn=True, **opts: taken[len(cfgs)] + (not onednn))
    cfgs = grid(data='digits', model='small', bs=4, lr=[1e-4, 1e-3, 1e-2, 1e-1], seed=[0, 1, 2])
    assert plan_row(cfgs, Digits()) == Plan(members)

def test_the_plan_leaves_onednn_where_that_is_faster(monkeypatch):
    monkeypatch.setattr(fast, 'seconds_a_step', lambda cfgs, source, n=6, onednn=True, **opts: .01*(1 + onednn))
    assert plan_row(grid(data='digits', model='small', bs=4, lr=[1e-3, 1e-2]), Digits()) == Plan(2, onednn=False)
