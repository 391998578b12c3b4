"""What the explorer embeds is what the tables and sets of the analysis are."""
import json

import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import cells, load_runs, records
from bs_lr_study.analysis.stats import best_sets, may_win
from bs_lr_study.analysis.variances import errors
from bs_lr_study.explore.embed import curves_of, studies, study, with_chances
from bs_lr_study.explore.page import explorer, explorer_html
from bs_lr_study.metrics import metric_of
from bs_lr_study.report.page import Report
from bs_lr_study.store import Store

def wide_grid(n_bs=16, n_lr=19, seed=0):
    "More cells than exact sets are worked out for"
    rng = np.random.default_rng(seed)
    rows = [(bs, 1.02**i*.01, s, .5 + .1*rng.random()) for bs in range(1, n_bs + 1) for i in range(n_lr) for s in (0, 1)]
    df = pd.DataFrame(rows, columns=['bs', 'lr', 'seed', 'acc'])
    return load_runs(df.assign(model='m', run=[f'r{i}' for i in range(len(df))]))

@pytest.mark.parametrize('name', ['digits', '2025-06-04', 'hoffer', pytest.param('wide', marks=pytest.mark.slow)])
def test_chances_give_the_sets(name):
    "Cells whose chance is above 1 - level are those of `may_win`, and row by row those of `best_sets`"
    df = wide_grid() if name == 'wide' else load_runs(name, where=dict(epochs=9, norm='batch') if name == 'hoffer' else None)
    m,err,c = metric_of(df),errors(df),cells(df)
    for model,mine in c.groupby('model'):
        t = with_chances(mine, err, m)
        for level in (.8, .9, .95):
            assert set(t.index[t.p > 1 - level]) == set(may_win(mine, err, level).index)
            rows = t[t.p_row > 1 - level].groupby('lr').bs.agg(tuple).to_dict()
            sets = best_sets(df[df.model == model], level=level, sd=err)
            assert rows == sets.set_index('lr').candidates.to_dict()

QUICK = '2025-06-01-imagenette-bs64', '2025-06-04-imagenette', 'digits', 'small-batches-imagenette'

@pytest.mark.parametrize('name', [o if o in QUICK else pytest.param(o, marks=pytest.mark.slow) for o in records()])
def test_each_record_is_embedded_whole(name):
    "Every run, in JSON that a browser reads; the cells of each metric sum up to them"
    df = load_runs(name)
    found = json.loads(json.dumps(studies(df, name), allow_nan=False))
    assert sum(len(o['runs']) for o in found) == len(df)
    for one in found:
        for about in one['metrics']:
            of_cells = [c for m in about['models'] for c in m['cells']]
            assert sum(c['runs'] for c in of_cells) == len(one['runs'])
            best = max((c['best'] for c in of_cells if c['best'] is not None), default=None)
            values = [r[about['metric']['name']] for r in one['runs'] if about['metric']['name'] in r and r.get('status', 'ok') == 'ok']
            if not about['metric']['lower'] and values: assert best == max(values)

def test_lost_runs_stay(tmp_path):
    df = pd.DataFrame(dict(run=list('abcd'), model='m', bs=[8, 8, 16, 16], lr=.1, acc=[.5, None, None, None],
                           status=['ok', 'diverged', 'failed', 'running'], message=['', '', 'why\x1b[31m', '']))
    one, = studies(load_runs(df), 'n')
    assert [r.get('status') for r in one['runs']] == ['ok', 'diverged', 'failed', 'running'] and '\x1b' not in one['runs'][2]['message']
    a,b = one['metrics'][0]['models'][0]['cells']
    assert (a['n'], a['diverged'], b['failed'], b['unfinished'], b['mean']) == (1, 1, 1, 1, None)

def test_curves_are_those_of_the_store():
    curves = curves_of('digits')
    assert curves and curves_of('2025-06-04') == {} and curves_of(load_runs('2025-06-04')) == {}
    epochs = Store(records()['digits']).epochs_df()
    name,mine = next(iter(epochs.groupby('run')))
    assert [o['acc'] for o in curves[name]] == mine.acc.tolist()

def test_a_report_names_the_explorer_beside_it(tmp_path):
    df = load_runs('2025-06-01')
    r = Report('t', [])
    assert 'Explore these runs' not in r.save(tmp_path/'a b.html')[0].read_text(encoding='utf-8')
    explorer(df, tmp_path/'a b-explorer.html')
    assert '<a href="a%20b-explorer.html">Explore these runs</a>' in r.save(tmp_path/'a b.html')[0].read_text(encoding='utf-8')

def test_names_end_no_script():
    df = load_runs('2025-06-01')
    page = explorer_html([study(df.assign(model='</script><script>alert(1)</script>', run=[f'<!--{i}' for i in range(len(df))]), '<b>')])
    assert page.count('<script') == 2 and '<!--' not in page and '<b>' not in page.split('<script')[1].split('</script')[0]
