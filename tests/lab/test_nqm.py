"The noisy quadratic model against closed forms, and the laws against the model"
import numpy as np, pytest

from bs_lr_study.analysis.laws import LR_LAWS, STEP_LAWS, compare_laws, fit_law, params_table
from bs_lr_study.lab.nqm import nqm_best_lr, nqm_step, nqm_steps

def test_one_mode_settles_where_theory_says():
    "E∞ = lr c/(B h (2 − lr h))"
    h,c,bs,lr = 2.,3.,4,.3
    e = 1.
    for _ in range(200): e = nqm_step(e, h, c, bs, lr)
    assert e == pytest.approx(lr*c/(bs*h*(2 - lr*h)))

def test_recursion_against_its_closed_form():
    h,c,bs,lr = np.array([1., .3, .01]),np.array([1., 2., .5]),8,.7
    e = e0 = np.array([1., 2., 3.])
    for _ in range(50): e = nqm_step(e, h, c, bs, lr)
    r = (1 - lr*h)**2
    np.testing.assert_allclose(e, r**50*e0 + lr**2*c/bs*(1 - r**50)/(1 - r))

@pytest.mark.parametrize('bs', [1, 7, 1000])
def test_the_best_steps_of_equal_curvatures_add_up(bs):
    "With one curvature and the best learning rate for each update, 1/E grows by h²B/c an update, exactly"
    h,c,e = np.array([.5]),np.array([2.]),np.array([1.])
    for t in range(1, 30):
        best = nqm_best_lr(e, h, c)
        e = nqm_step(e, h, c, bs, best.lr_max/(1 + best.b_noise/bs))
        assert 1/e[0] == pytest.approx(1 + t*h[0]**2*bs/c[0])

def test_steps_without_noise():
    "One mode at a fixed learning rate: the logarithm says how many updates"
    got,lr = nqm_steps([1.], [1.], np.inf, .5e-6, [.1])
    assert got == np.ceil(np.log(1e-6)/np.log(.9**2)) and lr == .1

def test_search_over_learning_rates_is_the_minimum():
    h = np.logspace(0, -1, 5)
    lrs = [.01, .1, .5, 1., 1.5]
    alone = {}
    for lr in lrs:
        try: alone[lr] = nqm_steps(h, h, 64, .05, [lr], most=5000)[0]
        except ValueError: pass
    steps,lr = nqm_steps(h, h, 64, .05, lrs)
    assert steps == min(alone.values()) == alone[lr]

def test_a_target_below_the_noise_is_an_error():
    with pytest.raises(ValueError, match='no learning rate reached'): nqm_steps([1.], [1.], 1, 1e-6, [.5], most=100)

class TestLaws:
    h = np.logspace(0, -2, 20)
    lrs = np.logspace(-3, np.log10(1.99), 300)
    bss = 4.**np.arange(0, 8)

    def tuned(self, share):
        target = share*.5*self.h.sum()
        out = [nqm_steps(self.h, self.h, b, target, self.lrs) for b in self.bss]
        return *zip(*out),nqm_steps(self.h, self.h, np.inf, target, self.lrs)[0]

    def test_best_lr_is_mccandlish_exactly(self):
        "The minimum of a parabola through three losses of one update, and no formula for the noise scale"
        e,best = np.ones(20),[]
        for b in self.bss:
            y = [.5*(self.h*nqm_step(e, self.h, self.h, b, lr)).sum() for lr in (0, 1, 2)]
            best.append((3*y[0] - 4*y[1] + y[2])/(2*(y[0] - 2*y[1] + y[2])))
        fit = fit_law(self.bss, best, LR_LAWS['mccandlish'])
        assert fit.sd < 1e-8
        ratio = (self.h**2).sum()/(self.h**3).sum() # of lr_max, and of b_noise as c = h
        assert [*fit.values.values()] == pytest.approx([ratio, ratio], rel=1e-6)

    @pytest.mark.parametrize('share', [.01, .05])
    def test_critical_batch_size(self, share):
        "The fit's two ends against the exact ones: no noise, and a batch size of one, where scaling is still perfect"
        counts,lrs,s_min = self.tuned(share)
        p = params_table(fit_law(self.bss, counts, STEP_LAWS['trade-off'])).value
        assert p['s_min'] == pytest.approx(s_min, rel=.15)
        assert p['e_min'] == pytest.approx(counts[0], rel=.05)
        assert p['b_crit'] == pytest.approx(counts[0]/s_min, rel=.15)
        t = compare_laws(self.bss, counts, STEP_LAWS)
        assert t.off_by['trade-off'] < 1.1 and t.off_by['break'] > 1.15 and t.off_by['perfect'] > 2
        assert compare_laws(self.bss, lrs, LR_LAWS).index[0] == 'mccandlish'
