"""Every command that README, CONTRIBUTING, a page or a notebook names works as it is typed; long ones in their short form."""
import json, re, shlex, shutil, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHELL = r'(?:make|bslr|python|\.venv/bin/\S+|[A-Z_]+=\S+ \.venv/bin/\S+)'

def texts():
    "All that is written for readers"
    for page in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md', *(ROOT/'nbs').rglob('*.md')):
        yield (ROOT/page).read_text(encoding='utf-8')
    for nb in (ROOT/'nbs').rglob('*.ipynb'):
        cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
        yield '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')

def commands_in(text):
    "Commands within backticks, and lines of fenced blocks"
    fenced = [l for block in re.findall(r'```(?:sh|bash|text)?\n(.*?)```', text, re.S) for l in block.splitlines()]
    quoted = re.findall(rf'`({SHELL} [^`]*)`', text)
    lines = [re.sub(r'\s+#.*', '', l).removeprefix('$ ').strip() for l in fenced + quoted]
    return [l for l in lines if re.match(f'{SHELL} ', l)]

DOCUMENTED = sorted({c for text in texts() for c in commands_in(text)})

def test_they_are_found(): assert {'make study', 'make test', 'make site', 'bslr report runs.csv'} <= set(DOCUMENTED)

# make

TARGETS = sorted({o.split()[1] for o in DOCUMENTED if o.startswith('make ')} | {'quick', 'clean', 'hooks', 'constraints'})

def make(folder, *args, **kw):
    "`make` as typed in a folder whose environment is ready"
    return subprocess.run(['make', '--assume-old=.venv/.ready', *args], cwd=folder, capture_output=True, text=True, **kw)

@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    "A copy of what is committed or would be, with this environment as its own"
    folder = tmp_path_factory.mktemp('clone')
    listing = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True).stdout
    for o in listed.split('\0'):
        if not (ROOT/o).is_file(): continue
        (folder/o).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT/o, folder/o, follow_symlinks=False)
    (folder/'.venv').symlink_to(sys.prefix)
    subprocess.run(['git', 'init', '-q'], cwd=folder, check=True)
    return folder

@pytest.mark.parametrize('target', TARGETS)
def test_targets_exist(clone, target):
    r = make(clone, '-n', target)
    assert r.returncode == 0 and r.stdout, r.stderr

def test_study(clone):
    "The command that README begins with, a few of its runs"
    r = make(clone, 'study', 'ARGS=--only bs=256,512 --seeds 0')
    assert r.returncode == 0, r.stderr
    assert '8 runs' in r.stdout.replace('8 of 8 runs', '8 runs'), r.stdout
    assert (clone/'plots/digits/report.html').is_file()
    again = make(clone, 'study', 'ARGS=--only bs=256,512 --seeds 0')
    assert again.returncode == 0 and 'done' in again.stdout, again.stdout + again.stderr

def test_fix_and_hooks(clone):
    for target in ('fix', 'hooks'):
        r = make(clone, target)
        assert r.returncode == 0, f'make {target}: {r.stdout}{r.stderr}'
    assert (clone/'.git/hooks/pre-commit').is_file()

def test_clean_takes_nothing_of_value(clone):
    "What is tracked stays; the link to this environment goes"
    for o in ('runs', '_docs', 'plots'): (clone/o).mkdir(exist_ok=True)
    def kept(p): return not {'.git', 'runs', 'plots', '_docs', '.venv'} & set(p.relative_to(clone).parts)
    before = [p for p in clone.rglob('*') if kept(p) and p.is_file()]
    r = make(clone, 'clean')
    assert r.returncode == 0, r.stderr
    assert not any((clone/o).exists() for o in ('runs', '_docs', 'plots', '.venv')) and Path(sys.prefix).is_dir()
    (clone/'.venv').symlink_to(sys.prefix)
    assert [o for o in before if not o.exists() and '_cache' not in str(o)] == []

@pytest.mark.slow
@pytest.mark.parametrize('line', ['study', 'bench QUICK=1', 'faults QUICK=1', 'site', 'posts'])
def test_long_ones(clone, line):
    r = make(clone, *line.split(), timeout=1500)
    assert r.returncode == 0, f'make {line}: {r.stdout[-3000:]}{r.stderr[-3000:]}'

# bslr

VERBS = [o for o in DOCUMENTED if o.startswith('bslr ')]

@pytest.mark.parametrize('command', VERBS)
def test_bslr_understands(command, capsys, monkeypatch):
    "Each documented verb and option is one that `bslr` has"
    from bs_lr_study import cli
    verb, *words = shlex.split(command)[1:]
    assert verb in cli.VERBS
    monkeypatch.setattr(sys, 'argv', ['bslr', verb, '--help'])
    cli.main()
    assert {o for o in words if o.startswith('--')} <= set(re.findall(r'--[a-z-]+', capsys.readouterr().out))

EXAMPLES = {'flowers', 'stripes', 'houses', 'photos'} # studies of a reader's own
STUDIES = sorted({o.split()[2] for o in VERBS if re.match('bslr run [a-z]', o)} - EXAMPLES)

@pytest.mark.parametrize('study', STUDIES)
def test_documented_studies_are_there(study, monkeypatch, capsys):
    from bs_lr_study import cli
    monkeypatch.setattr('bs_lr_study.probe.timing.timed_runs', lambda *_: {}) # which takes seconds
    monkeypatch.setattr(sys, 'argv', ['bslr', 'run', study, '--dry-run'])
    cli.main()
    assert 'runs' in capsys.readouterr().out

# The files that commands name

FILES = r'(?:tests|nbs|tools|benchmarks|faults)/[^ :]+'

@pytest.mark.parametrize('command', [o for o in DOCUMENTED if re.search(FILES, o)])
def test_files_that_commands_name_are_there(command):
    examples = 'NAME', 'ROOM'
    named = [o for o in re.findall(FILES, command) if not any(e in o for e in examples)]
    assert [o for o in named if not (ROOT/o).exists()] == []
