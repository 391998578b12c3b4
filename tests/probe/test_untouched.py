"Whatever is done with a Learner, and however it ends, it is afterwards what it was"
import random
from functools import partial

import numpy as np, pytest, torch
from fastai.callback.core import Callback
from fastai.learner import Learner, Recorder
from fastai.torch_core import no_random
from torch import nn

from bs_lr_study.probe.lr_find import lr_curve
from bs_lr_study.probe.micro_bs import find_micro_bs
from bs_lr_study.probe.noise import bs_find
from bs_lr_study.probe.untouched import bare_learner, untouched
from learners import KINDS, changed, learner, loaders, parts, same

pytestmark = pytest.mark.usefixtures('one_thread')

def upset(learn):
    "Change whatever there is"
    for layer in learn.model.modules(): layer.register_forward_hook(lambda *_: None)
    with learn.no_logging(), learn.no_mbar(): learn.fit(1, .5)
    learn.model.train(not learn.model.training).requires_grad_(False)
    learn.opt.set_hyper('wd', .7)
    learn.add_cb(Callback())
    learn.dls = loaders()
    random.random(), np.random.rand(), torch.rand(1)
    (learn.path/'file').write_text('left')

class Raises(Callback):
    def __init__(self, error, at=2): self.error,self.at,self.seen = error,at,[]
    def after_backward(self):
        self.seen.append(self.learn.train_iter)
        if len(self.seen) == self.at: raise self.error

class TestAll:
    @pytest.mark.parametrize('kind', KINDS)
    def test_nothing_is_left_changed(self, kind, tmp_path):
        learn = learner(kind, tmp_path)
        before = parts(learn)
        with untouched(learn): upset(learn)
        assert changed(before, parts(learn)) == [] and list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize('error', [RuntimeError('a fault'), KeyboardInterrupt()])
    @pytest.mark.parametrize('kind', KINDS)
    def test_nor_by_an_error_in_the_middle(self, kind, error, tmp_path):
        learn = learner(kind, tmp_path)
        learn.add_cb(cb := Raises(error))
        before,seen = parts(learn),cb.seen
        with pytest.raises(type(error)), untouched(learn): upset(learn)
        assert changed(before, parts(learn)) == [] and cb.seen is seen == []

    def test_without_it_all_is_changed(self, tmp_path):
        "Else the tests above would hold whatever we did"
        learn = learner('trained', tmp_path)
        before = parts(learn)
        upset(learn)
        assert set(before) - set(changed(before, parts(learn))) <= {'grads', 'layout', 'own', 'ids', 'opt_ids', 'attrs', 'path'}

    @pytest.mark.parametrize('kind', KINDS)
    def test_the_next_fit_is_what_it_would_have_been(self, kind, tmp_path):
        ends = []
        for looks in (False, True):
            learn = learner(kind, tmp_path)
            with no_random(3):
                if looks:
                    with untouched(learn): upset(learn)
                with learn.no_logging(), learn.no_mbar(): learn.fit(2, .02)
            ends.append([p.detach() for p in learn.model.parameters()] + [learn.recorder.values])
        assert same(*ends)

    def test_twice_within_each_other(self, tmp_path):
        learn = learner('trained', tmp_path)
        before = parts(learn)
        with untouched(learn):
            upset(learn)
            within = parts(learn)
            with untouched(learn): learn.model.requires_grad_(True)
            assert changed(within, parts(learn)) == []
        assert changed(before, parts(learn)) == []

class TestMeasurements:
    "All that measure a Learner go through it"
    MEASURES = dict(lr=lr_curve, noise=partial(bs_find, updates=4), micro_bs=partial(find_micro_bs, limit=2**17))

    @pytest.mark.parametrize('kind', KINDS)
    @pytest.mark.parametrize('measure', MEASURES.values(), ids=list(MEASURES))
    def test_they_leave_nothing_changed(self, measure, kind, tmp_path):
        learn = learner(kind, tmp_path)
        before = parts(learn)
        measure(learn)
        assert changed(before, parts(learn)) == [] and list(tmp_path.iterdir()) == []

class TestParts:
    def test_layout_and_precision(self, tmp_path):
        "Mixed precision and `ChannelsLast` change them in place"
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3))
        learn = Learner(loaders(), model, nn.CrossEntropyLoss(), path=tmp_path)
        before = parts(learn)
        with untouched(learn): model.half().to(memory_format=torch.channels_last)
        assert changed(before, parts(learn)) == []

    def test_a_loss_with_weights(self, tmp_path):
        loss = nn.CrossEntropyLoss(weight=torch.ones(3))
        learn = Learner(loaders(), nn.Linear(12, 3), loss, path=tmp_path)
        with untouched(learn): loss.weight.zero_()
        assert loss.weight.tolist() == [1, 1, 1]

    def test_tied_weights_stay_tied(self, tmp_path):
        model = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3))
        model[1].weight = model[0].weight
        learn = Learner(loaders(), model, nn.CrossEntropyLoss(), path=tmp_path)
        before = parts(learn)
        with untouched(learn):
            upset(learn)
            model[1].weight = nn.Parameter(torch.zeros(12, 12))
        assert changed(before, parts(learn)) == [] and model[1].weight is model[0].weight

    def test_layers_that_are_added_or_replaced(self, tmp_path):
        learn = learner('trained', tmp_path)
        layers = list(learn.model)
        with untouched(learn):
            learn.model[0] = nn.Identity()
            learn.model.append(nn.Linear(3, 3))
        assert list(learn.model) == layers

    def test_what_cannot_be_copied(self, tmp_path):
        "An optimizer is restored in place, a callback's open file is shared"
        learn = learner('trained', tmp_path)
        learn.opt.lock,cb = open(tmp_path/'x', 'w'),Callback()
        cb.file,cb.seen = learn.opt.lock,[]
        learn.add_cb(cb)
        before = parts(learn)
        with untouched(learn): learn.opt.set_hyper('lr', 7.)
        assert changed(before, parts(learn)) == [] and cb.file is learn.opt.lock
        learn.opt.lock.close()

    def test_a_callback_works_with_copies_unless_it_does_not_run(self, tmp_path):
        learn = learner('trained', tmp_path)
        learn.add_cb(cb := Raises(None, at=None))
        kept = cb.seen
        with untouched(learn): assert cb.seen is not kept
        with untouched(learn, callbacks=False): assert cb.seen is kept

    def test_where_nothing_can_be_written(self):
        learn = learner('trained', '/proc/nowhere')
        with untouched(learn): learn.save('x')

    def test_without_a_recorder(self, tmp_path):
        learn = learner('trained', tmp_path)
        learn.remove_cbs(Recorder)
        with untouched(learn): learn.add_cb(Recorder())
        assert not hasattr(learn, 'recorder')

class TestBare:
    def test_its_callbacks_are_left_out_and_the_rest_is_the_same(self, tmp_path):
        learn = learner('groups', tmp_path)
        learn.add_cb(cb := Raises(RuntimeError('not to be run'), at=1))
        with untouched(learn, callbacks=False):
            bare = bare_learner(learn, cbs=Recorder(), default_cbs=False)
            assert bare.model is learn.model and bare.opt is learn.opt and [o.name for o in bare.cbs] == ['recorder']
            assert (bare.wd, bare.moms, bare.splitter) == (learn.wd, learn.moms, learn.splitter)
        assert cb.learn is learn

    def test_a_fresh_one_makes_its_own_optimizer(self, tmp_path):
        learn = learner('fresh', tmp_path)
        with untouched(learn):
            bare = bare_learner(learn)
            with bare.no_logging(), bare.no_mbar(): bare.fit(1, .1)
            assert bare.opt is not None
        assert learn.opt is None
