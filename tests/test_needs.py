"""Who reads runs needs no framework: all of it works where torch and fastai cannot be imported, and what cannot says what to install."""
import os, subprocess, sys

import pytest

import bs_lr_study
from bs_lr_study import analysis, sweep
from bs_lr_study.needs import EXTRAS, missing_text

ABSENT = sorted({o for names in EXTRAS.values() for o in names} - {'PIL'}) # which matplotlib brings
BLOCK = f'''import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {ABSENT}: raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Absent())
'''

def python(code, cwd):
    "Run code where the packages of the extras are not installed, as far as it can tell"
    return subprocess.run([sys.executable, '-c', BLOCK + code], cwd=cwd, capture_output=True, text=True, timeout=300)

def bslr(line, cwd): return python(f'sys.argv = ["bslr", *{line.split()}]\nfrom bs_lr_study.cli import main; main()', cwd)

def test_they_are_out_of_reach(tmp_path):
    assert "No module named 'torch'" in python('import torch', tmp_path).stderr
    assert "No module named 'fastai'" in python('from fastai.learner import Learner', tmp_path).stderr

@pytest.mark.parametrize('line,told', [
    ('report 2025-06-01 --out plots --md report.md', 'Report: plots/report.html, report.md'),
    ('studies', 'imagenette'), ('run digits --dry-run --workers 2', '120 runs'), ('help run', '--dry-run')])
def test_reading_needs_no_framework(line, told, tmp_path):
    r = bslr(line, tmp_path)
    assert r.returncode == 0 and told in r.stdout, r.stdout[-500:] + r.stderr

def test_reading_in_python_needs_no_framework(tmp_path):
    r = python('from bs_lr_study import crosstab_acc, load_runs; print(crosstab_acc(load_runs(), "xresnet34").shape)', tmp_path)
    assert r.stdout.strip() == '(6, 12)', r.stderr

@pytest.mark.parametrize('line,lack', [('run digits --workers 0', 'torch'), ('lr-find digits', 'torch')])
def test_what_is_missing_is_named_with_the_line_that_installs_it(line, lack, tmp_path):
    r = bslr(line, tmp_path)
    assert r.returncode == 1 and 'Traceback' not in r.stderr, r.stderr
    assert f'{lack} is not installed' in r.stderr and 'pip install' in r.stderr, r.stderr

@pytest.mark.parametrize('line,told', [
    ('compare wd.csv --by wd --to d.md', '2 clearly better'), ('export wd.csv --to table.tex', 'Wrote table.tex'),
    ('export 2025-06-01 --to best.csv --table best-runs', 'Wrote best.csv')])
def test_comparing_and_exporting_need_no_framework(line, told, tmp_path):
    rows = [f'{bs},.1,{s},{wd},{.5 + .01*s + .1*(wd > 0)}' for bs in (8, 16) for s in (0, 1, 2) for wd in (0, .1)]
    (tmp_path/'wd.csv').write_text('\n'.join(['bs,lr,seed,wd,acc', *rows]))
    if line.startswith('export wd'): line += ' --where wd=0'
    r = bslr(line, tmp_path)
    assert r.returncode == 0 and told in r.stdout, r.stdout[-500:] + r.stderr

DOORS = ('training.learner training.accumulate training.fast probe.lr_find probe.lr_study probe.micro_bs probe.noise probe.sharpness '
         'probe.cost tracking.callback suggest.live').split()

def test_python_names_the_line_too(tmp_path):
    "Whichever module that trains is imported, and a sweep"
    r = python(f'''
from importlib import import_module
for name in {DOORS}:
    try: import_module(f'bs_lr_study.{{name}}')
    except ModuleNotFoundError as e: print(name, e)
from bs_lr_study.sweep import make_study, run
try: run(make_study('d', data='digits', models='small', batch_sizes=64, lrs=1e-2), workers=0, show=False)
except ModuleNotFoundError as e: print('run', e)''', tmp_path)
    told = r.stdout.splitlines()
    assert [o.split()[0] for o in told] == [*DOORS, 'run'], r.stderr
    assert all(o.endswith(missing_text('torch').removeprefix('torch')) for o in told), r.stdout
    assert not (tmp_path/'runs').exists()

def test_the_line_is_the_one_of_the_documentation():
    assert missing_text('torch').endswith("pip install 'bs_lr_study[train] @ git+https://github.com/bs-lr-study/bs_lr_study'")

def test_the_package_has_what_its_rooms_have():
    for room in (analysis, sweep):
        ours = [o for o in room.__all__ if o in dir(bs_lr_study)]
        assert len(ours) > 1 and all(getattr(bs_lr_study, o) is getattr(room, o) for o in ours)
    assert {'load_runs', 'crosstab_acc', 'inflection_table', 'make_study'} <= set(dir(bs_lr_study))
    with pytest.raises(AttributeError, match="has no attribute 'load_run'"): bs_lr_study.load_run

def test_the_package_is_light():
    code = 'import sys, bs_lr_study; print([o for o in ("pandas", "numpy", "torch", "pydantic") if o in sys.modules])'
    env = os.environ | dict(PYTHONPATH=os.pathsep.join(sys.path))
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env).stdout.strip() == '[]'
