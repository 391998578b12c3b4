"""Whether the runs that `next_runs` proposes shrink sets faster than a seed more everywhere

Make grids of known truth, 7 batch sizes, 6 learning rates, two seeds; spend 42 runs more on each, one in every cell or as
proposed, eight proposals at a time; print how wide the sets of best batch sizes and learning rates are then, in steps of the grid.
An end of a set beyond which nothing was tried counts two steps. Some five minutes; `--quick` sees that it works.
"""
import argparse

import numpy as np, pandas as pd

from bs_lr_study.analysis.next_runs import next_runs
from bs_lr_study.analysis.stats import best_sets

BSS,LRS = 2**np.arange(1, 8),1e-4*10**(np.arange(6)/2)
STEPS = dict(bs=np.log(2), lr=np.log(10)/2)

def truth(rng):
    "An accuracy that falls off from a best learning rate, which grows with the square root of bs, and from a best batch size"
    lr_1,bs_best = 10**rng.uniform(-4, -2.3),2**rng.uniform(1, 7)
    along_lr,along_bs = 10**rng.uniform(-2.7, -1.7),10**rng.uniform(-3, -2)
    def acc(bs, lr):
        off = along_lr*np.log(lr/(lr_1*bs**.5))**2 + along_bs*np.log2(bs/bs_best)**2
        return .9 - np.minimum(off, .6)
    return acc

def runs(cells, acc, rng, sd=.01):
    "A table of runs, of (bs, lr, seed) each"
    d = pd.DataFrame(cells, columns=['bs', 'lr', 'seed']).assign(model='m')
    return d.assign(acc=acc(d.bs, d.lr) + sd*rng.standard_normal(len(d)))

def named(df): return df.assign(run=[f'run-{i}' for i in range(len(df))])

def width(df):
    "Of the sets of the grid's rows and columns, in steps"
    found = []
    for along,other,values in (('bs', 'lr', LRS), ('lr', 'bs', BSS)):
        s = best_sets(named(df), along)
        s = s[s[other].isin(values)]
        open_low = s.low_edge & ~((along == 'bs') & (s.lo == 1))
        found += list(np.log(s.hi/s.lo)/STEPS[along] + 2.*open_low + 2.*s.high_edge)
    return np.mean(found)

def followed(df, acc, rng, budget):
    "`df` with as many runs more, as proposed"
    turn = 100 # seeds of their own for each turn
    while budget > 0:
        cells = [(o.bs, o.lr, turn + i) for o in next_runs(named(df), 8).itertuples() for i in range(o.runs)][:budget]
        if not cells: break
        df,budget,turn = pd.concat([df, runs(cells, acc, rng)], ignore_index=True),budget - len(cells),turn + 100
    return df

def study(seed):
    "Width of the sets before, with a seed more everywhere, and as proposed"
    rng = np.random.default_rng(seed)
    acc,grid = truth(rng),[(bs, lr) for bs in BSS for lr in LRS]
    df = runs([(*o, s) for o in grid for s in range(2)], acc, rng)
    even = pd.concat([df, runs([(*o, 2) for o in grid], acc, rng)], ignore_index=True)
    return dict(before=width(df), everywhere=width(even), proposed=width(followed(df, acc, rng, len(grid))))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('n', nargs='?', type=int, default=40, help='grids; 40 by default')
    p.add_argument('--quick', action='store_true', help='see that it works, with a single grid')
    o = p.parse_args()
    t = pd.DataFrame([study(100 + i) for i in range(1 if o.quick else o.n)])
    diff = t.everywhere - t.proposed
    print(t.mean().round(2).to_string())
    if len(t) > 1: print(f'proposed narrower by {diff.mean():.2f} ± {diff.sem():.2f} (standard error)')

if __name__ == '__main__': main()
