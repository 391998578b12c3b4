"""What `suggest` is worth beside other ways to choose bs and lr, on recorded grids: `python benchmarks/suggest.py --help`

The grids of `../shared/data/grids` and the package's own records are searched again and again. Results go into one
small JSON file, from which the notebook `nbs/suggest/10_proof.ipynb` is made; it needs neither the grids nor Optuna.
Optuna's samplers run where Optuna is installed: `--only tpe,gp`, with the Python of such an environment.
"""
import json, time, zlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np, pandas as pd
from fastcore.script import call_parse

from bs_lr_study.readers.load import load_runs
from bs_lr_study.store import Store
from bs_lr_study.suggest.confirm import finalists, fresh_buys, judge
from bs_lr_study.suggest.answer import answer
from bs_lr_study.suggest.search import Strategy, view
from bs_lr_study.suggest.tables import Grid, Remake, delivered, grid_of, play

ROOT = Path(__file__).parents[1]
MARKS = 10,20
RECORD = ROOT/'bs_lr_study'/'records'/'suggest.json'

# The grids

def published():
    "The five tables, eight networks each"
    files = sorted((ROOT.parent/'shared'/'data'/'grids').glob('*.csv'))
    frames = {f.stem: pd.read_csv(f) for f in files}
    return [grid_of(df, f'{name}/{model}') for name,d in frames.items() for model,df in d.groupby('model')]

def _rectangle(df, name):
    "The part of a study in which every batch size has every learning rate, a run a unit of cost"
    wide = df.groupby(['bs', 'lr']).size().unstack()
    whole = df[df.bs.isin(wide.dropna().index)]
    return grid_of(whole.drop(columns='seconds', errors='ignore'), name)

def own():
    "Grids of this project: the digits with small networks"
    noise = load_runs('noise')
    noise = noise[noise.get('measure').isna()] if 'measure' in noise else noise
    parts = {f'digits/{m}-{norm}': d for (m,norm),d in noise.groupby(['model', 'norm'])}
    parts['digits/120 runs'] = load_runs('digits-fast')
    return [_rectangle(d.drop_duplicates(['bs', 'lr', 'seed']), k) for k,d in parts.items()]

# A shop that sells what was recorded

@dataclass
class Replay:
    "Sells recorded runs of some seeds, in random order and again from the first; the others score"
    grid: Grid
    rng: np.random.Generator
    share: float = .5 # Of the seeds, for the search
    order: dict = field(default_factory=dict)

    def __post_init__(self):
        n = self.grid.values.shape[1]
        seeds = self.rng.permutation(n)
        n_search = int(np.ceil(self.share*n))
        self.for_search,self.for_scores = seeds[:n_search],seeds[n_search:]

    def value(self, cell, seed):
        order = self.order.setdefault(cell, self.rng.permutation(self.for_search))
        return self.grid.values[cell, order[seed % len(order)]]

    @property
    def truth(self):
        "Score of each cell, by the seeds that the search does not see"
        return self.grid.scores[:, self.for_scores].mean(1)

# Ways to choose, each a function of a shop and a random generator that gives the cell it recommends after so many runs

def ours(shop, rng):
    runs = play(shop, max(MARKS))
    return {n: view(shop.grid.lattice, runs[:n], shop.grid.metric).leader for n in MARKS}

def _seen(shop, cells):
    "Values of cells in the order in which they are run, the more the better; seeds are used up one by one"
    count = {}
    for c in cells: count.setdefault(c, []).append(len(count.get(c, [])))
    n_th = {}
    def value(c):
        n_th[c] = n_th.get(c, -1) + 1
        v = shop.grid.metric.sign*shop.value(c, n_th[c])
        return v if np.isfinite(v) else -np.inf
    return np.array([value(c) for c in cells])

def at_random(shop, rng):
    cells = rng.integers(len(shop.grid.lattice.cells), size=max(MARKS))
    y = _seen(shop, cells)
    return {n: cells[:n][y[:n].argmax()] for n in MARKS}

def _spread(n, k): return np.unique(np.round(np.linspace(0, n - 1, k + 2)[1:-1]).astype(int)) # k of n, the ends left out

def on_a_grid(shop, rng):
    "Three by three, or four batch sizes by five learning rates"
    lattice,best = shop.grid.lattice,{}
    for n,(n_bs,n_lr) in zip(MARKS, ((3, 3), (4, 5))):
        cells = [i*len(lattice.lr) + j for i in _spread(len(lattice.bs), n_bs) for j in _spread(len(lattice.lr), n_lr)]
        best[n] = cells[_seen(shop, cells).argmax()]
    return best

def by_default(shop, rng):
    lattice = shop.grid.lattice
    return dict.fromkeys(MARKS, lattice.index(*lattice.nearest(32, 1e-3)))

def by_optuna(shop, rng, sampler):
    import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed,lattice = int(rng.integers(2**31)),shop.grid.lattice
    made = dict(tpe=optuna.samplers.TPESampler, gp=optuna.samplers.GPSampler)[sampler](seed=seed)
    study,cells,count = optuna.create_study(direction='maximize', sampler=made),[],{}
    for _ in range(max(MARKS)):
        trial = study.ask()
        i,j = (trial.suggest_int(k, 0, len(axis) - 1) for k,axis in (('bs', lattice.bs), ('lr', lattice.lr)))
        c = i*len(lattice.lr) + j
        count[c] = count.get(c, -1) + 1
        v = shop.grid.metric.sign*shop.value(c, count[c])
        cells.append((c, v if np.isfinite(v) else np.nan))
        study.tell(trial, v if np.isfinite(v) else shop.grid.scores.min())
    return {n: max(cells[:n], key=lambda o: -np.inf if np.isnan(o[1]) else o[1])[0] for n in MARKS}

WAYS = dict(suggest=ours, random=at_random, grid=on_a_grid, default=by_default,
            tpe=partial(by_optuna, sampler='tpe'), gp=partial(by_optuna, sampler='gp'))

# Scores

def shop_of(kind, grid, rep, n):
    "Repetitions differ, and so do grids"
    return kind(grid, np.random.default_rng([rep, zlib.crc32(grid.name.encode()), n]))

def regrets(grid, way, rep):
    "How much the recommended cell falls short, on the seeds that were not searched, of the one that is best on those that were"
    shop = shop_of(Replay, grid, rep, 1)
    chosen = WAYS[way](shop, np.random.default_rng([rep, zlib.crc32(grid.name.encode()), 2]))
    informed = grid.scores[:, shop.for_search].mean(1).argmax()
    return {n: float(shop.truth[informed] - shop.truth[c]) for n,c in chosen.items()}

def compare(grids, way, reps):
    "Regrets of one way: table -> number of runs -> a list, repetitions within grids"
    found = {}
    for grid in grids:
        table = found.setdefault(grid.name.split('/')[0], {str(n): [] for n in MARKS})
        for rep in range(reps):
            for n,r in regrets(grid, way, rep).items(): table[str(n)].append(round(100*r, 4))
    return found

# The promises

def promise(grid, rep, budget, share=.7):
    "One whole search on a grid that is made anew, and whether it kept what it promised"
    shop = shop_of(Remake, grid, rep, 3)
    strategy = Strategy(metric=grid.metric)
    start = time.process_time()
    runs = play(shop, share*budget)
    seconds = (time.process_time() - start)/len(runs)
    cells,n = finalists(grid.lattice, runs, strategy, left=budget - len(runs))
    runs += [o for buy in fresh_buys(cells, n, runs) for o in delivered(shop, buy)]
    verdict = judge(grid.lattice, runs, strategy)
    if verdict is None: return None
    said = answer(grid.lattice, runs, strategy)
    truth,table = shop.truth,verdict.table
    at = [grid.lattice.index(*o) for o in zip(table.bs, table.lr)]
    best,chosen = truth[at].max(), truth[at[0]]
    good = np.argsort(-truth)[:max(4, len(truth)//4)]
    sd = grid.scores[good].var(1, ddof=1).mean()**.5
    in_set = table.in_set.to_numpy()
    held = {a for a,ok in zip(at, in_set) if ok} | {grid.lattice.index(*o) for o in said.others}
    seen = _score(grid, table['mean'].iloc[0])
    low = {k: _score(grid, table[k].iloc[0]) for k in ('lo', 'hi')}
    lead = _score_gap(grid, table['mean'].iloc[0], verdict.short)
    beyond = _score_gap(grid, table['mean'].iloc[0], said.beyond)
    return dict(size=int(in_set.sum()), finalists=len(at), fresh=int(n),
                best_finalist_in_set=bool((truth[at] == best)[in_set].any()),
                best_of_all_in_set=bool(truth.argmax() in held), whole_size=len(held),
                near_best_in_set=bool((truth[at][in_set] >= truth.max() - sd/2).any()),
                bound_holds=bool(best - chosen <= lead + 1e-12), beyond_holds=bool(truth.max() - chosen <= beyond + 1e-12),
                interval_holds=bool(min(low.values()) <= chosen <= max(low.values())),
                bias=float((seen - chosen)/sd), regret=float(100*(truth.max() - chosen)),
                regret_sd=float((truth.max() - chosen)/sd), decision=seconds)

def _score(grid, value):
    "A value of the metric as `Grid.scores` counts it"
    return grid.metric.sign*(float(grid.metric.even(value)) if grid.metric.unit == 'log' else value)

def _score_gap(grid, value, gap):
    "A gap in the metric's unit, better than `value`, as a gap in scores"
    better = value + grid.metric.sign*gap
    if grid.metric.unit == 'log' and better <= 0: return np.inf
    return _score(grid, better) - _score(grid, value)

def promises(grids, reps, budget):
    "All that was promised and kept: table -> field -> list"
    found = {}
    for grid in grids:
        for rep in range(reps):
            if (o := promise(grid, rep, budget)) is None: continue
            table = found.setdefault(grid.name.split('/')[0], {k: [] for k in o})
            for k,v in o.items(): table[k].append(round(v, 4) if isinstance(v, float) else v)
    return found

# Where curves are known: stop early, and lr_find

def early(reps):
    "Every cell for one epoch of five, as often as the budget allows, and the best of these: regrets as of `compare`"
    store = Store(ROOT/'bs_lr_study'/'records'/'digits-fast.jsonl')
    df = store.epochs_df()
    last = grid_of(df[df.epoch == df.epoch.max()].dropna(subset='acc'), 'digits')
    first = df[df.epoch == 1].pivot(index=['bs', 'lr'], columns='seed', values='acc').sort_index().to_numpy()
    n_cells,found = len(first),{str(n): [] for n in MARKS}
    for rep in range(reps):
        shop,rng = Replay(last, np.random.default_rng([rep, 1])),np.random.default_rng([rep, 2])
        informed = last.scores[:, shop.for_search].mean(1).argmax()
        for n in MARKS:
            y = np.full(n_cells, -np.inf)
            some = rng.permutation(n_cells)[:5*n] # an epoch is a fifth of a run
            y[some] = first[some, rng.choice(shop.for_search)]
            found[str(n)].append(round(100*float(shop.truth[informed] - shop.truth[np.nanargmax(y)]), 4))
    return found

def by_lr_find(reps):
    "The valley of `lr_find`'s curve at batch size 32"
    from bs_lr_study.probe.lr_find import suggestions, find_lrs, smooth_losses
    curves = Store(ROOT/'bs_lr_study'/'records'/'lrfind'/'digits.jsonl').records().values()
    at_32 = [o for o in curves if o['config']['bs'] == 32 and o['losses']]
    valleys = [suggestions(find_lrs(len(o['losses'])), smooth_losses(o['losses']))['valley'] for o in at_32]
    grid,found = grid_of(load_runs('digits-fast').drop(columns='seconds'), 'digits'),{str(n): [] for n in MARKS}
    for rep in range(reps):
        shop,rng = Replay(grid, np.random.default_rng([rep, 1])),np.random.default_rng([rep, 2])
        informed = grid.scores[:, shop.for_search].mean(1).argmax()
        chosen = grid.lattice.index(*grid.lattice.nearest(32, rng.choice(valleys)))
        for n in MARKS: found[str(n)].append(round(100*float(shop.truth[informed] - shop.truth[chosen]), 4))
    return found

def _write(path, **parts):
    "Parts of the record, in place of those that were there"
    path = Path(path)
    said = json.loads(path.read_text()) if path.exists() else {}
    for k,v in parts.items(): said[k] = (said.get(k, {}) | v) if isinstance(v, dict) else v
    path.write_text(json.dumps(said, separators=(',', ':'), sort_keys=True) + '\n')

@call_parse
def main(
    to:str=str(RECORD), # File for the results; parts that are not made again stay
    only:str='suggest,random,grid,default,promises,curves', # Which parts: ways, promises, curves; tpe and gp need Optuna
    reps:int=25, # Repetitions for each of the eight networks of a table
    budget:int=60, # Runs of a whole search, with its fresh runs
):
    "Search recorded grids again and again, and write down what came of it"
    parts,grids = only.split(','),[*published(), *own()]
    for way in [o for o in parts if o in WAYS]:
        start = time.process_time()
        found = compare(grids, way, reps)
        _write(to, ways={way: found})
        print(f'{way}: {time.process_time() - start:.0f} s', {k: round(np.mean(v['20']), 2) for k,v in found.items()}, flush=True)
    if 'promises' in parts:
        _write(to, promises=promises(grids, reps, budget), budget=budget)
        print('promises', flush=True)
    if 'curves' in parts: _write(to, curves=dict(early=early(200), lr_find=by_lr_find(200)))
