"Sharpness of surfaces of which all is known; a measurement leaves no trace in a model nor in a run"
import copy, random

import numpy as np, pytest, torch, torch.nn.functional as F
from torch import nn

from bs_lr_study.training.norms import replace_norms
from bs_lr_study.runs import RunConfig
from bs_lr_study.probe.sharpness import STATS, Sharpness, Surface, ascent_sharpness, keskar_sharpness, top_eigenvalue
from bs_lr_study.training.learner import train

pytestmark = pytest.mark.usefixtures('one_thread')

class Bowl(nn.Module):
    "½ wᵀHw, whatever the images"
    def __init__(self, w, h):
        super().__init__()
        self.w,self.h = nn.Parameter(torch.tensor(w)),torch.tensor(h)
    def forward(self, x): return (.5*self.w @ self.h @ self.w).expand(len(x))

def bowl(w, h): return Surface(Bowl(w, h), [(torch.zeros(2, 1), torch.zeros(2))], lambda out,y: out.mean())

def conv_net(norm='batch'):
    torch.manual_seed(1)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    net = replace_norms(nn.Sequential(*layers).double(), norm, ghost_bs=8)
    x,y = torch.randn(24, 1, 5, 5).double(),torch.randint(3, (24,))
    net(x)
    return net,x,y

def state(net):
    tensors = [*net.state_dict().values(), *(p.grad for p in net.parameters() if p.grad is not None)]
    modes,needs = [m.training for m in net.modules()],[p.requires_grad for p in net.parameters()]
    numbers = random.getstate(),np.random.get_state()[1].tolist(),torch.get_rng_state()
    return [o.clone() for o in tensors],modes,needs,*numbers

class TestKnown:
    @pytest.mark.parametrize('seed', range(3))
    def test_quadratics(self, seed):
        rng = np.random.default_rng(seed)
        w,root = rng.normal(size=6),rng.normal(size=(6, 6))
        h = root @ root.T
        s,g = bowl(w, h),h @ w
        assert top_eigenvalue(s, 1e-8) == pytest.approx(np.linalg.eigvalsh(h)[-1])
        assert ascent_sharpness(s, .3) == pytest.approx(.3*np.linalg.norm(g) + .045*g @ h @ g/(g @ g))
        d = np.diag(rng.uniform(.1, 3, 6))
        far = abs(w) + .01*(abs(w) + 1)
        assert keskar_sharpness(bowl(w, d), .01)[0] == pytest.approx(100*(.5*far @ d @ far - .5*w @ d @ w)/(1 + .5*w @ d @ w))

    def test_the_largest_is_not_the_largest_in_size(self):
        "A saddle that falls more steeply than it rises"
        assert top_eigenvalue(bowl(np.ones(3), np.diag([-9., 2., .5])), 1e-8) == pytest.approx(2)

    def test_draws_of_a_plane(self):
        s = bowl(np.ones(30), np.eye(30))
        a,b = keskar_sharpness(s, p=10, repeats=4),keskar_sharpness(s, p=10, repeats=4)
        assert (a == b).all() and len(set(a)) == 4 and (a <= keskar_sharpness(s)[0]*10).all()
        assert (keskar_sharpness(s, p=10, repeats=4, seed=1) != a).all()

    @pytest.mark.parametrize('norm', ['batch', 'ghost', 'group', 'frozen'])
    @pytest.mark.parametrize('stats', STATS)
    def test_curvature_of_a_network(self, norm, stats):
        net,x,y = conv_net(norm)
        s = Surface(net, [(x, y)], stats=stats)
        product = lambda v, h=1e-5: (s.grad(s.w + h*v)[1] - s.grad(s.w - h*v)[1])/(2*h)
        h = np.array([product(o) for o in np.eye(len(s.w))])
        assert np.abs(h - h.T).max() < 1e-6
        assert top_eigenvalue(s, 1e-6) == pytest.approx(np.linalg.eigvalsh(h)[-1], rel=1e-5)

    def test_the_loss_is_that_of_training_or_of_scoring(self):
        net,x,y = conv_net()
        assert Surface(net, [(x, y)], stats='running').loss() == pytest.approx(F.cross_entropy(copy.deepcopy(net).eval()(x), y).item())
        for m in net: m.p = 0
        assert Surface(net, [(x, y)]).loss() == pytest.approx(F.cross_entropy(net.train()(x), y).item())

@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('norm', ['batch', 'ghost', 'frozen'])
def test_nothing_is_changed(norm, training):
    net,x,y = conv_net(norm)
    net.train(training)
    F.cross_entropy(net(x), y).backward()
    before = state(net)
    for stats in STATS:
        s = Surface(net, [(x[:16], y[:16]), (x[16:], y[16:])], stats=stats)
        keskar_sharpness(s), keskar_sharpness(s, p=5), ascent_sharpness(s, steps=3), top_eigenvalue(s)
    after = state(net)
    assert all(torch.equal(a, b) for a,b in zip(before[0], after[0])) and before[1:5] == after[1:5] and torch.equal(before[5], after[5])

class TestRun:
    cfg = RunConfig('digits', 'small', 128, 1e-2, epochs=3)

    def test_a_measured_run_is_the_same_run(self):
        a,b = train(self.cfg),train(self.cfg, measure='sharpness', catch=False)
        assert [{k: m[k] for k in a.metrics[0]} for m in b.metrics] == a.metrics and b.env['measure'] == 'sharpness'
        more,last = {'sharpness', 'ascent', 'at_loss', 'fit_loss', 'fit_acc'},{'sharpness_5e4', 'top_eig'}
        assert [set(m) - set(a.metrics[0]) for m in b.metrics] == [more, more, more | last] # epochs 1, 2 and the last
        for m in b.metrics: assert m['sharpness'] > 0 and m['ascent'] > 0 and 0 < m['fit_acc'] <= 1
        assert 0 < m['sharpness_5e4'] < m['sharpness'] and m['top_eig'] > 0

    def test_which_epochs(self):
        c = Sharpness()
        c.learn = type('L', (), dict(n_epoch=11, dls=type('D', (), dict(device=torch.device('cpu')))))()
        c._batch,c._measure = lambda: (),lambda: 'measured'
        def at(e):
            c.learn.epoch = e - 1
            return c.epoch_metrics() == 'measured'
        assert [e for e in range(1, 12) if at(e)] == [1, 2, 4, 8, 11]

REFUSED = [(lambda n, x, y: Surface(n, []), 'give one batch or more'),
           (lambda n, x, y: Surface(n, [(x, y)], stats='own'), "stats is 'own': choose one of batch, running"),
           (lambda n, x, y: Surface(n.requires_grad_(False), [(x, y)]), 'no parameter'),
           (lambda n, x, y: keskar_sharpness(Surface(n, [(x, y)]), p=10**6), 'choose 1 to')]

@pytest.mark.parametrize('make,message', REFUSED)
def test_what_cannot_be_measured(make, message):
    with pytest.raises(ValueError, match=message): make(*conv_net())
