"""The package as others get it: installed without the repository, light to import, clean in its notebooks."""
import filecmp, json, os, shutil, subprocess, sys, zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GENERATED = ('.git', '.venv', '.ready', 'runs', 'plots', 'build', 'dist', '__pycache__', '.pytest_cache', '.ruff_cache', '.hypothesis',
             '_docs', '_pages', '_proc', '.ipynb_checkpoints')
LIGHT = 'store', 'runs', 'sweep', 'cli', 'training.data', 'training.models' # which do without pandas, too

def made(p): return p.suffix == '.pyc' or '.egg-info' in str(p) or bool({*p.parts} & {*GENERATED})

def tree(root):
    "All files that are not made from others"
    return {o for p in root.rglob('*') if p.is_file() and not made(o := p.relative_to(root))}

def copy(to): return shutil.copytree(ROOT, to, symlinks=True, ignore=shutil.ignore_patterns(*GENERATED, '*.egg-info'))

def run(*args, **kw):
    r = subprocess.run(args, capture_output=True, text=True, **kw)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The package as a wheel, built of a copy"
    tmp = tmp_path_factory.mktemp('wheel')
    run(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', tmp, copy(tmp/'src'))
    return next(tmp.glob('*.whl'))

@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    "The package installed into a folder of its own; its dependencies are those of this environment"
    tmp = tmp_path_factory.mktemp('installed')
    run(sys.executable, '-m', 'uv', 'pip', 'install', '--quiet', '--python', sys.executable, '--no-deps', '--target', tmp/'site', wheel)
    return tmp

def test_the_wheel_holds_the_whole_package(wheel):
    "All modules, of all folders, settings.ini, the records and the templates of the report, and nothing besides"
    with zipfile.ZipFile(wheel) as z: held = {Path(o) for o in z.namelist() if '.dist-info/' not in o}
    package = {o for o in tree(ROOT) if o.parts[0] == 'bs_lr_study'}
    assert held == package
    for o in ('settings.ini', 'records/digits.jsonl', 'records/papers/README.md', 'report/templates/report.html', 'analysis/tables.py'):
        assert Path('bs_lr_study', o) in held

def test_a_checkout_needs_no_symbolic_links():
    "They are lost where a system or a zip file has none"
    assert [o for o in tree(ROOT) if (ROOT/o).is_symlink()] == []

def python(installed, code):
    (installed/'elsewhere').mkdir(exist_ok=True)
    return run(sys.executable, '-c', code, cwd=installed/'elsewhere', env=os.environ | dict(PYTHONPATH=str(installed/'site')))

def test_it_works_without_the_repository(installed):
    code = '''import bs_lr_study
from bs_lr_study.analysis import load_runs
print(bs_lr_study.__file__, load_runs().shape, load_runs("2025-06-01").shape)'''
    out = python(installed, code)
    assert str(installed/'site') in out and '(123, 5) (10, 5)' in out

def test_it_brings_its_studies(installed):
    out = python(installed, 'import sys; sys.argv = ["bslr", "studies"]; from bs_lr_study.cli import main; main()')
    assert ['imagenette', '123', '0'] in [l.split() for l in out.splitlines()]

@pytest.mark.parametrize('module', ['analysis', 'store', 'runs', 'sweep', 'cli', 'report', 'training.data', 'training.models'])
def test_light_imports(installed, module):
    heavy = ['torch', 'fastai', 'wandb', 'matplotlib'] + ['pandas']*(module in LIGHT)
    out = python(installed, f'import sys, bs_lr_study.{module}; print([o for o in {heavy} if o in sys.modules])')
    assert out.strip() == '[]'

def test_notebooks_modules_and_readme_agree(tmp_path):
    "Exporting and cleaning change no file, and README.md is what the index notebook makes"
    work = copy(tmp_path/'work')
    run('git', 'init', '-q', cwd=work)
    bin_ = Path(sys.executable).parent
    for tool in ('nbdev-export', 'nbdev-clean'): run(bin_/tool, cwd=work)
    run(sys.executable, 'tools/readme.py', cwd=work)
    ours,theirs = tree(ROOT),tree(work)
    assert theirs - ours == set()
    changed = sorted(str(o) for o in ours & theirs if not filecmp.cmp(ROOT/o, work/o, shallow=False))
    assert changed == [], 'run `make fix` and commit what it changes'

def test_modules_are_sound():
    "A name imported only in a notebook's test cells would be missing in the module"
    assert run(sys.executable, '-m', 'ruff', 'check', str(ROOT)).strip() == 'All checks passed!'

def test_nothing_is_too_large():
    assert [str(o) for o in tree(ROOT) if (ROOT/o).stat().st_size > 2 << 20] == []

def test_outputs_name_no_machine():
    "What notebooks show is the same on every machine: no paths of one"
    for nb in (ROOT/'nbs').rglob('*.ipynb'):
        outs = json.dumps([o for c in json.loads(nb.read_text())['cells'] for o in c.get('outputs', [])])
        assert 'site-packages' not in outs and str(ROOT) not in outs, nb.name
