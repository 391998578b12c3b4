"""How often sets of best batch sizes hold the true best, and how much of what findings calls clear is false

Write `coverage.csv`, `sentences.csv`, `rare.csv` and `laws.csv` into the records of the calibration: some twenty
minutes on one core. With `--quick` see that it works, and write nothing.
"""
import argparse
from importlib.resources import files
from pathlib import Path

import numpy as np, pandas as pd

import bs_lr_study
from bs_lr_study.analysis.best_lr import best_lrs
from bs_lr_study.analysis.findings import findings
from bs_lr_study.analysis.laws import LR_LAWS, fit_law, params_table
from bs_lr_study.analysis.simultaneous import best_p
from bs_lr_study.analysis.variances import fit_prior, moderated
from bs_lr_study.metrics import known_metric

def real_grids(
    name, # 'hpobench' or 'fcnet'
): # Iterator of arrays (rows, cells, runs), a grid each, higher is better; rows are learning rates, cells batch sizes
    "Grids of others with several runs a cell"
    path = files('bs_lr_study').joinpath('records', 'calibration', f'{name}.csv')
    with path.open(encoding='utf-8') as f: t = pd.read_csv(f)
    runs = [o for o in t if o.startswith('s') and o[1:].isdigit()]
    for _,grid in t.groupby(['data', 'model']):
        y = grid.sort_values(['lr', 'bs'])[runs].to_numpy(float)
        yield y.reshape(grid.lr.nunique(), grid.bs.nunique(), -1)*(1 if name == 'hpobench' else -1)

def _redraw(rng, grid, n, smooth=.2):
    "Truth, and `n` runs a cell drawn from the cell's own"
    k = grid.shape[-1]
    truth = grid.mean(-1)
    dev = (grid - truth[..., None])*np.sqrt(k/(k - 1))
    sd = np.sqrt((dev**2).mean(-1))[..., None]
    drawn = np.take_along_axis(dev, rng.integers(k, size=(*truth.shape, n)), -1)
    noise = np.sqrt(1 - smooth)*drawn + np.sqrt(smooth)*sd*rng.standard_normal(drawn.shape)
    return truth,sd[..., 0],truth[..., None] + noise

def _peaks(rng, rows=8, k=10):
    "Rows with a peak each, of accuracies up to .9, some flat"
    at,width = rng.uniform(0, k - 1, (rows, 1)),10.**rng.uniform(.2, 1.6, (rows, 1))
    top = rng.uniform(.6, .9, (rows, 1))
    return top - .25*np.minimum(1, ((np.arange(k) - at)/width)**2)

def _alike(rng, truth): return np.full(truth.shape, .01)
def _each_its_own(rng, truth): return .01*np.exp(rng.normal(size=truth.shape))
def _lower_more(rng, truth): return .003*np.exp(12*(.9 - truth))
def _higher_more(rng, truth): return .03*np.exp(-8*(.9 - truth))

SCATTER = dict(alike=_alike, each_its_own=_each_its_own, lower_more=_lower_more, higher_more=_higher_more)
NOISE = dict(normal=lambda rng, size: rng.standard_normal(size), heavy=lambda rng, size: rng.standard_t(4, size)/2**.5)

def synthetic(
    rng, # Random generator
    n, # Runs a cell
    scatter, # One of `SCATTER`
    noise='normal', # One of `NOISE`
): # Three arrays: truth and standard deviation (rows, cells), runs (rows, cells, runs)
    "A made-up grid and its runs"
    truth = _peaks(rng)
    sd = SCATTER[scatter](rng, truth)
    return truth,sd,truth[..., None] + sd[..., None]*NOISE[noise](rng, (*truth.shape, n))

def _pooled(y, n, even):
    var = y.var(-1, ddof=1).mean()
    return best_p(y.mean(-1), np.full(y.shape[:2], n), np.sqrt(var), y[..., 0].size*(n - 1))

def _moderated(y, n, even):
    mean = y.mean(-1)
    var,dof = moderated(even(mean).ravel(), y.var(-1, ddof=1).ravel(), np.full(mean.size, n))
    return best_p(mean, np.full(mean.shape, n), np.sqrt(var).reshape(mean.shape), dof.reshape(mean.shape))

def _welch(y, n, even):
    return best_p(y.mean(-1), np.full(y.shape[:2], n), np.maximum(y.std(-1, ddof=1), 1e-9), n - 1)

def _bootstrap(y, n, even, draws=200):
    "The share of draws, runs taken again with replacement, in which each cell is the best; of a set, what the cells before it leave"
    rng = np.random.default_rng(0)
    won = np.zeros(y.shape[:2])
    for _ in range(draws):
        mean = np.take_along_axis(y, rng.integers(n, size=y.shape), -1).mean(-1)
        won[np.arange(len(won)), mean.argmax(1)] += 1/draws
    order = np.argsort(-won, 1)
    before = np.take_along_axis(won, order, 1).cumsum(1) - np.take_along_axis(won, order, 1)
    left = np.empty_like(won)
    np.put_along_axis(left, order, 1 - before, 1)
    return np.where(won > 0, left, 0)

WAYS = {'pooled': _pooled, 'moderated': _moderated, 'Welch': _welch, 'bootstrap': _bootstrap}

def _strata(truth, sd):
    "How much the top of each row scatters beside the pool"
    top = np.argsort(-truth, 1)[:, :3]
    return np.sqrt((np.take_along_axis(sd, top, 1)**2).mean(1)/(sd**2).mean())

def _held(truth, p, level):
    "Whether a set of cells holds a true best of each row"
    return ((truth >= truth.max(1, keepdims=True) - 1e-12) & (p > 1 - level)).any(1)

def try_grid(
    truth, sd, y, # As `synthetic` gives them
    even=lambda y: y, # To the scale on which noise is even
    level=.9, # Nominal
    ways=WAYS, # Name = function
): # DataFrame: a row a row of the grid and way: `ratio`, `held`, `kept` of the cells, `family`: did all rows' sets hold, made for that?
    "What each way makes of one grid"
    ratio,n,rows = _strata(truth, sd),y.shape[-1],len(truth)
    found = []
    for way,f in ways.items():
        p = f(y, n, even)
        family = _held(truth, p, level**(1/rows)).all()
        row = dict(way=way, ratio=ratio, held=_held(truth, p, level), kept=(p > 1 - level).mean(1), family=family)
        found.append(pd.DataFrame(row))
    return pd.concat(found, ignore_index=True)

def _logit(y): return known_metric('acc').even(y)

def try_real(
    name, # 'hpobench' or 'fcnet'
    n=3, # Runs a cell
    repeats=1, # Draws of each grid
    seed=0, # Of the random numbers
    ways=WAYS, # As for `try_grid`
): # DataFrame, as `try_grid` gives it, with `grid`
    "Ways tried on real grids, drawn again"
    rng,even = np.random.default_rng(seed),_logit if name == 'hpobench' else _finite_log
    tried = [(g, *_redraw(rng, g_runs, n)) for _ in range(repeats) for g,g_runs in enumerate(real_grids(name))]
    return pd.concat([try_grid(*o, even=even, ways=ways).assign(grid=i, source=name, n=n) for i,(_,*o) in enumerate(tried)],
                     ignore_index=True)

def _finite_log(y):
    "The scale of a squared error, where runs drawn again leave one"
    return np.log(-y) if (y < 0).all() else y

def try_synthetic(
    n=3, # Runs a cell
    repeats=5, # Grids of each kind
    seed=0, # Of the random numbers
    ways=WAYS, # As for `try_grid`
): # DataFrame, as `try_real` gives it
    "Ways tried on made-up grids"
    rng = np.random.default_rng(seed)
    kinds = [(s, 'normal') for s in SCATTER] + [('each_its_own', 'heavy')]
    tried = [(f'{s}, {noise}', synthetic(rng, n, s, noise)) for s,noise in kinds for _ in range(repeats)]
    return pd.concat([try_grid(*o, even=_logit, ways=ways).assign(grid=i, source=kind, n=n) for i,(kind,o) in enumerate(tried)],
                     ignore_index=True)

STRATA = [0, .25, .5, 1, 1.5, 2, 3, np.inf]

def by_stratum(
    t, # As `try_real` gives it
): # DataFrame: by `source`, `n`, `stratum` and `way`: `coverage`, `kept` (shares), `rows` tried
    "Coverage and width of the sets by how much the top of a row scatters"
    t = t.assign(stratum=pd.cut(t.ratio, STRATA).astype(str))
    by = t.groupby(['source', 'n', 'stratum', 'way'], sort=False)
    return by.agg(coverage=('held', 'mean'), kept=('kept', 'mean'), rows=('held', 'size')).reset_index()

def of_families(
    t, # As `try_real` gives it
): # DataFrame: by `source`, `n` and `way`: `coverage` of all rows of a grid at once, `grids` tried
    "How often the sets of a whole grid held at once"
    grids = t.drop_duplicates(['source', 'n', 'grid', 'way'])
    by = grids.groupby(['source', 'n', 'way'], sort=False).family
    return by.agg(coverage='mean', grids='size').reset_index()

def as_runs(
    y, # Runs, an array (rows, cells, runs)
): # DataFrame, as `load_runs` gives it
    "Runs of an array as a table"
    lr,bs,seed = np.indices(y.shape)
    d = pd.DataFrame(dict(model='m', bs=2**(1 + bs.ravel()), lr=10.**(lr.ravel() - 6), seed=seed.ravel(), acc=y.ravel()))
    return d.assign(run=[f'run-{i}' for i in range(len(d))])

def _best_at(truth, axis): return truth.columns[truth.to_numpy().argmax(1)] if axis == 'bs' else truth.index[truth.to_numpy().argmax(0)]

def _row_true(truth, v):
    row = truth.loc[v['lr']]
    named = row[list(map(int, v['candidates']))].max() >= row.max()
    back = v['back'] is None or row[v['back'][1]] > row[v['back'][2]]
    return named and back

def _moves_true(truth, v, along):
    best = dict(zip(truth.index if along == 'bs' else truth.columns, _best_at(truth, along)))
    order = dict(grows=lambda a, b: best[a] < best[b], shrinks=lambda a, b: best[a] > best[b])
    return all(order[way](*ends) for way,ends in v['moves'].items())

def _spread_true(truth, v):
    far = truth.max() - truth.min()
    return far[v['least_bs']] < far[v['most_bs']]

TRUE = { # Kind of finding = function of the true values (a crosstab) and the finding's numbers: is it so?
    'best cell': lambda truth, v: truth.loc[v['lr'], v['bs']] >= truth.max(axis=None),
    'row': _row_true,
    'best batch size': lambda truth, v: all(truth.loc[lr, bs] >= truth.loc[lr].max() for lr,bs in v['best'].items()),
    'best learning rate': lambda truth, v: all(truth.loc[lr, bs] >= truth[bs].max() for bs,lr in v['best'].items()),
    'bs moves': lambda truth, v: _moves_true(truth, v, 'bs'),
    'lr moves': lambda truth, v: _moves_true(truth, v, 'lr'),
    'spread': _spread_true}

def clear_sentences(
    truth, # True values, an array (rows, cells)
    y, # Runs (rows, cells, runs)
): # list of (kind, is it so?)
    "What findings calls clear of a grid, and whether it is so"
    d = as_runs(y)
    table = pd.DataFrame(truth, sorted(d.lr.unique()), sorted(d.bs.unique()))
    t = findings(d)
    return [(o.kind, bool(TRUE[o.kind](table, o.evidence))) for o in t[t.certainty == 'clear'].itertuples() if o.kind in TRUE]

def try_sentences(
    grids, # Iterable of (source, truth, runs)
): # DataFrame, a row a source and kind: how many were `clear`, and how many of these `false`
    "How much of what is called clear is false"
    rows = [(source, *o) for source,truth,y in grids for o in clear_sentences(truth, y)]
    t = pd.DataFrame(rows, columns=['source', 'kind', 'true'])
    return t.groupby(['source', 'kind']).true.agg(clear='size', false=lambda o: (~o).sum()).reset_index()

def _towards_the_curve(y, n, even):
    "Moderated with nothing else, as limma has it: of two runs too"
    mean = y.mean(-1)
    var,x = y.var(-1, ddof=1).ravel(),even(mean).ravel()
    prior = fit_prior(var, np.full(mean.size, n - 1), x)
    if np.isinf(prior.dof): return _moderated(y, n, even)
    sd = np.sqrt((prior.dof*prior(x) + (n - 1)*var)/(prior.dof + n - 1)).reshape(mean.shape)
    return best_p(mean, np.full(mean.shape, n), sd, np.minimum(prior.dof + n - 1, prior.most))

RARE = {'moderated': _moderated, 'as limma': _towards_the_curve, 'Welch': _welch}

def try_rare(
    n=2, # Runs a cell
    repeats=1500, # Grids of each kind
    seed=0, # Of the random numbers
    least=3, # Ratio to the pool from which on a row counts
): # DataFrame: by `noise` and `way`, `coverage`, `kept`, `rows`
    "Ways tried on made-up rows that scatter far more than their grid"
    rng,found = np.random.default_rng(seed),[]
    for noise in NOISE:
        for truth,sd,y in (synthetic(rng, n, 'each_its_own', noise) for _ in range(repeats)):
            if (_strata(truth, sd) <= least).all(): continue
            found.append(try_grid(truth, sd, y, _logit, ways=RARE).assign(noise=noise))
    t = pd.concat(found).query('ratio > @least')
    by = t.groupby(['noise', 'way'], sort=False)
    return by.agg(coverage=('held', 'mean'), kept=('kept', 'mean'), rows=('held', 'size')).reset_index().assign(n=n)

def _law_runs(rng, ratio, steep, n=3, sd=.01):
    "Runs whose best learning rate is .002 √bs, as cells' means seen `n` times"
    lrs = 1e-5*ratio**(rng.uniform() + np.arange(int(12.5/np.log(ratio))))
    bs,lr,seed = (o.ravel() for o in np.meshgrid(2**np.arange(1, 11), lrs, np.arange(n), indexing='ij'))
    off = np.log(lr/(.002*bs**.5))
    lost = .002*(bs/2)**.74*np.where(off > 0, steep, 1)*off**2
    acc = .9 - np.minimum(lost, .5) + sd*rng.standard_normal(len(bs))
    return pd.DataFrame(dict(run=[f'run-{i}' for i in range(len(bs))], model='m', bs=bs, lr=lr, seed=seed, acc=acc))

def try_laws(
    repeats=100, # Grids of each kind
    seed=0, # Of the random numbers
    ratios=(2, 10**.5, 10), # Of neighbouring learning rates
): # DataFrame by `ratio`, `steep` and `fit`: how often intervals of `exponent` and `lr_1` held; `width` of the former
    "How often nominal 90 % intervals of a power law hold, of plain and of weighted fits"
    rng,found = np.random.default_rng(seed),[]
    for ratio,steep,_ in ((r, s, i) for r in ratios for s in (1, 2) for i in range(repeats)):
        t = best_lrs(_law_runs(rng, ratio, steep), refine=True, sd=.01).query('not at_edge')
        if len(t) < 3: continue
        law = LR_LAWS['power']
        fits = dict(plain=fit_law(t.bs, t.lr_tried, law), weighted=fit_law(t.bs, t.lr, law, sd=t.sd))
        for name,fit in fits.items():
            p = params_table(fit)
            held = {k: p.lo[k] <= true <= p.hi[k] for k,true in dict(exponent=.5, lr_1=.002).items()}
            found.append(dict(ratio=ratio, steep=steep, fit=name, **held, width=p.hi['exponent'] - p.lo['exponent']))
    by = pd.DataFrame(found).groupby(['ratio', 'steep', 'fit'], sort=False)
    return by.agg('mean').assign(fits=by.size()).reset_index()

def coverage(repeats):
    "By stratum and of whole families, of real and of made-up grids, with two, three and five runs a cell"
    tried = [t for n in (2, 3, 5) for t in (try_real('hpobench', n, repeats), try_real('fcnet', n, repeats),
                                            try_synthetic(n, 6*repeats).assign(source='made up'))]
    strata = by_stratum(pd.concat(tried))
    families = pd.concat([of_families(t.assign(grid=t.grid)) for t in tried])
    families = families.rename(columns=dict(grids='rows')).assign(stratum='all rows of a grid at once')
    return pd.concat([strata, families], ignore_index=True)

def drawn(repeats, n=3):
    "Real grids drawn again, and made-up ones; `repeats` by seed of the random numbers"
    for rng in [rng for seed,k in repeats.items() for rng in [np.random.default_rng(seed)]*k]:
        for grid in real_grids('hpobench'):
            truth,_,y = _redraw(rng, grid, n)
            yield 'hpobench',truth,y
        for scatter in SCATTER:
            for noise in NOISE:
                truth,_,y = synthetic(rng, n, scatter, noise)
                yield 'made up',truth,y

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true', help='see that it works, and write nothing')
    p.add_argument('--only', choices=['coverage', 'sentences', 'rare', 'laws'], help='make one of them')
    o = p.parse_args()
    folder = Path(bs_lr_study.__file__).parent/'records'/'calibration'
    made = dict(coverage=lambda: coverage(1 if o.quick else 5),
        sentences=lambda: try_sentences(drawn({1: 1} if o.quick else {1: 4, 2: 2, 3: 2})),
        rare=lambda: pd.concat([try_rare(n, 20 if o.quick else 1500, least=1 if o.quick else 3) for n in (2, 3)]),
        laws=lambda: try_laws(2 if o.quick else 100))
    for name,make in made.items():
        if o.only not in (None, name): continue
        t = make().round(4)
        print(t.to_string())
        if not o.quick: t.to_csv(folder/f'{name}.csv', index=False)

if __name__ == '__main__': main()
