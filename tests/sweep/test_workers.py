"""Workers that die at odd moments, told by fakes: no torch, no training."""
import multiprocessing as mp, os, signal, struct, subprocess, sys, time

import pytest

import bs_lr_study.sweep.workers as workers
from bs_lr_study.runs import Run, grid
from bs_lr_study.sweep import make_study, run
from bs_lr_study.sweep.executors import here
from bs_lr_study.sweep.workers import WorkerError, in_workers

CFGS = grid(data='digits', model='small', bs=[1, 2, 3, 4], lr=1e-3)

def ok(cfg): return Run(cfg, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)])

def fake(behave):
    "A worker that does as told with each group; `behave(conn, group)` may end the process"
    def work(conn, engine, opts):
        conn.send('ready')
        while group := conn.recv():
            conn.send('begun')
            behave(conn, group)
            conn.send('done')
    return work

@pytest.fixture
def forked(monkeypatch):
    "Fakes are functions of this test, so their processes have to be forks of it"
    from multiprocessing import get_context
    monkeypatch.setattr(workers, '_context', lambda engine: get_context('fork'))
    return lambda work: monkeypatch.setattr(workers, '_work', work)

def statuses(groups, n=2): return {r.cfg.bs: r.status for r in in_workers(groups, n, 'fastai', {})}

def test_all_is_well(forked):
    forked(fake(lambda conn, group: [conn.send(ok(c)) for c in group]))
    assert statuses([[c] for c in CFGS]) == {1: 'ok', 2: 'ok', 3: 'ok', 4: 'ok'}

def test_one_that_breaks_off_in_the_middle_of_a_word(forked):
    def behave(conn, group):
        for c in group:
            if c.bs == 2:
                os.write(conn.fileno(), struct.pack('!i', 10_000) + b'a beginning')
                os._exit(1)
            conn.send(ok(c))
    forked(fake(behave))
    assert statuses([[c] for c in CFGS]) == {1: 'ok', 2: 'failed', 3: 'ok', 4: 'ok'}

def test_one_that_sends_garbage(forked):
    def behave(conn, group):
        if group[0].bs == 3: conn.send_bytes(b'\x80\x05garbage'); time.sleep(60)
        for c in group: conn.send(ok(c))
    forked(fake(behave))
    assert statuses([[c] for c in CFGS]) == {1: 'ok', 2: 'ok', 3: 'failed', 4: 'ok'}

@pytest.mark.parametrize('presses,begun', [(1, 1), (2, 0)])
def test_ctrl_c_waits_for_a_worker_that_begins(presses, begun):
    "Left half begun, it would print a traceback; who asks twice does not wait, and Ctrl-C is then what it was"
    made = []
    class Half:
        Pipe = staticmethod(mp.Pipe)
        def Process(self, **kw): return self
        def start(self):
            for _ in range(presses): signal.raise_signal(signal.SIGINT)
            made.append(1)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt): workers._Worker(Half(), 'fastai', b'', CFGS)
    assert len(made) == begun and signal.getsignal(signal.SIGINT) is before

def test_one_that_dies_after_its_work(forked):
    "The run it has sent counts, and what it was to do next is done by another"
    def work(conn, engine, opts):
        conn.send('ready')
        group = conn.recv()
        conn.send('begun')
        for c in group: conn.send(ok(c))
        conn.send('done')
        os._exit(0)
    forked(work)
    assert statuses([[c] for c in CFGS]) == {1: 'ok', 2: 'ok', 3: 'ok', 4: 'ok'}

def test_a_group_loses_only_what_was_not_sent(forked):
    def behave(conn, group):
        for c in group:
            if c.bs == 3: os.kill(os.getpid(), signal.SIGKILL)
            conn.send(ok(c))
    forked(fake(behave))
    assert statuses([CFGS]) == {1: 'ok', 2: 'ok', 3: 'failed', 4: 'ok'}

def test_one_that_never_begins_is_an_error_and_no_result(forked):
    forked(lambda conn, engine, opts: os._exit(3))
    with pytest.raises(WorkerError, match='before it could begin'): list(in_workers([[c] for c in CFGS], 2, 'fastai', {}))

def test_one_that_takes_too_long(forked):
    "It has failed; those of its group that it has sent count, and the others are tried alone"
    def behave(conn, group):
        for c in group:
            if c.bs == 3: time.sleep(60)
            conn.send(ok(c))
    forked(fake(behave))
    runs = list(in_workers([CFGS], 2, 'fastai', {}, timeout=1))
    assert {r.cfg.bs: r.status for r in runs} == {1: 'ok', 2: 'ok', 3: 'failed', 4: 'ok'}
    assert [r.message for r in runs if r.status == 'failed'] == ['it took longer than the 1 s that a run may take, and was ended']

def test_a_group_may_take_as_long_as_its_runs(forked):
    def behave(conn, group):
        time.sleep(.5)
        for c in group: conn.send(ok(c))
    forked(fake(behave))
    assert {r.status for r in in_workers([CFGS], 1, 'fastai', {}, timeout=.3)} == {'ok'}

def test_a_time_that_means_nothing():
    with pytest.raises(ValueError, match='only a run in a worker process can be ended'): here([], 'fastai', {}, workers=0, timeout=5)
    with pytest.raises(ValueError, match='timeout: 0 s is no time'): here([], 'fastai', {}, workers=2, timeout=0)

def test_nobody_stays_when_the_parent_stops_early(forked):
    forked(fake(lambda conn, group: [conn.send(ok(c)) for c in group] and time.sleep(60)))
    runs = in_workers([[c] for c in CFGS], 2, 'fastai', {})
    next(runs)
    runs.close()
    from multiprocessing import active_children
    assert active_children() == []

STUB = """
import os
from bs_lr_study.runs import Run
def train_many(cfgs, **opts):
    for c in cfgs: yield Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)])
"""

SWEEP = """
from bs_lr_study.runs import grid
from bs_lr_study.sweep.workers import in_workers
if __name__ == '__main__':
    cfgs = grid(data='digits', model='small', bs=[1, 2], lr=1e-3)
    print([r.status for r in in_workers([[c] for c in cfgs], 2, 'stub_engine:train_many', {})])
"""

def test_the_current_folder_is_not_run(tmp_path):
    "Neither the fork server nor a worker takes its `random.py` for Python's"
    for o in ('elsewhere', 'here'): (tmp_path/o).mkdir()
    (tmp_path/'elsewhere/stub_engine.py').write_text(STUB)
    (tmp_path/'elsewhere/script.py').write_text(SWEEP)
    names = 'random', 'queue', 'secrets', 'socket', 'pickle'
    for name in names: (tmp_path/'here'/f'{name}.py').write_text(f'open("{name} was run", "w")')
    r = subprocess.run([sys.executable, '../elsewhere/script.py'], cwd=tmp_path/'here', capture_output=True, text=True, timeout=300)
    assert r.stdout == "['ok', 'ok']\n", r.stderr
    assert sorted(o.name for o in (tmp_path/'here').iterdir()) == sorted(f'{o}.py' for o in names)

LAZY = """
from dataclasses import replace
from bs_lr_study.runs import Run
def train_many(cfgs, **opts):
    for c in cfgs:
        if c.lr < .1: yield Run(c, 'diverged')
def twice(cfgs, **opts):
    for c in cfgs + cfgs: yield Run(c, 'diverged')
def others(cfgs, **opts):
    for c in cfgs: yield Run(replace(c, seed=9), 'diverged')
"""

@pytest.fixture
def lazy(tmp_path, monkeypatch):
    (tmp_path/'lazy_engine.py').write_text(LAZY)
    monkeypatch.syspath_prepend(tmp_path)

@pytest.mark.parametrize('n', [0, 1])
def test_an_engine_that_returns_too_few_or_others(lazy, tmp_path, n):
    "What it leaves out is recorded as failed; what nobody has asked for is an error that names it"
    study = make_study('s', tmp_path/'s.jsonl', data='digits', models='small', batch_sizes=[8], lrs=[1e-3, 1e-2, 1e-1])
    ended = run(study, workers=n, engine='lazy_engine:train_many', show=False)
    known = study.store.runs()
    assert ended == {'diverged': 2, 'failed': 1} and len(known) == 3
    assert [(r.cfg.lr, r.message) for r in known.values() if r.status == 'failed'] == [(.1, 'the engine returned no result for this run')]
    for engine,kept in (('twice', 1), ('others', 0)):
        other = make_study('t', tmp_path/f'{engine}.jsonl', data='digits', models='small', batch_sizes=[8], lrs=[1e-3])
        with pytest.raises((ValueError, WorkerError), match='a run that was not asked for'):
            run(other, workers=n, engine=f'lazy_engine:{engine}', show=False)
        assert len(other.store.read()[0]) == kept

SCRIPT = """
from bs_lr_study.sweep import make_study, run
study = make_study('script', data='digits', models='small', batch_sizes=[512], lrs=[1e-3, 1e-2], epochs=1)
{}run(study, workers=2, engine='stub_engine:train_many', show=False)
"""

@pytest.mark.parametrize('guard', ["if __name__ == '__main__': ", ''])
def test_a_script_that_starts_a_sweep(tmp_path, guard):
    "With the guard it works; without it the reason is said and nothing false is recorded"
    (tmp_path/'script.py').write_text(SCRIPT.format(guard))
    (tmp_path/'stub_engine.py').write_text(STUB)
    r = subprocess.run([sys.executable, 'script.py'], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    store = tmp_path/'runs/script.jsonl'
    if guard: assert r.returncode == 0 and len(store.read_text().splitlines()) == 2, r.stderr
    else: assert r.returncode == 1 and 'if __name__ == "__main__":' in r.stderr and not store.exists()
