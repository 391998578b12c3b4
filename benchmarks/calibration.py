"""How often sets of best batch sizes hold the true best, and how much of what findings calls clear is false

Write `coverage.csv`, `sentences.csv`, `rare.csv` and `laws.csv` into the records of the calibration: some twenty
minutes on one core. With `--quick` see that it works, and write nothing.
"""
import argparse
from pathlib import Path

import numpy as np, pandas as pd

import bs_lr_study
from bs_lr_study.lab import calibration as cal

def coverage(repeats):
    "By stratum and of whole families, of real and of made-up grids, with two, three and five runs a cell"
    tried = [t for n in (2, 3, 5) for t in (cal.try_real('hpobench', n, repeats), cal.try_real('fcnet', n, repeats),
                                            cal.try_synthetic(n, 6*repeats).assign(source='made up'))]
    strata = cal.by_stratum(pd.concat(tried))
    families = pd.concat([cal.of_families(t.assign(grid=t.grid)) for t in tried])
    families = families.rename(columns=dict(grids='rows')).assign(stratum='all rows of a grid at once')
    return pd.concat([strata, families], ignore_index=True)

def drawn(repeats, n=3):
    "Real grids drawn again, and made-up ones; `repeats` by seed of the random numbers"
    for rng in [rng for seed,k in repeats.items() for rng in [np.random.default_rng(seed)]*k]:
        for grid in cal.real_grids('hpobench'):
            truth,_,y = cal._redraw(rng, grid, n)
            yield 'hpobench',truth,y
        for scatter in cal.SCATTER:
            for noise in cal.NOISE:
                truth,_,y = cal.synthetic(rng, n, scatter, noise)
                yield 'made up',truth,y

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true', help='see that it works, and write nothing')
    p.add_argument('--only', choices=['coverage', 'sentences', 'rare', 'laws'], help='make one of them')
    o = p.parse_args()
    folder = Path(bs_lr_study.__file__).parent/'records'/'calibration'
    made = dict(coverage=lambda: coverage(1 if o.quick else 5),
        sentences=lambda: cal.try_sentences(drawn({1: 1} if o.quick else {1: 4, 2: 2, 3: 2})),
        rare=lambda: pd.concat([cal.try_rare(n, 20 if o.quick else 1500, least=1 if o.quick else 3) for n in (2, 3)]),
        laws=lambda: cal.try_laws(2 if o.quick else 100))
    for name,make in made.items():
        if o.only not in (None, name): continue
        t = make().round(4)
        print(t.to_string())
        if not o.quick: t.to_csv(folder/f'{name}.csv', index=False)

if __name__ == '__main__': main()
