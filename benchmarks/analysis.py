"""Time and memory of the analysis of a million runs beside plain pandas

`python benchmarks/analysis.py` prints a table of ratios, medians of paired repeats, and ends with status 1 if a limit is passed.
1440 cells of 695 seeds. Two files hold the same runs: one as a record does, `run,acc`, all else in a million different names; one as a store gives
it, with a column for each field.
"""
import resource, statistics, sys, tempfile, time
from pathlib import Path

import numpy as np, pandas as pd

from bs_lr_study.analysis import crosstab_acc, inflection_table, load_runs

LIMITS = {'load': 5, 'crosstab': 2}
MODELS,LRS,BSS = [f'xresnet{i}' for i in range(20)],[10.**-i for i in range(7, 1, -1)],[2**i for i in range(12)]

def make(n, folder):
    "CSVs of `n` runs, the short form and the long one"
    rng,i = np.random.default_rng(0),np.arange(n)
    cell = i % (len(MODELS)*len(LRS)*len(BSS))
    m,lr,bs = np.unravel_index(cell, (len(MODELS), len(LRS), len(BSS)))
    seed = i // (cell.max() + 1)
    acc = (rng.binomial(3925, .8 - .01*(np.log2(np.array(BSS))[bs] - 4)**2)/3925).round(6)
    df = pd.DataFrame(dict(run=[f'imagenette-{MODELS[a]}-bs-{BSS[b]}-lr-{LRS[c]}-seed-{s}' for a,b,c,s in zip(m, bs, lr, seed)], acc=acc))
    df.to_csv(folder/'short.csv', index=False)
    long = df.assign(model=np.array(MODELS)[m], bs=np.array(BSS)[bs], lr=np.array(LRS)[lr], id=[f'{o:016x}' for o in i], data='imagenette', seed=seed,
        epochs=5, size=128, schedule='one_cycle', opt='adam', wd=.01, norm='batch', regime='none', status='ok', train_loss=rng.random(n), valid_loss=rng.random(n), seconds=rng.random(n)*100)
    long.to_csv(folder/'long.csv', index=False)

def pair(mine, theirs, repeats):
    "Median seconds of both, run in turn, and the median of their ratios"
    def clock(f):
        t = time.perf_counter()
        f()
        return time.perf_counter() - t
    ts = [(clock(mine), clock(theirs)) for _ in range(repeats)]
    return [statistics.median(o) for o in zip(*[(a, b, a/b) for a,b in ts])]

def main(n=1_000_000, repeats=5):
    rows = []
    with tempfile.TemporaryDirectory() as d:
        make(n, Path(d))
        for form in ('short', 'long'):
            csv = Path(d)/f'{form}.csv'
            load_runs(), pd.read_csv(csv, nrows=10) # imports are not what is timed here
            rows.append((f'load, {form} form', *pair(lambda: load_runs(csv), lambda: pd.read_csv(csv), repeats), LIMITS['load']))
            df = load_runs(csv)
            one = df.model == MODELS[0]
            rows.append((f'crosstab, {form} form', *pair(lambda: crosstab_acc(df[one]), lambda: pd.crosstab(df[one].lr, df[one].bs, values=df[one].acc, aggfunc='mean'), repeats), LIMITS['crosstab']))
            solo = df.assign(model=MODELS[0])
            rows.append((f'crosstab of one model, {form} form', *pair(lambda: crosstab_acc(solo), lambda: pd.crosstab(solo.lr, solo.bs, values=solo.acc, aggfunc='mean'), repeats), LIMITS['crosstab']))
            t = statistics.median(pair(lambda: inflection_table(df), lambda: None, repeats)[:1])
            rows.append((f'inflection table, {form} form', t, float('nan'), t, 2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
    table = pd.DataFrame(rows, columns=['what', 'seconds', 'pandas, seconds', 'ratio', 'limit']).set_index('what').round(3)
    print(f'{n:,} runs, medians of {repeats}; for the inflection table, seconds stand in place of the ratio\n{table.to_string()}\npeak memory {peak:.2f} GiB, limit {2e9/2**30:.2f}')
    return not ((table.ratio <= table.limit).all() and peak < 2e9/2**30)

if __name__ == '__main__': sys.exit(main(*map(int, sys.argv[1:])))
