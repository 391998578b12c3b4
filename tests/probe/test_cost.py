"Costs of runs counted, where they stop falling, and memory against what is known to be held"
import subprocess, sys

import numpy as np, pandas as pd, pytest, torch
from fastai.optimizer import Adam
from torch import nn

from bs_lr_study.probe.cost import cost_by_bs, knee, peak_since, reset_peak, run_costs
from bs_lr_study.report.charts import plot_cost
from bs_lr_study.probe.meter import held_bytes
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import train

N = 2**14 # images

def runs(seconds, bss=tuple(2**i for i in range(11)), seeds=3):
    return pd.DataFrame([dict(run=f'{b}-{s}', model='m', bs=b, lr=.1, seed=s, epochs=2, steps=2*N//b, examples=2*N, n_train=N, train_seconds=2*seconds(b, s)) for b in bss for s in range(seeds)])

class TestTables:
    def test_rates(self):
        t = run_costs(runs(lambda b, s: 10.), price=7.2)
        assert np.allclose(t.images_per_second, t.examples/20) and np.allclose(t.seconds_per_update, 20/t.updates) and np.allclose(t.price, .04)

    def test_a_run_that_ended_early_is_counted_as_far_as_it_went(self):
        d = runs(lambda b, s: 10., bss=(16,), seeds=1)
        half = d.assign(steps=d.steps//2, examples=d.examples//2, train_seconds=10.)
        assert run_costs(half).seconds_per_epoch.item() == pytest.approx(run_costs(d).seconds_per_epoch.item())
        assert run_costs(d.assign(steps=0)).empty

    def test_another_clock(self):
        t = run_costs(runs(lambda b, s: 10.).assign(cpu_seconds=4.), clock='cpu_seconds')
        assert (t.seconds == 4).all()
        with pytest.raises(ValueError, match='the runs lack cpu_seconds'): run_costs(runs(lambda b, s: 1.), clock='cpu_seconds')

    def test_middle_and_interval_are_those_of_logs(self):
        by = cost_by_bs(run_costs(runs(lambda b, s: 2.**s, bss=(4,))))
        o = by.loc[4, 'seconds_per_epoch']
        x = np.log([1, 2, 4])
        half = 2.919986*x.std(ddof=1)/3**.5 # Student's t, 2 degrees of freedom, 90 %
        assert (np.log(o.mid), np.log(o.lo), np.log(o.hi)) == pytest.approx((x.mean(), x.mean() - half, x.mean() + half))
        assert np.isnan(cost_by_bs(run_costs(runs(lambda b, s: 1., bss=(4,), seeds=1))).loc[4, 'seconds'].lo)

    def test_no_torch(self):
        said = subprocess.run([sys.executable, '-c', 'import sys, bs_lr_study.cost; print("torch" in sys.modules)'], capture_output=True, text=True).stdout
        assert said.strip() == 'False'

class TestKnee:
    @pytest.mark.parametrize('per_call,at', [(10, 64), (40, 256), (160, 1024)])
    def test_known(self, per_call, at):
        "A doubling from b saves ½/(1 + b/a): less than a tenth once b > 4a"
        assert set(knee(run_costs(runs(lambda b, s: per_call/b + 1.))).bs.fillna(-1)) == {at if at < 1024 else -1}

    def test_wider_steps_count_by_doublings(self):
        assert set(knee(run_costs(runs(lambda b, s: 40/b + 1., bss=(1, 4, 16, 64, 256, 1024)))).bs) == {256}

    def test_it_may_rise_again(self):
        assert set(knee(run_costs(runs(lambda b, s: 1/b + b/100.))).bs) == {8}

    @pytest.mark.parametrize('kw,bss,said', [(dict(saves=0), (1, 2), 'saves is 0'), ({}, (4,), 'is seen in several')])
    def test_refusals(self, kw, bss, said):
        with pytest.raises(ValueError, match=said): knee(run_costs(runs(lambda b, s: 1., bss=bss)), **kw)

def test_plot():
    by = cost_by_bs(run_costs(runs(lambda b, s: 1 + .1*s)))
    fig = plot_cost(by, ('updates', 'seconds'))
    assert [a.get_title() for a in fig.axes] == ['Updates', 'Seconds'] and len(fig.axes[0].lines[0].get_xdata()) == 11
    with pytest.raises(ValueError, match='no peak_memory'): plot_cost(by)

linux = pytest.mark.skipif(reset_peak() is None, reason='the memory of a process is known on Linux only')

class TestMemory:
    def test_what_is_held_is_counted(self):
        net = nn.Sequential(nn.Linear(100, 50, bias=False), nn.BatchNorm1d(50)) # 5000 + 100 weights, 100 + 1 numbers of statistics
        n = 4*(5100 + 100) + 8
        assert held_bytes(net) == n
        opt = Adam(list(net.parameters()), lr=.1)
        net(torch.randn(4, 100)).sum().backward()
        opt.step()
        assert held_bytes(net, opt) == n + 4*5100*3 # gradients, means, means of squares

    @linux
    def test_a_moment_is_seen(self):
        held = reset_peak()
        torch.zeros(2**24).add_(1) # 64 MiB
        assert .8*2**26 < peak_since(held) < 1.5*2**26
        assert peak_since(reset_peak()) < 2**24

    @linux
    def test_memory_of_a_run_grows_with_bs(self):
        "The last epoch's, by about what the layers of each image keep"
        peak = {}
        for bs in (64, 512, 64, 512): # what is loaded once is charged to the first
            run = train(RunConfig('digits', 'small', bs, 1e-2, epochs=2), measure='cost', catch=False)
            peak[bs] = run.metrics[-1]['peak_memory']
            assert run.metrics[-1]['cpu_seconds'] > 0
        kept = 4*(3*16*64 + 3*32*16 + 3*64*4) # of each image at least: three tensors a layer
        assert peak[512] - peak[64] > .5*448*kept and peak[512] < 200*2**20

    def test_a_measured_run_is_the_same_run(self):
        c = RunConfig('digits', 'small', 256, 1e-2, epochs=1)
        a,b = train(c),train(c, measure='cost', catch=False)
        assert {k: b.metrics[0][k] for k in a.metrics[0]} == a.metrics[0] and 'cpu_seconds' in b.metrics[0]
