"""What the page computes itself is what Python does: cells, errors, chances, to nine digits."""
import os, re, subprocess

import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import load_runs, metric, records
from bs_lr_study.explore.embed import studies, study
from bs_lr_study.explore.rules import rules
from bs_lr_study.files import json_values
from explore.node import find_node, run_module

N = int(os.environ.get('BSLR_FUZZ', 100))//5 # random tables
STUDY = """const {makeStudy} = await at("study");
console.log(JSON.stringify(data.map(o => makeStudy("t", o.runs, o.metrics, o.constants))));"""

def constants(): return json_values(rules()['assumed'])

def in_page(found, n_valid=None):
    "What the page makes of the runs of studies"
    def one(o):
        runs,metrics = [r | (n_valid or {}) for r in o['runs']], [m['metric'] for m in o['metrics']]
        return dict(runs=runs, metrics=metrics, constants=constants())
    return run_module(STUDY, [one(o) for o in found])

NUMBERS = 'lr', 'bs', 'mean', 'std', 'best', 'sd', 'p', 'p_row', 'n', 'runs', 'diverged', 'unfinished', 'failed'

def table(one, which):
    "The cells of a study's metric as a frame"
    rows = [c | dict(model=m['model']) for m in one['metrics'][which]['models'] for c in m['cells']]
    return pd.DataFrame(rows).set_index(['model', 'lr', 'bs'], drop=False)

def assert_same(ours, page):
    for i,about in enumerate(ours['metrics']):
        other = page['metrics'][i]
        assert [o['model'] for o in about['models']] == [o['model'] for o in other['models']]
        assert (about['how'], about['known']) == (other['how'], other['known'])
        a,b = table(ours, i),table(page, i)
        assert list(a.index) == list(b.index)
        for c in NUMBERS:
            x,y = (o[c].astype(float).to_numpy() for o in (a, b))
            size = max(np.nanmax(np.abs(x), initial=0), 1e-6*a['mean'].astype(float).abs().max())
            scale = 1 if c in ('p', 'p_row') else max(1e-300, size)
            np.testing.assert_allclose(y/scale, x/scale, rtol=1e-9, atol=1e-9, err_msg=c)

QUICK = '2025-06-01-imagenette-bs64', '2025-06-04-imagenette', 'digits', 'hoffer'

@pytest.mark.parametrize('name', [o if o in QUICK else pytest.param(o, marks=pytest.mark.slow) for o in records()])
def test_every_record(name):
    df = load_runs(name)
    df = df.drop(columns=[c for c in ('n_valid',) if c in df])
    found = studies(df, name)
    for ours,page in zip(found, in_page(found), strict=True): assert_same(ours, page)

UNITS = [metric('acc'), metric('val_loss'), metric('r2'), metric('error', unit='per cent')]

def random_table(i):
    "A grid of some shape, noise and number of seeds; some cells empty, some runs lost"
    rng = np.random.default_rng(i)
    m = UNITS[i % 4]
    lrs,bss = (np.sort(rng.choice(o, rng.integers(1, 6), replace=False)) for o in ([1e-4, 3e-4, 1e-3, .01, .1, .3], 2**np.arange(10)))
    seeds,models = range(rng.integers(1, 5)),['a', 'b', 'c'][:rng.integers(1, 4)]
    rows = [(k, bs, lr, s) for k in models for bs in bss for lr in lrs for s in seeds]
    df = pd.DataFrame(rows, columns=['model', 'bs', 'lr', 'seed'])
    truth = rng.normal(size=(len(models), len(bss), len(lrs))).repeat(len(seeds))*rng.choice([.1, 1])
    noise = rng.normal(size=len(df))*rng.choice([.01, .3]) + rng.normal(size=9)[df.seed]*rng.choice([0, .3])
    z = truth + noise
    y = {'share': 1/(1 + np.exp(-z)), 'per cent': 100/(1 + np.exp(-z)), 'log': np.exp(z), 'plain': z}[m.unit]
    if rng.random() < .1: y = np.full(len(df), y[0])
    df = df.assign(**{m.name: y}, run=[f'r{j}' for j in range(len(df))], status='ok')
    lost = rng.random(len(df)) < rng.choice([0, .15])
    df.loc[lost, 'status'] = rng.choice(['diverged', 'failed', 'pruned'], lost.sum())
    df.loc[lost, m.name] = np.nan
    df = df[rng.random(len(df)) < rng.choice([1, .8])].reset_index(drop=True)
    return df if (df.status == 'ok').any() else random_table(i + 1000003)

def loaded(df): return load_runs(df, metric=next(m for m in UNITS if m.name in df).name, unit=next(m for m in UNITS if m.name in df).unit)

def test_random_tables():
    found = [study(loaded(random_table(i)), f't{i}') for i in range(N)]
    for i,(ours,page) in enumerate(zip(found, in_page(found), strict=True)):
        try: assert_same(ours, page)
        except AssertionError as e: raise AssertionError(f'table {i}') from e

@pytest.mark.slow
def test_a_grid_beyond_exact_sets():
    from explore.test_embed import wide_grid
    one = study(wide_grid(), 'wide')
    assert_same(one, in_page([one])[0])

@pytest.mark.parametrize('n_valid', [100, 5000])
def test_the_error_that_is_assumed_on_few_images(n_valid):
    df = load_runs('2025-06-04').assign(n_valid=n_valid)
    one = study(df, 'few')
    assert_same(one, in_page([one], dict(n_valid=n_valid))[0])

def test_the_modules_are_one_script(tmp_path):
    "Written one after the other they call nothing by a name of another's, and export nothing"
    from bs_lr_study.explore.page import script
    (tmp_path/'app.mjs').write_text(script('app'), encoding='utf-8')
    r = subprocess.run([find_node(), '--check', tmp_path/'app.mjs'], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert not re.findall(r'^(?:import|export)\b', script('app'), re.M)
