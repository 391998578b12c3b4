"""The fast engine beside fastai's, run by run, and what can go wrong in a row."""
import gc, subprocess, sys, weakref

import numpy as np, pytest, torch
from scipy import stats
from torch import nn

from bs_lr_study.runs import grid
from bs_lr_study.training import fast
from bs_lr_study.training.fast import Plan, plan_row, train_many
from bs_lr_study.training.learner import train
from bs_lr_study.training.outcome import _glibc
from bs_lr_study.training.row import Digits, Row, train_row

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

def interval(diffs, level=.95):
    "Of the mean, by Student's t"
    half = stats.t.ppf((1 + level)/2, len(diffs) - 1)*stats.sem(diffs)
    return np.mean(diffs) - half, np.mean(diffs) + half

WHERE = [pytest.param('left slope', 8, 1e-1, marks=pytest.mark.slow), ('plateau', 32, 1e-2), ('right slope', 128, 1e-3)]

@pytest.mark.parametrize('where,bs,lr', WHERE)
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
        assert all(r.env[k] == ref.env[k] for k in ('data_fingerprint', 'n_params', 'n_valid'))
    assert ref.env['n_valid'] == 24
    assert {r.cfg.lr: r for r in runs}[1e-2].acc == ref.acc == 1.

def test_random_state_is_left_alone():
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    list(train_many(grid(data='digits', model='small', bs=128, lr=[1e-3, 1e-2], epochs=1)))
    assert torch.equal(torch.rand(3), want)

def test_a_row_too_large_for_the_memory_is_halved(monkeypatch):
    "Rows of up to two fit: all runs are trained, and say why they were not more together"
    def small_memory(cfgs, *args, **kw):
        if len(cfgs) > 2: raise RuntimeError('CUDA error: out of memory')
        return train_row(cfgs, *args, **kw)
    monkeypatch.setattr(fast, 'cached_plan', lambda *a, **k: Plan(8))
    monkeypatch.setattr(fast, 'train_row', small_memory)
    cfgs = grid(data='digits', model='narrow', bs=256, lr=[1e-4, 1e-3, 1e-2, 1e-1], seed=[0, 1], epochs=1)
    runs = list(train_many(cfgs))
    assert {r.id for r in runs} == {c.id for c in cfgs} and len(runs) == 8
    assert all(r.status == 'ok' and r.env['members'] == 2 and 'memory' in r.env['why'] for r in runs)

def test_what_fails_alone_is_recorded_as_such():
    "Too large for any memory, a mistake in the model, a batch larger than the data"
    hungry = lambda n_out, n_in: nn.Linear(10**7, 10**7)
    def faulty(n_out, n_in): raise KeyError('a mistake')
    cfgs = [c for m in ('hungry', 'faulty') for c in grid(data='digits', model=m, bs=64, lr=[1e-3, 1e-2], epochs=1)]
    cfgs += grid(data='digits', model='small', bs=1298, lr=1e-2)
    runs = list(train_many(cfgs, models=dict(hungry=hungry, faulty=faulty)))
    ends = [('hungry', 'oom')]*2 + [('faulty', 'failed')]*2 + [('small', 'untrainable')]
    assert [(r.cfg.model, r.status) for r in runs] == ends
    assert 'a mistake' in runs[2].message and all(r.env['engine'] == 'fast' for r in runs)

def test_batchnorm_in_a_head_cannot_train_on_one_image():
    head = lambda n_out, n_in: nn.Sequential(nn.Conv2d(n_in, 4, 8), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, n_out))
    runs = list(train_many(grid(data='digits', model='head', bs=1, lr=[1e-3, 1e-2], epochs=1), models=dict(head=head)))
    assert [r.status for r in runs] == ['untrainable']*2 and 'more than 1 value per channel' in runs[0].message

def test_a_broken_image_fails_the_group_and_names_it(colours):
    (colours/'train'/'red'/'3.png').write_bytes(b'no image')
    runs = list(train_many(grid(data='colours', model='small', size=24, bs=4, lr=[1e-2, 1e-3], epochs=1), path=colours))
    assert [r.status for r in runs] == ['failed']*2 and all('3.png' in r.message for r in runs)

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

def test_a_row_that_failed_is_let_go_before_its_halves_train(monkeypatch):
    held = []
    def watched(cfgs, source, how, checkpoint, **kw):
        gc.collect()
        held.append(sum(o() is not None for o in rows))
        row = Row(cfgs, source, how)
        rows.append(weakref.ref(row.members))
        if len(cfgs) > 1: raise RuntimeError('out of memory')
        return train_row(cfgs, source, how, checkpoint)
    rows = []
    monkeypatch.setattr(fast, 'cached_plan', lambda *a, **k: Plan(4))
    monkeypatch.setattr(fast, 'train_row', watched)
    cfgs = grid(data='digits', model='narrow', bs=512, lr=[1e-4, 1e-3, 1e-2, 1e-1], epochs=1)
    assert [r.status for r in train_many(cfgs)] == ['ok']*4
    assert held == [0]*7

def test_a_cache_that_cannot_be_written_costs_no_members(monkeypatch, tmp_path):
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'file'))
    cfgs = grid(data='digits', model='small', bs=256, lr=[1e-3, 1e-2], epochs=1)
    with pytest.warns(UserWarning, match='could not be kept'): runs = list(train_many(cfgs))
    assert [r.env['members'] for r in runs] == [2, 2]

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

# Seconds of a step by the number of members, and the number that is best
TAKEN = [({1: .5}, 1),
         ({1: .01, 4: .05, 6: .05, 12: .09}, 12),
         ({1: .01, 4: .09}, 1),
         ({1: .01, 4: .03, 6: .02, 12: .2}, 6),
         ({1: .01, 4: .02, 6: .03, 12: .06}, 12)]

def clocked(seconds): return lambda cfgs, source, how, n=6, onednn=True, unfold=False: seconds(len(cfgs), onednn, unfold)

@pytest.mark.parametrize('taken,members', TAKEN)
def test_the_plan_is_the_fastest(monkeypatch, taken, members):
    "From made-up times of a step: one if a step is long, else the least time for each member"
    monkeypatch.setattr(fast, 'seconds_a_step', clocked(lambda k, onednn, unfold: taken[k] + (not onednn or unfold)))
    cfgs = grid(data='digits', model='small', bs=4, lr=[1e-4, 1e-3, 1e-2, 1e-1], seed=[0, 1, 2])
    assert plan_row(cfgs, Digits()) == Plan(members)

WAYS = [((.02, .01, .015), dict(onednn=False)), ((.02, .015, .01), dict(unfold=True)), ((.02, .019, .0185), {})]

@pytest.mark.parametrize('taken,how', WAYS)
def test_the_plan_takes_the_convolutions_that_are_clearly_the_fastest(monkeypatch, taken, how):
    "From made-up times of oneDNN, PyTorch's own, and products of matrices"
    onednns,own,products = taken
    monkeypatch.setattr(fast, 'seconds_a_step', clocked(lambda k, onednn, unfold: products if unfold else onednns if onednn else own))
    cfgs = grid(data='digits', model='small', bs=4, lr=[1e-3, 1e-2])
    assert plan_row(cfgs, Digits()) == Plan(2, **how)
    assert plan_row(cfgs, Digits(), amp='bf16') == Plan(2)

PAGES = """
import resource, torch
from bs_lr_study.training.outcome import memory_kept
def pages(n, floats=2**24):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n): torch.ones(floats)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with memory_kept(): print(pages(1, 2**26), pages(10)) # room to spare: something small may settle in between
print(pages(1))
"""

@pytest.mark.skipif(not _glibc(), reason='asks for glibc')
def test_memory_is_asked_for_once():
    "Ten tensors one after another ask for little more memory than one, and it is given back; in a process as young as a worker"
    done = subprocess.run([sys.executable, '-c', PAGES], capture_output=True, text=True, check=True)
    four,ten,after = map(int, done.stdout.split())
    assert ten < 3*four/4 and after > 1000
