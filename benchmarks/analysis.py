"""Time and memory of the analysis of a million runs, compared with plain pandas

Print a table of ratios; exit with status 1 if one exceeds its limit. Times are CPU seconds, medians of calls in turns, and ratios
are medians within a turn, so that a busy machine slows both alike. The runs fill 1440 cells with 695 seeds each and lie in two
files: one with the columns `run` and `acc` only, where all else is in a million different names, and one with a column per field.
"""
import argparse, resource, sys, tempfile, time
from pathlib import Path

import numpy as np, pandas as pd

from bs_lr_study.analysis import crosstab_acc, inflection_table, load_runs
from timing import medians

LIMITS = {'load': 5, 'crosstab': 2}
MODELS,LRS,BSS = [f'xresnet{i}' for i in range(20)],[10.**-i for i in range(7, 1, -1)],[2**i for i in range(12)]

def make(n, folder):
    "CSVs of `n` runs, the short form and the long one"
    rng,i = np.random.default_rng(0),np.arange(n)
    cell = i % (len(MODELS)*len(LRS)*len(BSS))
    m,lr,bs = np.unravel_index(cell, (len(MODELS), len(LRS), len(BSS)))
    seed = i // (cell.max() + 1)
    acc = (rng.binomial(3925, .8 - .01*(np.log2(np.array(BSS))[bs] - 4)**2)/3925).round(6)
    names = [f'imagenette-{MODELS[a]}-bs-{BSS[b]}-lr-{LRS[c]}-seed-{s}' for a,b,c,s in zip(m, bs, lr, seed)]
    df = pd.DataFrame(dict(run=names, acc=acc))
    df.to_csv(folder/'short.csv', index=False)
    axes = dict(model=np.array(MODELS)[m], bs=np.array(BSS)[bs], lr=np.array(LRS)[lr])
    ids = [f'{o:016x}' for o in i]
    same = dict(epochs=5, size=128, schedule='one_cycle', opt='adam', wd=.01, norm='batch', regime='none', status='ok')
    measured = dict(train_loss=rng.random(n), valid_loss=rng.random(n), seconds=rng.random(n)*100)
    long = df.assign(**axes, id=ids, data='imagenette', seed=seed, **same, **measured)
    long.to_csv(folder/'long.csv', index=False)

def table_of(df): return lambda: pd.crosstab(df.lr, df.bs, values=df.acc, aggfunc='mean')

def measure(csv, repeats):
    "Each step on one file, beside what pandas takes; the inflection table beside nothing"
    load_runs(), pd.read_csv(csv, nrows=10) # imports are not what is timed here
    def row(what, mine, theirs, limit):
        t = medians(repeats, time.process_time, pandas=theirs, mine=mine)
        seconds = dict(seconds=t.seconds.mine, pandas=t.seconds.pandas)
        ratios = dict(ratio=t.ratio.mine, lowest=t.lowest.mine, highest=t.highest.mine)
        return dict(what=f'{what}, {csv.stem} form', **seconds, **ratios, limit=limit)
    yield row('load', lambda: load_runs(csv), lambda: pd.read_csv(csv), LIMITS['load'])
    df = load_runs(csv)
    one,solo = df.model == MODELS[0],df.assign(model=MODELS[0])
    yield row('crosstab', lambda: crosstab_acc(df[one]), lambda: table_of(df[one])(), LIMITS['crosstab'])
    yield row('crosstab of one model', lambda: crosstab_acc(solo), table_of(solo), LIMITS['crosstab'])
    t = medians(repeats, time.process_time, mine=lambda: inflection_table(df)).seconds.mine
    yield dict(what=f'inflection table, {csv.stem} form', seconds=t, ratio=t, limit=2)

def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('n', nargs='?', type=int, help='runs; a million by default')
    p.add_argument('repeats', nargs='?', type=int, default=5, help='turns of each comparison; 5 by default')
    p.add_argument('--quick', action='store_true', help='see that it works, with 20,000 runs and no limits')
    return p.parse_args()

def main():
    args = options()
    n,repeats = args.n or (20_000 if args.quick else 1_000_000),args.repeats
    with tempfile.TemporaryDirectory() as d:
        make(n, Path(d))
        table = pd.DataFrame([o for form in ('short', 'long') for o in measure(Path(d)/f'{form}.csv', repeats)]).set_index('what')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
    most = 2e9/2**30
    print(f'{n:,} runs, medians of {repeats}, seconds of CPU; for the inflection table, seconds stand in place of the ratio')
    print(table.round(3).to_string())
    print(f'peak memory {peak:.2f} GiB, limit {most:.2f}')
    return not args.quick and not ((table.ratio <= table.limit).all() and peak < most)

if __name__ == '__main__': sys.exit(main())
