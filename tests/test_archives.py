"""Archives that are no bombs, and damaged ones, which are not taken for whole."""
import os, shutil, zipfile
from pathlib import Path

import pytest

from bs_lr_study import archives
from bs_lr_study.archives import unpack
from bs_lr_study.files import DataError

def packed_zeros(path, size, n=1):
    "Zeros, which shrink to a thousandth"
    for i in range(n): (path.parent/'pics'/f'{i}').mkdir(parents=True)
    for i in range(n): (path.parent/'pics'/f'{i}'/'x.png').write_bytes(bytes(size))
    how = dict(zip=('zip', '.zip'), tgz=('gztar', '.tar.gz'), txz=('xztar', '.tar.xz'))[path.name]
    return Path(shutil.make_archive(path, how[0], path.parent, 'pics'))

@pytest.mark.parametrize('how', ['zip', 'tgz', 'txz'])
@pytest.mark.parametrize('n', [1, 10])
def test_bombs_are_refused_before_they_fill_the_disk(tmp_path, monkeypatch, how, n):
    monkeypatch.setitem(archives._MOST, 'size', 10**6)
    bomb = packed_zeros(tmp_path/how, 3*10**6//n, n)
    said = (r'would become more than 0\.0 GB, \d+ times its size: '
            r'if you trust it, unpack it yourself and name the folder')
    with pytest.raises(DataError, match=said):
        unpack(bomb, tmp_path/'out')
    assert not (tmp_path/'out').exists()
    monkeypatch.setitem(archives._MOST, 'size', 4*10**6)
    assert len(list(unpack(bomb, tmp_path/'out').rglob('*.png'))) == n

def packed_noise(path, how):
    "Three files that cannot be packed any smaller"
    for i in range(3):
        (path/'pics').mkdir(exist_ok=True)
        (path/'pics'/f'{i}.bin').write_bytes(os.urandom(30_000))
    return Path(shutil.make_archive(path/'a', how, path, 'pics'))

@pytest.mark.parametrize('how', ['gztar', 'bztar', 'xztar', 'zip'])
def test_an_archive_that_was_damaged_anywhere_is_refused(tmp_path, how):
    "A byte of the content, of the name of the second file, of the end; a part that is missing"
    archive = packed_noise(tmp_path, how)
    whole = archive.read_bytes()
    unpack(archive, tmp_path/'whole')
    for at in (len(whole)//5, len(whole)//2, -9):
        data = bytearray(whole)
        data[at] ^= 255
        archive.write_bytes(data)
        with pytest.raises(DataError, match='could not unpack|neither a folder nor a whole'): unpack(archive, tmp_path/'out')
    archive.write_bytes(whole[:len(whole)//2])
    with pytest.raises(DataError, match='could not unpack|neither a folder nor a whole'): unpack(archive, tmp_path/'out')
    assert not (tmp_path/'out').exists()

def test_a_tar_that_breaks_off_between_two_files_is_refused(tmp_path):
    "Nor is what follows a damaged header left out without a word"
    archive = packed_noise(tmp_path, 'tar')
    whole = archive.read_bytes()
    at = whole.index(b'pics/2.bin')
    for data in (whole[:at], whole[:at] + b'?' + whole[at + 1:]):
        archive.write_bytes(data)
        with pytest.raises(DataError, match='could not unpack it'): unpack(archive, tmp_path/'out')

def test_a_damaged_member_of_a_zip_is_an_error_of_the_data(tmp_path):
    "Bytes that no decompressor can read, not only a directory that is wrong"
    whole = tmp_path/'a.zip'
    with zipfile.ZipFile(whole, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('a.txt', bytes(range(256))*400)
    data = bytearray(whole.read_bytes())
    data[40:60] = bytes(255 - o for o in data[40:60])
    whole.write_bytes(data)
    with pytest.raises(DataError, match='could not unpack'): unpack(whole, tmp_path/'out')
