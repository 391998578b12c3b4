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
