"""`suggest` where it trains: Learners, folders and studies as users have them, and what is wrong with some."""
import copy, os, re, shutil

import numpy as np, pytest, torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
from torch import nn

from bs_lr_study.runs import RunConfig
from bs_lr_study.store import Store
from bs_lr_study.suggest import confirm
from bs_lr_study.suggest.live import suggest
from bs_lr_study.suggest.task import SuggestError, task_of
from bs_lr_study.suggest.workshop import Workshop, probed

pytestmark = pytest.mark.usefixtures('one_thread')

def rows(n=96, n_valid=48):
    g = torch.Generator().manual_seed(0)
    x,y = torch.randn(n + n_valid, 6, generator=g),torch.arange(n + n_valid) % 3
    x[torch.arange(len(x)), y] += 2
    ds = list(zip(x, y))
    return ds[:n],ds[n:]

TRAIN,VALID = rows()

def net(): return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

def loaders(cfg, train=TRAIN): return DataLoaders.from_dsets(train, VALID, bs=cfg.bs, num_workers=0, device='cpu')

def make(cfg): return Learner(loaders(cfg), net(), nn.CrossEntropyLoss(), metrics=accuracy)

# A search that is content with little ends after its first runs, however slow the machine
QUIET = dict(tell=None, epochs=1, within=.9, budget='5m')

@pytest.fixture(autouse=True, scope='module')
def few_fresh_runs():
    "Two of each finalist"
    usual,confirm.SEEDS = confirm.SEEDS,(2, 2)
    yield
    confirm.SEEDS = usual

@pytest.fixture(scope='module')
def searched(tmp_path_factory):
    "A whole search of a few seconds, what it said, and the random state around it"
    os.chdir(tmp_path_factory.mktemp('searched'))
    said,before = [],torch.get_rng_state()
    a = suggest(make, store='s.jsonl', tries=[(24, 2e-3)], **QUIET | dict(tell=said.append))
    return a,said,Store(os.path.abspath('s.jsonl')),torch.equal(before, torch.get_rng_state())

@pytest.fixture
def store(searched, tmp_path):
    "A copy of its folder, for a search that goes on"
    return shutil.copytree(searched[2].path.parent, tmp_path/'copy')/'s.jsonl'

def test_a_learner_is_answered(searched):
    a,said,store,same = searched
    assert a.setting['bs'] >= 1 and a.setting['n_acc'] == 1 and 0 < a.expected <= 1
    assert sum(a.tried.values()) == len(store.runs())
    assert same # random numbers go on as if nothing had been

def test_it_says_what_it_is_doing(searched):
    _,said,*_ = searched
    text = '\n'.join(said)
    for part in ('timing a few updates', 'start: bs ', 'left', 'lr 1e-3: '): assert part in text

def test_called_again_it_goes_on(searched, store):
    n = len(Store(store).runs())
    again = suggest(make, store=store, tries=[(24, 2e-3)], **QUIET)
    assert len(Store(store).runs()) == n and again.expected == searched[0].expected

def test_every_run_is_in_an_ordinary_store(searched):
    df = searched[2].to_df()
    assert {'run', 'acc', 'bs', 'lr', 'seed', 'seconds'} <= set(df) and df.id.is_unique

def test_another_metric(store):
    a = suggest(make, store=store, metric='valid_loss', **QUIET)
    assert a.metric.lower and a.metric.name == 'valid_loss' and 'loss' in str(a)

def test_a_metric_that_is_not_there(store):
    with pytest.raises(SuggestError, match=r"metric 'f1'.*kept in"):
        suggest(make, store=store, metric='f1', **QUIET)

def test_a_page(store, tmp_path):
    "Its answer is the setting that fresh runs confirmed, not the luckiest run of the search"
    found = suggest(make, store=store, html=tmp_path/'a.html', **QUIET)
    page = (tmp_path/'a.html').read_text()
    assert page.count('id="the-answer"') == 1
    opening = page.partition('id="the-answer"')[2].partition('</p>')[0]
    assert f'Use bs {found.setting["bs"]}, ' in opening and 'Best:' not in page.partition('</section>')[0]

# What is wrong

def no_learner(cfg): return net()
SAME = net()
def same_model(cfg): return Learner(loaders(cfg), SAME, nn.CrossEntropyLoss(), metrics=accuracy)
def wrong_bs(cfg): return Learner(loaders(RunConfig('a', 'b', 7, .1)), net(), nn.CrossEntropyLoss(), metrics=accuracy)
def broken(cfg): return Learner(undefined) # noqa: F821
def does_not_fit(cfg): return Learner(loaders(cfg), nn.Linear(5, 3), nn.CrossEntropyLoss(), metrics=accuracy)

def once():
    made = []
    def make_once(cfg):
        if made: raise RuntimeError('the file is open already')
        made.append(cfg)
        return make(cfg)
    return make_once

@pytest.mark.parametrize('learner, said', [
    (no_learner, 'Sequential'), (same_model, 'the same model twice'), (wrong_bs, 'batches of 7'), (broken, 'undefined'),
    (does_not_fit, 'fails at the first update'), (once(), 'but not twice')])
def test_learners_that_are_none(learner, said):
    with pytest.raises(SuggestError, match=said): suggest(learner, **QUIET)
    assert not os.path.exists('runs')

@pytest.mark.parametrize('given, said', [
    (dict(what=None), 'suggest what'), (dict(budget='soon'), 'no length of time'), (dict(tries=['64']), 'is no setting'),
    (dict(tries=[(5000, 1e-3)]), 'more than the 96'), (dict(budget='0s'), 'no time')])
def test_arguments_that_are_wrong(given, said):
    with pytest.raises((ValueError, SuggestError), match=said): suggest(**dict(what=make) | QUIET | given)

def test_a_budget_for_no_run():
    with pytest.raises(SuggestError, match='too little for one run'): suggest(make, **QUIET | dict(budget=1e-4))

def test_fewer_examples_than_the_batch():
    "Batches are as large as the data allow"
    def few(cfg): return Learner(loaders(cfg, TRAIN[:5]), net(), nn.CrossEntropyLoss(), metrics=accuracy)
    a = suggest(few, **QUIET)
    assert a.setting['bs'] <= 5

def test_memory_sets_the_micro_batch():
    task = task_of('digits', epochs=1)
    shop = Workshop(task, probed(task, limit=2**20))
    setting = shop.setting(256, 1e-2)
    assert setting['micro_bs'] < 256 and setting['n_acc'] == 256//setting['micro_bs']
    assert shop.cfg(256, 1e-2).micro_bs == setting['micro_bs']
    with pytest.raises(SuggestError, match='not even a batch of'): probed(task, limit=100)

def test_a_diverging_learner_is_an_answer_nonetheless():
    "Above 1e-3 the loss is no number"
    class Blows(nn.Module):
        def __init__(self, lr):
            super().__init__()
            self.net,self.lr = net(),lr
        def forward(self, x): return self.net(x)*(float('nan') if self.training and self.lr > 2e-3 else 1.)
    def blows(cfg): return Learner(loaders(cfg), Blows(cfg.lr), nn.CrossEntropyLoss(), metrics=accuracy)
    a = suggest(blows, **QUIET)
    assert a.setting['lr'] <= 2e-3 and a.tried['diverged'] >= 1

def test_a_folder_of_pictures(colours):
    a = suggest(colours, model='small', size=16, **QUIET)
    assert a.setting['bs'] <= 48 and re.search('Use bs', str(a))

def test_users_objects_are_left_as_they_were():
    "Loaders that a function hands to every Learner"
    dls = loaders(RunConfig('a', 'b', 16, .1))
    before = dls.train.rng.getstate()
    kept = copy.deepcopy([p.detach() for p in SAME.parameters()])
    with pytest.raises(SuggestError): suggest(same_model, **QUIET)
    assert all(torch.equal(a, b) for a,b in zip(kept, SAME.parameters()))
    assert dls.train.rng.getstate() == before and isinstance(np.random.get_state(), tuple)
