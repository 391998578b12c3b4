"""Members of a row beside their single runs, and what a run must not depend on."""
import itertools, shutil
from functools import partial

import numpy as np, pytest, torch
from fastai.vision.learner import create_vision_model
from fastai.vision.models import xresnet
from torch import nn

from bs_lr_study.runs import RunConfig, grid
from bs_lr_study.training import row as rows
from bs_lr_study.training.row import Digits, batches, get_source, train_row

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

def thin(name):
    "One of the study's models with a quarter of its channels"
    def build(n_out, n_in):
        net = partial(getattr(xresnet, name), widen=.25)
        return create_vision_model(net, n_out, pretrained=False, n_in=n_in) if name == 'xse_resnext50' else net(n_out=n_out, c_in=n_in)
    return build

THIN = {f'thin_{o}': thin(o) for o in ('xresnet18', 'xresnet34', 'xse_resnext50')}
MODELS = ['thin_xresnet18', 'thin_xse_resnext50']
MODELS += [pytest.param(o, marks=pytest.mark.slow) for o in ('thin_xresnet34', 'xresnet18', 'xresnet34', 'xse_resnext50')]

@pytest.mark.parametrize('model', MODELS)
def test_each_member_is_its_own_single_run(model, monkeypatch):
    "Ten updates in float64: weights and BatchNorm's statistics to 1e-10, of two seeds"
    monkeypatch.setattr(rows, 'batches', lambda *args, **kw: batches(*args, **kw, block=1))
    cfgs = grid(data='noise', model=model, size=32, bs=8, epochs=2, seed=[0, 1], lr=[1e-4, 1e-3])
    if not model.endswith('34'): cfgs = cfgs[::3] # two members, or two of each seed
    opts = dict(models=THIN, dtype=torch.float64)
    ends,row = train_row(cfgs, Noise(), **opts)
    for i in (0, len(cfgs) - 1):
        (end,),alone = train_row([cfgs[i]], Noise(), **opts)
        assert (member(row, i) - member(alone, 0)).abs().max() < 1e-10
        assert end['metrics'][-1]['valid_loss'] == pytest.approx(ends[i]['metrics'][-1]['valid_loss'], rel=1e-9)

@pytest.mark.parametrize('model', ['small', pytest.param('thin_xse_resnext50', marks=pytest.mark.slow)])
def test_convolutions_as_products_are_the_same_run(model):
    "Twenty updates in float64, of strides, groups within a member and two seeds: weights and statistics to 1e-10"
    cfgs = grid(data='noise', model=model, size=32, bs=8, epochs=4, seed=[0, 1], lr=[1e-4, 1e-3])[::3]
    opts = dict(models=THIN, dtype=torch.float64)
    rows = [train_row(cfgs, Noise(), unfold=o, **opts)[1] for o in (False, True)]
    assert any(getattr(m, 'unfold', False) for m in rows[1].members.modules())
    for i in range(2): assert (member(rows[0], i) - member(rows[1], i)).abs().max() < 1e-10
    _,alone = train_row(cfgs[1:], Noise(), **opts)
    assert (member(rows[1], 1) - member(alone, 0)).abs().max() < 1e-10

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

def test_a_diverged_member_leaves_the_others_as_they_were():
    cfgs = grid(data='digits', model='small', bs=64, lr=[1e-2, 1e30], epochs=2, opt='sgd')
    (good,bad),_ = train_row(cfgs, Digits(dtype=torch.float64), dtype=torch.float64)
    (alone,),_ = train_row(cfgs[:1], Digits(dtype=torch.float64), dtype=torch.float64)
    assert bad['status'] == 'diverged' and 'in epoch 1' in bad['message'] and not bad['metrics']
    assert good['metrics'][-1]['valid_loss'] == pytest.approx(alone['metrics'][-1]['valid_loss'], rel=1e-9)

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

def test_a_folder_that_changed_is_read_again(colours):
    cfg = RunConfig('colours', 'small', 4, 1e-3, size=24)
    before = get_source(cfg, colours).n_train
    shutil.copy(colours/'train'/'red'/'0.png', colours/'train'/'red'/'more.png')
    assert (before, get_source(cfg, colours).n_train) == (48, 49)
