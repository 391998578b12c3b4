"""The benchmarks run, and what they say follows from the times that they measured."""
import ast, importlib.util, json, re, statistics, subprocess, sys, tomllib
from pathlib import Path

import pandas as pd, pytest

BENCHMARKS = Path(__file__).parents[1]/'benchmarks'

def load(name, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location(f'bench_{name}', BENCHMARKS/f'{name}.py')
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module

def check(records):
    "Each ratio is the median of the first case's number over another's, each a unit of work, turn by turn"
    for r in records:
        base,*others = r['measured']
        assert set(r['ratios']) == set(others)
        for k in others:
            rs = [(a/r['units'][base])/(b/r['units'][k]) for a,b in zip(r['measured'][base], r['measured'][k], strict=True)]
            assert r['ratios'][k] == pytest.approx([statistics.median(rs), min(rs), max(rs)]), (r['group'], r['case'], k)

def script(name, *args):
    done = subprocess.run([sys.executable, BENCHMARKS/f'{name}.py', *map(str, args)], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout

def missing(source):
    "What a script imports from the package, inside functions too, that is not there"
    froms = [o for o in ast.walk(ast.parse(source)) if isinstance(o, ast.ImportFrom) and (o.module or '').startswith('bs_lr_study')]
    def there(module, name):
        found = importlib.import_module(module)
        return hasattr(found, name) or hasattr(found, '__path__') and importlib.util.find_spec(f'{module}.{name}')
    return [(o.module, k.name) for o in froms for k in o.names if not there(o.module, k.name)]

@pytest.mark.parametrize('folder', ['benchmarks', 'tools', 'faults'])
def test_what_scripts_import_is_there(folder):
    "Many are run whole only now and then, and a name may be gone by then"
    assert {p.name: gone for p in (BENCHMARKS.parent/folder).glob('*.py') if (gone := missing(p.read_text(encoding='utf-8')))} == {}

def test_a_name_that_is_gone_is_seen():
    assert missing('def f(): from bs_lr_study.runs import RunConfig, gone') == [('bs_lr_study.runs', 'gone')]

def test_ratios_count_units(monkeypatch, tmp_path):
    "Ten runs in 20 s beside forty in 8 s: ten times as fast"
    results = load('results', monkeypatch)
    r = results.record('Study', 'digits', dict(old=[20., 22., 30.], new=[8., 8., 8.]), 's a run', dict(old=10, new=40), 'how', 8, 12)
    assert r['ratios']['new'] == pytest.approx([11., 10., 15.])
    check([r])
    page = results.write(tmp_path, 'bench', 'Title', [r, results.skipped('Study', 'more', 'not installed')])
    assert '| digits | s a run | 2.2 | 0.2 | 11.00 (10.00–15.00) | 8 | 12 |' in page and 'not installed' in page
    said = json.loads((tmp_path/'bench.json').read_text())
    assert said['records'][0] == r and said['machine']['cores'] > 0 and said['machine']['torch']

def test_cases_take_turns(monkeypatch):
    timing,calls = load('timing', monkeypatch),[]
    ts = timing.turns(3, **{k: (lambda k=k: calls.append(k)) for k in 'ab'})
    assert calls == list('ababab') and ts.shape == (3, 2) and (ts >= 0).all(axis=None)
    own = timing.turns(2, None, a=lambda: 1.5)
    assert own.a.tolist() == [1.5, 1.5]

@pytest.mark.slow
def test_a_quick_bench_runs(tmp_path):
    script('bench', '--quick', '--to', tmp_path)
    said = json.loads((tmp_path/'bench.json').read_text())
    check(said['records'])
    groups = {r['group'] for r in said['records']}
    assert said['quick'] and {'Growth with members', 'Peak memory', 'Beside what a user would otherwise pick'} <= groups
    goals = {(r['at_least'], r['aim']) for r in said['records'] if r['at_least']}
    assert {(8, 12), (16, 25), (24, 30), (2, None), (3, 5)} <= goals
    assert '| at least | aim |' in (tmp_path/'bench.md').read_text()

@pytest.mark.slow
def test_aims_are_measured_part_by_part(tmp_path):
    "A part that was measured is not measured again; tables hold a line for each aim"
    args = '--quick', '--turns', 1, '--to', tmp_path, '--save', tmp_path/'tables'
    script('aims', 'walls', *args)
    assert 'measured before' in script('aims', *args)
    aims,walls,machine = (pd.read_csv(tmp_path/'tables'/f'{o}.csv') for o in ('aims', 'walls', 'machine'))
    assert set(aims.at_least) == {.3, 2, 8, 16, 24} and (aims.lowest <= aims.reached).all() and (aims.reached <= aims.highest).all()
    assert walls.matrix_share.tolist() == pytest.approx((walls.arithmetic/walls['update']).tolist(), rel=1e-3)
    assert {'cpu', 'torch', 'flops', 'beside'} <= set(machine.what)

@pytest.mark.slow
def test_rows_of_transformers_beside_other_ways(tmp_path):
    script('text', '--quick', '--bs', '1,4', '--out', tmp_path/'text.csv')
    t = pd.read_csv(tmp_path/'text.csv')
    assert t.groupby(['model', 'bs']).way.nunique().tolist() == [4]*4 and (t.ms > 0).all()
    assert (t.times[t.way == 'bare fused loop'] == 1).all() and t.times.between(t.lowest, t.highest).all()

@pytest.mark.slow
def test_the_grid_is_tried_without_a_gpu(tmp_path):
    "And goes on where it was ended"
    args = '--device cpu --models xresnet18 --size 64 --steps 1 --images 16 --members 2 --num-workers 0 --to'.split()
    script('gpu_grid', *args, tmp_path, '--bs', 4)
    first = json.loads((tmp_path/'gpu_grid.json').read_text())
    script('gpu_grid', *args, tmp_path, '--bs', 4, 8)
    said = json.loads((tmp_path/'gpu_grid.json').read_text())
    assert said['cells'][0] == first['cells'][0] and [c['bs'] for c in said['cells']] == [4, 8]
    check(said['records'])
    grid = next(r for r in said['records'] if r['group'] == 'The grid, extrapolated')
    of = lambda way, i: sum(5*c['runs']*(c['ways'][way]['train'][i] + c['ways'][way]['valid'][i]) for c in said['cells'])
    assert grid['measured']['published loop'] == pytest.approx([of('published loop', i)/60 for i in range(3)])
    assert 'extrapolated' in grid['note']

def test_a_day_on_a_gpu_in_miniature(tmp_path):
    "Each step on a CPU; called again, nothing is done twice; the pieces of the store are the store"
    day = lambda *args: script('gpu_day', '--device', 'cpu', '--tiny', '--minutes', 12, '--to', tmp_path, *args)
    assert day().strip().endswith('all is done')
    log = json.loads((tmp_path/'gpu_day.json').read_text())
    assert [o['rc'] for o in log.values()] == [0]*4 and list(log)[:2] == ['tests', 'rates']
    store = (tmp_path/'imagenette.jsonl').read_bytes()
    runs = [json.loads(o) for o in store.splitlines()]
    assert sorted((r['config']['bs'], r['config']['lr'], r['config']['seed']) for r in runs) == [
        (8, .001, 0), (8, .01, 0), (64, .001, 0), (64, .001, 1), (64, .01, 0), (64, .01, 1)]
    assert {r['status'] for r in runs} == {'ok'}
    assert day().strip() == 'all is done' and (tmp_path/'imagenette.jsonl').read_bytes() == store
    pieces = [Path(o) for o in day('--pieces', .002).split()]
    assert len(pieces) > 1 and b''.join(o.read_bytes() for o in pieces) == store

def test_a_day_ends_in_time(tmp_path, monkeypatch):
    "A step that takes too long is ended, is not over, and comes first the next time"
    day = load('gpu_day', monkeypatch)
    rc,text = day.call([sys.executable, '-uc', "import time; print('begun'); time.sleep(60)"], 2, 'cpu')
    assert rc is None and 'begun' in text
    assert not day.is_over('rates', rc, text) and not day.is_over('bs=8', 0, '3 runs left.') and day.is_over('tests', 1, '1 failed')

def test_three_ways_to_train_beside_each_other_have_one_gradient(monkeypatch):
    "What `beside` times does the same work each way, BatchNorm's statistics in training included"
    torch = pytest.importorskip('torch')
    pytest.importorskip('fastai')
    beside = load('beside', monkeypatch)
    nets = beside.networks(3)
    x,y = torch.randn(4, 1, 8, 8),torch.arange(4)
    beside.apart(nets, x, y)()
    mapped = beside.mapped(nets, x, y)()
    for name,_ in nets[0].named_parameters():
        grads = torch.stack([dict(o.named_parameters())[name].grad for o in nets])
        torch.testing.assert_close(mapped[name], grads, rtol=1e-3, atol=1e-5)
    one = beside.grouped(nets, x, y)
    one()
    grads = torch.cat([p.grad.flatten() for p in one.__closure__[0].cell_contents.parameters()])
    torch.testing.assert_close(grads.norm(), sum(p.grad.norm()**2 for o in nets for p in o.parameters())**.5, rtol=1e-4, atol=1e-5)

def test_wheels_hold_all_that_a_day_on_a_gpu_asks_for(monkeypatch):
    "What trains, and what its tests run with, are among the extras that are gathered"
    extras = tomllib.loads((BENCHMARKS.parent/'pyproject.toml').read_text())['project']['optional-dependencies']
    def names(extra):
        for o in extras[extra]:
            own = re.fullmatch(r'bs_lr_study\[(.+)\]', o)
            yield from (n for e in own[1].split(',') for n in names(e)) if own else [re.match(r'[\w-]+', o)[0]]
    gathered = {n for e in load('wheels', monkeypatch).EXTRAS for n in names(e)}
    assert {'torch', 'torchvision', 'fastai', 'pytest', 'wandb'} <= gathered
