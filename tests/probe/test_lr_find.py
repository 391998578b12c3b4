"The curve of one Learner is fastai's, and the range read off it is the one that is there"
from pathlib import Path

import numpy as np, pytest
from fastai.callback.core import Callback
from fastai.callback.schedule import minimum, slide, steep, valley
from fastai.data.core import DataLoaders
from fastai.learner import Recorder
from fastai.torch_core import no_random

from bs_lr_study.probe.lr_find import covering_lrs, find_epochs, find_lrs, lr_curve, smooth_losses, stable_range, suggestions
from learners import changed, learner, parts

pytestmark = pytest.mark.usefixtures('one_thread')

class Ends(Callback):
    "Raise an error at some update"
    def __init__(self, at): self.at,self.seen = at,[]
    def after_step(self):
        self.seen.append(self.learn.train_iter)
        if len(self.seen) == self.at: raise RuntimeError('a fault')

class TestUntouched:
    "What else is done with a Learner is in test_untouched"
    def test_fastai_alone_does_change_it(self, tmp_path):
        "Else the tests there would hold whatever we did"
        learn = learner('trained', tmp_path)
        before = parts(learn)
        with pytest.raises(RuntimeError), learn.added_cbs(Ends(30)): learn.lr_find(show_plot=False)
        assert 'params' in changed(before, parts(learn)) and list(tmp_path.iterdir())

    @pytest.mark.parametrize('kind', ['trained', 'odd model'])
    def test_an_error_in_the_middle(self, kind, tmp_path):
        learn = learner(kind, tmp_path)
        learn.add_cb(cb := Ends(30))
        before,seen = parts(learn),cb.seen
        with pytest.raises(RuntimeError): lr_curve(learn)
        assert changed(before, parts(learn)) == [] and cb.seen is seen == [] and list(tmp_path.iterdir()) == []

    def test_where_nothing_can_be_written(self): assert len(lr_curve(learner('trained', Path('/proc/nowhere')))) > 20

    def test_without_a_recorder(self, tmp_path):
        learn = learner('trained', tmp_path)
        learn.remove_cbs(Recorder)
        assert len(lr_curve(learn)) > 20 and not hasattr(learn, 'recorder')

    def test_an_optimizer_that_cannot_be_copied(self, tmp_path):
        learn = learner('trained', tmp_path)
        learn.opt.lock = open(tmp_path/'x', 'w')
        before = parts(learn)
        assert len(lr_curve(learn)) > 20 and changed(before, parts(learn)) == []
        learn.opt.lock.close()

REFUSED = [(dict(start_lr=1, end_lr=.1), 'the smaller one first'), (dict(start_lr=0), 'above 0'),
           (dict(end_lr=float('inf')), 'two numbers'), (dict(num_it=5), '20 iterations or more')]

@pytest.mark.parametrize('kw,message', REFUSED)
def test_ranges_that_make_no_curve(kw, message, tmp_path):
    with pytest.raises(ValueError, match=message): lr_curve(learner('trained', tmp_path), **kw)

def test_more_images_a_batch_than_there_are(tmp_path):
    learn = learner('trained', tmp_path)
    learn.dls = DataLoaders.from_dsets(learn.dls.train_ds, learn.dls.valid_ds, bs=1000, num_workers=0, device='cpu')
    with pytest.raises(ValueError, match='has no batch'): lr_curve(learn)

@pytest.mark.parametrize('kw', [{}, dict(stop_div=False, end_lr=1e8), dict(num_it=30), dict(start_lr=1e-3, end_lr=1e12)])
def test_curve_and_suggestions_are_fastais(kw, tmp_path):
    "Also where losses grow beyond all numbers"
    learn = learner('trained', tmp_path)
    with no_random(0): c = lr_curve(learn, **kw) # the model has dropout
    num_it = kw.get('num_it', 100)
    n = len(c)
    with no_random(0):
        try: fastais = learn.lr_find(show_plot=False, suggest_funcs=(valley, slide, minimum, steep), **kw)._asdict()
        except (IndexError, RuntimeError): fastais = None # too short a curve; the iterations themselves were made
    assert np.array_equal(learn.recorder.lrs, c.lr)
    assert np.array_equal([float(o) for o in learn.recorder.losses], c.smooth, equal_nan=True)
    ranges = dict(start_lr=1e-7, end_lr=10, num_it=100) | {k: v for k,v in kw.items() if k != 'stop_div'}
    assert np.array_equal(find_lrs(n, **ranges), c.lr)
    assert np.array_equal(smooth_losses(c.loss), c.smooth, equal_nan=True)
    if fastais: assert suggestions(c.lr, c.smooth, num_it) == pytest.approx(fastais, nan_ok=True)

class TestRange:
    def test_a_fall_and_a_rise(self):
        x = find_lrs(100)
        t = np.log10(x)
        y = np.where(t < -4, 2., np.where(t < -1, 2 - (t+4)/2, .5 + (t+1)*5))
        lo,hi = np.log10(stable_range(x, y))
        assert -4 <= lo <= -3.2 and -1.5 <= hi <= -.9

    @pytest.mark.parametrize('y', [[], [2.]*10, [2.]*100, [float('nan')]*100, list(np.linspace(1, 5, 100))])
    def test_no_fall_no_range(self, y): assert np.isnan(stable_range(find_lrs(len(y)), y)).all()

    def test_what_follows_a_loss_that_is_no_number_does_not_count(self):
        x,y = find_lrs(100),np.r_[np.full(40, 2.), np.linspace(2, 1, 30), [np.nan], np.full(29, 0.)]
        assert stable_range(x, y) == stable_range(x[:70], y[:70])
        assert stable_range(x, y)[1] <= x[70]

    def test_three(self):
        assert covering_lrs(1e-5, 1e-2).tolist() == [3.2e-5, 3.2e-4, 3.2e-3]
        assert find_epochs(64, 1297) == pytest.approx(4.934, abs=1e-3)
