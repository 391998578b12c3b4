"""The command as a shell starts it: whatever happens to its output, and whatever lies in the current folder."""
import glob, os, subprocess, sys

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

@pytest.mark.parametrize('show', ['lines', pytest.param('table', marks=pytest.mark.slow)])
def test_nobody_reads_the_output(bslr, show):
    "As behind `| head -1`: the sweep goes on to its report, and says so where it can"
    p = bslr(*RUN, '--show', show)
    assert p.stdout.readline().startswith('s: 0 of 4 runs are done')
    p.stdout.close()
    told = p.stderr.read()
    p.stderr.close()
    assert p.wait(300) == 0 and n_kept() == 4 and os.path.exists('plots/s/report.html')
    assert told.count('the output cannot be written any more') == 1 and 'Traceback' not in told

@pytest.mark.slow
def test_nobody_reads_anything(bslr):
    "Standard error is gone as well"
    p = bslr(*RUN, '--show', 'lines', stderr=subprocess.STDOUT)
    p.stdout.readline()
    p.stdout.close()
    assert p.wait(300) == 0 and n_kept() == 4

@pytest.mark.parametrize('encoding', ['ascii', pytest.param('latin-1', marks=pytest.mark.slow)])
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
    (['dance'], "bslr: no verb 'dance'; choose from suggest, try, run, studies"),
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

@pytest.mark.parametrize('only,n', [('x.tokens=1024', 4), ('x.tokens=1000..5000,bs=8', 4), ('x.width=none', 4), ('x.width=8 bs=16', 2)])
def test_own_axes_tell_runs_apart(only, n, tmp_path, monkeypatch, capsys):
    "As any other field does; a part of a study that lacks the axis has none"
    (tmp_path/'settings.ini').write_text(SETTINGS.replace('digits', 'python').replace('small', 'gpt') + '[s.short]\nx.tokens = 1024\n'
                                         '[s.long]\nx.tokens = 4096\nx.width = 8\n')
    monkeypatch.chdir(tmp_path)
    assert bslr_here(monkeypatch, 'run', 's', '--dry-run', '--only', *only.split()) is None
    assert capsys.readouterr().out.startswith(f's: 0 of 8 runs are done, in runs/s.jsonl; {n} of them now')

@pytest.mark.parametrize('data,model,told', [('python', 'small', 'is for images, and the data are text: choose from gpt, gpt_wide, lstm,'),
                                             ('digits', 'lstm', 'is for text, and the data are images: choose from small, xresnet18,')])
def test_a_model_for_other_data_is_refused_before_the_first_run(data, model, told, tmp_path, monkeypatch):
    (tmp_path/'settings.ini').write_text(SETTINGS.replace('digits', data).replace('small', model))
    monkeypatch.chdir(tmp_path)
    assert bslr_here(monkeypatch, 'run', 's') == f'bslr: model {model} {told} or name your own as package.module:function'.replace(
        'xresnet18,', 'xresnet18, xresnet34, xse_resnext50, narrow,')
    assert n_kept() == 0

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
    assert 'finished' not in out and 'the same batch size' in out # there are none
    with open('settings.ini', 'a') as f: f.write('[photos]\ndata = photos\nsize = 32\nmodels = small\nbatch_sizes = 8\nlrs = 1e-3\n')
    assert bslr_here(monkeypatch, 'run', 'photos', '--data', 'nowhere', '--dry-run') is None
    out = capsys.readouterr().out
    assert 'no estimate' in out and 'But this would not begin: ' in out and 'nowhere' in out

@pytest.mark.parametrize('file,who', [
    ('/env/lib/site-packages/fastai/torch_core.py', 'fastai'), (r'C:\env\Lib\site-packages\pandas\core.py', 'pandas'),
    ('/env/lib/site-packages/six.py', 'six'), ('/env/lib/site-packages/bs_lr_study/store.py', 'bslr'),
    ('/home/me/bs_lr_study/store.py', 'bslr'), ('/usr/lib/python3.11/contextlib.py', 'bslr')])
def test_a_warning_bears_the_name_of_who_warns(file, who, capsys):
    "As fastai does of arrays that pandas keeps from being written to"
    from bs_lr_study.cli.command import _show_warning
    _show_warning(UserWarning('The array is not writable'), UserWarning, file, 155)
    assert capsys.readouterr().err == f'{who}: The array is not writable\n'

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

MISTAKES = [ # what was typed, and what the one line of the answer says to type instead
    ('rnu s', 'did you mean bslr run?'),
    ('s', 'did you mean bslr run s?'),
    ('runs.csv', 'did you mean bslr report runs.csv?'),
    ('run frehs', "no study 'frehs'; there are s, fresh"),
    ('run s --modle small', 'no option --modle'),
    ('run s --dry_run', 'did you mean --dry-run?'),
    ('run s --budget 2', 'say 2m, 2h or 2s'),
    ('run s --workers two', "expected a whole number, such as 2, not 'two'"),
    ('run s --retry faild', 'choose from ok, diverged, oom, failed'),
    ('run s --only bs=7', 'there are 8, 16'),
    ('run s --only batch=8..9x', 'only: bs ='),
    ('run s --only x.tokens=512', "no field 'x.tokens'; choose from data, model, bs"),
    ('run text --only x.tokens=512', 'no run of text has x.tokens 512; there are 1024, 4096'),
    ('run text --only tokens=1024', "no field 'tokens' (did you mean x.tokens?)"),
    ('run text --only x.tokens=1024,x.width=2', "no field 'x.width'; choose from data, model, bs"),
    ('run s --show lins', 'did you mean lines?'),
    ('run s fresh', "takes STUDY; what is 'fresh'?"),
    ('run range', "list the values, or say 0.0001..0.01"),
    ('run comma', 'Say 0 01, 001 or 0.01'),
    ('run twice', 'lr and lrs are both lrs: give one of them'),
    ('report', 'Name a store (.jsonl), a CSV file'),
    ('report rnus.csv', 'no file rnus.csv'),
    ('report runs.csv --fmt pgn', 'did you mean png?'),
    ('report runs.csv --columns batch', "expected NAME=VALUE, not 'batch'"),
    ('export runs.csv', 'Say --to FILE'),
    ('export runs.csv --to runs.csv', 'would write over the runs that are read'),
    ('compare runs.csv --by dropout', 'what varies is'),
    ('fit s --memory lots', 'such as 4GB or 500MB'),
    ('try', 'bslr try photos --model xresnet18'),
    ('try letters.txt', 'for a text: bslr suggest letters.txt'),
    ('suggest letters.txt --model xresnet18', 'model xresnet18 is for images, and the data are text: choose from gpt, gpt_wide, lstm, or'),
    ('suggest letters.txt --model timm:resnet18', 'is for images, and the data are text'),
    ('suggest digits --model gpt', 'model gpt is for text, and the data are images: choose from small, xresnet18'),
    ('suggest runs.csv --model small', 'runs.csv: neither a folder nor a whole zip or tar archive'),
    ('suggest features.csv', 'a function of yours that makes a Learner: bslr suggest features.csv --learner mynets:make'),
    ('try features.csv --model small', 'bslr suggest features.csv --learner mynets:make'),
    ('noise features.npz', 'bslr suggest features.npz --learner mynets:make'),
    ('run photos --data features.csv', 'bslr suggest features.csv --learner mynets:make'),
    ('try picturse', "picturse: no such file or folder, and no study 'picturse'; did you mean pictures?; studies are s, fresh"),
    ('suggest nowhere/pictures', "no such file or folder, and no study 'nowhere/pictures'; studies are s, fresh"),
    ('fit frehs --memory 4GB', 'did you mean fresh?'),
    ('run photos --data picturse', 'picturse: no such folder; did you mean pictures?'),
    ('suggest words --data leters.txt --model gpt', 'leters.txt: no such folder; did you mean letters.txt?'),
    ('report rusn.csv', 'no file rusn.csv; did you mean runs.csv?'),
    ('suggest digits --model odd_nets:resnet9', 'is called as resnet9(n_out, n_in), but is resnet9() in '),
    ('fit digits --model odd_nets:resnet18 --memory 4GB', 'resnet18(n_out, n_in), but is resnet18(n_classes) in '),
    ('run odd', 'odd_nets.py, line 1: '),
    ('fit digits --model odd_nets:forgetful --memory 4GB', 'forgetful gave a NoneType, expected a torch `nn.Module`'),
    ('run s --learner odd_nets:make', 'odd_nets:make is called as make(cfg), but is make() in '),
    ('run pictures', 'did you mean bslr try pictures --run?'),
    ('run s --micro some', 'say auto, or how many examples at once'),
    ('run s --micro auto', '--memory 4GB')]

@pytest.mark.parametrize('line,told', MISTAKES, ids=[line for line,_ in MISTAKES])
def test_typical_mistakes_are_answered_by_what_to_type(line, told, settings, monkeypatch, capsys):
    "In one line, with nothing trained and nothing written over"
    with open('settings.ini', 'a') as f:
        f.write(''.join(f'[{name}]\ndata = digits\nmodels = small\nbatch_sizes = 8\n{lrs}\n'
                        for name,lrs in dict(range='lrs = 1e-4..5e-2', comma='lrs = 0,01', twice='lr = 1\nlrs = 1').items()))
        f.write('[text]\ndata = python\nmodels = gpt\nbatch_sizes = 8\nlrs = 1e-3\nx.tokens = 1024 4096\n')
        f.write('[photos]\ndata = photos\nsize = 32\nmodels = small\nbatch_sizes = 8\nlrs = 1e-3\n')
        f.write('[odd]\ndata = digits\nmodels = odd_nets:resnet9\nbatch_sizes = 8\nlrs = 1e-3\n')
    with open('odd_nets.py', 'w') as f:
        f.write(''.join(f'def {o}: pass\n' for o in ('resnet9()', 'resnet18(n_classes)', 'make()', 'forgetful(*sizes)')))
    for name in ('features.csv', 'features.npz'):
        with open(name, 'w') as f: f.write('age,height,label\n31,1.7,a\n40,1.6,b\n')
    with open('runs.csv', 'w') as f: f.write('run,acc,model,bs,lr,wd\na,.5,m,8,.1,0\nb,.6,m,8,.1,.1\n')
    os.mkdir('pictures')
    with open('letters.txt', 'w') as f: f.write('dear all')
    before = open('runs.csv').read()
    answer = bslr_here(monkeypatch, *line.split())
    assert answer is not None and answer.startswith('bslr: ') and '\n' not in answer and told in answer, answer
    assert open('runs.csv').read() == before and not glob.glob('runs/*.jsonl')

def test_the_shell_can_do_what_python_can(tmp_path, monkeypatch, capsys):
    "The same runs, by the same words, from a table whose columns have names of their own"
    import pandas as pd
    from bs_lr_study import load_runs
    monkeypatch.chdir(tmp_path)
    rows = [dict(batch=bs, rate=lr, optimizer=opt, val_loss=loss) for i,(bs,lr,opt) in enumerate(
        [(8, .1, 'adam'), (8, .01, 'adam'), (16, .1, 'adam'), (16, .01, 'adam'), (8, .1, 'sgd')]) for loss in [.5 + .1*i]]
    pd.DataFrame(rows).to_csv('runs.csv', index=False)
    asked = '--metric val_loss --columns bs=batch lr=rate --model none --where optimizer=adam --lower --unit plain'
    assert bslr_here(monkeypatch, 'export', 'runs.csv', '--to', 'tidy.csv', *asked.split()) is None
    df = load_runs('runs.csv', dict(bs='batch', lr='rate', model=None), 'val_loss', True, 'plain', dict(optimizer='adam'))
    tidy = pd.read_csv('tidy.csv')
    assert len(tidy) == len(df) == 4 and tidy[['bs', 'lr', 'val_loss']].to_numpy().tolist() == df[['bs', 'lr',
        'val_loss']].to_numpy().tolist()
    assert df.attrs['metric'].lower and df.attrs['metric'].unit == 'plain'

def test_compare_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    import pandas as pd
    monkeypatch.chdir(tmp_path)
    rows = [dict(run=f'{bs}-{lr}-{s}-{wd}', acc=.5 + .01*s + .1*(wd > 0), model='m', bs=bs, lr=lr, seed=s, wd=wd)
            for bs in (8, 16) for lr in (.1, .01) for s in (0, 1, 2) for wd in (0, .1)]
    pd.DataFrame(rows).to_csv('wd.csv', index=False)
    files = 'd.tex', 'd.md', 'd.csv', 'd.pdf', 'd.html'
    to = [o for f in files for o in ('--to', f)]
    assert bslr_here(monkeypatch, 'compare', 'wd.csv', '--by', 'wd', '--paired', 'seed', *to) is None
    out = capsys.readouterr().out
    assert 'wd 0.1 less wd 0' in out and out.count('+10.0') == 4 and '4 clearly better' in out
    assert all(os.path.getsize(o) > 100 for o in files) and r'+10.0 $\pm$' in open('d.tex').read() and '+10.0 ±' in open('d.md').read()
    t = pd.read_csv('d.csv')
    assert t['diff'].round(9).eq(.1).all() and t.n.eq(3).all() and t.clear.all()

def test_cite_says_what_the_citation_file_says(monkeypatch, capsys):
    from pathlib import Path
    assert bslr_here(monkeypatch, 'cite') is None
    out,cff = capsys.readouterr().out,(Path(__file__).parents[1]/'CITATION.cff').read_text()
    import re
    for key in ('title', 'version', 'repository-code'):
        assert re.search(rf'^{key}: "?(.*?)"?$', cff, re.M)[1] in out
    assert 'Bakshi' in out and 'Bakshi' in cff

def test_try_writes_a_study_that_runs(tmp_path, monkeypatch, capsys):
    "From data to a study in one command; a section that is there is left alone"
    monkeypatch.chdir(tmp_path)
    assert bslr_here(monkeypatch, 'try', 'digits', '--budget', '0.01s', '--epochs', '1') is None
    out = capsys.readouterr().out
    assert 'bslr run digits' in out and 'fewer epochs' in out
    before = open('settings.ini').read()
    assert 'has a section [digits] already' in bslr_here(monkeypatch, 'try', 'digits') and open('settings.ini').read() == before
    assert bslr_here(monkeypatch, 'run', '--limit', '1', '--workers', '0') is None
    assert '1 runs' in capsys.readouterr().out.replace('1 run,', '1 runs,')

def test_from_a_folder_to_a_report_in_one_command(colours, monkeypatch, capsys):
    "What it writes can be run by its name alone; again, it goes on; and another model is another study"
    import os
    line = ['try', 'colours', '--model', 'small', '--epochs', '1', '--size', '16', '--budget', '1s', '--run']
    monkeypatch.setattr('bs_lr_study.cli.probes._GRIDS', [dict(batch_sizes=[4, 8], lrs=['1e-2'], seeds=[0])]*4)
    monkeypatch.setattr('bs_lr_study.cli.probes.run', lambda study, **kw: bslr_here(monkeypatch, 'run', study, '--workers', '0'))
    assert bslr_here(monkeypatch, *line) is None
    out = capsys.readouterr().out
    assert 'colours: 48 examples to train on, 24 held out in 2 classes (green, red)' in out
    assert os.path.exists('plots/colours/report.html') and 'Report: plots/colours/report.html' in out
    settings = open('settings.ini').read()
    assert 'data = colours' in settings and 'size = 16' in settings # as it lies beside the settings
    assert bslr_here(monkeypatch, *line) is None and open('settings.ini').read() == settings
    out = capsys.readouterr().out
    assert 'has a section [colours] already: its runs go on' in out and '2 of 2 runs are done' in out
    assert "say --name OTHER for one of xresnet18" in bslr_here(monkeypatch, *line[:2], '--model', 'xresnet18', '--run')
    assert bslr_here(monkeypatch, 'run', '--dry-run', '--retry', 'ok') is None # it knows where the images are
    out = capsys.readouterr().out
    assert '2 runs' in out and 'would not begin' not in out

def test_images_are_as_large_as_the_time_allows():
    "By the area, and never larger than asked of the time"
    from bs_lr_study.cli.probes import _side
    from bs_lr_study.suggest.workshop import Probe
    probe = Probe(1600, 400, {8: .002, 64: .016}) # 0.25 ms an example at 32 pixels: 2.1 s a run, 19 s for nine
    assert [_side(probe, 5, s) for s in (1, 25, 60, 100, 400)] == [32, 32, 48, 64, 128]

def test_images_are_not_enlarged(colours, monkeypatch, capsys):
    "Unless that is asked for: the sides to choose from end at the images' own"
    from PIL import Image
    from bs_lr_study.cli.probes import _sides
    assert [_sides(o) for o in (28, 32, 100, 500, None)] == [[28], [32], [100, 96, 64, 48, 32], *[[128, 96, 64, 48, 32]]*2]
    side = min(Image.open(next(colours.rglob('*.png'))).size)
    assert side < 128
    assert bslr_here(monkeypatch, 'try', 'colours', '--model', 'small', '--epochs', '1', '--budget', '1h') is None
    assert f'at {side} pixels' in capsys.readouterr().out and f'size = {side}\n' in open('settings.ini').read()
