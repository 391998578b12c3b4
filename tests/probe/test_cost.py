"Costs of runs counted, where they stop falling, and memory against what is known to be held"
import pytest, torch
from fastai.optimizer import Adam
from torch import nn

from bs_lr_study.probe.cost import held_bytes, peak_since, reset_peak
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import train

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
