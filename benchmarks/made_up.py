"""Images to measure with: some of Imagenette's, where its archive is at hand, or made-up JPEGs as large"""
import os
from pathlib import Path

import numpy as np
from PIL import Image

from bs_lr_study.training.data import find_data
from bs_lr_study.training.folders import read_folder

def archive():
    "The archive that `BSLR_IMAGENETTE` names, or one beside the repository; None if there is none"
    path = Path(os.environ.get('BSLR_IMAGENETTE', Path(__file__).parents[2]/'shared/data/imagenette2-160.tgz'))
    return path if path.exists() else None

def make(n, folder, n_classes=10, distinct=256):
    "`n` training images, and a quarter as many for validation: JPEGs of smooth noise, links from the first `distinct` on"
    rng = np.random.default_rng(0)
    for split,m in (('train', n), ('val', n//4)):
        for i in range(m):
            (d := Path(folder)/split/f'class{i % n_classes}').mkdir(parents=True, exist_ok=True)
            if i < distinct:
                coarse = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
                coarse.resize((160, 160), Image.BICUBIC).save(d/f'{i}.jpg', quality=75)
            else:
                same = i % distinct
                (d/f'{i}.jpg').symlink_to(Path(folder).resolve()/split/f'class{same % n_classes}'/f'{same}.jpg')

def sample(path, n, folder):
    "Links to some of a folder's images"
    whole,rng = read_folder(path),np.random.default_rng(0)
    for split,m in (('train', n), ('val', n//4)):
        part = 'train' if split == 'train' else 'valid'
        of = [o for o,p in zip(whole.files, whole.parts) if p in ('', part)]
        for o in rng.permutation(of)[:m]:
            (d := Path(folder)/split/o.parent.name).mkdir(parents=True, exist_ok=True)
            (d/o.name).symlink_to(o)

def pictures(
    folder, # To be made, with train and val
    n,      # Training images
    path=None, # Folder or archive to take them from; by default Imagenette's archive where it is at hand
): # str: what they are
    "A folder of images"
    if path := path or archive():
        sample(find_data('imagenette', path), n, folder)
        return f'images of {Path(path).name}'
    make(n, folder)
    return 'made-up JPEGs of 160 pixels, since Imagenette is not at hand'
