"An engine that trains nothing: its results follow from the config alone, and it fails as it is told to"
import ctypes, os, signal, time

from bs_lr_study.runs import Run

def metrics(cfg):
    "What the stub says of a config: bits of its id, so that no two are alike"
    acc = int(cfg.id[:12], 16)/16**12
    return [dict(epoch=1, train_loss=acc**.5, valid_loss=1 - acc, acc=acc)]

def segfault(): ctypes.string_at(0)
def hang(): time.sleep(3600)
def killed(): os.kill(os.getpid(), signal.SIGKILL) # as the kernel ends who takes too much memory
def no_memory(): raise MemoryError
def too_much(): return bytearray(1 << 46)         # more than any machine has
ILLS = dict(segfault=segfault, hang=hang, killed=killed, no_memory=no_memory, too_much=too_much)

def train_many(cfgs, **_):
    "Train nothing; runs of the batch size that FAULTS_ILL names (`segfault:64`) fall ill"
    ill,_,bs = os.environ.get('FAULTS_ILL', '').partition(':')
    for c in cfgs:
        time.sleep(.004)
        if ill and c.bs == int(bs):
            try: ILLS[ill]()
            except MemoryError as e: yield Run(c, 'oom', f'out of memory {e}'); continue
        yield Run(c, metrics=metrics(c), cost=dict(seconds=.004, steps=1, examples=c.bs))
