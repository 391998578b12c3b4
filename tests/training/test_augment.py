"""Augmentation by both engines, on pictures that show what was done to them."""
import numpy as np, pytest, torch
from fastai.torch_core import no_random
from PIL import Image

from bs_lr_study.files import DataError
from bs_lr_study.training.data import get_dls
from bs_lr_study.training.fast import train_many
from bs_lr_study.training.row import get_source
from bs_lr_study.training.images import AUGS, load_images
from bs_lr_study.runs import RunConfig, grid
from bs_lr_study.training.learner import train

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

@pytest.fixture
def ramps(tmp_path):
    "Pictures that brighten from left to right, of two classes and several shapes"
    for split in ('train', 'val'):
        for c in 'ab':
            (tmp_path/'ramps'/split/c).mkdir(parents=True)
            for i in range(10):
                row = np.linspace(0, 255, 40 + i, dtype=np.uint8)
                Image.fromarray(np.stack([np.tile(row, (44, 1))]*3, 2)).save(tmp_path/'ramps'/split/c/f'{i}.png')
    return tmp_path/'ramps'

def cfg(aug, **kw): return RunConfig('ramps', 'small', **dict(bs=5, lr=1e-3, size=24, epochs=1, aug=aug) | kw)

def of_reference(aug, path):
    "Training images of some epochs, as fastai feeds them"
    with no_random(0):
        dl = get_dls(cfg(aug), path).train
        return torch.cat([x.as_subclass(torch.Tensor) for _ in range(10) for x,_ in dl])

def of_fast(aug, path):
    source,g = get_source(cfg(aug), path),torch.Generator().manual_seed(0)
    return torch.cat([source.train_batch(np.arange(20), g)[0] for _ in range(10)])

def rises(x): return x[...,-1].mean((1, 2)) > x[...,0].mean((1, 2))

@pytest.mark.parametrize('images', [of_reference, of_fast])
def test_half_of_the_crops_are_mirrored(images, ramps):
    "Of 200 between 38 and 62 in a hundred: more than three standard errors either way"
    assert rises(images('usual', ramps)).all()
    assert .38 < rises(images('flip', ramps)).float().mean() < .62

def test_without_augmentation_training_shows_what_validation_shows(ramps):
    "Both engines, the same pixels in every epoch; pictures of training and validation are alike here"
    for images in (of_reference, of_fast):
        x = images('none', ramps)
        assert rises(x).all() and len(torch.unique(x, dim=0)) <= 10 # ten shapes
    source = get_source(cfg('none'), ramps)
    assert torch.equal(source.train_batch(np.arange(20), None)[0], source.valid_batch(np.arange(20))[0])
    theirs = next(iter(get_dls(cfg('none', bs=20), ramps).train))[0].as_subclass(torch.Tensor)
    ours = source.train_batch(np.arange(20), None)[0]
    assert torch.cdist(theirs.flatten(1), ours.flatten(1)).min(1).values.max() < 1e-3

def test_strong_is_the_references_and_both_say_so(ramps):
    run, = train_many([cfg('strong')], path=ramps)
    assert (run.status, run.env['engine']) == ('ok', 'fastai') and 'aug strong is left to the reference' in run.env['why']
    with pytest.raises(ValueError, match='choose from usual, none, flip'): load_images(ramps, 24, aug='strong')
    x = of_reference('strong', ramps)
    assert .3 < rises(x).float().mean() < .7 and x.std(2).max() > .05 # turned: rows are no longer alike

def test_the_first_crops_of_flip_are_those_of_usual(ramps):
    "A mirrored crop is the crop, mirrored"
    usual,flip = (get_source(cfg(o), ramps).train_batch([3], torch.Generator().manual_seed(4))[0] for o in ('usual', 'flip'))
    assert torch.equal(usual, flip) or torch.equal(usual, flip.flip(3))

@pytest.mark.parametrize('aug', AUGS)
def test_what_a_run_sees_does_not_depend_on_its_neighbours(aug, ramps):
    cfgs = grid(data='ramps', model='small', bs=5, size=24, epochs=1, lr=[1e-3, 1e-2], seed=[0, 1], aug=aug)
    together = {r.id: r for r in train_many(cfgs, path=ramps)}
    for c in cfgs[:2]:
        alone, = train_many([c], path=ramps)
        assert alone.status == 'ok' and alone.metrics[0]['valid_loss'] == pytest.approx(together[c.id].metrics[0]['valid_loss'], rel=1e-3)

def test_digits():
    "They have no mirror images; as they are is both usual and none; the strong set moves them"
    digit = lambda **kw: RunConfig('digits', 'small', **dict(bs=128, lr=1e-2, epochs=1) | kw)
    with pytest.raises(DataError, match='no mirror images'): get_dls(digit(aug='flip'))
    run, = train_many([digit(aug='flip')])
    assert run.status == 'failed' and 'no mirror images' in run.message
    a,b,c = (train(digit(aug=o)).metrics for o in ('usual', 'none', 'strong'))
    assert a == b != c
