"""Seconds per image of the loader in memory, compared with fastai's on the same images, one thread each

Print a table for training and validation; exit with status 1 if training is not three times as fast as fastai.
Also a part of `bench.py`.
"""
import argparse, sys, tempfile, time

import torch

from bs_lr_study.training.images import load_images
from made_up import pictures
from results import TARGETS, record, tables
from timing import turns

SIZE,LIMIT,AIM = 128,3,5

def training(folder, ims, bs):
    "An epoch by both loaders, and how many images that is"
    from published import image_dls
    dls,g = image_dls(folder, bs, SIZE, 'cpu', 0),torch.Generator().manual_seed(0)
    def theirs():
        for _ in dls.train: pass
    def mine():
        for i in torch.randperm(len(ims.train), generator=g)[:len(dls.train)*bs].split(bs): ims.train_batch(i, g)
    return theirs,mine,len(dls.train)*bs

def validation(folder, ims, bs):
    from published import image_dls
    dls = image_dls(folder, bs, SIZE, 'cpu', 0)
    def theirs():
        for _ in dls.valid: pass
    def mine():
        for i in torch.arange(len(ims.valid)).split(bs): ims.valid_batch(i)
    return theirs,mine,len(ims.valid)

def compare(group, case, both, repeats, note, *goals):
    theirs,mine,n = both
    theirs(), mine() # warm up
    ts = turns(repeats, **{'published loop': theirs, 'fast engine': mine})
    return record(group, case, ts, 's an image', dict.fromkeys(ts, n), note, *goals)

def measure(quick=False, path=None, n=1024, repeats=5):
    "Records of the loaders alone"
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as d:
        note = pictures(f'{d}/pics', n := 64 if quick else n, path) + f', {n} for training, {SIZE} px, fastai without processes of its own'
        t = time.perf_counter()
        ims = load_images(f'{d}/pics', SIZE, cache=f'{d}/cache', n_threads=1)
        note += f'; decoded once before, {len(ims.sizes)/(time.perf_counter() - t):.0f} images a second'
        for bs in (16,) if quick else (1, 16, 128):
            both = training(f'{d}/pics', ims, bs)
            yield compare(TARGETS, f'loader alone, training, bs {bs}', both, repeats, note, LIMIT, AIM)
        both = validation(f'{d}/pics', ims, 16 if quick else 128)
        yield compare('Loader, validation', 'from the second time on', both, repeats, note)

def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('path', nargs='?', help="folder or archive of images; Imagenette's archive by default, else made-up JPEGs")
    p.add_argument('n', nargs='?', type=int, default=1024, help='training images; 1024 by default')
    p.add_argument('repeats', nargs='?', type=int, default=5, help='turns of each comparison; 5 by default')
    p.add_argument('--quick', action='store_true', help='see that it works, with 64 images and one batch size')
    return p.parse_args()

def main():
    args = options()
    records = list(measure(args.quick, args.path, args.n, args.repeats))
    print(tables(records))
    return not args.quick and not all(r['ratios']['fast engine'][0] >= LIMIT for r in records if r['at_least'])

if __name__ == '__main__': sys.exit(main())
