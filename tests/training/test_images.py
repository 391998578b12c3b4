"""Images in memory beside fastai's loader, which is the truth here, and what can go wrong on disk."""
import json, multiprocessing, os, shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np, pytest, torch
from PIL import Image

from bs_lr_study.training import images
from bs_lr_study.training.data import find_data, get_dls
from bs_lr_study.training.folders import read_folder
from bs_lr_study.files import DataError
from bs_lr_study.training.images import crops, cut_batch, cut_each, decode, load_images
from bs_lr_study.runs import RunConfig

ARCHIVE = Path(os.environ.get('BSLR_IMAGENETTE', Path(__file__).parents[3]/'shared/data/imagenette2-160.tgz'))
STD = 255*torch.tensor([.229, .224, .225]).view(3, 1, 1)
MODES = dict(jpg=['RGB', 'L', 'CMYK'], png=['RGB', 'RGBA', 'P', 'L', 'LA', '1', 'I;16'], gif=['P'], bmp=['RGB'])

pytestmark = pytest.mark.usefixtures('one_thread')

def picture(mode, w, h, rng):
    if mode == 'I;16': return Image.fromarray(rng.integers(0, 2**16, (h, w), dtype=np.uint16))
    img = Image.fromarray(rng.integers(0, 256, (h//4 + 1, w//4 + 1, 4), dtype=np.uint8), 'RGBA').resize((w, h), Image.BICUBIC)
    return img.convert('RGB').convert(mode) if mode in ('P', 'CMYK', '1') else img.convert(mode)

@pytest.fixture
def pics(tmp_path):
    "Two classes; every form of image and many shapes, from a single pixel to a long strip"
    rng = np.random.default_rng(0)
    shapes = [(48, 48), (90, 40), (33, 71), (1, 1), (7, 300), (300, 7), (50, 37), (128, 128)]
    for split in ('train', 'val'):
        for c in ('b', 'a'):
            (tmp_path/'pics'/split/c).mkdir(parents=True)
            for j,(ext,mode) in enumerate((e, m) for e,ms in MODES.items() for m in ms):
                w,h = shapes[(j + (c == 'a')) % len(shapes)]
                picture(mode, w, h, rng).save(tmp_path/'pics'/split/c/f'{j}{mode.replace(";", "")}.{ext}')
    return tmp_path/'pics'

def apart(dls, ims):
    "Grey levels between fastai's validation batches and ours"
    x,y = map(torch.cat, zip(*dls.valid))
    xb,yb = ims.valid_batch(np.arange(len(ims.valid)))
    assert y.tolist() == yb.tolist() and list(dls.vocab) == ims.vocab and x.shape == xb.shape
    return (x.as_subclass(torch.Tensor) - xb).abs()*STD

@pytest.mark.parametrize('size', [8, 32, 45])
def test_validation_is_fastais(pics, tmp_path, size):
    dls = get_dls(RunConfig('pics', 'small', 4, 1e-2, size=size), pics, device='cpu')
    assert apart(dls, load_images(pics, size, tmp_path/'cache')).max() < 1e-3

def test_what_does_not_fit_stays_on_disk(pics, tmp_path):
    a,b = (load_images(pics, 32, tmp_path/'cache', max_bytes=o) for o in (2**32, 0))
    for i in ([0], [3, 1, 1], range(len(a.valid))):
        assert (a.valid_batch(i)[0] == b.valid_batch(i)[0]).all()
        x,y = (o.train_batch(i, torch.Generator().manual_seed(0)) for o in (a, b))
        assert (x[0] == y[0]).all() and (x[1] == y[1]).all()

@pytest.mark.parametrize('pct,seed', [(.2, 0), (.37, 5)])
def test_a_random_split_is_fastais(pics, tmp_path, pct, seed):
    flat = pics/'train'
    before = torch.get_rng_state()
    ims,files = load_images(flat, 32, tmp_path/'cache', valid_pct=pct, split_seed=seed),read_folder(flat).files
    assert (torch.get_rng_state() == before).all() # nobody else's random numbers are touched
    dls = get_dls(RunConfig('pics', 'small', 2, 1e-2, size=32, valid_pct=pct, split_seed=seed), flat, device='cpu')
    assert [files[i] for i in ims.train] == list(dls.train.items) and [files[i] for i in ims.valid] == list(dls.valid.items)
    assert [ims.vocab[i] for i in ims.y[ims.train]] == [o.parent.name for o in dls.train.items]

class Fed:
    "In place of the module `random`: the numbers of one image, as `crops` uses them"
    def __init__(self, u): self.tries,self.pos = iter(np.stack([u[:10], u[10:20]], 1).ravel().tolist()),iter(u[20:].tolist())
    def uniform(self, a, b): return a + (b - a)*next(self.tries)
    def randint(self, a, b): return a + int(next(self.pos)*(b - a + 1))

def uniform(n, seed): return torch.rand(n, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy()

def test_boxes_are_fastais_given_its_random_numbers():
    import fastai.vision.augment as augment
    sizes = np.random.default_rng(1).integers(1, 500, (3000, 2))
    tfm,want = augment.RandomResizedCrop(32, min_scale=.35),[]
    for (w,h),u in zip(sizes.tolist(), uniform(3000, 7)):
        with patch.object(augment, 'random', Fed(u)): tfm.before_call(Image.new('L', (w, h)), 0)
        want.append((*tfm.tl, *tfm.cp_size))
    assert (crops(sizes, torch.Generator().manual_seed(7)) == np.array(want)).all()

def test_training_batches_are_fastais_given_its_random_numbers(pics, tmp_path):
    "The whole way, from file to normalized batch"
    import fastai.vision.augment as augment
    dls,ims = get_dls(RunConfig('pics', 'small', 4, 1e-2, size=32), pics, device='cpu'),load_images(pics, 32, tmp_path/'cache')
    items = []
    for i,u in enumerate(uniform(len(ims.train), 3)):
        with patch.object(augment, 'random', Fed(u)): items.append(dls.train.do_item(i))
    x,y = dls.train.after_batch(dls.train.create_batch(items))
    xb,yb = ims.train_batch(np.arange(len(ims.train)), torch.Generator().manual_seed(3))
    d = (x.as_subclass(torch.Tensor) - xb).abs()*STD
    assert y.tolist() == yb.tolist() and d.max() < 2.01 and d.mean() < .1

@pytest.mark.parametrize('cut', [cut_each, cut_batch])
def test_a_crop_is_pillows(pics, tmp_path, cut):
    "Larger and smaller, whole and in part, images of any shape"
    ims = load_images(pics, 32, tmp_path/'cache')
    i = np.arange(len(ims.sizes))
    for seed,size in enumerate((5, 32, 130)):
        box = crops(ims.sizes, torch.Generator().manual_seed(seed))
        got = cut(ims.pixels, ims.starts, ims.sizes[:,0], box, size).int()
        def pillows(j, x, y, w, h):
            img = Image.fromarray(ims[j]).crop((x, y, x+w, y+h)).resize((size, size), Image.BILINEAR)
            return np.asarray(img).transpose(2, 0, 1)
        want = [pillows(j, *b) for j,b in zip(i, box.tolist())]
        d = (got - torch.from_numpy(np.stack(want)).int()).abs()
        assert d.max() <= 2 and d.float().mean() < .1

def test_only_the_generator_is_asked(pics, tmp_path):
    ims = load_images(pics, 32, tmp_path/'cache')
    def batch(noise):
        torch.manual_seed(noise), np.random.seed(noise)
        return ims.train_batch([0, 3, 5], torch.Generator().manual_seed(1))[0]
    assert (batch(0) == batch(1)).all()

def cache_of(tmp_path): return next(o for o in (tmp_path/'cache').iterdir() if o.is_dir())

def swap_sizes(folder):
    meta = json.loads((folder/'meta.json').read_text())
    (folder/'meta.json').write_text(json.dumps(meta | dict(sizes=[o[::-1] for o in meta['sizes']])))

HARMS = [swap_sizes,
         lambda o: (o/'pixels').unlink(),
         lambda o: (o/'pixels').write_bytes(b''),
         lambda o: os.truncate(o/'pixels', 100),
         lambda o: (o/'meta.json').write_text('{}'),
         lambda o: (o/'meta.json').write_bytes(b'\xff\x00'),
         lambda o: (o/'meta.json').write_text('{"crc32": 0, "sizes": [[1, 2], [3]]}')]

@pytest.mark.parametrize('harm', HARMS)
def test_a_broken_cache_is_made_again(pics, tmp_path, harm):
    want = load_images(pics, 32, tmp_path/'cache').map.tobytes()
    harm(cache_of(tmp_path))
    with patch.object(images, 'decode', side_effect=decode) as again: assert load_images(pics, 32, tmp_path/'cache').map.tobytes() == want
    assert again.call_count == len(read_folder(pics).files)
    with patch.object(images, 'decode', side_effect=decode) as again: load_images(pics, 32, tmp_path/'cache')
    assert not again.called

def test_a_changed_image_is_seen(pics, tmp_path):
    "Also where name and size of the file stay"
    a = load_images(pics, 32, tmp_path/'cache')
    bmp = next(pics.rglob('train/a/*.bmp'))
    raw = bytearray(bmp.read_bytes())
    raw[60] ^= 255
    bmp.write_bytes(raw)
    os.utime(bmp, ns=(1, 1))
    assert load_images(pics, 32, tmp_path/'cache').map.tobytes() != a.map.tobytes()

def test_a_killed_decoding_leaves_nothing_to_be_taken_for_whole(pics, tmp_path):
    def killed(path):
        if path.name.startswith('5'): raise KeyboardInterrupt
        return decode(path)
    with patch.object(images, 'decode', killed), pytest.raises(KeyboardInterrupt): load_images(pics, 32, tmp_path/'cache')
    assert not [o for o in (tmp_path/'cache').iterdir() if o.is_dir()]
    (tmp_path/'cache'/f'pixels-{images.cache_key(pics, read_folder(pics).files)}.part').mkdir() # as a SIGKILL leaves it
    load_images(pics, 32, tmp_path/'cache')
    assert len([o for o in (tmp_path/'cache').iterdir() if o.is_dir()]) == 1

def _load(pics, cache, queue): queue.put(load_images(pics, 32, cache).map.tobytes())

def test_several_processes_share_one_decoding(pics, tmp_path):
    ctx = multiprocessing.get_context('spawn')
    queue = ctx.Queue()
    ps = [ctx.Process(target=_load, args=(pics, tmp_path/'cache', queue)) for _ in range(2)]
    for p in ps: p.start()
    got = {queue.get(timeout=300) for _ in ps}
    for p in ps: p.join()
    assert got == {load_images(pics, 32, tmp_path/'cache').map.tobytes()}

BROKEN = lambda o: o.write_bytes(b''), lambda o: o.write_bytes(b'no image'), lambda o: os.truncate(o, o.stat().st_size//2)

@pytest.mark.parametrize('harm', BROKEN)
@pytest.mark.parametrize('ext', list(MODES))
def test_a_broken_image_is_named(pics, tmp_path, harm, ext):
    bad = sorted(pics.rglob(f'val/a/*.{ext}'))[0]
    harm(bad)
    with pytest.raises(DataError, match=f'broken or missing image: .*{bad.name}'): load_images(pics, 32, tmp_path/'cache', n_threads=3)

def test_a_full_disk_says_what_to_do(pics, tmp_path):
    full = patch.object(images, '_decode_to', side_effect=OSError(28, 'No space left on device'))
    with full, pytest.raises(DataError, match='No space left.*another folder as cache'):
        load_images(pics, 32, tmp_path/'cache')

def test_a_class_without_training_images_is_named(pics, tmp_path):
    shutil.rmtree(pics/'train/b')
    with pytest.raises(DataError, match='no training images of class b'): load_images(pics, 32, tmp_path/'cache')

def test_no_more_threads_than_asked(pics, tmp_path):
    import threading
    seen = set()
    def watched(path):
        seen.add(threading.get_ident())
        return decode(path)
    with patch.object(images, 'decode', watched): load_images(pics, 32, tmp_path/'cache', n_threads=2)
    assert len(seen) <= 2

@pytest.fixture(scope='module')
def some_of_imagenette(tmp_path_factory):
    if not ARCHIVE.exists():
        pytest.skip(f'Imagenette is not at hand: no {ARCHIVE.name} beside the repository, and BSLR_IMAGENETTE names none')
    tmp = tmp_path_factory.mktemp('imagenette')
    found = find_data('imagenette', ARCHIVE, cache=tmp/'cache')
    for o in read_folder(found).files[::20]:
        to = tmp/'some'/o.relative_to(found)
        to.parent.mkdir(parents=True, exist_ok=True)
        o.rename(to)
    return tmp/'some'

def test_real_images_validate_as_fastais(some_of_imagenette, tmp_path):
    dls = get_dls(RunConfig('imagenette', 'xresnet18', 64, 1e-3, size=128), some_of_imagenette, device='cpu')
    d = apart(dls, load_images(some_of_imagenette, 128, tmp_path/'cache'))
    assert len(d) > 150 and d.max() < 1e-3

def striped(path, n):
    "Noisy stripes at three distances, which a crop changes"
    rng = np.random.default_rng(0)
    yy,xx = np.mgrid[:48,:60]
    for split in ('train', 'val'):
        for wave in (8, 9.5, 11.3):
            (path/split/f'{wave:04}').mkdir(parents=True)
            for j in range(n):
                a,b = rng.uniform(0, np.pi, 2)
                img = 128 + 40*np.sin(2*np.pi*(xx*np.cos(a) + yy*np.sin(a))/wave + 2*b)[...,None] + rng.normal(0, 60, (48, 60, 3))
                Image.fromarray(img.clip(0, 255).astype(np.uint8)).save(path/split/f'{wave:04}'/f'{j}.jpg', quality=90)
    return path

@pytest.mark.slow
def test_models_learn_as_much(tmp_path):
    "56 seeds, each trained with either loader: the 95 % interval of the mean difference lies within 4 points"
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.torch_core import no_random
    from scipy.stats import t
    from bs_lr_study.training.learner import make_learner
    pics = striped(tmp_path/'pics', 120)
    ims = load_images(pics, 32, tmp_path/'cache')
    loader = lambda n, get, **kw: DataLoader(range(n), after_batch=get, device='cpu', **kw)
    def acc(cfg, mine):
        with no_random(cfg.seed):
            learn = make_learner(cfg, path=pics, device='cpu')
            g = torch.Generator().manual_seed(cfg.seed)
            ours = loader(len(ims.train), lambda i: ims.train_batch(i, g), bs=cfg.bs, shuffle=True, drop_last=True)
            valid = loader(len(ims.valid), lambda i: ims.valid_batch(i), bs=64) # the same for both, as another test shows
            learn.dls = DataLoaders(ours if mine else learn.dls.train, valid, device='cpu')
            with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(cfg.epochs, cfg.lr)
        return learn.watch.metrics[-1]['acc']
    cfgs = [RunConfig('stripes', 'small', bs=24, lr=1e-2, size=32, epochs=6, seed=s) for s in range(100, 156)]
    accs = np.array([[acc(o, False), acc(o, True)] for o in cfgs])
    d = accs[:,1] - accs[:,0]
    half = t.ppf(.975, len(d) - 1)*d.std(ddof=1)/len(d)**.5
    print(f'fastai {accs[:,0].mean():.3f}, in memory {accs[:,1].mean():.3f}, difference {d.mean():+.4f} ± {half:.4f}')
    assert .5 < accs.mean() < .97 and abs(d.mean()) + half < .04
