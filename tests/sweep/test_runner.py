"""A sweep that is killed goes on where it was, and two sweeps do not get in each other's way."""
import multiprocessing as mp, os, random, re, signal, subprocess, sys, time
from collections import Counter

import psutil, pytest

from bs_lr_study.runs import Run
from bs_lr_study.store import Store
from bs_lr_study.sweep import load_study, make_study, run, todo
from bs_lr_study.sweep.checks import SweepError

SETTINGS = """
[tiny]
data = digits
models = small
batch_sizes = 32 64 128 256
lrs = 1e-3 1e-2
epochs = 1
"""

@pytest.fixture
def folder(tmp_path):
    (tmp_path/'settings.ini').write_text(SETTINGS)
    return tmp_path

def sweep_here(folder):
    os.setsid()
    os.chdir(folder)
    sys.stdout = sys.stderr = open(os.devnull, 'w')
    run(load_study('tiny'), workers=0, show=False)

def statuses(folder): return Counter(d['status'] for d in Store(folder/'runs/tiny.jsonl').read()[0])

def test_killed_at_ten_random_moments(folder):
    "kill -9 again and again: in the end each run is recorded once, and none that was finished was done twice"
    import torch
    import bs_lr_study.training.learner # noqa: F401, so that each child starts at once
    torch.set_num_threads(1)
    rng,ctx,kills,kept = random.Random(1),mp.get_context('fork'),0,set()
    store = Store(folder/'runs/tiny.jsonl')
    while kills < 10:
        p = ctx.Process(target=sweep_here, args=(folder,))
        p.start()
        time.sleep(rng.uniform(.05, .8))
        if p.exitcode is None: os.kill(p.pid, signal.SIGKILL); kills += 1
        p.join()
        ids = [d['id'] for d in store.read()[0]]
        assert len(ids) == len(set(ids)) and kept <= set(ids)
        kept = set(ids)
        if len(kept) == 8: store.path.unlink(); kept = set() # done early: start over, to be killed again
    p = ctx.Process(target=sweep_here, args=(folder,))
    p.start(); p.join()
    ids = [d['id'] for d in store.read()[0]]
    assert p.exitcode == 0 and len(ids) == len(set(ids)) == 8
    assert statuses(folder) == {'ok': 8}

def bslr(folder, *args, **kw):
    return subprocess.Popen([sys.executable, '-c', 'from bs_lr_study.cli import main; main()', *args], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **kw)

def wait_for_runs(folder, n, p):
    store = Store(folder/'runs/tiny.jsonl')
    while len(store.read()[0]) < n:
        assert p.poll() is None, p.stdout.read()
        time.sleep(.05)

def left_of(p, patience=20):
    "The processes of p's group that are still there after a while"
    for _ in range(patience*10):
        left = subprocess.run(['ps', '-o', 'pid,stat,args', '-g', str(p.pid), '--no-headers'], capture_output=True, text=True).stdout
        left = '\n'.join(l for l in left.splitlines() if l.split()[1][0] != 'Z') # a zombie has ended
        if not left: return ''
        time.sleep(.1)
    return left

# Kills at random moments are in test_faults
@pytest.mark.parametrize('sig', [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_stopped_with_workers_and_started_again(folder, sig):
    "Ctrl-C reaches the whole group, kill -9 the parent alone; either way no worker stays behind and the next start goes on"
    p = bslr(folder, 'run', 'tiny', '--workers', '2')
    wait_for_runs(folder, 2, p)
    os.killpg(p.pid, sig) if sig == signal.SIGINT else os.kill(p.pid, sig)
    out = p.communicate(timeout=60)[0]
    if sig == signal.SIGINT: assert 'stopped. What is finished is kept' in out and 'Traceback' not in out
    assert left_of(p) == '', 'a process stayed behind'
    n = sum(statuses(folder).values())
    p = bslr(folder, 'run', 'tiny', '--workers', '2')
    out = p.communicate(timeout=300)[0]
    assert p.returncode == 0, out
    assert f'{n} of 8 runs are done' in out and 'Inflection point' in out and 'plots/tiny/accuracy.png' in out
    assert statuses(folder) == {'ok': 8} and todo(load_study('tiny')) == []

def test_a_second_sweep_is_told(folder):
    os.makedirs(folder/'runs')
    with Store(folder/'runs/tiny.jsonl').owned():
        p = bslr(folder, 'run', 'tiny')
        out = p.communicate(timeout=100)[0]
    assert p.returncode == 1 and 'another sweep is running on runs/tiny.jsonl' in out and 'Traceback' not in out

def test_stopped_before_the_first_run(folder):
    "Ctrl-C while the workers are still being started"
    p = bslr(folder, 'run', 'tiny', '--workers', '2')
    while not psutil.Process(p.pid).children(): time.sleep(.02) # the server that workers are forked from
    for _ in range(2):
        os.killpg(p.pid, signal.SIGINT)
        time.sleep(.3)
    out = p.communicate(timeout=60)[0]
    # where the signal meets Python in the middle of an import, Python itself drops it with these words; the second one counts
    ours = re.sub(r'Exception ignored in: .*\nTraceback .*\n(?:  .*\n)*KeyboardInterrupt: ?\n', '', out)
    assert p.returncode != 0 and 'Traceback' not in ours, out

def test_what_this_machine_lacks_is_refused_only_where_the_runs_would_run(folder, monkeypatch):
    "A GPU may be where the workers are"
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    study,given = load_study('tiny'),[]
    def elsewhere(groups, engine, opts, begun=None):
        given.append((opts['device'], opts['amp']))
        yield from (Run(c, metrics=[dict(epoch=1, acc=.5)]) for g in groups for c in g)
    with pytest.raises(SweepError, match='amp fp16 needs a CUDA device'): run(study, amp='fp16', show=False)
    with pytest.raises(SweepError, match="device 'nothing' cannot be used here"): run(study, device='nothing', show=False)
    with pytest.raises(ValueError, match='amp fp16 needs a GPU.*`gpus`'): run(study, on='ray', amp='fp16', show=False)
    assert run(study, on=elsewhere, device='cuda', amp='fp16', show=False) == Counter(ok=8) and given == [('cuda', 'fp16')]

def test_other_images_do_not_go_into_the_same_store(folder):
    study = load_study('tiny')
    study.store.append(Run(study.cfgs[0], status='diverged', env=dict(data_fingerprint='0'*16)))
    with pytest.raises(SweepError, match='runs on other images'): run(study, show=False)

def test_failed_runs_are_told_and_end_in_an_error(folder):
    (folder/'nets.py').write_text('''import multiprocessing
from bs_lr_study.training.models import small
def bad(n_out, n_in): # where it is tried before the sweep it works
    if multiprocessing.parent_process(): raise RuntimeError("no such luck")
    return small(n_out, n_in)''')
    (folder/'settings.ini').write_text(SETTINGS.replace('small', 'nets:bad').replace('32 64 128 256', '256'))
    p = bslr(folder, 'run', 'tiny', '--workers', '1')
    out = p.communicate(timeout=200)[0]
    assert p.returncode == 1 and '2 failed: RuntimeError: no such luck' in out and '--retry failed' in out

def test_a_torn_store_is_repaired_by_running_again(folder):
    study = load_study('tiny')
    for c in study.cfgs: study.store.append(Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)]))
    path = folder/'runs/tiny.jsonl'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(UserWarning, match='set aside'): assert [c.id for c in todo(study)] == [study.cfgs[-1].id]

def test_a_study_that_grows_keeps_its_runs(folder):
    small = make_study('grows', data='digits', models='small', batch_sizes=[8, 16], lrs=[1e-3])
    for c in small.cfgs: small.store.append(Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.5)]))
    large = make_study('grows', data='digits', models='small', batch_sizes=[4, 8, 16, 32], lrs=[1e-3])
    assert [c.bs for c in todo(large)] == [4, 32]
