"""Several devices as processes on a CPU, against one device. What the processes run is imported by each: keep imports few."""
import pytest, torch
import torch.distributed as dist
import torch.nn.functional as F
from fastai.callback.core import Callback, TrainEvalCallback
from fastai.callback.training import GradientClip
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bs_lr_study.training.accumulate import Accumulate, device_bs, micro_slices, on_cpus

pytestmark = pytest.mark.usefixtures('one_thread')

def rows(n=20):
    gen = torch.Generator().manual_seed(0)
    return torch.randn(n, 5, generator=gen, dtype=torch.float64),torch.randint(3, (n,), generator=gen)

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()

def flat(model, what): return torch.cat([what(p).detach().flatten() for p in model.parameters()])

def learner(data, *cbs, bs=None, loss=F.cross_entropy, model=None, device=None, **kw):
    dl = DataLoader(list(zip(*data)), bs=bs or len(data[0]), device=device)
    return Learner(DataLoaders(dl, dl, device=device), model or net(), loss, cbs=[TrainEvalCallback(), *cbs], default_cbs=False, **kw)

class Witness(Callback):
    order = 1000
    def before_fit(self): self.grads,self.syncs = [],[]
    def after_backward(self): self.syncs.append(self.model.require_backward_grad_sync)
    def before_step(self): self.grads.append(flat(self.model, lambda p: p.grad))

def shard(sizes):
    start = sum(sizes[:dist.get_rank()])
    return [o[start:start + sizes[dist.get_rank()]] for o in rows(sum(sizes))]

def spread(sizes, micro_bs=None, loss=F.cross_entropy, weigh=None, clip=None):
    "What two devices do with three updates on parts of these sizes: gradients of the first, whether each part was sent, weights in the end"
    cbs = ([Accumulate(micro_bs, weigh)] if micro_bs else []) + ([GradientClip(clip)] if clip else [])
    learn = learner(shard(sizes), *cbs, Witness(), loss=loss, model=DistributedDataParallel(net()))
    with learn.no_logging(): learn.fit(3, .05)
    return learn.witness.grads[0],learn.witness.syncs,flat(learn.model, lambda p: p)

def on_one(n=20, loss=F.cross_entropy, clip=None):
    learn = learner(rows(n), *([GradientClip(clip)] if clip else []), Accumulate(1000))
    learn.loss_func = loss
    kept = []
    step = learn._step
    learn._step = lambda: (kept.append(flat(learn.model, lambda p: p.grad)), step())
    with learn.no_logging(): learn.fit(3, .05)
    return kept[0],flat(learn.model, lambda p: p)

def apart(a, b): return ((a - b).norm()/b.norm()).item()


IGNORING,SUMMED = nn.CrossEntropyLoss(ignore_index=1),nn.CrossEntropyLoss(reduction='sum')
def count_but_1(y): return (y != 1).sum()

ALIKE = [([10, 10], 10), ([10, 10], 4), ([13, 7], 20), ([13, 7], 4), ([19, 1], 3)]
OTHERS = dict(even=dict(sizes=[10, 10]), odd=dict(sizes=[13, 7]), clipped=dict(sizes=[13, 7], micro_bs=4, clip=.05),
              ignoring=dict(sizes=[10, 10], micro_bs=4, loss=IGNORING, weigh=count_but_1),
              summed=dict(sizes=[13, 7], micro_bs=4, loss=SUMMED))

def each_spread(): return {str(o): spread(*o) for o in ALIKE} | {k: spread(**kw) for k,kw in OTHERS.items()}

@pytest.fixture(scope='module')
def spreads():
    "All of these in one pair of processes, since each of a pair imports all of fastai first"
    return on_cpus(each_spread)

class TestDevices:
    @pytest.mark.parametrize('sizes,micro_bs', ALIKE)
    def test_equal_one_device(self, spreads, sizes, micro_bs):
        (g,syncs,w),other = (o[str((sizes, micro_bs))] for o in spreads)
        assert torch.equal(g, other[0]) and torch.equal(w, other[2]) # both made the same updates
        want = on_one()
        assert apart(g, want[0]) < 1e-12 and apart(w, want[1]) < 1e-10
        n_acc = len(micro_slices(sizes[0], micro_bs))
        assert syncs == ([False]*(n_acc - 1) + [True])*3 # gradients travel once an update

    def test_without_it_unequal_parts_are_off(self, spreads):
        want = on_one()[0]
        assert apart(spreads[0]['even'][0], want) < 1e-12 and apart(spreads[0]['odd'][0], want) > 1e-3

    @pytest.mark.parametrize('case,loss', [('ignoring', IGNORING), ('summed', SUMMED)])
    def test_means_over_labels_and_sums(self, spreads, case, loss):
        "Where the devices have unequal numbers of labels that count, and where the loss is a sum"
        assert apart(spreads[0][case][0], one_gradient(loss)) < 1e-12

    def test_clipping_sees_the_gradient_of_all(self, spreads):
        g,_,w = spreads[0]['clipped']
        assert g.norm().item() == pytest.approx(.05, rel=1e-4) and apart(w, on_one(clip=.05)[1]) < 1e-10

    def test_what_fails_in_one_process_is_told(self):
        with pytest.raises((ZeroDivisionError, RuntimeError)): on_cpus(fails, timeout=20)

    def test_parts_of_the_batch(self):
        assert device_bs(256, 4) == 64
        with pytest.raises(ValueError, match='bs 10 cannot be spread evenly over 4 devices: choose a multiple of 4'): device_bs(10, 4)

    def test_through_fastai_and_accelerate(self):
        "fastai's distrib_ctx, its loader and Accelerate's wrapping: one device on the batches that both saw together"
        pytest.importorskip('accelerate')
        got = on_cpus(through_fastai)
        assert got[0][1] == got[1][1] == 6 and torch.equal(got[0][0], got[1][0])
        x,y = rows(48)
        both = torch.cat([torch.arange(i, i + 8) for k in range(3) for i in (8*k, 24 + 8*k)]) # each process has its half of the images
        learn = learner((x[both], y[both]), bs=16)
        with learn.no_logging(): learn.fit(2, .05)
        assert apart(got[0][0], flat(learn.model, lambda p: p)) < 1e-10

def fails():
    if dist.get_rank(): raise ZeroDivisionError('on purpose')
    dist.barrier()

def one_gradient(loss):
    model = net()
    x,y = rows()
    loss(model(x), y).backward()
    return flat(model, lambda p: p.grad)

def through_fastai():
    from fastai import distributed
    def broadcast(self, t, rank): # fastai's goes through a GPU
        t = torch.LongTensor(t)
        dist.broadcast(t, rank)
        return t.tolist()
    distributed.DistributedDL._broadcast = broadcast
    learn = learner(rows(48), Accumulate(3), Witness(), bs=device_bs(16, 2), device=torch.device('cpu'))
    with learn.no_logging(), learn.distrib_ctx(sync_bn=False, cpu=True): learn.fit(2, .05)
    return flat(learn.model, lambda p: p),len(learn.witness.grads)
