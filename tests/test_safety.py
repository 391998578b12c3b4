"""Ways in and out, and what keeps each of them safe.

What comes in is only read: nothing of it is run, nothing leaves its folder, what is broken is refused in words.

    surface                      danger                           tests
    archives                     files outside; a full disk       here; test_archives: test_bombs_are_refused_before_they_fill_the_disk;
                                                                  test_data: test_archives_stay_in_their_folder;
                                                                  test_data: test_torn_archives_are_errors
    downloads                    another file than was asked for  here
    caches, checkpoints          code in a pickle                 here
    images of a cluster          changed on the way               test_cluster: test_images_that_were_changed_on_the_way
    settings                     code; files outside              here; test_study: test_settings_run_nothing; test_faults: settings
    the current folder           modules that shadow others       here
    stores, tables               wrong silent readings            here; test_faults: stores, tables; test_schema; test_store
    W&B's folders, exports, API  the same                         test_wandb: TestLog, test_errors
What goes out holds no secret, and does nothing where it is shown.

    records, messages, reports   keys, passwords                  here; test_files: TestSecrets
    W&B                          the same                         here; test_wandb: test_errors_hold_no_password
    a cluster                    the environment                  test_cluster: test_a_node_is_lost
    HTML, Markdown               scripts, links, formulas         test_compose: test_any_name_of_a_model;
                                                                  test_compose: test_nothing_from_outside;
                                                                  test_page: test_links_of_strangers_stay_text;
                                                                  test_live: test_titles_are_escaped
    terminals, events            escape sequences, broken lines   here
    names of files               files outside                    here
    spreadsheets                 formulas                         here
    workflows                    tokens, actions that change      here
"""
import ast, io, json, os, pickle, re, subprocess, sys, tarfile, warnings, zipfile, zlib
from pathlib import Path
from types import SimpleNamespace

import pandas as pd, pytest, yaml

from bs_lr_study import cli
from bs_lr_study.analysis import load_runs
from bs_lr_study.training.data import find_data
from bs_lr_study.archives import unpack
from bs_lr_study.files import DataError
from bs_lr_study.sweep.board import Board
from bs_lr_study.sweep.live import live
from bs_lr_study.runs import Run, RunConfig, grid, run_name
from bs_lr_study.store import Store
from bs_lr_study.sweep import load_study, make_study, run, study_names
from bs_lr_study.sweep.study import SettingsError, read_settings

ROOT = Path(__file__).parents[1]
SECRETS = dict(
    WANDB_API_KEY='0123456789abcdef'*2 + 'deadbeef',
    AWS_SECRET_ACCESS_KEY='wJalrXUtnFEMI/K7MDENG',
    HF_TOKEN='hf_abcdefghij',
    MY_PASSWORD='correct horse battery')
EVIL = 'net\x1b[2J\x1b]0;owned\x07\x9b31m\u202e'

@pytest.fixture
def secrets(monkeypatch):
    for k,v in SECRETS.items(): monkeypatch.setenv(k, v)
    return [*SECRETS.values(), 'hunter22']

@pytest.fixture
def bslr(monkeypatch):
    "The command, in this process"
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    def f(*args):
        monkeypatch.setattr(sys, 'argv', ['bslr', *map(str, args)])
        cli.main()
    return f

def test_the_tests_named_above_exist():
    "Also under another name of the same row: `settings` is one of test_faults"
    named = re.findall(r'(test_\w+): ((?:\w+(?:, )?)+)', __doc__)
    assert len(named) > 8
    for module,tests in named:
        file, = (ROOT/'tests').rglob(f'{module}.py')
        text = file.read_text() + ''.join(o.read_text() for o in (ROOT/'faults').glob('*.py'))*(module == 'test_faults')
        for o in tests.split(', '): assert re.search(rf'^ *(def|class) {o}\b', text, re.MULTILINE), f'{module}: {o}'

def leak(n_out, n_in):
    raise RuntimeError(f'401 for {os.environ["WANDB_API_KEY"]} at https://me:hunter22@example.com; the environment was {dict(os.environ)}')

def held(folder, secrets):
    "Which secrets lie in the files of a folder, and where"
    return [(s, o) for o in folder.rglob('*') if o.is_file() for s in secrets if s.encode() in o.read_bytes()]

@pytest.mark.parametrize('engine', ['fast', 'fastai'])
def test_no_secret_is_left_behind(tmp_path, monkeypatch, secrets, engine, capfd, one_thread):
    "A model that fails with the whole environment in its message: not in the record, the tables, the report, or what was printed"
    from bs_lr_study.report import report, tables
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('bs_lr_study.sweep.checks._try_models', lambda *_: None) # which would refuse such a model beforehand
    study = make_study('leak', data='digits', models=['leak', 'small'], batch_sizes=[512], lrs=1e-3, epochs=1)
    assert run(study, engine=engine, workers=0, models=dict(leak=leak), show='lines') == dict(failed=1, ok=1)
    df = load_runs('runs/leak.jsonl')
    report(df).save('report.html')
    print(tables(df))
    out = ''.join(capfd.readouterr())
    assert '401 for ***' in study.store.path.read_text() and '401 for ***' in out
    assert held(tmp_path, secrets) == [] and not any(s in out for s in secrets)

def test_no_part_of_a_secret_is_left_by_cutting_a_message_short(secrets):
    from bs_lr_study.training.outcome import ending
    key = SECRETS['WANDB_API_KEY']
    for n in range(950, 1001): assert key[:8] not in ending(RuntimeError('x'*n + key))['message']

def test_no_secret_in_errors_of_the_command_or_in_events(tmp_path, monkeypatch, secrets, bslr):
    def boom(): raise ValueError(f'{os.environ["HF_TOKEN"]} was not accepted')
    monkeypatch.setitem(cli.VERBS, 'boom', boom)
    with pytest.raises(SystemExit) as e: bslr('boom')
    assert e.value.code == 'bslr: *** was not accepted'
    out = io.StringIO()
    with pytest.raises(ValueError):
        study = make_study('s', tmp_path/'s.jsonl', data='digits', models='small', batch_sizes=8, lrs=.1)
        with live(Board(study), show=out): boom()
    assert 'sweep_ended' in out.getvalue() and not any(s in out.getvalue() for s in secrets)

def test_no_secret_in_what_wandb_keeps(tmp_path, monkeypatch, secrets):
    pytest.importorskip('wandb')
    from bs_lr_study.tracking.send import sync
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    metrics = [dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)]
    Store(tmp_path/'s.jsonl').append(Run(RunConfig('digits', 'small', 8, .1), metrics=metrics))
    sync(tmp_path/'s.jsonl', project='p', mode='offline')
    assert list(tmp_path.rglob('run-*.wandb')) and held(tmp_path, secrets) == []

# what comes in

@pytest.mark.parametrize('name', ['../../evil', '/etc/evil', 'a/../../evil', '..\\..\\evil', 'C:/evil'])
def test_zips_stay_in_their_folder(tmp_path, name):
    "Those that would leave it are refused; what an unpacker puts inside is inside"
    with zipfile.ZipFile(tmp_path/'evil.zip', 'w') as z: z.writestr(zipfile.ZipInfo(name), 'x')
    try: unpack(tmp_path/'evil.zip', tmp_path/'a/b/out')
    except DataError as e: assert 'would leave the folder' in str(e)
    assert not (tmp_path/'evil').exists() and not Path('/etc/evil').exists() and not (tmp_path/'a/evil').exists()
    assert all(o.resolve().is_relative_to(tmp_path) for o in tmp_path.rglob('*'))

def test_links_in_zips_are_not_followed(tmp_path):
    (tmp_path/'outside').mkdir()
    info = zipfile.ZipInfo('link')
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path/'evil.zip', 'w') as z:
        z.writestr(info, str(tmp_path/'outside'))
        z.writestr('link/evil', 'x')
    with pytest.raises(DataError): unpack(tmp_path/'evil.zip', tmp_path/'out')
    assert list((tmp_path/'outside').iterdir()) == []

@pytest.mark.parametrize('kind,link', [(tarfile.SYMTYPE, 'b'), (tarfile.LNKTYPE, 'b'), (tarfile.CHRTYPE, ''), (tarfile.BLKTYPE, '')])
def test_tars_hold_files_and_folders_only(tmp_path, kind, link):
    "Even links that stay inside: what to unpack through them has been got wrong often"
    with tarfile.open(tmp_path/'evil.tar', 'w') as t:
        t.addfile(tarfile.TarInfo('b'))
        info = tarfile.TarInfo('a')
        info.type,info.linkname = kind,link
        t.addfile(info)
    with pytest.raises(DataError, match="entry 'a' is neither a file nor a folder"): unpack(tmp_path/'evil.tar', tmp_path/'out')
    assert not (tmp_path/'out').exists()

def test_downloads_are_checked(tmp_path, monkeypatch):
    "All of the file, not its beginning alone; another one is refused and nothing of it unpacked"
    import bs_lr_study.training.data as data
    for split in ('train', 'val'):
        for c in 'ab':
            (tmp_path/'pics'/split/c).mkdir(parents=True)
            (tmp_path/'pics'/split/c/'x.png').write_bytes(b'x')
    file = tmp_path/'imagenette2-160.tgz'
    with tarfile.open(file, 'w:gz') as t: t.add(tmp_path/'pics', 'imagenette2-160')
    monkeypatch.setattr('fastdownload.FastDownload.download', lambda self, url: file)
    monkeypatch.setattr(data, 'user_cache', lambda: tmp_path/'cache')
    said = (r'is not the archive that it should be '
            r'\(MD5 [0-9a-f]{32}, not e793b78cc4c9e9a4ccc0c1155377a412\)')
    with pytest.raises(DataError, match=said): find_data('imagenette')
    assert not (tmp_path/'cache').exists()
    monkeypatch.setattr(data, 'IMAGENETTE_MD5', data._digest(file, 'md5'))
    assert find_data('imagenette').name == 'imagenette2-160'

def test_the_checksum_is_torchvisions():
    from torchvision.datasets import Imagenette
    from bs_lr_study.training.data import IMAGENETTE_MD5
    assert Imagenette._ARCHIVES['160px'][1] == IMAGENETTE_MD5

# Processes of one sweep talk in pickles, over pipes that nobody else has; each place says what it reads
BETWEEN_OURSELVES = {('sweep/workers', 'cloudpickle.loads'), ('training/accumulate', 'cloudpickle.loads')}
RUNS_CODE = re.compile(
    r'(cloud|d)?pickle\.(load|loads|Unpickler)|(pd|pandas)\.read_pickle|'
    r'joblib\.load|shelve\.open|marshal\.loads?|yaml\.(load|unsafe_load|full_load|Loader|FullLoader|UnsafeLoader)|'
    r'eval|exec|compile|os\.(system|popen)|load_learner|.*\.load_pickle')

def risky(tree):
    "Calls in a module that may run what they are given"
    for o in ast.walk(tree):
        if not isinstance(o, ast.Call): continue
        name,kw = ast.unparse(o.func),{k.arg: ast.unparse(k.value) for k in o.keywords}
        if RUNS_CODE.fullmatch(name): yield name
        if name == 'torch.load' and kw.get('weights_only') != 'True': yield name
        if name in ('np.load', 'numpy.load') and kw.get('allow_pickle', 'False') != 'False': yield name
        if kw.get('shell') == 'True': yield f'{name} with a shell'

def test_nothing_runs_what_it_reads():
    package = ROOT/'bs_lr_study'
    found = {(o.relative_to(package).with_suffix('').as_posix(), name)
             for o in package.rglob('*.py') for name in risky(ast.parse(o.read_text()))}
    assert found == BETWEEN_OURSELVES

@pytest.mark.parametrize('code,n', [
    ('pickle.loads(x)', 1),
    ('torch.load(f)', 1),
    ('torch.load(f, weights_only=True)', 0),
    ('np.load(f, allow_pickle=True)', 1),
    ('np.load(f)', 0),
    ('subprocess.run(c, shell=True)', 1),
    ('eval(x)', 1),
    ('model.eval()', 0),
    ('re.compile(x)', 0),
    ('yaml.safe_load(x)', 0)])
def test_such_calls_are_found(code, n): assert len(list(risky(ast.parse(code)))) == n

class Bomb:
    def __init__(self, path): self.path = path
    def __reduce__(self): return os.mkdir, (str(self.path),)

def test_a_cache_with_a_bomb_in_it(tmp_path, colours):
    "Decoded images that are a pickle are not read as one, and made anew"
    from bs_lr_study.training.folders import read_folder
    from bs_lr_study.training.images import cached_pixels
    files = read_folder(colours).files
    want = cached_pixels(colours, files, tmp_path/'cache')[0].copy() # it is a map of the file
    for o in [p for p in (tmp_path/'cache').rglob('*') if p.is_file()]:
        whole = o.read_bytes()
        o.write_bytes(pickle.dumps(Bomb(tmp_path/'ran')))
        try: assert (cached_pixels(colours, files, tmp_path/'cache')[0] == want).all()
        finally: o.write_bytes(whole)
    assert not (tmp_path/'ran').exists()

def test_a_checkpoint_with_a_bomb_in_it(tmp_path):
    "It is set aside aloud, and the run begins anew"
    import torch
    from bs_lr_study.training.checkpoint import Checkpoints
    def kept(): return Checkpoints(str(tmp_path/'unfinished'), 0).of(['a'], dict(v=1), 'model')
    kept().save(dict(x=torch.ones(2)))
    assert kept().load()['x'].sum() == 2
    file, = (tmp_path/'unfinished').iterdir()
    head = json.loads(file.read_bytes().partition(b'\n')[0])
    def torchs(o):
        buffer = io.BytesIO()
        torch.save(o, buffer)
        return buffer.getvalue()
    def put(body, **more): file.write_bytes(json.dumps(head | more).encode() + b'\n' + body)
    put(o := torchs(dict(x=torch.ones(3))), crc32=zlib.crc32(o)) # whoever can write there can have the checksum right
    assert kept().load()['x'].sum() == 3
    for o in (torchs(Bomb(tmp_path/'ran')), pickle.dumps(Bomb(tmp_path/'ran'))):
        for more in ({}, dict(crc32=zlib.crc32(o))):
            put(o, **more)
            with pytest.warns(UserWarning, match='the run begins anew'): assert kept().load() is None
    assert not (tmp_path/'ran').exists()

ODD_RUNS = [
    dict(metrics=[]),
    dict(metrics=[dict(epoch=1, acc=.5)]),
    dict(metrics=[dict(epoch=1, train_loss=None, valid_loss=float('inf'), acc=.5,
                       spectrum=[1., 2.], how='well', well=True)]),
    dict(metrics=[dict(epoch=1, acc=.5)], cost=dict(seconds=1.5, memory='unknown', parts=dict(a=1))),
    dict(status='failed', message='\x00'),
    dict(env=dict(versions=dict(torch='2'), threads=[1]))]

@pytest.mark.parametrize('kw', ODD_RUNS)
def test_what_is_written_is_read(tmp_path, kw):
    "The form that a record must have refuses no run that could be recorded"
    s = Store(tmp_path/'s.jsonl')
    s.append(Run(RunConfig('digits', 'small', 8, .1), **kw))
    assert len(s.read()[0]) == 1 and s.read()[1] == [] and len(s.known()) == len(s.to_df()) == 1

@pytest.mark.parametrize('part,value', [
    ('id', 7),
    ('config', None), ('config', dict(bs=8)),
    ('status', None),
    ('message', None),
    ('metrics', {}), ('metrics', [1]), ('metrics', [dict(acc='half')]), ('metrics', [dict(acc=10**400)]),
    ('metrics', [dict(epoch=1)]),
    ('cost', [1]), ('cost', dict(seconds='long')),
    ('env', ''), ('env', dict(device=[1])),
    ('attempt', '1'),
    ('time', None)])
def test_a_record_by_hand(tmp_path, part, value):
    "With a checksum that fits, and something in it that its readers could not work with: set aside, and the others read"
    from bs_lr_study.runs import run_to_dict
    s = Store(tmp_path/'s.jsonl')
    ok = [Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)])
          for c in grid(data='digits', model='small', bs=[8, 16], lr=.1)]
    s.append(ok[0])
    s.add(run_to_dict(ok[1]) | {part: value})
    with pytest.warns(UserWarning, match='1 of 2 lines set aside: line 2, its checksum fits, but'):
        assert [d['id'] for d in s.run_records().values()] == [ok[0].id]

SHADOWS = 'import pathlib; pathlib.Path({!r}).mkdir()\ndef net(n_out, n_in): raise RuntimeError\n'

def test_to_list_and_to_load_a_study_imports_nothing(tmp_path, monkeypatch, bslr):
    "Models of the reader's own are imported when their study is run, and not before"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path('evilnets.py').write_text(SHADOWS.format(str(tmp_path/'ran')))
    Path('settings.ini').write_text('[a]\ndata = digits\nmodels = evilnets:net\nbatch_sizes = 8\nlrs = 0.1\n')
    assert study_names() == ['a'] and len(load_study('a').runs) == 1
    bslr('studies')
    assert not (tmp_path/'ran').exists()
    from bs_lr_study.training.models import check_model
    check_model('evilnets:net')
    assert not (tmp_path/'ran').exists()

def test_a_folder_of_strangers(tmp_path):
    "To read their runs beside their modules imports none of these; what they might shadow is the installed one"
    for o in ('pandas', 'numpy', 'pyarrow', 'fastcore', 'json', 'pandera', 'sitecustomize', 'bs_lr_study'):
        (tmp_path/f'{o}.py').write_text(SHADOWS.format(str(tmp_path/'ran')))
    (tmp_path/'settings.ini').write_text('[a]\ndata = digits\nmodels = small\nbatch_sizes = 8\nlrs = 0.1\n')
    bslr = Path(sys.executable).with_name('bslr')
    if not bslr.exists(): pytest.skip('the command is not installed beside this Python')
    env = {k: v for k,v in os.environ.items() if k != 'PYTHONPATH'}
    out = subprocess.run([bslr, 'studies'], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert out.stdout.split() == ['study', 'runs', 'done', 'a', '1', '0'], out.stderr
    assert not (tmp_path/'ran').exists()

def test_the_sender_runs_nothing_of_the_current_folder(tmp_path, monkeypatch):
    "Though the command line may import models from there, which puts it at the end of the path"
    pytest.importorskip('wandb')
    from bs_lr_study.tracking.send import sync
    for o in ('random', 'queue', 'secrets', 'json', 'sitecustomize'): (tmp_path/f'{o}.py').write_text(SHADOWS.format(str(tmp_path/'ran')))
    Store(tmp_path/'s.jsonl').append(Run(RunConfig('digits', 'small', 8, .1), 'oom', 'out of memory'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path, str(tmp_path)])
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    assert sync('s.jsonl', project='p', mode='offline') == 1
    assert not (tmp_path/'ran').exists()

@pytest.mark.parametrize('verb,imports', [
    ('studies', False), ('report', False), ('merge', False), ('sync', False),
    ('run', True), ('lr-find', True), ('suggest', True), ('try', True), ('fit', True), ('noise', True), ('compare', False),
        ('export', False), ('explore', False)])
def test_only_what_trains_may_import_from_here(verb, imports, tmp_path, monkeypatch, bslr):
    "And what is installed goes first"
    seen = []
    monkeypatch.chdir(tmp_path)
    def look(): seen.append(list(sys.path))
    monkeypatch.setitem(cli.VERBS, verb, look)
    bslr(verb)
    assert [i for i,o in enumerate(seen[0]) if o == str(tmp_path)] == ([len(seen[0]) - 1] if imports else [])

@pytest.mark.parametrize('name', ['../../evil', '/etc/evil', 'a/b', '.hidden', 'a b', '\x1b[31m', '=1+1', '[/x]', '-o'])
def test_sections_cannot_name_other_folders(tmp_path, name):
    "A study's name is part of the names of its files"
    (tmp_path/'s.ini').write_text(f'[{name}]\ndata = digits\nmodels = small\nbatch_sizes = 8\nlrs = 0.1\n')
    with pytest.raises(SettingsError, match='the name of a study') as e: read_settings(tmp_path/'s.ini')
    assert '\x1b' not in str(e.value)

# what goes out

@pytest.fixture
def strangers(tmp_path):
    "Runs of models with a name that does harm to a terminal, one of which failed with a message that does"
    rows = [dict(run=f'{EVIL}{i}', acc=.5 + .1*i if i else None, model=EVIL, bs=8*2**i, lr=.1,
                 status='ok' if i else 'failed', message='' if i else f'{EVIL} said')
            for i in range(4)]
    pd.DataFrame(rows).to_csv(tmp_path/'runs.csv', index=False)
    return tmp_path/'runs.csv'

ODD = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]')

def test_no_escape_sequence_in_tables(strangers):
    from bs_lr_study.report import tables
    text = tables(load_runs(strangers))
    assert 'net�[2J' in text and '� said' in text and not ODD.search(text)

def test_no_escape_sequence_in_errors_and_warnings(strangers, bslr, capfd):
    "Whatever an error quotes; here a table that names a run twice, and a store that does not begin as one"
    lines = strangers.read_text().splitlines()
    strangers.write_text('\n'.join([*lines, lines[-1].replace('0.8', '0.9')]))
    strangers.with_suffix('.jsonl').write_text(f'{EVIL}\n')
    for path in (strangers, strangers.with_suffix('.jsonl'), f'{EVIL}.csv'):
        with pytest.raises(SystemExit) as e: bslr('report', path, '--out', strangers.parent/'plots')
        assert e.value.code.startswith('bslr: ') and not ODD.search(e.value.code), e.value.code
    assert not ODD.search(''.join(capfd.readouterr()))

def test_no_escape_sequence_in_what_a_sweep_shows(tmp_path):
    "Line by line and as events: a message is one line, whatever it holds"
    from rich.console import Console
    cfgs = grid(data='digits', model='small', bs=[8, 16], lr=.1)
    study = SimpleNamespace(name='[/x]', cfgs=cfgs, runs={run_name(c): c for c in cfgs}, store=Store(tmp_path/'s.jsonl'))
    r = Run(cfgs[0], 'failed', f'{EVIL}\nfirst\u2028second\r\n{{"event": "sweep_ended"}}', name=EVIL)
    for show in ('lines', 'bar'):
        out = io.StringIO()
        with live(Board(study), show=show, console=Console(file=out, width=200)) as see: see(r)
        assert '1 of 2' in out.getvalue() or '1/2' in out.getvalue()
        assert not ODD.search(out.getvalue())
    out = io.StringIO()
    with live(Board(study), show=out) as see: see(r)
    events = [json.loads(l) for l in out.getvalue().splitlines()]
    assert [o['event'] for o in events] == ['sweep_begun', 'run_ended', 'sweep_ended']
    assert events[1]['message'] == r.message and not ODD.search(out.getvalue())

@pytest.mark.parametrize('model', [EVIL, '=1+1', '@SUM(A1)', '+1', '-1', '<b>', 'a b', '../x'])
def test_names_of_ones_own_runs_are_words(model):
    with pytest.raises(ValueError, match='model'): RunConfig(data='digits', model=model, bs=8, lr=.1)
    with pytest.raises(ValueError, match='data'): RunConfig(data=model, model='small', bs=8, lr=.1)

def test_nothing_is_written_for_spreadsheets():
    "Whoever adds an export to CSV or Excel has formulas to think of"
    writers = 'to_csv', 'to_excel', 'to_clipboard', 'writerow', 'writerows'
    found = {(o.stem, n.func.attr) for o in (ROOT/'bs_lr_study').glob('*.py') for n in ast.walk(ast.parse(o.read_text()))
             if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in writers}
    assert found == set()

@pytest.mark.parametrize('name', ['../../../evil', '/etc/evil', 'a\0b', 'x'*300, '$\\frac{', '..', 'a\nb'])
def test_plots_stay_in_their_folder(tmp_path, name):
    from bs_lr_study.report import save_plots
    df = pd.DataFrame(dict(run=[f'r{i}' for i in range(3)], acc=[.1, .2, .3], model=name, bs=[8, 16, 32], lr=.1))
    paths = save_plots(df, tmp_path/'plots', fmt='svg')
    assert len(paths) == 2 and all(o.resolve().parent == (tmp_path/'plots').resolve() and o.exists() for o in paths)

def test_settings_of_runs_stay_in_their_folder(tmp_path, monkeypatch):
    "A report on runs of several settings has a folder for each; here they are named by a stranger"
    made = []
    monkeypatch.setattr(cli.reports, '_report_one', lambda df, out, *_: made.append(Path(out)))
    rows = [dict(run=f'r{i}{d}', acc=.5, model='m', bs=8, lr=.1, data=d)
            for i in range(2) for d in ('../../../evil', '/etc/x', EVIL)]
    df = load_runs(pd.DataFrame(rows).drop_duplicates('data'))
    cli.reports.show_report(df, str(tmp_path/'plots'), 'x')
    assert len(set(made)) == 3 and all(o.parent == tmp_path/'plots' and not ODD.search(str(o)) for o in made)

# workflows

FLOWS = sorted((ROOT/'.github/workflows').glob('*.y*ml'))

@pytest.mark.parametrize('path', FLOWS, ids=lambda o: o.name)
def test_workflows(path):
    "They may read and no more, use actions at a commit that cannot change, keep no token, and run nothing that a stranger wrote"
    flow,text = yaml.safe_load(path.read_text()),path.read_text()
    on = flow.get('on', flow.get(True))
    assert 'pull_request_target' not in on and 'workflow_run' not in on
    assert flow['permissions'] == {'contents': 'read'}
    for job in flow['jobs'].values():
        assert job.get('timeout-minutes', 360) <= (120 if 'schedule' in on else 60)
        extra = {k: v for k,v in job.get('permissions', {}).items() if v == 'write'}
        assert set(extra) <= {'pages', 'id-token'}, 'to deploy a site is all that a job may write for'
        for step in job['steps']:
            if 'uses' in step: assert re.fullmatch(r'[\w.-]+/[\w./-]+@[0-9a-f]{40}', step['uses']), step
            if step.get('uses', '').startswith('actions/checkout@'): assert step['with']['persist-credentials'] is False
            put_in = re.search(r'\$\{\{\s*(github\.(event|head_ref)|inputs|secrets)', step.get('run', ''))
            assert not put_in, 'an expression in a script is code of whoever sets it'
    assert all(re.search(r'@[0-9a-f]{40} # v\d', l) for l in text.splitlines() if 'uses:' in l), 'the version stands behind the commit'

def test_actions_are_kept_current():
    bot = yaml.safe_load((ROOT/'.github/dependabot.yml').read_text())
    assert {o['package-ecosystem'] for o in bot['updates']} >= {'github-actions', 'pip'}
