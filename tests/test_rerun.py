"""A part of a study, a budget of time, what to try again; and what a sweep tells those who watch it. Nothing here trains."""
import io, json, os, signal, subprocess, sys, time, warnings
from dataclasses import replace

import pytest

from bs_lr_study import cli
from bs_lr_study.sweep import runner as sweep
from bs_lr_study.sweep.live import live
from bs_lr_study.sweep.plan import forecast, only
from bs_lr_study.runs import Run
from bs_lr_study.store import Store
from bs_lr_study.sweep import load_study, make_study, run, standing, todo
from bs_lr_study.sweep.board import Board

def ended(cfg, status='ok', **kw):
    metrics = [dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)] if status == 'ok' else []
    return Run(cfg, status, metrics=metrics, cost=dict(seconds=64/cfg.bs, steps=3), env=dict(engine='fast'), **kw)

def stub(begun_groups=None, status='ok', **kw):
    "Who trains nothing and says that it did"
    def execute(groups, engine, opts, begun=None):
        for g in groups:
            if begun_groups is not None: begun_groups.append(g)
            begun(g)
            yield from (ended(c, status, **kw) for c in g)
    return execute

@pytest.fixture
def study(tmp_path):
    return make_study('s', tmp_path/'s.jsonl', data='digits', models='small', batch_sizes=[8, 64, 16, 32],
                      lrs=[1e-3, 1e-2], seeds=[0, 1], epochs=1)

def done(study): return [d['config']['bs'] for d in study.store.read()[0]]

def test_longest_first(study):
    "By batch size as long as nothing is known; by the clock once it is"
    groups = []
    run(study, on=stub(groups), show=False)
    assert [g[0].bs for g in groups] == [8, 16, 32, 64] and [len(g) for g in groups] == [4]*4
    slow = make_study('t', study.store.path, data='digits', models='small', batch_sizes=[8, 64, 16, 32],
                      lrs=[1e-3, 1e-2], seeds=[2], epochs=1)
    for k in range(9): study.store.append(replace(ended(replace(study.cfgs[0], bs=32, seed=k + 3)), cost=dict(seconds=1e3, steps=3)))
    groups.clear()
    run(slow, on=stub(groups), show=False)
    assert [g[0].bs for g in groups] == [32, 8, 16, 64]

def test_a_limit_and_a_part(study):
    assert run(only(study, bs=[16, 64]), on=stub(), show=False, limit=3) == {'ok': 3}
    assert done(study) == [16, 16, 16]
    assert run(only(study, bs=[16, 64]), on=stub(), show=False) == {'ok': 5} and len(todo(study)) == 8
    for bad in (0, -2):
        with pytest.raises(ValueError, match='at least one run'): run(study, on=stub(), limit=bad)

def test_a_budget(study, monkeypatch):
    "No group is begun once the time is over, and the one under way is recorded whole"
    now = [0.]
    monkeypatch.setattr(sweep.time, 'monotonic', lambda: now[0])
    def execute(groups, engine, opts, begun=None):
        for g in groups:
            for c in g:
                now[0] += 60
                yield ended(c)
    assert run(study, on=execute, show=False, budget='5m') == {'ok': 8} # four are a group; the second begins after four minutes
    assert done(study) == [8]*4 + [16]*4
    assert run(study, on=execute, show=False, budget='1s') == {'ok': 4}
    for bad in ('soon', '0', -1, ''):
        with pytest.raises(ValueError, match='budget'): run(study, on=execute, budget=bad)

def test_a_budget_ends_a_sweep_that_answers_lack_of_memory(study, monkeypatch):
    now = [0.]
    monkeypatch.setattr(sweep.time, 'monotonic', lambda: now[0])
    def execute(groups, engine, opts, begun=None):
        for g in groups:
            now[0] += 60
            yield from (ended(c, 'oom', message='out of memory') for c in g)
    assert run(study, on=execute, show=False, on_oom='accumulate', budget='90s') == {'oom': 8}

def test_what_is_tried_again(study):
    run(only(study, bs=8), on=stub(), show=False)
    run(only(study, bs=16), on=stub(status='failed', message='why'), show=False)
    run(only(study, bs=32), on=stub(status='oom', message='why'), show=False)
    assert [c.bs for c in todo(study)] == [64]*4
    assert run(study, on=stub(), show=False, retry='failed,oom', limit=5) == {'ok': 5}
    assert {d['attempt'] for d in study.store.known().values() for d in [d._asdict()] if d['config']['bs'] == 16} == {2}
    with pytest.raises(ValueError, match="no status 'lost'; choose from ok, diverged"): run(study, on=stub(), retry='lost')

def test_the_store_is_read_once_a_sweep(study, monkeypatch):
    reads,each = [],Store._each
    monkeypatch.setattr(Store, '_each', lambda self: reads.append(1) or each(self))
    run(study, on=stub(), show=False)
    run(study, on=stub(), show=False, on_oom='accumulate')
    assert len(reads) == 2

def test_several_at_once_are_written_in_one_go(study, monkeypatch):
    from bs_lr_study import store
    writes,append = [],store.append_bytes
    monkeypatch.setattr(store, 'append_bytes', lambda path, lines: writes.append(lines.count(b'\n')) or append(path, lines))
    def execute(groups, engine, opts, begun=None):
        for g in groups: yield [ended(c) for c in g]
    heard = []
    run(study, on=execute, show=False, on_run=lambda r: heard.append((r.name, len(study.store.read()[0]))))
    assert writes == [4]*4 and [n for _,n in heard] == [4]*4 + [8]*4 + [12]*4 + [16]*4

def test_a_part_of_a_study_is_no_news(study, tmp_path):
    "What another part of the settings has brought into a store is told, and is not called new"
    run(only(study, bs=[8, 16]), on=stub(), show=False)
    other = only(study, bs=[16, 32])
    since = standing(other).since[:16].replace('T', ' ')
    assert str(standing(other)).endswith(
        '; 4 to do, 4 of them new since ' + since + ' UTC; 4 more in there are not of this study')
    run(study, on=stub(), show=False)
    at = standing(study)
    assert (at.todo, at.new, at.others) == (0, 0, 0) and str(at) == f'16 of 16 runs are done, in {study.store.path}'

def events_of(study, **kw):
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        run(study, show=out, **kw)
    return [json.loads(o) for o in out.getvalue().splitlines()]

def test_events(study):
    run(only(study, bs=8), on=stub(), show=False)
    first,*rest,last = events_of(study, on=stub())
    assert (first['event'], first['v'], first['runs'], first['done'], first['todo']) == ('sweep_begun', 1, 16, 4, 12)
    begun,runs = ([o for o in rest if o['event'] == e] for e in ('group_begun', 'run_ended'))
    assert len(rest) == len(begun) + len(runs) and sum(len(o['ids']) for o in begun) == len(runs) == 12
    assert {o['id'] for o in runs} == {c.id for c in study.cfgs if c.bs > 8} and {o['name'] for o in runs} <= set(study.runs)
    assert [o['done'] for o in runs] == list(range(5, 17)) and {(o['status'], o['acc'], o['attempt']) for o in runs} == {('ok', .5, 1)}
    assert (last['event'], last['statuses'], last['left'], last['error']) == ('sweep_ended', {'ok': 12}, 0, None)

def test_no_message_breaks_a_line(study):
    "Line ends of all kinds, escape sequences, half surrogates, and what is no number"
    evil = 'a\nb\r\x1b[2J\u2028\x85\ud800"}{"event": "sweep_ended"}'
    *_,run_ended,last = events_of(only(study, bs=8, seed=0, lr=1e-3), on=stub(status='failed', message=evil))
    assert run_ended['event'] == 'run_ended' and run_ended['message'] == evil and last['statuses'] == {'failed': 1}
    out = io.StringIO()
    def nan(groups, engine, opts, begun=None):
        for g in groups: yield from (replace(ended(c), cost=dict(seconds=float('nan'))) for c in g)
    run(study, on=nan, show=out, retry='failed')
    assert 'NaN' not in out.getvalue() and all(json.loads(o) for o in out.getvalue().splitlines())
    from rich.console import Console
    text = io.StringIO()
    with live(Board(study, study.cfgs[:1]), 'lines', Console(file=text, width=40)) as see:
        see(replace(ended(study.cfgs[0], 'failed', message=evil), name='n'))
    assert text.getvalue().count('\n') == 1 and '\x1b' not in text.getvalue() and 'failed' in text.getvalue()

def test_a_sweep_that_breaks_off_says_so(study):
    out = io.StringIO()
    def execute(groups, engine, opts, begun=None):
        yield ended(next(iter(groups))[0])
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): run(study, on=execute, show=out)
    last = json.loads(out.getvalue().splitlines()[-1])
    assert (last['event'], last['left'], last['error']) == ('sweep_ended', 15, 'KeyboardInterrupt') and len(study.store.read()[0]) == 1

def test_nobody_listens_any_more(study):
    class Gone(io.StringIO):
        def write(self, o): raise BrokenPipeError(32, 'Broken pipe')
    with pytest.warns(UserWarning, match='the output cannot be written any more'): assert run(study, on=stub(), show=Gone()) == {'ok': 16}

@pytest.mark.parametrize('kw,said', [
    (dict(show='fancy'), "show is 'fancy': choose True, 'bar', 'lines', 'json', a file for events, or False"),
    (dict(on='there'), 'choose from here, ray')])
def test_slips_are_told_before_anything_is_done(study, kw, said):
    with pytest.raises(ValueError, match=said): run(study, **kw)
    assert not study.store.path.exists()

def test_the_forecast_counts_what_is_left(study):
    run(only(study, bs=[8, 32]), on=stub(), show=False)
    f = forecast(todo(study), study.store.known(), workers=2)
    # Between two batch sizes, and beyond the larger by its price an update
    assert f.seconds == pytest.approx(4*(4 + 1), rel=.01)
    assert f.wall == pytest.approx(16, rel=.01)

def test_a_dry_run_reckons_with_the_budget(tmp_path, monkeypatch, capsys):
    "It says how many runs are left, and so many are; nothing is written"
    (tmp_path/'s.ini').write_text('[s]\ndata = digits\nmodels = small\nbatch_sizes = 8 64 16 32\nlrs = 1e-3 1e-2\nseeds = 0 1\n')
    made,now = load_study('s', tmp_path/'s.ini', tmp_path/'s.jsonl'),[0.]
    monkeypatch.setattr(sweep.time, 'monotonic', lambda: now[0])
    def execute(groups, engine, opts, begun=None):
        for g in groups:
            for c in g:
                now[0] += 60
                yield replace(ended(c), cost=dict(seconds=60., steps=3))
    def dry(budget):
        before = made.store.path.read_bytes() if made.store.path.exists() else None
        cli.run('s', settings=tmp_path/'s.ini', store=made.store.path, seeds=[2, 3], out=str(tmp_path/'plots'),
                workers=1, dry_run=True, budget=budget)
        assert (made.store.path.read_bytes() if before else None) == before
        return capsys.readouterr().out.splitlines()[-1]
    untold = str(forecast(todo(made), {}, budget='5m')).splitlines()[-1]
    assert untold == 'with a budget of 5 min, some of them may be left: how many, the finished runs do not tell'
    run(made, on=execute, show=False)
    assert dry('5m') == 'with a budget of 5 min, 8 more runs are left; the same command goes on from there'
    # Four are a group; the second begins after four minutes
    more = load_study('s', tmp_path/'s.ini', made.store.path, seeds=[2, 3])
    assert run(more, on=execute, show=False, budget='5m') == {'ok': 8}
    assert dry('5m') == 'with a budget of 5 min, none is left'
    with pytest.raises(ValueError, match='budget'): dry('soon')

SCRIPT = '''
import os, sys
from bs_lr_study.register import ENGINES
ENGINES['stub'] = 'stub:train_many'
sys.argv = ['bslr', 'run', 's', '--settings', 's.ini', '--engine', 'stub', '--workers', '0', *sys.argv[1:]]
from bs_lr_study.cli import main
main()
'''
STUB = '''
import os
from bs_lr_study.runs import Run
def train_many(cfgs, **opts):
    for c in cfgs:
        print('loud')
        os.system('echo louder')
        yield Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)], cost=dict(seconds=1., steps=1), env=dict(engine='stub'))
'''

def test_on_the_command_line(tmp_path):
    "A dry run makes nothing; with --json the standard output has events alone, whatever models and what they start print"
    ini = '[s]\ndata = digits\nmodels = small\nbatch_sizes = 8 16\nlrs = 1e-3 1e-2\n'
    for name,text in (('script.py', SCRIPT), ('stub.py', STUB), ('s.ini', ini)): (tmp_path/name).write_text(text)
    def bslr(*args):
        return subprocess.run([sys.executable, 'script.py', *args], cwd=tmp_path,
                              capture_output=True, text=True, timeout=300)
    dry = bslr('--dry-run', '--only', 'bs=8,16', 'lr=1e-3')
    assert dry.returncode == 0 and 'this rests on a few updates timed just now' in dry.stdout, dry.stderr
    assert not (tmp_path/'runs').exists(), dry.stderr
    wrong = bslr('--only', 'bs=9')
    assert wrong.returncode == 1 and wrong.stderr.strip() == 'bslr: only: no run of s has bs 9; there are 8, 16'
    r = bslr('--json', '--only', 'bs=8,16', '--limit', '3')
    events = [json.loads(o) for o in r.stdout.splitlines()]
    assert r.returncode == 0, r.stderr
    assert [o['event'] for o in events][::len(events) - 1] == ['sweep_begun', 'sweep_ended'], r.stderr
    assert events[-1]['statuses'] == {'ok': 3}, r.stderr
    assert r.stderr.count('louder') == 3 and 'Inflection point' in r.stderr and '0 of 4 runs are done' in r.stderr

NOTEBOOK = ['''
import errno, fcntl, os, time
def no_flock(*_): raise OSError(errno.ENOSYS, 'no locks here')
if {drive}: fcntl.flock = no_flock # as on a drive that is mounted over the network
''', '''
from bs_lr_study.runs import Run
from bs_lr_study.sweep import make_study, run
study = make_study('colab', 'drive/MyDrive/colab.jsonl', data='digits', models='small', batch_sizes=[8, 16, 32, 64], lrs=[1e-3, 1e-2])
def slow(groups, engine, opts, begun):
    for g in groups:
        for c in g:
            time.sleep(.3)
            yield Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)], '''
            '''cost=dict(seconds=.3, steps=1), env=dict(pid=os.getpid()))
''', "ended = run(study, on=slow, show='bar')", "print('made', sum(ended.values()))"]

@pytest.mark.parametrize('drive', [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_notebook_that_is_run_from_the_top_again(tmp_path, drive):
    "Killed in the middle of its sweep, it goes on; also where the store lies on a drive without locks"
    def cell(s):
        return dict(cell_type='code', id=f'c{abs(hash(s))}', metadata={}, outputs=[], execution_count=None,
                    source=s.replace('{drive}', str(drive)).strip().splitlines(True))
    metadata = dict(kernelspec=dict(name='python3', display_name='p', language='python'))
    notebook = dict(cells=list(map(cell, NOTEBOOK)), metadata=metadata, nbformat=4, nbformat_minor=5)
    (tmp_path/'study.ipynb').write_text(json.dumps(notebook))
    store = Store(tmp_path/'drive/MyDrive/colab.jsonl')
    code = "from execnb.shell import exec_nb; exec_nb('study.ipynb', dest='out.ipynb', exc_stop=True)"
    def kernel():
        return subprocess.Popen([sys.executable, '-c', code], cwd=tmp_path,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    p = kernel()
    while len(store.read()[0]) < 2:
        assert p.poll() is None, p.stdout.read()
        time.sleep(.05)
    os.kill(p.pid, signal.SIGKILL)
    p.communicate()
    before = store.read()[0]
    assert 2 <= len(before) < 8
    p = kernel()
    said = p.communicate(timeout=200)[0]
    assert p.returncode == 0, said
    after = store.read()[0]
    assert after[:len(before)] == before and len({d['id'] for d in after}) == len(after) == 8
    cells = json.loads((tmp_path/'out.ipynb').read_text())['cells']
    said = [o.get('text', '') for c in cells for o in c['outputs']] # each a text, or a list of its lines
    text = ''.join(''.join(o) for o in said)
    assert f'made {8 - len(before)}' in text
