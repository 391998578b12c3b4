"""The batch that fits: against a real limit of memory, and against what was there before."""
import gc, math, os

import pytest, torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from fastai.optimizer import OptimWrapper
from fastai.torch_core import no_random
from torch import nn

from bs_lr_study.training.accumulate import on_cpus
from bs_lr_study.probe.micro_bs import DoesNotFit, find_micro_bs, largest, peak_growth, update_bytes
from bs_lr_study.probe.untouched import untouched
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import make_learner
from learners import changed, parts

pytestmark = pytest.mark.usefixtures('one_thread')
mb = 2**20

@pytest.fixture(scope='module', autouse=True)
def spared_collection():
    "Each search collects garbage several times: what other tests have left need not be visited each time"
    gc.freeze()
    yield
    gc.unfreeze()

class Big(nn.Module):
    "Out of memory, as a GPU says it, above a size"
    def __init__(self, most, bn=False):
        super().__init__()
        self.most,self.lin,self.bn,self.sizes = most,nn.Linear(64, 10),nn.BatchNorm1d(64) if bn else nn.Identity(),[]
    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most: raise torch.OutOfMemoryError(f'CUDA out of memory. Tried to allocate {len(x)} MiB')
        return self.lin(self.bn(x.flatten(1)))

def digits_learner(model='small', models=None, **kw):
    with no_random(0): return make_learner(RunConfig('digits', model, bs=64, lr=1e-2, **kw), device='cpu', models=models)

def big(most, **kw): return digits_learner('big', dict(big=lambda n_out, n_in: Big(most, **kw)))

class TestFits:
    def test_search(self):
        for most in (1, 2, 3, 64, 100, 1297):
            for true in (*range(8), 63, 64, 65, 99, 500, 5000):
                tried = []
                assert largest(lambda n: tried.append(n) or n <= true, most) == min(true, most)
                assert len(set(tried)) == len(tried) <= 2*math.log2(most + 1) + 2

    @pytest.mark.parametrize('most', [1, pytest.param(37, marks=pytest.mark.slow), pytest.param(256, marks=pytest.mark.slow), 1000])
    def test_out_of_memory(self, most):
        learn = big(most)
        assert find_micro_bs(learn, limit=math.inf) == most
        assert not any(p.grad is not None for p in learn.model.parameters())

    def test_no_more_than_there_is_or_is_asked_for(self):
        assert find_micro_bs(big(10**9), limit=math.inf) == 1297 # training images
        assert find_micro_bs(big(10**9), limit=math.inf, most=100) == 100

    def test_batchnorm_that_needs_two(self):
        assert find_micro_bs(big(37, bn=True), limit=math.inf) == 37
        with pytest.raises(ValueError, match='more than 1 value per channel'): find_micro_bs(big(37, bn=True), limit=math.inf, most=1)
        with pytest.raises(DoesNotFit, match='not even'): find_micro_bs(big(1, bn=True), limit=math.inf)

    def test_other_errors_go_through(self):
        learn = digits_learner('odd', dict(odd=lambda n_out, n_in: nn.Linear(3, n_out)))
        with pytest.raises(RuntimeError, match='shapes'): find_micro_bs(learn, limit=math.inf)

    def test_without_a_limit(self):
        with pytest.raises(ValueError, match=r'no limit given, and a cpu sets none: .* limit='): find_micro_bs(digits_learner())
        with pytest.raises(DoesNotFit, match='not even a batch of 1 fits: it takes [0-9]+ bytes, more than 1000'):
            find_micro_bs(digits_learner(), limit=1000)

    @pytest.mark.parametrize('opt', ['adam', pytest.param('sgd', marks=pytest.mark.slow)])
    def test_the_size_is_the_largest(self, opt):
        "Counted: it fits, one more does not; and what training takes is what was counted"
        learn,limit = digits_learner(opt=opt),5*mb
        n = find_micro_bs(learn, limit)
        batch = learn.dls.train.new(shuffle=False).one_batch()
        with untouched(learn): assert update_bytes(learn, n, batch) <= limit < update_bytes(learn, n + 1, batch)
        learn = digits_learner(opt=opt)
        learn.dls.train.bs = n
        start = sum(t.nbytes for t in (*learn.model.parameters(), *learn.model.buffers()))
        learn.dls.valid.bs = 1
        with learn.no_logging(): took = start + peak_growth(lambda: learn.fit(1))
        assert took <= 1.02*limit

    def test_clipping_and_the_optimizer_count(self):
        "A wide layer: gradients, their two averages and a copy for the norm are as large as the weights"
        wide = dict(wide=lambda n_out, n_in: nn.Sequential(nn.Flatten(), nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, n_out)))
        need = {}
        for opt in ('adam', 'sgd'):
            learn = digits_learner('wide', wide, opt=opt)
            batch = learn.dls.train.new(shuffle=False).one_batch()
            w = sum(p.nbytes for p in learn.model.parameters())
            with untouched(learn): need[opt] = update_bytes(learn, 2, batch)/w
        assert need['sgd'] >= 3 and need['adam'] >= need['sgd'] + .9

    def test_a_real_limit(self):
        "In a process of its own whose memory is limited by the system: the size found trains, four times the size does not"
        for o in on_cpus(under_a_limit, 1): assert o == [True, False]

class TestNoTrace:
    @pytest.mark.parametrize('how', ['fresh', 'fitted', 'with gradients', 'torch optimizer', 'failed'])
    def test_all_is_as_before(self, how):
        learn = digits_learner()
        if how == 'torch optimizer': learn.opt_func = OptimWrapper(opt=torch.optim.AdamW(learn.model.parameters(), lr=1e-3))
        if how in ('fitted', 'with gradients'):
            with learn.no_logging(): learn.fit(1, 1e-2)
        if how == 'with gradients':
            x,y = learn.dls.train.new(shuffle=False).one_batch()
            learn.loss_func(learn.model(x), y).backward()
        learn.model[0].eval()
        before = parts(learn)
        if how == 'failed':
            with pytest.raises(DoesNotFit): find_micro_bs(learn, limit=1000)
        else: assert find_micro_bs(learn, limit=4*mb) > 1
        assert changed(before, parts(learn)) == []

    def test_the_fit_that_follows_is_the_fit_without(self):
        def values(search, before):
            learn = digits_learner()
            with no_random(0), learn.no_logging():
                if before: learn.fit_one_cycle(1)
                if search: find_micro_bs(learn, limit=3*mb)
                learn.fit_one_cycle(1)
            return learn.recorder.values
        for before in (False, True): assert values(True, before) == values(False, before)

    def test_interrupted(self):
        class Stops(Big):
            def forward(self, x):
                if len(x) > 8: raise KeyboardInterrupt
                return super().forward(x)
        learn = digits_learner('stops', dict(stops=lambda n_out, n_in: Stops(10**9)))
        before = parts(learn)
        with pytest.raises(KeyboardInterrupt): find_micro_bs(learn, limit=math.inf)
        assert changed(before, parts(learn)) == []

    @pytest.mark.parametrize('frozen', [False, True])
    def test_garbage_collection_is_as_before(self, frozen):
        "Also after an error, and where somebody has frozen objects before"
        if not frozen: gc.unfreeze()
        try:
            before = gc.get_freeze_count()
            find_micro_bs(big(4), limit=math.inf, most=8)
            with pytest.raises(DoesNotFit): find_micro_bs(digits_learner(), limit=1000)
            assert bool(gc.get_freeze_count()) == bool(before) == frozen and gc.isenabled()
        finally: gc.freeze()

    def test_loggers_are_not_disturbed(self):
        learn,seen = digits_learner(),[]
        class Logs(Callback):
            def after_batch(self): seen.append(1)
            def after_fit(self): seen.append(1)
        learn.add_cb(Logs())
        find_micro_bs(learn, limit=3*mb)
        assert not seen and not hasattr(learn.recorder, 'lrs')

def under_a_limit():
    import resource
    learn,limit = digits_learner(),400*mb
    learn.model = nn.Sequential(nn.Conv2d(1, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 16, 1), nn.AdaptiveAvgPool2d(1),
                                nn.Flatten(), nn.Linear(16, 10)) # wide, so that images are what takes memory
    n = find_micro_bs(learn, limit)
    ends = []
    for size in (n, 4*n):
        learn.dls.train.bs = size
        batch = [o.repeat(size//len(o) + 1, *[1]*(o.dim() - 1))[:size] for o in learn.dls.train.new(shuffle=False, bs=4).one_batch()]
        has = int(open('/proc/self/statm').read().split()[0])*os.sysconf('SC_PAGE_SIZE')
        was = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (has + limit + 256*mb, was[1])) # addresses are taken in larger pieces than memory is used
        try:
            opt = torch.optim.AdamW(learn.model.parameters())
            for _ in range(2):
                F.cross_entropy(learn.model(batch[0]), batch[1]).backward()
                opt.step()
            ends.append(True)
        except (MemoryError, RuntimeError) as e: ends.append("can't allocate memory" not in str(e))
        finally: resource.setrlimit(resource.RLIMIT_AS, was)
        for p in learn.model.parameters(): p.grad = None
    return ends

class TestLoadersOfTorch:
    @pytest.mark.parametrize('bs', [1, 64])
    def test_all_examples_fit(self, bs):
        "With PyTorch's DataLoaders as with fastai's; what they would draw next stays as it was"
        from fastai.data.core import DataLoaders
        from fastai.learner import Learner
        from torch.utils.data import DataLoader, TensorDataset
        y = torch.arange(130) % 3
        ds = TensorDataset(torch.randn(130, 4) + y[:, None], y)
        dls = DataLoaders(DataLoader(ds, bs, shuffle=True), DataLoader(ds, 64))
        learn = Learner(dls, nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), loss_func=nn.CrossEntropyLoss())
        state = torch.get_rng_state()
        assert find_micro_bs(learn, limit=2**30) == find_micro_bs(learn, '1GB') == 130
        assert torch.equal(state, torch.get_rng_state())

class TestInParts:
    "Of a study: what does not fit is made of parts that do, and what is finished stays"
    def study(self, path, **kw):
        from bs_lr_study.sweep import make_study
        keys = dict(data='digits', models='small', batch_sizes=[64, 512], lrs=1e-2, epochs=1, micro='auto')
        return make_study('parts', path/'parts.jsonl', **keys | kw)

    def test_what_fits_stays_whole(self, tmp_path):
        from bs_lr_study.probe.micro_bs import in_parts
        s = in_parts(self.study(tmp_path, memory='8MB'))
        n = find_micro_bs(digits_learner(), 8*mb)
        assert [c.micro_bs for c in s.cfgs] == [None, 2**int(math.log2(n))] and s.micro is None
        assert [o.endswith(f'-micro_bs-{s.cfgs[1].micro_bs}') for o in s.runs] == [False, True]
        plenty = in_parts(self.study(tmp_path, memory='4GB'))
        assert [c.micro_bs for c in plenty.cfgs] == [None, None] and list(plenty.runs) == list(self.study(tmp_path).runs)
        with pytest.raises(DoesNotFit, match='not even a batch of 1'): in_parts(self.study(tmp_path, memory='9kB'))
        with pytest.raises(ValueError, match="limit='4GB'"): in_parts(self.study(tmp_path))

    def test_runs_that_are_finished_are_taken_as_they_are(self, tmp_path):
        "Also those in other parts; the table is one, and says so"
        from bs_lr_study.probe.micro_bs import in_parts
        from bs_lr_study.sweep import run, todo
        from bs_lr_study.sweep.checks import SweepError
        s = self.study(tmp_path)
        with pytest.raises(SweepError, match='in_parts'): run(s, workers=0, show=False)
        assert run(in_parts(s, 100), workers=0, show=False) == {'ok': 2}
        again = in_parts(s, limit='8MB')
        assert [c.micro_bs for c in again.cfgs] == [None, 100] and todo(again) == []

    @pytest.mark.parametrize('keys,told', [(dict(micro='some'), "micro: 'some'; say micro = auto"),
                                           (dict(memory='lots'), "memory: 'lots' is no amount of memory; say 4GB or 512MB")])
    def test_what_is_no_amount(self, keys, told, tmp_path):
        from bs_lr_study.sweep.study import SettingsError
        with pytest.raises(SettingsError, match=told): self.study(tmp_path, **keys)
