"Evidence that is made up, and records read by nothing of the package"
import json
from dataclasses import replace

import numpy as np, pandas as pd

from bs_lr_study.analysis import find_record
from bs_lr_study.lab.verdicts import CLAIMS

def load(name):
    "A record's rows, read with nothing of this package"
    path = find_record(name)
    if path.suffix == '.csv':
        df = pd.read_csv(path)
        parts = df.run.str.extract(r'^imagenette-(?P<model>\w+)-bs-(?P<bs>\d+)-lr-(?P<lr>.+)$')
        return pd.concat([parts.astype(dict(bs=int, lr=float)), df.acc], axis=1)
    rows = [json.loads(o) for o in path.read_text().splitlines()]
    return pd.DataFrame([o['config'] | o['cost'] | o['metrics'][-1] | dict(epoch_metrics=o['metrics']) for o in rows])

def by_others(runs):
    "Each seed's accuracy at the learning rate that the other seeds found best, from rows of one batch size, by loops"
    accs,found = {(o.seed, o.lr): o.acc for o in runs.itertuples()},{}
    for seed in runs.seed.unique():
        mean = {lr: np.mean([accs[s, lr] for s in runs.seed.unique() if s != seed]) for lr in sorted(runs.lr.unique())}
        found[seed] = accs[seed, max(mean, key=lambda lr: round(mean[lr], 12))]
    return pd.Series(found)

def test(name, ev): return CLAIMS[name].test(ev)
test.__test__ = False

def change(ev, err=None, by=0, to=None, **where):
    "Evidence with some cells of the published grid changed by `by` or set `to`"
    hit = np.all([ev.grid[k].isin(v if isinstance(v, list) else [v]) for k,v in where.items()], axis=0)
    assert hit.any()
    acc = ev.grid.acc.where(~hit, ev.grid.acc + by if to is None else to)
    new = replace(ev, grid=ev.grid.assign(acc=acc))
    new.__dict__['err'] = err or ev.err # the error is not what is to change
    return new

PLAIN = dict(data='new', model='m', lr=1e-3, bs=8, epochs=5, acc=.5, status='ok', schedule='one_cycle', norm='batch',
             opt='adam', wd=.01, device='cpu', regime='none', seed=0)

def own(ev, **cols):
    "Evidence with own runs beside the recorded ones: a column = a value or a list"
    n = max(len(v) for v in cols.values() if isinstance(v, list))
    runs = pd.DataFrame(dict(run=[f'new-{i}' for i in range(n)]) | PLAIN | cols, index=range(n))
    return replace(ev, own=pd.concat([ev.own, runs], ignore_index=True))

def bare(ev): return replace(ev, own=ev.own[:0])

def tuned(ev, lrs=(1e-4, 1e-3, 1e-2), drop=.2, **cols):
    "Evidence with own runs whose `acc` is that of the middle learning rate; at the others they end `drop` lower"
    n = max(len(v) for v in cols.values() if isinstance(v, list))
    listed = {k: v if isinstance(v, list) else [v]*n for k,v in cols.items()}
    middle = lrs[len(lrs)//2]
    def times(k, v): return [o - drop*(lr != middle) if k == 'acc' else o for lr in lrs for o in v]
    return own(ev, lr=[lr for lr in lrs for _ in range(n)], **{k: times(k, v) for k,v in listed.items()})

def noisy(d): return np.exp(.01*np.random.default_rng(0).standard_normal(len(d)))

def photos(ev, seeds=3, **norms):
    "Evidence whose photographs are these: a norm = the accuracies at three learning rates of each batch size"
    rng = np.random.default_rng(0)
    runs = [dict(PLAIN, run=f'{norm}-{bs}-{lr}-{seed}', norm=norm, bs=bs, lr=lr, seed=seed, acc=acc + .002*rng.standard_normal())
            for norm,sizes in norms.items() for bs,row in sizes.items() for lr,acc in zip((1e-4, 1e-3, 1e-2), row)
            for seed in range(seeds)]
    return replace(ev, photos=pd.DataFrame(runs))
