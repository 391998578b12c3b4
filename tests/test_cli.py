"""The command as a shell starts it: whatever happens to its output, and whatever lies in the current folder."""
import os, subprocess, sys

import pytest

from bs_lr_study.store import Store

SETTINGS = '[s]\ndata = digits\nmodels = small\nbatch_sizes = 8 16\nlrs = 1e-3 1e-2\n'
ENGINE = '''
from bs_lr_study.runs import Run
def train_many(cfgs, **opts):
    for c in cfgs: yield Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)], cost=dict(seconds=1., steps=1))
'''
MAIN = "import sys; sys.argv[0] = 'bslr'; from bs_lr_study.cli import main; main()"

@pytest.fixture
def bslr(tmp_path):
    "A function that starts `bslr` in a folder with a study and an engine; like the installed command, it has no folder of its own"
    (tmp_path/'settings.ini').write_text(SETTINGS)
    (tmp_path/'engine.py').write_text(ENGINE)
    def start(*args, env=(), **opts):
        return subprocess.Popen([sys.executable, '-P', '-c', MAIN, *args], env=os.environ | dict(env), text=True,
                                **dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE) | opts)
    return start

RUN = 'run','s','--engine','engine:train_many','--workers','0'

def n_kept(): return len(Store('runs/s.jsonl').records())

@pytest.mark.parametrize('show', ['lines', 'table'])
def test_nobody_reads_the_output(bslr, show):
    "As behind `| head -1`: the sweep goes on to its report, and says so where it can"
    p = bslr(*RUN, '--show', show)
    assert p.stdout.readline().startswith('s: 0 of 4 runs are done')
    p.stdout.close()
    told = p.stderr.read()
    p.stderr.close()
    assert p.wait(300) == 0 and n_kept() == 4 and os.path.exists('plots/s/report.html')
    assert told.count('the output cannot be written any more') == 1 and 'Traceback' not in told

def test_nobody_reads_anything(bslr):
    "Standard error is gone as well"
    p = bslr(*RUN, '--show', 'lines', stderr=subprocess.STDOUT)
    p.stdout.readline()
    p.stdout.close()
    assert p.wait(300) == 0 and n_kept() == 4

@pytest.mark.parametrize('encoding', ['ascii', 'latin-1'])
def test_a_terminal_that_knows_few_characters(bslr, encoding):
    "A finished sweep ends with its report, which has ? for what cannot be written"
    p = bslr(*RUN, '--show', 'lines', env=dict(PYTHONIOENCODING=encoding), encoding=encoding)
    out,told = p.communicate(timeout=300)
    assert p.returncode == 0 and n_kept() == 4, told
    assert 'Inflection point' in out and 'Report: plots/s/report.html' in out
    assert ('?' in out) == (encoding == 'ascii')

def test_a_full_disk_behind_the_output(bslr):
    with open('/dev/full', 'w') as full: p = bslr(*RUN, '--show', 'lines', stdout=full)
    told = p.communicate(timeout=300)[1]
    assert p.returncode == 0 and n_kept() == 4 and 'No space left on device' in told

def test_modules_that_lie_around_are_not_run(bslr, tmp_path):
    "Neither by the command nor by its workers; what settings name is found all the same"
    for name in ('random', 'queue', 'secrets', 'tempfile'):
        (tmp_path/f'{name}.py').write_text('open("was_run", "w")\nraise ImportError("of a stranger")')
    p = bslr('run', 's', '--engine', 'engine:train_many', '--workers', '1', '--show', 'none')
    told = p.communicate(timeout=300)[1]
    assert p.returncode == 0 and n_kept() == 4, told
    assert not (tmp_path/'was_run').exists()

@pytest.mark.parametrize('args,told', [
    (['dance'], "bslr: no verb 'dance'; choose from run, studies, merge, sync"),
    (['run', 's', '--limit', '0'], 'bslr: limit is 0: at least one run'),
    (['run', 's', '--budget', 'soon'], "bslr: budget: 'soon' is no length of time; say 90m, 2h or 1h30m"),
    (['run', 's', '--only', 'bs'], 'bslr: only: expected FIELD=VALUE, such as bs=8,16 or model=small, not bs'),
    (['run', 's', '--only', 'batch_sise=8'], "bslr: only: no field 'batch_sise'; choose from data, model, bs,"),
    (['run', 's', '--engine', 'fats'], "bslr: no engine 'fats'; choose from fastai, fast, package.module:name"),
    (['run', 't'], "bslr: settings.ini: no study 't'; there are s"),
])
def test_mistakes_are_told_in_a_line(args, told, tmp_path, monkeypatch, capsys):
    from bs_lr_study import cli
    (tmp_path/'settings.ini').write_text(SETTINGS)
    monkeypatch.setattr(sys, 'argv', ['bslr', *args])
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setattr('warnings.showwarning', None)
    with pytest.raises(SystemExit) as e: cli.main()
    assert str(e.value).startswith(told) and '\n' not in str(e.value)

def test_a_folder_that_was_deleted(tmp_path, monkeypatch):
    from bs_lr_study import cli
    (tmp_path/'gone').mkdir()
    monkeypatch.setattr(sys, 'argv', ['bslr', 'run', 's'])
    monkeypatch.setattr('warnings.showwarning', None)
    os.chdir(tmp_path/'gone')
    (tmp_path/'gone').rmdir()
    try:
        with pytest.raises(SystemExit) as e: cli.main()
    finally: os.chdir(tmp_path)
    assert str(e.value) == 'bslr: the current folder was deleted; change to one that exists'

def bslr_here(monkeypatch, *args):
    "What the command does in this process: its exit, None where it went well"
    from bs_lr_study import cli
    monkeypatch.setattr(sys, 'argv', ['bslr', *args])
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setattr('warnings.showwarning', None)
    try: cli.main()
    except SystemExit as e: return str(e.code)

@pytest.fixture
def settings(tmp_path, monkeypatch):
    "A folder with two studies, in which the tests run"
    (tmp_path/'settings.ini').write_text(SETTINGS + SETTINGS.replace('[s]', '[fresh]'))
    (tmp_path/'engine.py').write_text(ENGINE)
    monkeypatch.chdir(tmp_path)

@pytest.mark.parametrize('line', ['fresh --retry failed --dry-run', '--retry failed fresh --dry-run', '--dry-run fresh',
                                  '--seeds 0 1 fresh --dry-run', '--only bs=8 fresh --dry-run'])
def test_the_name_may_stand_anywhere(line, settings, monkeypatch, capsys):
    assert bslr_here(monkeypatch, 'run', *line.split()) is None
    assert capsys.readouterr().out.startswith('fresh: 0 of')

def test_the_only_study_need_not_be_named(tmp_path, monkeypatch, capsys):
    (tmp_path/'settings.ini').write_text(SETTINGS + '[s.part]\nepochs = 2\n')
    monkeypatch.chdir(tmp_path)
    assert bslr_here(monkeypatch, 'run', '--dry-run') is None and capsys.readouterr().out.startswith('s: 0 of')
    (tmp_path/'settings.ini').write_text(SETTINGS + SETTINGS.replace('[s]', '[t]'))
    assert bslr_here(monkeypatch, 'run') == 'bslr: which study? settings.ini has s, t; name one behind the verb'

def test_a_budget_that_ends_before_the_first_run(settings, monkeypatch, capsys):
    "No report, and no traceback"
    engine = ['--engine', 'engine:train_many', '--workers', '0']
    assert bslr_here(monkeypatch, 'run', 's', '--budget', '0.000001s', *engine) is None
    assert 'No run has ended yet' in capsys.readouterr().out

def test_a_dry_run_times_what_nothing_is_known_of(settings, monkeypatch, capsys):
    "And says so; what is wrong with the data it says too, and trains nothing"
    assert bslr_here(monkeypatch, 'run', 's', '--dry-run', '--workers', '0') is None
    out = capsys.readouterr().out
    assert '4 runs, about' in out and 'timed just now' in out and not os.path.exists('runs/s.jsonl')
    with open('settings.ini', 'a') as f: f.write('[photos]\ndata = photos\nsize = 32\nmodels = small\nbatch_sizes = 8\nlrs = 1e-3\n')
    assert bslr_here(monkeypatch, 'run', 'photos', '--data', 'nowhere', '--dry-run') is None
    out = capsys.readouterr().out
    assert 'no estimate' in out and 'But this would not begin: ' in out and 'nowhere' in out

def test_help_fits_a_screen(monkeypatch, capsys):
    "Each verb has an example, an option means the same wherever it is, and 80 columns and 40 lines are enough"
    from bs_lr_study.cli import TABLE, VERBS
    monkeypatch.setenv('COLUMNS', '80')
    for verb in [None, *VERBS]:
        assert bslr_here(monkeypatch, 'help', *[verb]*(verb is not None)) is None
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) < 40 and max(map(len, lines)) <= 80, f'{verb}: {len(lines)} lines, {max(lines, key=len)}'
    for title,verbs in TABLE.items():
        for verb,(f,*examples) in verbs.items(): assert examples and all(f'bslr {verb}' in o for o in examples), verb

def test_examples_are_understood():
    "By the parser: each option of an example is one of its verb"
    import shlex
    from bs_lr_study.cli import TABLE
    from bs_lr_study.cli.parser import parse
    for verbs in TABLE.values():
        for verb,(f,*examples) in verbs.items():
            for line in examples:
                if line.startswith(f'bslr {verb}'):
                    words = shlex.split(line.split('>')[0])[2:]
                    assert parse(f, words, f'bslr {verb}') is not None

@pytest.mark.parametrize('line,rest', [('bslr re', ['report']), ('bslr run fr', ['fresh ']), ('bslr run --dr', ['--dry-run ']),
                                       ('bslr run --show l', ['lines ']), ('bslr help ru', ['run '])])
def test_completion_by_the_tab_key(line, rest, settings, tmp_path):
    env = os.environ | dict(_ARGCOMPLETE='1', COMP_LINE=line, COMP_POINT=str(len(line)), _ARGCOMPLETE_STDOUT_FILENAME=str(tmp_path/'out'),
                            _ARGCOMPLETE_IFS='\n')
    subprocess.run([sys.executable, '-c', MAIN], env=env, timeout=60)
    found = (tmp_path/'out').read_text().split('\n')
    assert {o.strip() for o in rest} <= {o.strip() for o in found}
