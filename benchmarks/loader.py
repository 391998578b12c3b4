"""Images a second of the loader in memory beside fastai's, on the same images, one thread each

`python benchmarks/loader.py [path] [n] [repeats]` takes `n` training images of a folder or archive such as Imagenette's, or
makes as many JPEGs of 160 pixels, and prints medians of measurements in turn. It ends with status 1 if training is not
three times as fast as fastai.
"""
import statistics, sys, tempfile, time
from pathlib import Path

import numpy as np, pandas as pd, torch
from PIL import Image

from bs_lr_study.data import find_data, get_dls, has_split, image_files
from bs_lr_study.images import load_images
from bs_lr_study.runs import RunConfig

SIZE,LIMIT = 128,3

def make(n, folder):
    "JPEGs of smooth noise in two classes"
    rng = np.random.default_rng(0)
    for split,m in (('train', n), ('val', n//4)):
        for i in range(m):
            (d := folder/split/f'class{i % 2}').mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).resize((160, 160), Image.BICUBIC).save(d/f'{i}.jpg', quality=75)

def sample(path, n, folder):
    "Links to some of a folder's images"
    files,rng = image_files(path),np.random.default_rng(0)
    for split,m in (('train', n), ('val', n//4)):
        of = [o for o in files if not has_split(path) or o.parent.parent.name == split]
        for o in rng.permutation(of)[:m]:
            (d := folder/split/o.parent.name).mkdir(parents=True, exist_ok=True)
            (d/o.name).symlink_to(o)

def pair(theirs, mine, repeats):
    "Seconds of both, run in turn"
    def clock(f):
        t = time.perf_counter()
        f()
        return time.perf_counter() - t
    return [(clock(theirs), clock(mine)) for _ in range(repeats)]

def row(what, n, ts):
    a,b,r = (statistics.median(o) for o in zip(*[(a, b, a/b) for a,b in ts]))
    rs = [a/b for a,b in ts]
    return dict(what=what, fastai=n/a, memory=n/b, ratio=r, lowest=min(rs), highest=max(rs))

def main(path=None, n=1024, repeats=5):
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)/'pics'
        sample(find_data('imagenette', path), n, folder) if path else make(n, folder)
        t = time.perf_counter()
        ims = load_images(folder, SIZE, cache=Path(d)/'cache', n_threads=1)
        print(f'{len(ims.sizes)/(time.perf_counter() - t):.0f} images a second decoded, once, by one thread')
        g = torch.Generator().manual_seed(0)
        for bs in (1, 16, 128):
            dls = get_dls(RunConfig('pics', 'small', bs, 1e-3, size=SIZE), folder, device='cpu')
            def theirs():
                for _ in dls.train: pass
            def mine():
                for i in torch.randperm(len(ims.train), generator=g)[:len(dls.train)*bs].split(bs): ims.train_batch(i, g)
            theirs(), mine() # warm up
            rows.append(row(f'training, bs {bs}', len(dls.train)*bs, pair(theirs, mine, repeats)))
        def theirs():
            for _ in dls.valid: pass
        def mine():
            for i in torch.arange(len(ims.valid)).split(128): ims.valid_batch(i)
        theirs(), mine()
        rows.append(row('validation, from the second time on', len(ims.valid), pair(theirs, mine, repeats)))
    table = pd.DataFrame(rows).set_index('what').round(1)
    print(f'{"Images of " + Path(path).name if path else "Synthetic images"}, {n} for training, {SIZE} px, medians of {repeats}, images a second\n{table.to_string()}')
    return not (table.ratio[:3] >= LIMIT).all()

if __name__ == '__main__': sys.exit(main(*sys.argv[1:2], *map(int, sys.argv[2:])))
