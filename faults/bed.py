"A study in a folder whose sweep is started, harmed in every way, and judged by what its store holds in the end"
import os, signal, subprocess, sys, time, traceback, warnings
from collections import Counter
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from bs_lr_study import cli
from bs_lr_study.training import fast
from bs_lr_study.training import learner as train
from bs_lr_study.register import ENGINES
from bs_lr_study.sweep import workers
from bs_lr_study.training.data import digits
from bs_lr_study.store import Store
from bs_lr_study.sweep import load_study

import stub

@dataclass
class Row:
    "One line of the table"
    name: str
    what: str
    seed: int|None = None
    tried: int = 0
    survived: int = 0
    lost: int|None = 0  # Finished runs that were no longer there; None where that cannot be
    twice: int|None = 0 # Runs begun again though they had ended well
    wrong: int = 0      # Results other than those of an undisturbed sweep
    note: str = ''
    seconds: float = 0.

    @property
    def sound(self): return self.survived == self.tried and not (self.lost or self.twice or self.wrong)

def once(cfg):
    "Note it if a run is begun that had ended well"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        done = Store(os.environ['FAULTS_STORE']).records().get(cfg.id, {}).get('status') == 'ok'
    with open(os.environ['FAULTS_LOG'], 'ab', buffering=0) as f: f.write(b'%s %s\n' % (b'twice' if done else b'begun', cfg.id.encode()))

def watched(train_many):
    "An engine that notes what it begins"
    def engine(cfgs, **opts):
        cfgs = list(cfgs)
        for c in cfgs: once(c)
        yield from train_many(cfgs, **opts)
    return engine

def calmly(fork):
    """A fork that no Ctrl-C falls into: Python drops one there.

    Workers come from a server of forks, which ignores it as they do, and only here from the sweep's own process."""
    def f():
        old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            pid = fork()
            if not pid: signal.signal(signal.SIGINT, signal.SIG_IGN) # before one arrives that would end a worker as if it were the sweep
            return pid
        finally: signal.pthread_sigmask(signal.SIG_SETMASK, old)
    return f

def prepare():
    "Make this process one that sweeps can be forked from: all is imported, and each engine notes what it begins"
    import torch
    torch.set_num_threads(1)
    digits() # read once
    for o in (fast, train, stub): o.train_many = watched(o.train_many)
    workers._context = lambda *_: get_context('fork') # workers, too, start at once
    os.fork = calmly(os.fork)
    cli.sweeps.show_report = lambda *_, **__: print('reported')  # tables and plots are not what is tried here

class Sweep:
    "A process of its own that runs `bslr`"
    def __init__(self, bed, *args, before=None, **env):
        self.out = bed.folder/f'out-{time.monotonic_ns()}'
        ready,theirs = os.pipe()
        self.pid,self.code = os.fork(),None
        os.close(theirs if self.pid else ready)
        if self.pid:
            os.read(ready, 1) # it is about to begin
            return os.close(ready)
        code = 70
        try:
            os.setsid()
            fd = os.open(self.out, os.O_CREAT | os.O_WRONLY)
            for o in (1, 2): os.dup2(fd, o)
            sys.stdout = sys.stderr = open(1, 'w', buffering=1, closefd=False)
            os.chdir(bed.folder)
            os.environ.update(env | dict(FAULTS_LOG=str(bed.log), FAULTS_STORE=str(bed.store.path)))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if bed.engine == 'stub': ENGINES['fast'] = 'stub:train_many' # so that it is given groups
            sys.argv = ['bslr', *args]
            if before: before()
            os.write(theirs, b'.')
            os.close(theirs)
            cli.main()
            code = 0
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except SystemExit as e:
            signal.signal(signal.SIGINT, signal.SIG_IGN) # it has ended
            if isinstance(e.code, str): print(e.code)
            code = e.code if isinstance(e.code, int) else 1 if e.code else 0
        except BaseException: traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def poll(self):
        "Its exit status, negative for a signal; None while it goes on"
        if self.code is None:
            pid,status = os.waitpid(self.pid, os.WNOHANG)
            if pid: self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds=120):
        "Its exit status; who takes too long is killed"
        until = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > until: os.killpg(self.pid, signal.SIGKILL)
            time.sleep(.005)
        return self.code

    def output(self): return self.out.read_text(errors='replace') if self.out.exists() else ''

    def others(self):
        "The processes that it has started and that are still there"
        listed = subprocess.run(['ps', '-e', '-o', 'pid=,sess=,stat='], capture_output=True, text=True).stdout
        rows = [l.split() for l in listed.splitlines()]
        return [int(pid) for pid,sess,stat in rows if int(sess) == self.pid and int(pid) != self.pid and stat[0] != 'Z']

    def left(self, patience=10):
        "What is left of it some seconds after its end"
        until = time.monotonic() + patience
        while (who := self.others()) and time.monotonic() < until: time.sleep(.02)
        return who

SETTINGS = '[tiny]\ndata = {data}\nmodels = small\nbatch_sizes = {bss}\nlrs = {lrs}\nepochs = 1\n'

class Bed:
    "A folder with a study in it"
    def __init__(self, folder, engine='stub', workers=0, data=None, bss=(128, 256, 512, 1024), lrs=('1e-3', '1e-2'), more=()):
        self.folder,self.engine,self.workers,self.data,self.more = Path(folder),engine,workers,data,more
        self.folder.mkdir(parents=True)
        self.log = self.folder/'log'
        grid = dict(bss=' '.join(map(str, bss)), lrs=' '.join(lrs))
        text = SETTINGS.format(data='pictures' if data else 'digits', **grid)
        (self.folder/'settings.ini').write_text(text + ('size = 8\n' if data else ''))
        self.study = load_study('tiny', self.folder/'settings.ini', self.folder/'runs/tiny.jsonl')
        self.store,self.kept = self.study.store,{}

    def start(self, *args, before=None, **env):
        "Start the sweep, or go on with it"
        engine = 'fast' if self.engine == 'stub' else self.engine
        data = ['--data', str(self.data)] if self.data else []
        usual = ['run', 'tiny', '--engine', engine, '--workers', str(self.workers), '--show', 'none', *data, *self.more]
        return Sweep(self, *usual, *args, before=before, **env)

    def good(self):
        "The runs that ended well, as the store has them now"
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return {k: d for k,d in self.store.records().items() if d['status'] == 'ok'}

    def gone(self):
        "How many runs that had ended well are no longer there, or are others"
        now = self.good()
        lost = sum(now.get(k) != d for k,d in self.kept.items())
        self.kept = now
        return lost

    def complete(self):
        "Whether all runs of the study have ended well, each with one such record"
        ok = Counter(d['id'] for d in self.store.read()[0] if d['status'] == 'ok')
        return set(ok) == {c.id for c in self.study.cfgs}

    def twice(self):
        "How many runs were begun or recorded again though they had ended well"
        begun = self.log.read_text().split().count('twice') if self.log.exists() else 0
        ok = Counter(d['id'] for d in self.store.read()[0] if d['status'] == 'ok')
        return begun + sum(n - 1 for n in ok.values())

    def wrong(self, truth):
        "How many results are none that an undisturbed sweep has"
        return sum(d['metrics'] not in truth[k] for k,d in self.good().items())
