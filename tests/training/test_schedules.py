"Warm-up, stable, decay; batches that grow under a schedule; Seesaw: both engines, and what they refuse"
import numpy as np, pytest
from dataclasses import replace

from bs_lr_study.runs import RunConfig, stages, steps_by_epoch
from bs_lr_study.training.fast import train_many
from bs_lr_study.training.learner import train
from bs_lr_study.training.outcome import Untrainable, check_config

pytestmark = pytest.mark.usefixtures('one_thread')
WSD = RunConfig('digits', 'small', 128, 1e-2, epochs=4, schedule='wsd', warmup=.25, cooldown=.5)
STEP = RunConfig('digits', 'small', 64, 1e-2, epochs=3, schedule='step', factor=2)

def lrs(run): return np.array([o['lr'] for o in run.updates])

def test_wsd_rises_stays_and_falls_in_both_engines():
    n = 40 # 10 updates an epoch
    i = np.arange(n)
    by_hand = WSD.lr*np.minimum((i + 1)/(.25*n), np.minimum(1, (n - i)/(.5*n)))
    for run in (train(WSD, log_every=1), *train_many([WSD], log_every=1)):
        np.testing.assert_allclose(lrs(run), by_hand, rtol=1e-5)

@pytest.mark.parametrize('cfg', [replace(STEP, regime='seesaw'), replace(STEP, regime='grow', schedule='wsd'),
                                 replace(STEP, regime='grow', schedule='constant', max_bs=200)])
def test_engines_agree_where_batches_grow(cfg):
    a,b = train(cfg, log_every=1),*train_many([cfg], log_every=1)
    assert a.cost['steps'] == b.cost['steps'] == steps_by_epoch(cfg, 1297)[-1] < steps_by_epoch(STEP, 1297)[-1]
    np.testing.assert_allclose(lrs(a), lrs(b), rtol=1e-5)
    assert a.metrics[-1]['valid_loss'] == pytest.approx(b.metrics[-1]['valid_loss'], rel=1e-2) # in float32

def test_seesaw_lies_between():
    "lr divided by the root of 2, bs doubled: lr²/bs falls as it does where lr is divided by 2 and bs kept: by 4"
    a,b = stages(replace(STEP, regime='seesaw')),stages(STEP)
    assert [bs for bs,_ in a] == [64, 128, 256]
    np.testing.assert_allclose([lr**2/bs for bs,lr in a], [lr**2/bs for bs,lr in b])

@pytest.mark.parametrize('kw,said', [
    (dict(cooldown=.5), 'cooldown = 0.5, but schedule one_cycle has no such part'),
    (dict(schedule='wsd', regime='seesaw'), 'regime = seesaw, but schedule wsd has no steps'),
    (dict(schedule='wsd', drops=3), 'drops = 3, but schedule wsd has no steps'),
    (dict(schedule='wsd', regime='grow', epochs=2), 'drops = 2, but 2 epochs have room for 1')])
def test_what_could_have_no_effect_is_refused(kw, said):
    with pytest.raises(Untrainable, match=said): check_config(RunConfig('digits', 'small', 32, 1e-2, **kw))
