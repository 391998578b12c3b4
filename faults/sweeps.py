"Sweeps that are killed, stopped, starved and lied to: one function a row of the table"
import os, resource, shutil, signal, socket, subprocess, sys, tempfile, time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bs_lr_study.training.fast import train_many as fast_many
from bs_lr_study.training.learner import train_many as fastai_many
from bed import Bed
import stub

MANY = dict(bss=(4, 8, 16, 32, 64, 128, 256, 512), lrs=('1e-4', '1e-3', '1e-2')) # for the stub: 24 runs

def truth_of(bed):
    "Id of a run -> all results that an undisturbed sweep may have: the fast engine's last digits depend on a run's company"
    if bed.engine == 'stub': return {c.id: [stub.metrics(c)] for c in bed.study.cfgs}
    many = dict(fast=fast_many, fastai=fastai_many)[bed.engine]
    opts = dict(path=bed.data) if bed.data else {}
    out = {c.id: [r.metrics for r in many([c], **opts)] for c in bed.study.cfgs}
    if bed.engine == 'fast':
        for bs in {c.bs for c in bed.study.cfgs}:
            for r in many([c for c in bed.study.cfgs if c.bs == bs], **opts): out[r.id].append(r.metrics)
    return out

class Beds:
    "Fresh beds in a folder that goes away, each with what its sweep gives undisturbed"
    def __init__(self): self.folder,self.n,self.known = Path(tempfile.mkdtemp(prefix='faults-')),0,{}
    def __enter__(self): return self
    def __exit__(self, *_): shutil.rmtree(self.folder, ignore_errors=True)
    def __call__(self, engine='stub', workers=0, **kw):
        self.n += 1
        bed = Bed(self.folder/str(self.n), engine, workers, **dict(MANY if engine == 'stub' else {}) | kw)
        if (key := (engine, str(bed.data), *(c.id for c in bed.study.cfgs))) not in self.known: self.known[key] = truth_of(bed)
        bed.truth = self.known[key]
        return bed

def judge(row, bed, tries, amiss='', *retry):
    "Let a sweep go on in peace, and enter what came of it; `amiss` is what has gone wrong before"
    p = bed.start(*retry)
    done = p.wait() == 0 and bed.complete() and not p.left()
    row.tried += tries
    row.survived += tries*(done and not amiss)
    row.lost += bed.gone()
    row.twice += bed.twice()
    row.wrong += bed.wrong(bed.truth)
    if amiss or not done: row.note = row.note or f'{amiss or "it did not go on to the end"}; then: {p.output()[-300:]}'

def unlike(p, fit):
    "What a sweep said and left, unless it ended as it should"
    code,left,output = p.wait(),p.left(),p.output()
    if fit(code, output) and not left and 'Traceback' not in output: return ''
    return f'ended with {code}, {len(left)} processes left: {output[-500:]}'

def length(bed):
    "Seconds that an undisturbed sweep takes"
    start = time.monotonic()
    p = bed.start()
    if p.wait(600): raise RuntimeError(f'an undisturbed sweep ended with {p.code}: {p.output()[-300:]}')
    return time.monotonic() - start

def kill_sweep(row, beds, rng, n, engine, workers, before=None, **kw):
    "kill -9 the process that sweeps, at random moments, until it has got to its end in spite of it; then again"
    took = length(beds(engine, workers, **kw)) if n else 0
    while n > 0:
        bed,tries,amiss = beds(engine, workers, **kw),0,''
        while tries < n:
            p = bed.start(before=before)
            time.sleep(rng.uniform(0, took))
            if p.poll() is not None: break
            os.kill(p.pid, signal.SIGKILL)
            amiss = amiss or unlike(p, lambda *_: True)
            tries += 1
            row.lost += bed.gone()
        judge(row, bed, tries, amiss)
        n -= tries

def one_process(row, beds, rng, n):
    for engine,share in (('stub', n - 2*(n//8)), ('fast', n//8), ('fastai', n//8)): kill_sweep(row, beds, rng, share, engine, 0)

def with_workers(row, beds, rng, n):
    for engine,share in (('stub', n - n//8), ('fast', n//8)): kill_sweep(row, beds, rng, share, engine, 2)

@contextmanager
def ray_head():
    "A cluster of Ray on this machine, of two CPUs and for a while; gives its address"
    from bs_lr_study.sweep.connect import ClusterError, check_address
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        at = f'127.0.0.1:{s.getsockname()[1]}'
    os.environ['RAY_AUTH_MODE'] = 'disabled' # nobody else reaches it: of both it and the sweeps
    opts = [f'--port={at.rpartition(":")[2]}', '--node-ip-address=127.0.0.1', '--num-cpus=2', '--include-dashboard=false',
            f'--object-store-memory={80 << 20}', '--disable-usage-stats']
    start = [sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head', '--block', *opts]
    p = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(120):
            try: check_address(at); break
            except ClusterError: time.sleep(.5)
        yield at
    finally:
        os.killpg(p.pid, signal.SIGTERM)
        try: p.wait(20)
        except subprocess.TimeoutExpired: os.killpg(p.pid, signal.SIGKILL)

def on_ray(row, beds, rng, n):
    if not find_spec('ray'): row.note = 'Ray is not installed'; return
    with ray_head() as address: kill_sweep(row, beds, rng, n, 'stub', 2, more=('--on', 'ray', '--address', address))

def a_worker(row, beds, rng, n):
    "kill -9 a worker: the sweep goes on without it, and what it was at is done again or said to have failed"
    took = {o: length(beds(o, 2)) for o in ('stub', 'fast')[:1 + (n > 3)]}
    for i in range(n):
        engine = 'fast' if n > 3 and i % 6 == 0 else 'stub'
        bed = beds(engine, 2)
        p = bed.start()
        time.sleep(rng.uniform(0, took[engine]))
        if who := p.others(): os.kill(rng.choice(who), signal.SIGKILL)
        judge(row, bed, 1, unlike(p, lambda code, _: code in (0, 1)), '--retry', 'failed')

def without_locks(row, beds, rng, n):
    "As on drives that are mounted over a network: a lock is a file, and who is killed leaves it behind"
    def no_locks():
        import errno, fcntl
        def flock(*_): raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fcntl.flock = flock
    kill_sweep(row, beds, rng, n, 'stub', 0, before=no_locks)

def at_once(row, beds, rng, n, sweeps):
    "Several sweeps of one study at once; who is refused begins again when another has been killed or has ended"
    while n > 0:
        bed = beds('stub')
        ps = [bed.start() for _ in range(sweeps)]
        time.sleep(rng.uniform(0, .3))
        os.kill(rng.choice(ps).pid, signal.SIGKILL)
        bad = [unlike(p, lambda code, output: code in (0, -9) or 'another sweep is running' in output) for p in ps]
        judge(row, bed, sweeps, ''.join(bad))
        n -= sweeps

def two_at_once(row, beds, rng, n): at_once(row, beds, rng, n, 2)
def eight_at_once(row, beds, rng, n): at_once(row, beds, rng, n, 8)

def full_disk(row, beds, rng, n):
    "Files may grow up to some size and no further; then there is room again"
    for i in range(n):
        bed = beds('stub', 2*(i % 2))
        room = rng.randrange(200, 20_000)
        p = bed.start(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY)))
        amiss = unlike(p, lambda code, output: code == 0 or 'could not write to' in output)
        row.lost += bed.gone()
        judge(row, bed, 1, amiss)

def full_tmpfs(row, beds, rng, n):
    "A file system that has no room, and has again"
    for _ in range(n):
        bed = beds('stub')
        (bed.folder/'runs').mkdir()
        mount = ['mount', '-t', 'tmpfs', '-o', f'size={4096*rng.randrange(2, 6)}', 'tmpfs', str(bed.folder/'runs')]
        if subprocess.run(mount, capture_output=True).returncode: row.note = 'no right to mount here'; return
        try:
            p = bed.start()
            amiss = unlike(p, lambda code, output: code == 0 or 'o space left' in output)
            row.lost += bed.gone()
            subprocess.run(['mount', '-o', 'remount,size=4m', str(bed.folder/'runs')], check=True)
            judge(row, bed, 1, amiss)
        finally: subprocess.run(['umount', str(bed.folder/'runs')])

def damaged(raw, rng):
    "A file cut off, overwritten, torn or with a hole; and from where to where"
    a = rng.randrange(len(raw)); b = min(len(raw), a + rng.choice((1, 1, 2, 20, 300, 2000)))
    how = rng.randrange(5)
    if how == 0: return raw[:a],(a, len(raw))
    if how == 1: return raw[:a] + rng.randbytes(b - a) + raw[b:],(a, b)
    if how == 2: return raw[:a] + bytes(b - a) + raw[b:],(a, b)
    if how == 3: return raw[:a] + raw[b:],(a, b)
    return raw[:a] + bytes([raw[a] ^ 1 << rng.randrange(8)]) + raw[a+1:],(a, a + 1)

def damaged_store(row, beds, rng, n):
    "What was not touched is kept and not done again; what was touched is done again, and never read as something else"
    whole = beds('stub')
    assert whole.start().wait() == 0
    raw = whole.store.path.read_bytes()
    lines = raw.splitlines(True)
    ends = np.cumsum([len(o) for o in lines])
    records = whole.store.read()[0]
    ids = [d['id'] for d in records]
    for _ in range(n):
        bed = beds('stub')
        bed.store.path.parent.mkdir()
        new,(a, b) = damaged(raw, rng)
        bed.store.path.write_bytes(new)
        there = bed.good()
        bed.kept = {k: d for k,d,end,line in zip(ids, records, ends, lines) if not (a < end and end - len(line) < b)}
        row.wrong += sum(d['metrics'] not in bed.truth[k] for k,d in there.items())
        judge(row, bed, 1)

def stopped(row, beds, rng, n, send, fit):
    for i in range(n):
        bed = beds('stub', 2*(i % 2), bss=tuple(range(1, 33)))
        p = bed.start()
        time.sleep(rng.uniform(.02, .3))
        if p.poll() is None: send(p)
        amiss = unlike(p, fit)
        row.lost += bed.gone()
        judge(row, bed, 1, amiss)

def sigterm(row, beds, rng, n): stopped(row, beds, rng, n, lambda p: os.kill(p.pid, signal.SIGTERM), lambda *_: True)

def ctrl_c(row, beds, rng, n):
    def fit(code, output): return code == 0 or 'What is finished is kept' in output
    stopped(row, beds, rng, n, lambda p: os.killpg(p.pid, signal.SIGINT), fit)

def ctrl_c_twice(row, beds, rng, n):
    def send(p):
        for _ in range(2): os.killpg(p.pid, signal.SIGINT); time.sleep(rng.choice((0, .001, .02)))
    stopped(row, beds, rng, n, send, lambda *_: True)

def ill(row, beds, rng, n, how, *args, status='failed'):
    "One batch size falls ill: the others are done, and once the reason is mended so is it"
    for _ in range(n):
        bed = beds('stub', 2)
        bs = rng.choice(MANY['bss'])
        p = bed.start(*args, FAULTS_ILL=f'{how}:{bs}')
        amiss = unlike(p, lambda code, _: code == (status == 'failed'))
        row.lost += bed.gone()
        sick = [d['config']['bs'] for d in bed.store.records().values() if d['status'] == status]
        if sick != [bs]*3 or len(bed.kept) != len(bed.study.cfgs) - 3: amiss = amiss or f'ill were {sick}, not {[bs]*3}'
        judge(row, bed, 1, amiss, '--retry', status)

def segfaults(row, beds, rng, n): ill(row, beds, rng, n, 'segfault')
def killed_for_memory(row, beds, rng, n): ill(row, beds, rng, n, 'killed')
def no_memory(row, beds, rng, n): ill(row, beds, rng, n, 'too_much', status='oom')
def hangs(row, beds, rng, n): ill(row, beds, rng, n, 'hang', '--timeout', '1')

def pictures(path):
    "A folder of little pictures of two classes"
    from PIL import Image
    rng = np.random.default_rng(0)
    for split,n in (('train', 24), ('val', 8)):
        for i,c in enumerate(('red', 'green')):
            (path/split/c).mkdir(parents=True)
            for j in range(n):
                img = rng.integers(0, 128, (10, 10, 3), np.uint8)
                img[..., i] += 100
                Image.fromarray(img).save(path/split/c/f'{j}.png')
    return path

def data_vanish(row, beds, rng, n):
    "The folder of the images is gone in the midst of a sweep; runs that find it gone have failed, and are tried again once it is back"
    data = pictures(beds.folder/'pictures')
    os.environ['XDG_CACHE_HOME'] = str(beds.folder/'cache')
    kw = dict(data=data, bss=(4, 8, 12, 16, 24, 48), lrs=('1e-3',))
    took = {o: length(beds(o, **kw)) for o in ('fastai', 'fast')[:1 + (n > 2)]}
    for i in range(n):
        engine = list(took)[i % len(took)]
        bed = beds(engine, **kw)
        p = bed.start()
        time.sleep(rng.uniform(0, took[engine]))
        data.rename(data.with_name('away'))
        amiss = unlike(p, lambda code, _: code in (0, 1))
        row.lost += bed.gone()
        def fit(code, output): return code == 0 if bed.complete() else code == 1 and 'no such folder' in output
        amiss = amiss or unlike(bed.start('--retry', 'failed'), fit)
        data.with_name('away').rename(data)
        judge(row, bed, 1, amiss, '--retry', 'failed')

# What is tried, how often at full scale, and how it reads
ROWS = {
    one_process: (32, 'kill -9 of a sweep in one process'),
    with_workers: (32, 'kill -9 of a sweep with two workers'),
    on_ray: (6, 'kill -9 of a sweep on a cluster of Ray'),
    a_worker: (24, 'kill -9 of a worker'),
    without_locks: (16, 'kill -9 where the file system has no locks'),
    two_at_once: (20, 'two sweeps on one store, one of them killed'),
    eight_at_once: (80, 'eight sweeps on one store, one of them killed'),
    full_disk: (30, 'a full disk: no file may grow'),
    full_tmpfs: (10, 'a full disk: a small tmpfs'),
    damaged_store: (200, 'a store cut, overwritten, torn or garbled'),
    sigterm: (20, 'SIGTERM'),
    ctrl_c: (20, 'Ctrl-C once'),
    ctrl_c_twice: (20, 'Ctrl-C twice'),
    hangs: (10, 'a worker that hangs, with --timeout'),
    segfaults: (10, 'a worker that segfaults'),
    killed_for_memory: (10, 'a worker killed for memory'),
    no_memory: (10, 'a run that gets no memory'),
    data_vanish: (10, 'a data folder that vanishes'),
}
