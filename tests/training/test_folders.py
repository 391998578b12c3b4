"""Folders as people have them: what is left out is named, all that is broken at once, and nothing is read wrongly without a word."""
import os, subprocess, sys, zipfile
from pathlib import Path

import numpy as np, pytest
from PIL import Image

from bs_lr_study.files import DataError
from bs_lr_study.runs import RunConfig
from bs_lr_study.sweep import make_study, run
from bs_lr_study.training.data import find_data, fingerprint, get_dls
from bs_lr_study.training.folders import check_folder, open_rgb, read_folder
from bs_lr_study.training.images import load_images
from bs_lr_study.training.learner import train

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

def stripes(across, size=16, seed=0):
    "Stripes across or down, 0 to 255"
    rng = np.random.default_rng(seed)
    wave = 127 + 100*np.sign(np.sin(np.arange(size)*np.pi/2 + .1))
    return (np.tile(wave, (size, 1)) if across else np.tile(wave[:,None], (1, size))) + rng.normal(0, 5, (size, size))

def save(img, path, **kw):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(img.clip(0, 255).astype(np.uint8)).convert('RGB').save(path, **kw)

def folder(path, n=10, name='{}.jpg', top=''):
    for c,across in (('hor', True), ('ver', False)):
        for i in range(n): save(stripes(across, seed=i), path/top/c/name.format(i), format='JPEG', quality=95)
    return path

def study(tmp_path, **kw):
    base = dict(data='pics', size=16, models='small', batch_sizes=4, lrs=1e-2, epochs=1, aug='none')
    return make_study('pics', tmp_path/'pics.jsonl', **base | kw)

def test_sixteen_bits_are_scaled(tmp_path):
    "They were cut off at 255, almost all white"
    deep,shallow = tmp_path/'deep',tmp_path/'shallow'
    for c,across in (('hor', True), ('ver', False)):
        for i in range(10):
            img = stripes(across, seed=i).clip(0, 255).round()
            (deep/c).mkdir(parents=True, exist_ok=True)
            Image.fromarray((img*257).astype(np.uint16)).save(deep/c/f'{i}.png')
            save(img, shallow/c/f'{i}.png')
    for o in read_folder(deep).files:
        assert (np.asarray(open_rgb(o)) == np.asarray(open_rgb(shallow/o.relative_to(deep)))).all()
    cfg = RunConfig('pics', 'small', 4, 1e-2, size=16, epochs=4, aug='none')
    ours = [train(cfg, path=o).metrics for o in (deep, shallow)]
    assert ours[0] == ours[1] and ours[0][-1]['acc'] > .9
    assert (load_images(deep, 16).map == load_images(shallow, 16).map).all()

@pytest.mark.parametrize('turn', range(1, 9))
def test_pictures_are_upright(tmp_path, turn):
    "Whichever of the eight ways a camera was held, the pixels are those of the upright picture"
    upright = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    ways = {2: lambda a: a[:,::-1], 3: lambda a: a[::-1,::-1], 4: lambda a: a[::-1], 5: lambda a: a.transpose(1, 0, 2),
            6: lambda a: np.rot90(a), 7: lambda a: a[::-1,::-1].transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1)}
    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(np.ascontiguousarray(ways.get(turn, lambda a: a)(upright))).save(tmp_path/'x.png', exif=exif)
    assert (np.asarray(open_rgb(tmp_path/'x.png')) == upright).all()

def test_the_reference_sees_what_the_fast_engine_sees(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    pics = folder(tmp_path/'pics', 4)
    for c in ('hor', 'ver'): save(stripes(True), pics/c/'held.jpg', exif=exif)
    dls,ims = get_dls(RunConfig('pics', 'small', 2, .1, size=16, aug='none'), pics, device='cpu'),load_images(pics, 16, aug='none')
    for (x,y),(a,b) in zip(dls.valid, ims.valid_batches(64)): assert (y == b).all() and (x - a).abs().max() < .02

def test_what_is_not_read_is_named(tmp_path):
    "Unknown suffixes, with their number, and a folder beside train and val"
    pics = folder(tmp_path/'pics', 6)
    for i in range(4): (pics/'hor'/f'{i}.jpg').rename(pics/'hor'/f'{i}.jfif')
    (pics/'ver'/'0.jpg').rename(pics/'ver'/'0.heic')
    said = r'left out are 4 .jfif, which is not read \(such as hor/0.jfif\); 1 .heic'
    with pytest.warns(UserWarning, match=said): find_data('pics', pics)
    for o in (pics/'hor').iterdir(): o.rename(o.with_suffix('.heic'))
    with pytest.raises(DataError, match=r'too few images in class hor \(0\).*\.heic, which is not read'): find_data('pics', pics)

def test_test_beside_train_and_val_is_left_alone(tmp_path):
    for top in ('train', 'val'): folder(tmp_path/'pics', 3, top=top)
    for i in range(3): save(stripes(True), tmp_path/'pics'/'test'/f'{i}.jpg')
    with pytest.warns(UserWarning, match='3 in test, which is not validated on'): find_data('pics', tmp_path/'pics')
    assert check_folder(tmp_path/'pics') == dict(train=dict(hor=3, ver=3), val=dict(hor=3, ver=3))

def test_one_class_is_too_few(tmp_path):
    folder(tmp_path/'pics', 3)
    for o in (tmp_path/'pics'/'ver').iterdir(): o.unlink()
    (tmp_path/'pics'/'ver').rmdir()
    with pytest.raises(DataError, match='two or more classes, found hor'): find_data('pics', tmp_path/'pics')

def test_a_zip_of_windows(tmp_path):
    folder(tmp_path/'pics', 3)
    with zipfile.ZipFile(tmp_path/'pics.zip', 'w') as z:
        for o in read_folder(tmp_path/'pics').files:
            info = zipfile.ZipInfo('x')
            info.filename = 'pics\\' + str(o.relative_to(tmp_path/'pics')).replace('/', '\\') # ZipInfo() itself would mend it elsewhere
            z.writestr(info, o.read_bytes())
    found = find_data('pics', tmp_path/'pics.zip', cache=tmp_path/'cache')
    assert check_folder(found) == dict(all=dict(hor=3, ver=3))
    with zipfile.ZipFile(tmp_path/'evil.zip', 'w') as z:
        info = zipfile.ZipInfo('x')
        info.filename = '..\\..\\evil.jpg'
        z.writestr(info, b'x')
    with pytest.raises(DataError, match='would leave'): find_data('pics', tmp_path/'evil.zip', cache=tmp_path/'cache')

def test_all_torn_pictures_are_named_before_the_first_run(tmp_path):
    pics = folder(tmp_path/'pics', 8)
    for o in ('hor/1.jpg', 'hor/5.jpg', 'ver/2.jpg'): (pics/o).write_bytes((pics/o).read_bytes()[:300])
    for engine in ('fast', 'fastai'):
        s = study(tmp_path)
        with pytest.raises(DataError, match=r'(?s)hor/1.jpg.*hor/5.jpg.*ver/2.jpg'): run(s, data=pics, workers=0, engine=engine, show=False)
        assert not s.store.path.exists()
    with pytest.raises(DataError, match=r'(?s)hor/1.jpg.*hor/5.jpg.*ver/2.jpg'): load_images(pics, 16)

def test_names_are_the_same_letters(tmp_path):
    "A Mac writes an é of two code points, and Linux takes it for another folder"
    for top,c in (('train', 'caf\u00e9'), ('val', 'cafe\u0301')):
        for i in range(3):
            save(stripes(True, seed=i), tmp_path/'pics'/top/c/f'{i}.jpg')
            save(stripes(False, seed=i), tmp_path/'pics'/top/'bar'/f'{i}.jpg')
    assert check_folder(tmp_path/'pics')['val'] == {'bar': 3, 'caf\u00e9': 3}
    made = train(RunConfig('pics', 'small', 2, 1e-2, size=16, epochs=1), path=tmp_path/'pics')
    assert made.status == 'ok' and made.env['n_valid'] == 6

@pytest.mark.parametrize('names,valid,want', [
    (('train', 'test'), None, 'test'), (('train', 'valid'), None, 'valid'), (('train', 'val', 'test'), None, 'val'),
    (('train', 'validation'), None, 'validation'), (('train', 'val', 'test'), 'test', 'test'), (('train', 'held'), 'held', 'held')])
def test_splits_by_any_name(tmp_path, names, valid, want):
    for i,top in enumerate(names): folder(tmp_path/'pics', 2 + i, top=top)
    found = read_folder(tmp_path/'pics', valid)
    assert {o.relative_to(found.path).parts[0] for o,p in zip(found.files, found.parts) if p == 'valid'} == {want}
    cfg = RunConfig('pics', 'small', 2, 1e-2, size=16, epochs=1, valid=valid)
    runs = [train(cfg, path=tmp_path/'pics')]
    from bs_lr_study.training.fast import train_many
    runs += train_many([cfg], path=tmp_path/'pics')
    assert [(o.status, o.env['n_train'], o.env['n_valid']) for o in runs] == [('ok', 4, 2*(2 + names.index(want)))]*2

def test_links_are_followed_and_lead_nowhere_twice(tmp_path):
    kept = folder(tmp_path/'kept', 3)
    (tmp_path/'pics').mkdir()
    for c in ('hor', 'ver'): (tmp_path/'pics'/c).symlink_to(kept/c)
    assert check_folder(tmp_path/'pics') == dict(all=dict(hor=3, ver=3))
    assert fingerprint('pics', tmp_path/'pics') == fingerprint('pics', kept)
    (tmp_path/'pics'/'ver2').symlink_to(tmp_path/'pics')
    with pytest.raises(DataError, match='too few images in class ver2'): check_folder(tmp_path/'pics')

def test_a_table_of_labels(tmp_path):
    "The same pictures, sorted into folders or named in a table, give the same run"
    pics = folder(tmp_path/'pics', 5)
    flat = tmp_path/'flat'
    (flat/'all').mkdir(parents=True)
    rows = []
    for o in read_folder(pics).files:
        name = f'{o.parent.name}_{o.name}'
        (flat/'all'/name).write_bytes(o.read_bytes())
        rows.append(f'{name},{o.parent.name}')
    (flat/'labels.csv').write_text('\ufefffilename,label\r\n' + '\r\n'.join(rows), encoding='utf-8')
    cfg = RunConfig('pics', 'small', 2, 1e-2, size=16, epochs=2)
    a,b = train(cfg, path=find_data('pics', pics)),train(cfg, path=find_data('pics', flat))
    assert a.metrics == b.metrics and a.env['data_fingerprint'] != b.env['data_fingerprint']
    before = fingerprint('pics', flat)
    (flat/'labels.csv').write_text('filename,label\n' + '\n'.join([rows[0].replace(',hor', ',ver'), *rows[1:]]))
    assert fingerprint('pics', flat) != before
    (flat/'labels.csv').write_text('filename,label\n' + '\n'.join(rows[1:]))
    with pytest.warns(UserWarning, match='1 without a label in labels.csv'): find_data('pics', flat)

def test_a_script_through_standard_input(tmp_path):
    script = ("from bs_lr_study.sweep import make_study, run\n"
              "study = make_study('d', data='digits', models='small', batch_sizes=[256], lrs=[1e-2], epochs=1)\n"
              "if __name__ == '__main__': print(dict(run(study, show=False, workers=1)))\n")
    env = os.environ | dict(PYTHONPATH=str(Path(__file__).parents[2]))
    got = subprocess.run([sys.executable, '-'], input=script, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert got.stdout.strip() == "{'ok': 1}", got.stderr
