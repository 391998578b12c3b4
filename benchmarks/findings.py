"""Seconds of `load_runs` and `findings` of 150,000 runs, beside a plain pass of pandas over the same table

Print a table; exit with status 1 if findings take more than 20 s of CPU. The runs fill 1440 cells of twenty models with 104 seeds
each, three in a hundred of them diverged; the plain pass is the mean and standard deviation of each cell by `groupby`.
"""
import argparse, sys, tempfile, time
from pathlib import Path

import numpy as np, pandas as pd

from bs_lr_study.analysis import load_runs
from bs_lr_study.analysis.findings import findings
from timing import medians

LIMIT = 20 # Seconds of CPU
MODELS,LRS,BSS = [f'net{i}' for i in range(20)],[10.**-i for i in range(7, 1, -1)],[2**i for i in range(12)]

def make(n, rng):
    "Runs as a table: peaks whose place moves with the learning rate, cells that scatter the more the lower they lie"
    m,lr,bs = np.unravel_index(np.arange(n) % (len(MODELS)*len(LRS)*len(BSS)), (len(MODELS), len(LRS), len(BSS)))
    truth = .9 - .01*m/len(MODELS) - .01*(bs - 2*lr)**2
    acc = np.clip(truth + .005*np.exp(5*(.9 - truth))*rng.standard_normal(n), .1, 1)
    seed = np.arange(n)//(len(MODELS)*len(LRS)*len(BSS))
    df = pd.DataFrame(dict(data='made-up', model=np.array(MODELS)[m], bs=np.array(BSS)[bs], lr=np.array(LRS)[lr], seed=seed))
    lost = rng.random(n) < .03
    return df.assign(acc=np.where(lost, np.nan, acc.round(6)), status=np.where(lost, 'diverged', 'ok'))

def plain(df): return df.groupby(['model', 'lr', 'bs']).acc.agg(['mean', 'std', 'count'])

def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('n', nargs='?', type=int, default=150_000, help='runs; 150,000 by default')
    p.add_argument('repeats', nargs='?', type=int, default=3, help='turns of each; 3 by default')
    p.add_argument('--quick', action='store_true', help='see that it works, with 4,000 runs, once, and no limit')
    return p.parse_args()

def main():
    o = options()
    n,repeats = (4_000, 1) if o.quick else (o.n, o.repeats)
    with tempfile.TemporaryDirectory() as d:
        csv = Path(d)/'runs.csv'
        make(n, np.random.default_rng(0)).to_csv(csv, index=False)
        df = load_runs(csv)
        steps = dict(load_runs=lambda: load_runs(csv), findings=lambda: findings(df))
        t = medians(repeats, time.process_time, **{'plain pass': lambda: plain(df)}, **steps)
    print(f"{n:,} runs, {len(plain(df))} cells; seconds of CPU, medians of {repeats}")
    print(t.round(3).to_string())
    return not o.quick and t.seconds.findings > LIMIT

if __name__ == '__main__': sys.exit(main())
