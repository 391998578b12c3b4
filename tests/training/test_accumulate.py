"""Micro-batches against the whole batch and against loops written out: gradients, losses, schedules, what is left behind."""
import math, re, warnings
from functools import partial

import pytest, torch
import torch.nn.functional as F
import fastai.callback.schedule # noqa: F401 (gives Learner its fits)
from fastai.callback.core import (Callback, CancelBatchException, CancelEpochException, CancelFitException,
                                  CancelTrainException, TrainEvalCallback)
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.mixup import MixUp
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import AvgSmoothLoss, Learner, Recorder
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import SGD, Adam
from fastai.torch_core import set_seed
from fastcore.foundation import L
from torch import nn
from torch.amp import GradScaler

from bs_lr_study.training.accumulate import Accumulate, micro_slices
from bs_lr_study.training.fast import train_many as fast_many
from bs_lr_study.training.row import Digits, Row
from bs_lr_study.training.models import small
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import train

pytestmark = pytest.mark.usefixtures('one_thread')

class Witness(Callback):
    "Gradients, learning rates and the batch as other callbacks find them at each update"
    order = 1000
    def before_fit(self): self.grads,self.lrs,self.seen,self.parts = [],[],[],0
    def after_loss(self): self.parts += self.training
    def before_step(self):
        self.grads.append(torch.cat([p.grad.flatten().clone() for p in self.model.parameters()]))
        self.lrs.append(self.opt.hypers[-1]['lr'])
    def after_batch(self):
        if self.training: self.seen.append((len(self.xb[0]), len(self.yb[0]), len(self.pred), self.loss.item(), self.pct_train))

class Smooth(AvgSmoothLoss):
    "fastai's begins in float32, which no other kind of loss mixes with"
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype
    def reset(self): self.count,self.val = 0,torch.zeros((), dtype=self.dtype)

def rows(n, n_out=3, dtype=torch.float64):
    gen = torch.Generator().manual_seed(0)
    return list(zip(torch.randn(n, 5, generator=gen, dtype=dtype), torch.randint(n_out, (n,), generator=gen)))

def net(dtype=torch.float64, seed=0, drop=0.):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Tanh(), nn.Dropout(drop), nn.Linear(8, 3)).to(dtype)

def learner(*cbs, n=50, bs=20, model=None, loss=None, opt=Adam, dtype=torch.float64, drop_last=False, recorder=None, **kw):
    dls = DataLoaders(DataLoader(rows(n, dtype=dtype), bs=bs, drop_last=drop_last), DataLoader(rows(30, dtype=dtype), bs=16))
    recorder = recorder or Recorder()
    recorder.smooth_loss = Smooth(dtype)
    cbs = [TrainEvalCallback(), recorder, Witness(), *cbs]
    loss = loss or nn.CrossEntropyLoss()
    return Learner(dls, model or net(dtype), loss, opt, cbs=cbs, metrics=accuracy, default_cbs=False, **kw)

def fitted(learn, n=2, lr=.05):
    with learn.no_logging(): learn.fit_one_cycle(n, lr)
    return learn

def fit(*cbs, **kw): return fitted(learner(*cbs, **kw))

def weights(learn): return torch.cat([p.detach().flatten() for p in learn.model.parameters()])
def apart(a, b): return ((a - b).norm()/b.norm()).item()

def assert_same(a, b, tol=1e-12):
    "Two fits: gradients, weights, losses, schedule, metrics"
    assert len(a.witness.grads) == len(b.witness.grads) and a.witness.lrs == b.witness.lrs and a.recorder.lrs == b.recorder.lrs
    assert max(map(apart, a.witness.grads, b.witness.grads)) < tol
    assert apart(weights(a), weights(b)) < 100*tol
    for x,y in zip(a.witness.seen, b.witness.seen): assert x == pytest.approx(y, rel=100*tol)
    for x,y in zip(a.recorder.values, b.recorder.values): assert list(x) == pytest.approx(list(y), rel=1e-5)
    assert (a.train_iter, a.pct_train) == (b.train_iter, b.pct_train)


class TestEqualsOneBatch:
    SIZES = [(40, 20, 5), (50, 20, 7), (50, 20, 1), (50, 20, 19), (21, 20, 8), (50, 20, 20), (50, 20, 1000), (5, 1, 1), (30, 64, 11)]

    @pytest.mark.parametrize('n,bs,micro_bs', SIZES)
    @pytest.mark.parametrize('drop_last', [False, True])
    def test_any_sizes(self, n, bs, micro_bs, drop_last):
        "Even and uneven parts, a last batch that is smaller, of one example, or dropped"
        if drop_last and n < bs: return
        how = dict(n=n, bs=bs, drop_last=drop_last)
        got,want = fit(Accumulate(micro_bs), **how),fit(**how)
        assert_same(got, want)
        sizes = [bs]*(n//bs) + ([n % bs] if n % bs and not drop_last else [])
        assert [o[0] for o in got.witness.seen] == 2*sizes and got.witness.parts == 2*sum(math.ceil(s/micro_bs) for s in sizes)

    def test_a_loop_without_fastai(self):
        "AdamW by PyTorch on whole batches, learning rate constant"
        learn = learner(Accumulate(6), wd=.01, wd_bn_bias=True)
        with learn.no_logging(): learn.fit(3, 1e-2)
        model = net()
        opt = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(.9, .99), eps=1e-5, weight_decay=.01)
        for _ in range(3):
            for part in (rows(50)[i:i+20] for i in (0, 20, 40)):
                x,y = map(torch.stack, zip(*part))
                opt.zero_grad()
                F.cross_entropy(model(x), y).backward()
                opt.step()
        assert apart(weights(learn), torch.cat([p.detach().flatten() for p in model.parameters()])) < 1e-12

    def test_parameter_groups_and_frozen_layers(self):
        split = lambda m: [list(m[0].parameters()), list(m[1].parameters()) + list(m[4].parameters())]
        def run(*cbs):
            learn = learner(*cbs, splitter=split)
            for p in learn.model[0].parameters(): p.requires_grad_(False)
            learn.witness.before_step = lambda: None
            with learn.no_logging(): learn.fit_one_cycle(2, slice(1e-3, 1e-1))
            return learn
        assert apart(weights(run(Accumulate(6))), weights(run())) < 1e-12

    def test_several_inputs_targets_and_outputs(self):
        "Batches may be nested: here inputs are a pair and a number, outputs a dict, targets two"
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.a,self.b = net(seed=1),net(seed=2)
            def forward(self, x, more): return dict(a=self.a(x['x']), b=self.b(more))
        def loss(pred, y, z): return F.cross_entropy(pred['a'], y) + F.cross_entropy(pred['b'], z)
        def run(*cbs):
            torch.manual_seed(0)
            batch = (dict(x=torch.randn(20, 5).double()), torch.randn(20, 5).double(), torch.randint(3, (20,)), torch.randint(3, (20,)))
            learn = learner(*cbs, model=Two(), loss=loss)
            learn.dls.train,learn.dls.n_inp = DataLoader([0], bs=None),2
            learn.model.train()
            learn.training,learn.n_iter,learn.n_epoch = True,1,1
            learn.create_opt()
            learn('before_fit')
            learn.witness.after_batch = lambda: None
            learn.dl = None
            learn.n_iter = 1
            learn.training = True
            learn.recorder.before_epoch()
            learn.one_batch(0, batch)
            return learn
        whole,parts = run(),run(Accumulate(7))
        assert apart(parts.witness.grads[0], whole.witness.grads[0]) < 1e-12
        assert parts.pred['a'].shape == (20, 3) and parts.loss.item() == pytest.approx(whole.loss.item(), rel=1e-12)

    def test_fits_one_after_another(self):
        a,b = fitted(fit(Accumulate(7))),fitted(fit())
        assert_same(a, b)

    def test_dropout_draws_for_every_example(self):
        "Another stream of random numbers, but none is used twice: the mean gradient over many draws is the same"
        def mean(*cbs):
            learn = learner(*cbs, n=20, model=net(drop=.5), opt=SGD)
            torch.manual_seed(1)
            with learn.no_logging(): learn.fit(150, 0.)
            return torch.stack(learn.witness.grads)
        a,b = mean(Accumulate(5)),mean()
        se = ((a.var(0) + b.var(0))/150).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 5*se + 1e-12).all()
        assert (a.var(0).sum()/b.var(0).sum()).item() == pytest.approx(1, abs=.3)


class TestLosses:
    w = torch.tensor([1., 5., .2]).double()

    @pytest.mark.parametrize('reduction', ['mean', 'sum'])
    def test_mean_and_sum(self, reduction):
        loss = nn.CrossEntropyLoss(reduction=reduction)
        assert_same(fit(Accumulate(7), loss=loss), fit(loss=loss))

    def test_no_reduction_has_no_gradient_with_or_without(self):
        for cbs in ([], [Accumulate(7)]):
            with pytest.raises(RuntimeError, match='scalar'): fit(*cbs, loss=nn.CrossEntropyLoss(reduction='none'))

    @pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(weight=w), partial(F.cross_entropy, weight=w)])
    def test_class_weights(self, loss):
        with pytest.raises(ValueError, match='no mean over examples.*weigh=lambda y'): fit(Accumulate(7), loss=loss)
        assert_same(fit(Accumulate(7, weigh=lambda y: self.w[y].sum()), loss=loss), fit(loss=loss))

    def test_fastais_own_loss(self):
        "It works in float32, whatever comes"
        opts = dict(loss=CrossEntropyLossFlat(), dtype=torch.float32)
        assert_same(fit(Accumulate(7), **opts), fit(**opts), 1e-5)

    def test_labels_that_are_ignored(self):
        "A mean over the labels left; parts in which none is left count nothing"
        loss = nn.CrossEntropyLoss(ignore_index=1)
        with pytest.raises(ValueError, match='no mean over examples'): fit(Accumulate(7), loss=loss)
        for micro_bs in (1, 7): assert_same(fit(Accumulate(micro_bs, weigh=lambda y: (y != 1).sum()), loss=loss), fit(loss=loss))

    def test_examples_compared_with_each_other(self):
        loss = lambda pred, y: (pred@pred.T).logsumexp(1).mean()
        with pytest.raises(ValueError, match='no mean over examples'): fit(Accumulate(7), loss=loss)

    def test_regularizers_of_other_callbacks_count_by_share(self):
        "A term that is added to the loss after it is computed, as fastai's regularizers do"
        class Decay(Callback):
            def after_loss(self): self.learn.loss_grad = self.learn.loss_grad + .1*self.pred.square().mean()
        assert_same(fit(Accumulate(7), Decay()), fit(Decay()))

    def test_the_check_holds_in_half_precision(self):
        assert fit(Accumulate(7), dtype=torch.bfloat16).recorder.losses

    def test_a_loss_that_is_no_number_goes_through(self):
        "Divergence is for others to see"
        learn = fit(Accumulate(7), loss=lambda pred, y: F.cross_entropy(pred, y)*math.nan)
        assert all(math.isnan(o) for o in learn.recorder.losses)


class TestUpdates:
    def test_the_printed_loss_is_the_loss(self):
        "Smoothed by hand from the losses of whole batches, of a model that stays as it is"
        learn,model = learner(Accumulate(3)),net()
        with learn.no_logging(): learn.fit(1, 0.)
        val = 0.
        for i,part in enumerate((rows(50)[i:i+20] for i in (0, 20, 40)), 1):
            x,y = map(torch.stack, zip(*part))
            val = .98*val + .02*F.cross_entropy(model(x), y).item()
            assert learn.recorder.losses[i-1].item() == pytest.approx(val/(1 - .98**i), rel=1e-6)
        assert learn.recorder.values[0][0] == pytest.approx(val/(1 - .98**3), rel=1e-6)

    def test_training_metrics_see_the_whole_batch(self):
        a,b = (fit(*cbs, recorder=Recorder(train_metrics=True)) for cbs in ([Accumulate(7)], []))
        assert [list(o) for o in a.recorder.values] == [pytest.approx(list(o), rel=1e-6) for o in b.recorder.values]

    def test_clipping_acts_once_an_update(self, monkeypatch):
        calls,clip = [],nn.utils.clip_grad_norm_
        monkeypatch.setattr(nn.utils, 'clip_grad_norm_', lambda ps, *a: calls.append(1) or clip(ps, *a))
        a = fit(Accumulate(7), GradientClip(.05))
        assert len(calls) == 6 and all(g.norm().item() == pytest.approx(.05, rel=1e-4) for g in a.witness.grads)
        assert_same(a, fit(GradientClip(.05)))

    def test_lr_find_counts_updates(self):
        a,b = learner(Accumulate(7)),learner()
        for o in (a, b):
            with o.no_logging(): o.lr_find(num_it=12, show_plot=False)
        assert a.recorder.lrs == b.recorder.lrs and len(a.recorder.lrs) == 12
        assert [o.item() for o in a.recorder.losses] == pytest.approx([o.item() for o in b.recorder.losses], rel=1e-5)

    def test_the_callback_is_not_there_in_validation(self):
        learn = fit(Accumulate(7))
        want = list(learn.recorder.values[-1][1:])
        assert list(learn.validate()) == pytest.approx(want)
        assert len(learn.get_preds()[0]) == 30


class HalfOnCpu(MixedPrecision):
    "fastai's mixed precision, which knows CUDA only, on a CPU; notes how often things happen"
    def __init__(self, dtype=torch.float16, **kw):
        super().__init__()
        self.dtype,self.kw,self.n = dtype,kw,dict(step=0, update=0, enter=0)
    def before_fit(self):
        self.autocast,self.scales = torch.autocast('cpu', dtype=self.dtype),L()
        self.learn.scaler = GradScaler('cpu', enabled=self.dtype == torch.float16, **self.kw)
    def before_batch(self):
        self.n['enter'] += self.training
        super().before_batch()
    def before_step(self):
        self.n['step'] += 1
        super().before_step()
    def after_step(self):
        self.n['update'] += 1
        super().after_step()

class TestMixedPrecision:
    kw = dict(dtype=torch.float32)

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_the_scaler_acts_once_an_update(self, dtype):
        amp = HalfOnCpu(dtype, init_scale=2.**10, growth_interval=2)
        a,b = fit(Accumulate(7), amp, **self.kw),fit(HalfOnCpu(dtype, init_scale=2.**10, growth_interval=2), **self.kw)
        assert amp.n == dict(step=6, update=6, enter=6*3 - 2) # three batches an epoch, of 20, 20 and 10: in 3, 3 and 2 parts
        assert a.half_on_cpu.n | dict(enter=6) == b.half_on_cpu.n
        assert max(map(apart, a.witness.grads, b.witness.grads)) < (.01 if dtype == torch.float16 else .08)
        assert not torch.is_autocast_enabled('cpu')

    def test_every_part_runs_in_half(self):
        seen = []
        class Look(nn.Linear):
            def forward(self, x):
                out = super().forward(x)
                if self.training: seen.append((out.dtype, len(x)))
                return out
        fit(Accumulate(7), HalfOnCpu(), model=nn.Sequential(Look(5, 3)), n=20, **self.kw)
        assert seen == [(torch.float16, o) for o in (6, 7, 7)]*2

    def test_clipping_is_of_true_gradients(self):
        a = fit(Accumulate(7), HalfOnCpu(init_scale=2.**10), GradientClip(.05), **self.kw)
        assert all(g.norm().item() == pytest.approx(.05, rel=1e-3) for g in a.witness.grads)

    def test_an_overflow_skips_one_update_whole(self):
        "A scale that is too high: updates are skipped until it is low enough, and leave nothing. Parts overflow a little later"
        def run(*cbs):
            amp = HalfOnCpu(init_scale=2.**24, growth_interval=1000)
            learn = fit(amp, *cbs, n=200, **self.kw)
            assert amp.n['update'] == 20 and all(g.isfinite().all() for g in learn.witness.grads)
            return len(learn.witness.grads),weights(learn) # the witness sees updates that are made only
        (a,wa),(b,wb) = run(Accumulate(7)),run()
        assert b <= a <= b + 2 and b < 20 and wa.isfinite().all() and wb.isfinite().all()


class Break(Callback):
    "Ends something at the `at`-th part"
    def __init__(self, ex, event='after_backward', at=5):
        self.ex,self.at,self.n = ex,at,0
        setattr(self, event, self.count)
    def count(self):
        self.n += 1
        if self.n == self.at: raise self.ex

class TestNothingLeaks:
    @pytest.mark.parametrize('event', ['after_pred', 'after_loss', 'after_backward'])
    @pytest.mark.parametrize('ex', [CancelBatchException, CancelTrainException, CancelEpochException, CancelFitException])
    def test_cancelled_in_the_middle_of_a_batch(self, ex, event):
        learn = learner(Break(ex, event), Accumulate(7), opt=partial(SGD, mom=0.))
        with learn.no_logging(): learn.fit(1, 0.)
        assert all(p.grad is None or (p.grad == 0).all() for p in learn.model.parameters())
        n = len(learn.witness.grads)
        assert n == (2 if ex is CancelBatchException else 1) # of three
        with learn.no_logging(): learn.fit(1, 0.)
        fresh = learner(opt=partial(SGD, mom=0.))
        with fresh.no_logging(): fresh.fit(1, 0.)
        for a,b in zip(learn.witness.grads, fresh.witness.grads): assert apart(a, b) < 1e-12

    def test_the_batch_after_a_cancelled_one(self):
        learn = learner(Break(CancelBatchException), Accumulate(7), opt=partial(SGD, mom=0.))
        with learn.no_logging(): learn.fit(1, 0.)
        fresh = learner(opt=partial(SGD, mom=0.))
        with fresh.no_logging(): fresh.fit(1, 0.)
        assert apart(learn.witness.grads[1], fresh.witness.grads[2]) < 1e-12
        assert [o[:2] for o in learn.witness.seen] == [(20, 20), (20, 20), (10, 10)] # the cancelled batch was put back too

    @pytest.mark.parametrize('ex', [KeyboardInterrupt, RuntimeError, MemoryError])
    def test_an_error_in_the_model(self, ex):
        class Breaks(nn.Module):
            def __init__(self):
                super().__init__()
                self.net,self.n = net(),0
            def forward(self, x):
                self.n += self.training
                if self.n == 5: raise ex()
                return self.net(x)
        learn = learner(Accumulate(7), model=Breaks())
        with pytest.raises(ex), learn.no_logging(): learn.fit(1, 0.)
        with learn.no_logging(): learn.fit(1, 0.)
        fresh = learner()
        with fresh.no_logging(): fresh.fit(1, 0.)
        assert apart(learn.witness.grads[0], fresh.witness.grads[0]) < 1e-12

    def test_removed_it_leaves_the_learner_as_it_was(self):
        learn = fit(Accumulate(7))
        learn.remove_cb(Accumulate)
        other = fit()
        assert_same(fitted(learn), fitted(other))

def test_what_does_not_go_together():
    for cb,word in ((GradientAccumulation(20), 'accumulates too'), (MixUp(), 'targets of the whole batch')):
        with pytest.raises(ValueError, match=word): fit(Accumulate(7), cb)

@pytest.mark.parametrize('micro_bs', [0, -1, 2.5, '8', None, True])
def test_micro_bs_is_a_whole_number(micro_bs):
    with pytest.raises(ValueError, match='expected a whole number from 1 up'): Accumulate(micro_bs)


class Output(nn.Module):
    "One weight, which is the output"
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
    def forward(self, x): return self.w*x

def step_factors(cb, n, bs, epochs=1, fits=1):
    "For each fit the gradients of its updates, where a true mean is 1: of `n` examples, `bs` a batch of the `DataLoader`"
    rows = [(torch.ones(1), torch.ones(1))]*n
    dls = DataLoaders(DataLoader(rows, bs=bs), DataLoader(rows[:1], bs=1))
    learn = Learner(dls, Output(), lambda pred, y: (pred*y).mean(), SGD, cbs=[TrainEvalCallback(), cb], default_cbs=False)
    factors = []
    learn._step = lambda: factors[-1].append(learn.model.w.grad.item())
    for _ in range(fits):
        factors.append([])
        learn.fit(epochs)
    return factors

class TestFastai:
    "fastai's own callback: factors by arithmetic, written out here"
    @staticmethod
    def by_hand(n_acc, sizes):
        count,acc,steps = 0,0.,[]
        for s in sizes:
            acc,count = acc + s/n_acc,count + s
            if count >= n_acc: steps,count,acc = steps + [acc],0,0.
        return steps,acc

    @pytest.mark.parametrize('bs,n_acc,first', [(48, 64, 1.5), (40, 64, 1.25), (64, 100, 1.28), (16, 64, 1.)])
    def test_over_weighted(self, bs, n_acc, first):
        got = step_factors(GradientAccumulation(n_acc), 480, bs)[0]
        sizes = [bs]*(480//bs) + ([480 % bs] if 480 % bs else [])
        assert got == pytest.approx(self.by_hand(n_acc, sizes)[0]) and got[0] == pytest.approx(first)

    def test_partial_window_and_left_over(self):
        over_two, = step_factors(GradientAccumulation(64), 80, 16, epochs=2) # an epoch alone holds one window and a quarter
        assert len(over_two) == 2
        first,second = step_factors(GradientAccumulation(64), 114, 2, fits=2)
        assert first == pytest.approx([1.]) and second == pytest.approx([1 + 50/64])

    def test_accumulate_has_no_such_factor(self):
        for n,bs,m in ((960, 64, 48), (80, 64, 16), (114, 64, 2), (7, 100, 3)):
            for o in step_factors(Accumulate(m), n, bs, 2, 2): assert o == pytest.approx([1.]*2*math.ceil(n/bs))


def plain(n_out, n_in): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, n_out))

class TestEngines:
    cfg = dict(data='digits', model='plain', bs=64, lr=1e-2, epochs=2)
    models = dict(plain=plain)

    @pytest.mark.parametrize('engine', [lambda c, **kw: train(c, **kw), lambda c, **kw: next(fast_many([c], **kw))], ids=['fastai', 'fast'])
    def test_a_run_in_micro_batches_is_the_run(self, engine):
        a,b = (engine(RunConfig(**self.cfg, micro_bs=m), device='cpu', models=self.models) for m in (10, None))
        assert a.status == b.status == 'ok' and a.id != b.id
        for k in ('steps', 'examples'): assert a.cost[k] == b.cost[k]
        for x,y in zip(a.metrics, b.metrics): assert x == pytest.approx(y, rel=1e-2, abs=4e-3)

    def test_the_fast_engine_follows_the_reference_with_batchnorm_too(self):
        cfg = RunConfig('digits', 'small', 64, 1e-2, epochs=2, micro_bs=9)
        a,b = next(fast_many([cfg], device='cpu')),train(cfg, device='cpu')
        assert a.env['engine'] == 'fast' and a.acc == pytest.approx(b.acc, abs=.02)
        assert a.metrics[-1]['train_loss'] == pytest.approx(b.metrics[-1]['train_loss'], rel=.02)
        whole = train(RunConfig('digits', 'small', 64, 1e-2, epochs=2), device='cpu')
        assert a.metrics[-1]['train_loss'] != pytest.approx(whole.metrics[-1]['train_loss'], rel=1e-3)

    def test_gradients_of_a_row(self):
        "Two members, BatchNorm, uneven parts, float64: each its own network's gradient of parts"
        cfgs = [RunConfig('digits', 'small', 32, lr, micro_bs=12) for lr in (1e-3, 1e-2)]
        source = Digits('cpu', torch.float64)
        row = Row(cfgs, source, dtype=torch.float64)
        row.members.train()
        kept = {}
        row.opt.step = lambda *_: kept.update({k: p.grad.clone() for k,p in row.members.named_parameters()})
        x,y = source.xt[:32],source.yt[:32]
        losses = row.update(x, y, 1., .9)
        set_seed(0)
        model = small(10, 1).double().train()
        total = sum(F.cross_entropy(model(x[s]), y[s])*(s.stop - s.start)/32 for s in micro_slices(32, 12))
        total.backward()
        assert losses.tolist() == pytest.approx([total.item()]*2, rel=1e-10)
        last = next(reversed(kept.values())) # bias of the last layer, a row a member
        assert torch.allclose(last, model[-1].bias.grad.expand(2, -1), rtol=1e-9, atol=1e-12)

    def test_divergence_is_told_as_without(self):
        a,b = (train(RunConfig(**self.cfg | dict(lr=1e30), opt='sgd', micro_bs=m), device='cpu', models=self.models) for m in (10, None))
        assert a.status == b.status == 'diverged' and a.message.split(' in epoch')[0] == b.message.split(' in epoch')[0]

    @pytest.mark.parametrize('error', [MemoryError(), torch.OutOfMemoryError('CUDA out of memory. Tried to allocate')])
    def test_lack_of_memory_is_told_as_without(self, error):
        class Full(nn.Linear):
            def forward(self, x):
                if len(x) > 4: raise error
                return super().forward(x.flatten(1))
        models = dict(full=lambda n_out, n_in: Full(64, n_out))
        runs = [train(RunConfig('digits', 'full', 64, 1e-2, epochs=1, micro_bs=m), device='cpu', models=models) for m in (10, None)]
        assert [o.status for o in runs] == ['oom']*2


class Holds(nn.Module):
    "A small network on a device that holds so many images at once"
    def __init__(self, most, bn=False):
        super().__init__()
        self.most,self.net = most,nn.Sequential(nn.Flatten(), *([nn.BatchNorm1d(64)] if bn else []), nn.Linear(64, 10))
    def forward(self, x):
        if self.training and len(x) > self.most: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
        return self.net(x)

class TestOnOom:
    @pytest.fixture
    def study(self, tmp_path):
        from bs_lr_study.sweep import make_study
        keys = dict(data='digits', models=['holds30', 'holds0'], batch_sizes=[16, 100], lrs=1e-2, epochs=1)
        return make_study('full', tmp_path/'full.jsonl', **keys)

    def run(self, study, engine='fastai', **kw):
        from bs_lr_study.sweep import run
        models = {f'holds{n}': lambda n_out, n_in, n=n: Holds(n) for n in (30, 0)}
        return run(study, engine=engine, models=models, workers=0, device='cpu', show=False, **kw)

    def ended(self, study): return {d['name'].removeprefix('digits-'): d['status'] for d in study.store.records().values()}

    def test_recorded_only(self, study):
        assert self.run(study) == dict(ok=1, oom=3) and len(self.ended(study)) == 4

    @pytest.mark.parametrize('engine', ['fastai', 'fast'])
    def test_answered_in_smaller_parts(self, study, engine):
        ended = self.run(study, engine, on_oom='accumulate')
        got = self.ended(study)
        lead = 'holds30-bs-100-lr-0.01'
        answers = {k.removeprefix(lead): v for k,v in got.items() if k.startswith(lead)}
        assert answers == {'': 'oom', '-micro_bs-50': 'oom', '-micro_bs-25': 'ok'}
        halves = '', '-micro_bs-8', '-micro_bs-4', '-micro_bs-2', '-micro_bs-1'
        assert [got[f'holds0-bs-16-lr-0.01{o}'] for o in halves] == ['oom']*5 # and no further
        assert ended['ok'] == 2 and ended.total() == len(got) == 1 + 3 + 5 + 8
        assert self.run(study, engine, on_oom='accumulate') == {} # nothing is left to do
        d = next(o for o in study.store.records().values() if o['config']['micro_bs'] == 25)
        assert d['config']['bs'] == 100 and d['cost']['steps'] == 12 and d['cost']['examples'] == 1200

    def test_it_goes_on_where_it_was(self, study):
        "Runs recorded first are answered later, and one may stop in between"
        self.run(study)
        heard = []
        def stop(r):
            heard.append(r.name)
            if len(heard) == 2: raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt): self.run(study, on_oom='accumulate', on_run=stop)
        left = self.run(study, on_oom='accumulate')
        assert left.total() == 17 - 4 - 2 and len(self.ended(study)) == 17

    def test_tables(self, study):
        "They refuse the mixture, and show the answer in its cell when asked to"
        from bs_lr_study.analysis import answer_oom, crosstab_acc, crosstab_text, load_runs
        self.run(study, on_oom='accumulate')
        df = load_runs(study.store.path)
        with pytest.raises(ValueError, match='differ in micro_bs'): crosstab_acc(df, 'holds30')
        df = answer_oom(df)
        assert crosstab_acc(df, 'holds30').shape == (1, 2) and crosstab_acc(df, 'holds30').notna().all(axis=None)
        text = crosstab_text(df, 'holds30').iloc[0]
        assert text[100].endswith(' ÷25') and '÷' not in text[16]
        assert crosstab_text(df, 'holds0').iloc[0].tolist() == ['!1/1', '!1/1'] # no answer went well

    def test_wrong_word(self, study):
        with pytest.raises(ValueError, match="on_oom is 'halve': choose one of record, accumulate"): self.run(study, on_oom='halve')

@pytest.mark.parametrize('bs,micro_bs,told', [(32, 64, 'bs=64 and say Accumulate\\(32\\)'), (64, 64, None), (64, 16, None)])
def test_a_number_that_does_nothing_is_told(bs, micro_bs, told):
    "Who means fastai's or Lightning's number learns what this one is, with PyTorch's loaders too"
    ds = torch.utils.data.TensorDataset(torch.randn(128, 3), torch.randn(128, 1))
    for kind in (torch.utils.data.DataLoader, DataLoader):
        dls = DataLoaders(kind(ds, bs), kind(ds, bs))
        learn = Learner(dls, nn.Linear(3, 1), nn.MSELoss(), cbs=Accumulate(micro_bs))
        with learn.no_logging(), learn.no_bar(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            learn.fit(1, 1e-3)
        seen = [str(o.message) for o in caught if 'Accumulate' in str(o.message)]
        assert len(seen) == (told is not None)
        if told: assert re.search(told, seen[0]) and 'accumulate_grad_batches=2' in seen[0]
