"""Imagenette as the study had it, where it is at hand, and a folder in its image everywhere."""
import os, random, tarfile
from pathlib import Path

import numpy as np, pytest
from PIL import Image

from bs_lr_study.training.data import check_folder, find_data, get_dls
from bs_lr_study.archives import unpack
from bs_lr_study.files import DataError
from bs_lr_study.runs import RunConfig
from bs_lr_study.training.learner import train

ARCHIVE = Path(os.environ.get('BSLR_IMAGENETTE', Path(__file__).parents[3]/'shared/data/imagenette2-160.tgz'))
WNIDS = 'n01440764 n02102040 n02979186 n03000684 n03028079 n03394916 n03417042 n03425413 n03445777 n03888257'.split()

def synthetic(path, n_train=6, n_valid=3, size=48):
    "Ten classes, each a colour and a shape, in Imagenette's layout"
    rng = np.random.default_rng(0)
    for split,n in (('train', n_train), ('val', n_valid)):
        for i,c in enumerate(WNIDS):
            (path/split/c).mkdir(parents=True)
            for j in range(n):
                img = rng.integers(0, 60, (size, size + 8*(j%3), 3), dtype=np.uint8)
                img[4*i:4*i+8] += np.uint8(100)
                Image.fromarray(img).save(path/split/c/f'{c}_{j}.JPEG')
    return path

@pytest.fixture(scope='module')
def imagenette(tmp_path_factory):
    if not ARCHIVE.exists():
        pytest.skip(f'Imagenette is not at hand: no {ARCHIVE.name} beside the repository, and BSLR_IMAGENETTE names none')
    return find_data('imagenette', ARCHIVE, cache=tmp_path_factory.mktemp('cache'))

def test_real_imagenette_is_the_studys(imagenette):
    splits = check_folder(imagenette)
    assert list(splits['train']) == WNIDS
    assert {k: sum(v.values()) for k,v in splits.items()} == dict(train=9469, val=3925)

def test_real_images_make_batches(imagenette):
    dls = get_dls(RunConfig('imagenette', 'xresnet18', 8, 1e-3, size=128), imagenette, device='cpu')
    xb,yb = dls.one_batch()
    assert tuple(xb.shape) == (8, 3, 128, 128) and (dls.train.n, dls.valid.n, len(dls.train)) == (9469, 3925, 9469//8)
    assert abs(xb.mean()) < 1.5 and .3 < xb.std() < 2.5 # normalized

def test_an_archive_is_trained_on(tmp_path):
    "The whole path, on a small folder of the same form"
    folder = synthetic(tmp_path/'imagenette2-160')
    with tarfile.open(tmp_path/'a.tgz', 'w:gz') as t: t.add(folder, folder.name)
    found = find_data('imagenette', tmp_path/'a.tgz', cache=tmp_path/'cache')
    run = train(RunConfig('imagenette', 'xresnet18', 10, 1e-2, size=64, epochs=1, n_out=1000), path=found, device='cpu')
    assert (run.status, run.cost['steps'], run.env['n_train'], run.env['n_valid']) == ('ok', 6, 60, 30)

def test_validation_is_fastais_centre_crop(tmp_path):
    "The same images give the same validation batch however often they are asked for; training crops differ"
    folder = synthetic(tmp_path/'pics')
    dls = get_dls(RunConfig('pics', 'small', 10, 1e-2, size=32), folder, device='cpu')
    a,b = (next(iter(dls.valid))[0] for _ in range(2))
    assert (a == b).all()
    a,b = (dls.train.do_item(0)[0] for _ in range(2))
    assert (a != b).any()

def test_the_cache_knows_an_archive_by_its_content(tmp_path):
    for name,n in (('one', 2), ('two', 3)):
        synthetic(tmp_path/name/'pics', n, 1, 8)
        with tarfile.open(tmp_path/'pics.tgz', 'w:gz') as t: t.add(tmp_path/name/'pics', 'pics')
        assert sum(check_folder(find_data('pics', tmp_path/'pics.tgz', cache=tmp_path/'cache'))['train'].values()) == 10*n

OUTSIDE = [('../../etc/evil', {}), ('a/../../evil', {}),
           ('hard', dict(type=tarfile.LNKTYPE, linkname='../../secret')),
           ('soft', dict(type=tarfile.SYMTYPE, linkname='/etc/passwd')),
           ('fifo', dict(type=tarfile.FIFOTYPE))]

@pytest.mark.parametrize('name,kw', OUTSIDE)
def test_archives_stay_in_their_folder(tmp_path, name, kw):
    with tarfile.open(tmp_path/'evil.tar', 'w') as t:
        info = tarfile.TarInfo(name)
        for k,v in kw.items(): setattr(info, k, v)
        t.addfile(info)
    with pytest.raises(DataError): unpack(tmp_path/'evil.tar', tmp_path/'out')
    assert sorted(o.name for o in tmp_path.iterdir()) == ['evil.tar']

def test_torn_archives_are_errors(tmp_path):
    synthetic(tmp_path/'pics', 2, 1, 8)
    with tarfile.open(tmp_path/'a.tgz', 'w:gz') as t: t.add(tmp_path/'pics', 'pics')
    whole,rng = (tmp_path/'a.tgz').read_bytes(),random.Random(0)
    for _ in range(20):
        (tmp_path/'a.tgz').write_bytes(whole[:rng.randrange(len(whole)*9//10)]) # the last tenth is padding
        with pytest.raises(DataError): unpack(tmp_path/'a.tgz', tmp_path/'out')
        assert not (tmp_path/'out').exists()

def test_one_folder_deeper_or_shallower_is_refused(tmp_path):
    for i,stray in enumerate(('train/x.png', 'x.png', f'train/{WNIDS[0]}/deeper/x.png')):
        folder = synthetic(tmp_path/str(i), 2, 1, 8)
        (folder/stray).parent.mkdir(exist_ok=True)
        Image.new('RGB', (8, 8)).save(folder/stray)
        with pytest.raises(DataError, match='x.png: images belong into'): check_folder(folder)

def test_hidden_folders_and_other_files_do_not_count(tmp_path):
    folder = synthetic(tmp_path/'pics', 2, 1, 8)
    before = check_folder(folder)
    for o in ('train/.ipynb_checkpoints', '__MACOSX', f'train/{WNIDS[0]}/.cache'):
        (folder/o).mkdir()
        Image.new('RGB', (8, 8)).save(folder/o/'x.png')
    (folder/'train'/WNIDS[0]/'notes.txt').write_text('not an image')
    assert check_folder(folder) == before

def test_a_random_split_keeps_each_class_on_both_sides(tmp_path):
    folder = synthetic(tmp_path/'pics', 4, 1, 8)/'train'
    dls = get_dls(RunConfig('pics', 'small', 4, 1e-3, size=8, valid_pct=.25), folder, device='cpu')
    for part in (dls.train, dls.valid): assert {o.parent.name for o in part.items} == set(WNIDS)

def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def no_net(*_, **__): raise ConnectionError('no network')
    monkeypatch.setattr('fastdownload.FastDownload.download', no_net)
    with pytest.raises(DataError, match='no network.*name a folder or an archive'): find_data('imagenette')
