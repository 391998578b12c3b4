"""What CONTRIBUTING says of adding a model, an optimizer, data, a metric, a measurement or a reader works as it is typed."""
import re
from pathlib import Path

import pytest

from bs_lr_study import load_runs, register, training # noqa: F401, whose door fills the tables
from bs_lr_study.readers import sources
from bs_lr_study.sweep import study as _study # noqa: F401

pytestmark = pytest.mark.usefixtures('one_thread')
PAGE = (Path(__file__).parents[1]/'CONTRIBUTING.md').read_text(encoding='utf-8')
PART = PAGE.partition('## How to add …')[2].partition('\n## ')[0]
EXAMPLES = dict(re.findall(r'\*\*An? ?(\w+)\*\*.*?```python\n(.*?)```', PART, re.S)) | dict(
    re.findall(r'\*\*(Data)\*\*.*?```python\n(.*?)```', PART, re.S))

@pytest.fixture
def tables(monkeypatch):
    "Tables that are as they were afterwards"
    for name,table in register._OPEN.items(): monkeypatch.setitem(register._OPEN, name, table)
    before = {k: dict(v) for k,v in register._OPEN.items()}
    yield
    for k,v in register._OPEN.items():
        v.clear()
        v.update(before[k])

def run(name):
    "What an example has defined, and the runs of its study"
    seen = {'__name__': 'example'}
    exec(compile(EXAMPLES[name], f'CONTRIBUTING.md, {name}', 'exec'), seen)
    return seen, seen['study'].to_df()

def test_all_are_there_and_short():
    assert set(EXAMPLES) == {'model', 'optimizer', 'Data', 'metric', 'measurement', 'reader'}
    assert {k: n for k,v in EXAMPLES.items() if (n := len([o for o in v.splitlines() if o.strip()])) > 18} == {}
    assert max(len(o) for v in EXAMPLES.values() for o in v.splitlines()) <= 140

def test_a_model(tables):
    _,df = run('model')
    assert set(df.status) == {'ok'} and sorted(df['x.width']) == [16, 64] and set(df.model) == {'mlp'} and df.acc.nunique() == 2

def test_an_optimizer(tables):
    "Against the same by hand: the first step of a sign"
    import torch
    seen,df = run('optimizer')
    assert df.status.tolist() == ['ok'] and df.opt.tolist() == ['signs'] and df.acc.iloc[0] > .2
    w = torch.nn.Parameter(torch.tensor([1., -2., 3.]))
    opt = seen['signs']([w], .1)
    (w*torch.tensor([5., -.1, 0.])).sum().backward()
    opt.step()
    assert w.tolist() == pytest.approx([.9, -1.9, 3.])

def test_data(tables):
    _,df = run('Data')
    assert df.status.tolist() == ['ok'] and df.data.tolist() == ['rings'] and (df.n_train, df.n_valid)[0].iloc[0] == 400
    assert df.examples.iloc[0] == 2*(400//32)*32

def test_a_metric(tables):
    "The study is about it, and the second guess can only help"
    _,df = run('metric')
    m = df.attrs['metric']
    assert (m.name, m.lower, m.unit) == ('top2', False, 'share') and (df.top2 > df.acc).all() and df.top2.between(0, 1).all()

def test_a_measurement(tables):
    seen,df = run('measurement')
    assert df.status.tolist() == ['ok'] and df.weight_norm.iloc[0] > 1
    assert all('weight_norm' in o for d in seen['study'].store.run_records().values() for o in d['metrics'])

def test_a_reader(tmp_path, monkeypatch):
    "From the tool's folders to a frame, by the name of the folder alone"
    (tmp_path/'plain_logs.py').write_text(EXAMPLES['reader'])
    for i,(bs,lr,loss) in enumerate([(8, .1, .5), (16, .1, .4), (8, .01, .7)]):
        o = tmp_path/'logs'/f'run{i}'
        o.mkdir(parents=True)
        (o/'params.yaml').write_text(f'batch_size: {bs}\nlearning_rate: {lr}\nmodel: mine\n')
        (o/'score.txt').write_text(f'{loss}\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sources.FILES, 'plain logs', 'plain_logs')
    df = load_runs(tmp_path/'logs')
    assert df[['bs', 'lr', 'val_loss']].values.tolist() == [[8, .1, .5], [16, .1, .4], [8, .01, .7]]
    assert df.attrs['metric'].lower
