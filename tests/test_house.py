"""The plan of the house: which folder may import which, and how long a line, a function and a module may be."""
import ast, re, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT/'bs_lr_study'

# A room and the rooms it may import. What stands for a folder stands for all modules in it.
GROUND = {'runs', 'files', 'archives', 'register', 'metrics', 'needs', 'words'}
MAY_IMPORT = {
    'files': set(),
    'runs': {'files'},
    'archives': {'files'},
    'register': set(),
    'needs': set(),
    'words': set(),
    'metrics': set(),
    'store': GROUND,
    'training': GROUND,
    'readers': GROUND | {'store'},
    'tracking': GROUND | {'store'},
    'analysis': GROUND | {'readers'},
    'report': GROUND | {'readers', 'analysis'},
    'explore': GROUND | {'store', 'readers', 'analysis', 'report'},
    'sweep': GROUND | {'store', 'training', 'tracking', 'analysis.tables'},
    'probe': GROUND | {'store', 'training', 'readers', 'analysis', 'sweep'},
    'suggest': GROUND | {'store', 'training', 'readers', 'analysis', 'sweep', 'probe', 'report'},
    'lab': GROUND | {'store', 'training', 'readers', 'tracking', 'analysis', 'report', 'sweep', 'probe', 'suggest'},
    'cli': {'*'},
    '__main__': {'cli'},
}

def module_name(path):
    "`bs_lr_study/analysis/stats.py` as `analysis.stats`, and a folder's `__init__.py` as the folder"
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(p for p in parts if p != '__init__')

SOURCES = {module_name(p): p for p in sorted(PACKAGE.rglob('*.py')) if p.name != '_modidx.py'}

def absolute(node, name, path):
    "The module that an `import from` names, as seen from the package; None for modules of others"
    if not node.level:
        top, _, rest = (node.module or '').partition('.')
        return rest if top == 'bs_lr_study' else None
    here = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join([*here[:len(here) - node.level], *(node.module or '').split('.')]).strip('.')

def imported_names(node, name, path):
    "What one node of the syntax tree imports from the package, by statement or by string"
    if isinstance(node, ast.ImportFrom) and (base := absolute(node, name, path)) is not None:
        return [f'{base}.{o.name}'.strip('.') for o in node.names]
    if isinstance(node, ast.Import):
        return [o.name.removeprefix('bs_lr_study.') for o in node.names if o.name.startswith('bs_lr_study.')]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [m.replace(':', '.') for m in re.findall(r'bs_lr_study\.([a-z_.]+(?::\w+)?)', node.value)]
    return []

def as_module(name):
    "The longest start of a dotted name that is a module; the package itself is ''"
    while name and name not in SOURCES: name = name.rpartition('.')[0]
    return name

def docstrings(tree):
    "Docstrings name modules without importing them"
    holders = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    return {id(n.body[0].value) for n in holders if n.body and isinstance(n.body[0], ast.Expr)}

def imports(name):
    "The modules of the package that a module imports, wherever it does"
    path = SOURCES[name]
    tree = ast.parse(path.read_text(encoding='utf-8'))
    told = docstrings(tree)
    found = {as_module(o) for n in ast.walk(tree) if id(n) not in told for o in imported_names(n, name, path)}
    return found - {'', name}

def room(name): return name.split('.')[0]

def allowed(name, other):
    may = MAY_IMPORT[room(name)]
    return room(other) == room(name) or '*' in may or room(other) in may or other in may

@pytest.mark.parametrize('name', [o for o in SOURCES if o])
def test_imports_point_down(name):
    wrong = sorted(o for o in imports(name) if not allowed(name, o))
    assert wrong == [], f'{name} may import {sorted(MAY_IMPORT[room(name)])}'

def test_every_room_is_in_the_plan():
    assert {room(o) for o in SOURCES if o} == set(MAY_IMPORT)

def test_no_circles():
    "Take away whatever imports nothing that is left; what stays imports itself in a circle"
    left = {o: imports(o) for o in SOURCES}
    while free := [o for o in left if not left[o] & left.keys()]:
        for o in free: del left[o]
    assert {o: sorted(v & left.keys()) for o,v in left.items()} == {}

def test_the_plan_finds_what_is_forbidden():
    "The tests above would see an import inside a function and one by a string"
    tree = ast.parse("def f():\n    from bs_lr_study.lab.ledger import judge\n    return 'bs_lr_study.sweep.executors:here'")
    found = {as_module(o) for n in ast.walk(tree) for o in imported_names(n, 'runs', PACKAGE/'runs.py')}
    assert {room(o) for o in found} == {'lab', 'sweep'}
    assert not any(allowed('runs', o) for o in found)

@pytest.mark.parametrize('name', ['analysis', 'analysis.stats', 'readers', 'report', 'report.plots'])
def test_analysts_wait_for_no_framework(name):
    code = f'import sys, bs_lr_study.{name}; print([o for o in ("torch", "fastai", "wandb", "pandera", "ray") if o in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

def test_reports_need_no_laboratory():
    code = 'import sys, bs_lr_study.report; print([o for o in sys.modules if o.startswith("bs_lr_study.lab")])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'

# Notebooks, modules and tests have the same names

def exported(nb):
    "The module that a notebook exports; None if it only tells a story"
    found = re.search(r'default_exp ([\w.]+)', nb.read_text(encoding='utf-8'))
    return found and found[1].removesuffix('.__init__')

def test_notebooks_bear_the_names_of_their_modules():
    wrong = {}
    for nb in (ROOT/'nbs').rglob('*.ipynb'):
        parts = nb.relative_to(ROOT/'nbs').with_suffix('').parts
        name = '.'.join([*parts[:-1], re.sub(r'^\d+_', '', parts[-1])])
        module = exported(nb)
        if module and module != name and f'{module}.{module}' != name: wrong[name] = module
    assert wrong == {}

# Lines, functions and modules

def functions(tree): return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]

def test_lines_can_be_read():
    lines = [(p, l) for p in SOURCES.values() for l in p.read_text(encoding='utf-8').splitlines()]
    assert [f'{p.name}: {l}' for p,l in lines if len(l) > 140] == []
    assert sum(len(l) > 120 for _,l in lines) <= .01*len(lines)

def test_functions_are_short():
    sizes = sorted(f.end_lineno - f.lineno + 1 for p in SOURCES.values() for f in functions(ast.parse(p.read_text(encoding='utf-8'))))
    assert sizes[int(.9*len(sizes))] <= 14

def test_modules_are_short():
    assert {k: n for k,p in SOURCES.items() if (n := len(p.read_text(encoding='utf-8').splitlines())) > 350} == {}

# What a metric is called decides nothing

NAMES = {'acc', 'loss', 'val_loss', 'valid_loss', 'train_loss', 'error', 'accuracy', 'mse'}

def strings(node): return {o.value for o in ast.walk(node) if isinstance(o, ast.Constant) and isinstance(o.value, str)}

def asked(tree):
    "The metrics' names that a source compares with"
    found = [strings(o) for n in ast.walk(tree) if isinstance(n, ast.Compare) for o in (n.left, *n.comparators)]
    return set().union(*found) & NAMES

@pytest.mark.parametrize('name', [o for o in SOURCES if o.split('.')[0] in ('analysis', 'report')])
def test_no_branch_on_a_name(name): assert asked(ast.parse(SOURCES[name].read_text(encoding='utf-8'))) == set()

def test_a_branch_on_a_name_would_be_seen():
    assert asked(ast.parse("if y == 'acc': pass\nif y in ('train_loss', 'x'): pass\nz = 'mse'")) == {'acc', 'train_loss'}
