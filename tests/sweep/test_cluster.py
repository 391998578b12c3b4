"""A real Ray cluster of several nodes on this machine, with an engine that only sleeps; one sweep is trained for real."""
import io, os, signal, socket, subprocess, sys, textwrap, threading, time, warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from bs_lr_study.files import DataError
from bs_lr_study.register import ENGINES
from bs_lr_study.runs import Run, grid

pytest.importorskip('ray', reason='Ray is an extra')
from bs_lr_study.sweep import cluster, load_study, make_study, remote, run
from bs_lr_study.sweep.cluster import on_cluster
from bs_lr_study.sweep.connect import ClusterError, connected
from bs_lr_study.sweep.executors import get_executor
from bs_lr_study.sweep.workers import Groups, WorkerError

STUB = '''
"An engine that trains nothing; the learning rate says what is to happen"
import ctypes, os, signal, time
from pathlib import Path
from bs_lr_study.runs import Run
from helper_of_stub import acc_of

def train_many(cfgs, seconds=0, marks=None, path=None, meet=None, **opts):
    "Train nothing for some seconds; `marks` is a folder for a file per run that is begun, named ID-NODE; in folder `meet` two workers wait"
    if meet: (Path(meet)/str(os.getpid())).touch()
    while meet and len(list(Path(meet).iterdir())) < 2: time.sleep(.05)
    for c in cfgs:
        if marks: (Path(marks)/f'{c.id}-{os.getppid()}').touch()
        if c.lr == 9.: os.kill(os.getpid(), signal.SIGKILL)
        if c.lr == 8.: ctypes.string_at(0)
        if c.lr == 6.: time.sleep(600)
        if c.lr == 7.: raise RuntimeError('an engine that breaks')
        time.sleep(seconds)
        env = dict(pid=os.getpid(), ppid=os.getppid(), names=sorted(os.environ), cuda=os.environ.get('CUDA_VISIBLE_DEVICES'),
                   device=opts.get('device'), path=str(path))
        yield Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=acc_of(c))], cost=dict(seconds=seconds), env=env)
'''

@pytest.fixture(scope='module')
def stub(tmp_path_factory):
    "An engine in a folder that only this process has on its path"
    folder = tmp_path_factory.mktemp('engine')
    (folder/'stub_engine.py').write_text(STUB)
    (folder/'helper_of_stub.py').write_text('def acc_of(c): return 1/(1 + c.bs*c.lr)\n')
    (folder/'.env').write_text('KEY=secret')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import stub_engine # noqa: F401, it travels because it is imported
        patch.setitem(ENGINES, 'stub', 'stub_engine:train_many')
        yield folder
    for name in ('stub_engine', 'helper_of_stub'): del sys.modules[name]

def patiently(f, n=3, **kw):
    "A node gives its helpers 15 seconds to start, which may be too few on a busy machine that has not read them before"
    try: return f(**kw)
    except Exception:
        if n == 1: raise
        return patiently(f, n - 1, **kw)

@pytest.fixture(scope='module')
def nodes(tmp_path_factory):
    "A head without CPUs, a node with one, and one with two and what Ray takes for a GPU"
    before = dict(os.environ)
    os.environ.update(RAY_USAGE_STATS_ENABLED='0', XDG_CACHE_HOME=str(tmp_path_factory.mktemp('cache')))
    from ray.cluster_utils import Cluster
    usual = dict(object_store_memory=80 << 20, include_dashboard=False)
    checks = dict(health_check_period_ms=1000, health_check_failure_threshold=5)
    head = dict(num_cpus=0, no_monitor=True, include_log_monitor=False, _system_config=checks)
    c = patiently(Cluster, initialize_head=True, head_node_args=head | usual)
    c.join = lambda **kw: patiently(c.add_node, **kw, **usual)
    c.join(num_cpus=1)
    c.join(num_cpus=2, num_gpus=1)
    yield c
    c.shutdown()
    os.environ.clear()
    os.environ.update(before)

@pytest.fixture
def quick(monkeypatch):
    "On one machine nobody is missed for long"
    for k,v in dict(TICK=.2, GRACE=.5, SILENCE=5).items(): monkeypatch.setattr(cluster, k, v)

def cfgs(n, lr=1e-3, data='digits', **kw): return grid(data=data, model='small', bs=list(range(1, n + 1)), lr=lr, **kw)

def flat(batches): return [r for runs in batches for r in runs]

def raylet_of(node): return node.all_processes['raylet'][0].process.pid

def lose(raylet):
    "A machine with all that runs on it, as when its plug is pulled"
    pids = [raylet, *map(int, Path(f'/proc/{raylet}/task/{raylet}/children').read_text().split())]
    for pid in pids: os.kill(pid, signal.SIGKILL) # first what would tell of a worker's death

def alive(pid):
    try: return 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError: return False

def gone(pids, seconds=20):
    "Those of some processes that are still there after a while"
    end = time.time() + seconds
    while (left := [p for p in pids if alive(p)]) and time.time() < end: time.sleep(.1)
    return left

def lose_one_at_work(store, marks, n, lost):
    "Once `n` runs are recorded, lose the machine of a run that has just begun, and note it in `lost`"
    seen = set()
    while len(store.read()[0]) < n:
        seen = set(marks.iterdir())
        time.sleep(.01)
    while not (new := set(marks.iterdir()) - seen): time.sleep(.01)
    run_id,_,raylet = new.pop().name.partition('-')
    lose(int(raylet))
    lost.append((run_id, int(raylet)))

@pytest.fixture
def driver(nodes, stub, tmp_path):
    "A function that begins a sweep by the command line and waits until so many runs are kept; the study"
    (tmp_path/'sweep.py').write_text(textwrap.dedent(f'''
        import sys; sys.path.insert(0, {str(stub)!r})
        import stub_engine, bs_lr_study.cli as cli, bs_lr_study.sweep.cluster as cluster
        from bs_lr_study.register import ENGINES
        ENGINES['stub'] = 'stub_engine:train_many'
        cluster.TICK,cluster.HEAD_TIMEOUT = .5,6
        sys.argv = ['bslr', 'run', 's', '--settings', 's.ini', '--store', 's.jsonl', '--engine', 'stub', '--show', 'none',
                    '--on', 'ray', '--address', '{nodes.address}', '--workers', sys.argv[1]]
        if __name__ == '__main__': cli.main()
    '''))
    bss = ' '.join(map(str, range(1, 49)))
    (tmp_path/'s.ini').write_text(f'[s]\ndata = digits\nmodels = small\nbatch_sizes = {bss}\nlrs = 1e-3\n')
    (stub/'stub_engine.py').write_text(STUB.replace('seconds=0', 'seconds=.5'))
    study = load_study('s', tmp_path/'s.ini', tmp_path/'s.jsonl')
    def begin(n, workers=2):
        p = subprocess.Popen([sys.executable, 'sweep.py', str(workers)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, start_new_session=True)
        while len(study.store.read()[0]) < n and p.poll() is None: time.sleep(.05)
        return p
    yield begin,study
    (stub/'stub_engine.py').write_text(STUB)

HOLD = """
import ray, sys
ray.init({address!r}, log_to_driver=False)
held = ray.util.placement_group([dict(CPU=1)]*int(ray.cluster_resources()["CPU"]))
print(held.wait(60), flush=True)
sys.stdin.read()
"""

@pytest.mark.random_order(disabled=True) # machines are lost on the way, the head at the end
@pytest.mark.skipif(not Path('/proc').exists(), reason='/proc tells which processes are left')
class TestCluster:
    @pytest.mark.slow
    def test_runs_that_end_their_process(self, nodes, stub, quick):
        "By a signal or by a fault in memory, or do not end it, among others of their group: these alone have failed"
        bad = [*cfgs(1, 9.), *cfgs(1, 8.), *cfgs(1, 6.)]
        group = [*cfgs(2), *bad, *cfgs(1, 1e-2)]
        begun = []
        runs = flat(on_cluster([group, cfgs(1, .5)], 'stub', {}, begun.append, address=nodes.address, workers=2, timeout=2))
        assert Counter(r.cfg for r in runs) == Counter([*group, *cfgs(1, .5)])
        messages = {r.cfg: r.message for r in runs if r.status == 'failed'}
        assert set(messages) == {r.cfg for r in runs if r.status != 'ok'} == set(bad)
        for c,message in messages.items():
            assert ('took longer than the 2 s' if c.lr == 6 else 'the worker process died (') in message
        assert group in begun and [group[-1]] in begun

    def test_gpus_are_shared_and_images_travel(self, nodes, stub, colours, monkeypatch, tmp_path):
        "Two workers on one GPU; a folder of the same path that holds something else is not taken for the images"
        import bs_lr_study.training.data as data
        monkeypatch.setattr(cluster, 'fingerprint', lambda *_: 'of other images')
        groups = [[c] for c in cfgs(6, data='colours', size=8)]
        (meet := tmp_path/'meet').mkdir()
        runs = flat(on_cluster(groups, 'stub', dict(path=colours, meet=meet), address=nodes.address, gpus=.5))
        assert {(r.env['cuda'], r.env['device']) for r in runs} == {('0', 'cuda')}
        assert len({r.env['pid'] for r in runs}) == 2
        there, = {r.env['path'] for r in runs}
        assert there != str(colours) and data.fingerprint('colours', Path(there)) == data.fingerprint('colours', colours)

    def test_a_cluster_that_cannot_do_it(self, nodes, stub, monkeypatch):
        "Said once it is known, with the machines or the reason"
        def sweep(lr=1e-3, **kw): return flat(on_cluster([cfgs(1, lr)], 'stub', {}, address=nodes.address, **kw))
        with pytest.raises(ClusterError, match='1 CPU and 2 GPUs: there are .*0 GPUs'): sweep(gpus=2)
        with pytest.raises(WorkerError, match='an engine that breaks'): sweep(7.)
        monkeypatch.setitem(ENGINES, 'stub', 'not_there:train_many')
        reason = "could not begin(.|\n)*No module named 'not_there'"
        with warnings.catch_warnings(action='ignore'), pytest.raises(ClusterError, match=reason): sweep()

    def test_this_process_stays_as_it_was(self, nodes):
        "Ray's variables and its handler of SIGTERM go with it"
        before,handler = dict(os.environ),signal.getsignal(signal.SIGTERM)
        with connected(nodes.address): assert signal.getsignal(signal.SIGTERM) != handler
        assert dict(os.environ) == before and signal.getsignal(signal.SIGTERM) == handler

    def test_a_full_cluster_is_waited_for_and_a_node_that_joins_is_used(self, nodes, stub, quick, monkeypatch):
        monkeypatch.setattr(cluster, 'PATIENCE', 1)
        messages,joined = [],[]
        def warn(message):
            messages.append(message)
            if not joined: joined.append(nodes.join(num_cpus=1))
        monkeypatch.setattr(cluster.warnings, 'warn', warn)
        with subprocess.Popen([sys.executable, '-c', HOLD.format(address=nodes.address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as holder:
            assert holder.stdout.readline() == 'True\n'
            runs = flat(on_cluster([[c] for c in cfgs(2)], 'stub', {}, address=nodes.address))
            holder.stdin.close()
        assert 'no room for a worker' in messages[0]
        assert [(r.status, r.env['ppid']) for r in runs] == [('ok', raylet_of(joined[0]))]*2

    def test_a_node_is_lost(self, nodes, stub, tmp_path, monkeypatch, capfd):
        "In mid-sweep: each run is recorded once, as a sweep in this process has it; one warning is all there is to read"
        monkeypatch.setenv('A_SECRET_OF_MINE', 'hush')
        keys = dict(data='digits', models='small', batch_sizes=list(range(1, 17)), lrs=1e-3)
        study = make_study('s', tmp_path/'ray.jsonl', **keys)
        (marks := tmp_path/'marks').mkdir()
        lost = []
        killer = threading.Thread(target=lose_one_at_work, args=(study.store, marks, 3, lost), daemon=True)
        killer.start()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            on_ray = get_executor('ray', address=nodes.address, workers=2)
            ended = run(study, engine='stub', on=on_ray, show=False, seconds=.5, marks=str(marks))
        killer.join(10)
        [(lost_run, raylet)] = lost
        assert raylet in {raylet_of(o) for o in nodes.worker_nodes}
        told = [str(o.message) for o in caught if 'of the cluster was lost' in str(o.message)]
        assert len(told) == 1 and 'begin' in told[0], [str(o.message) for o in caught]
        assert ended == Counter(ok=16)
        assert sum(o.name.startswith(lost_run) for o in marks.iterdir()) == 2
        good,bad = study.store.read()
        assert len(good) == 16 and not bad and {d['id'] for d in good} == {c.id for c in study.cfgs}
        plain = make_study('s', tmp_path/'here.jsonl', **keys)
        run(plain, engine='stub', workers=0, show=False)
        assert {k: d['metrics'] for k,d in plain.store.records().items()} == {k: d['metrics'] for k,d in study.store.records().items()}
        assert not any('A_SECRET_OF_MINE' in d['env']['names'] for d in good)
        out = capfd.readouterr()
        assert (out.out, out.err) == ('', '')
        assert gone({d['env']['pid'] for d in good}) == []

    @pytest.mark.slow
    def test_the_fast_engine(self, nodes, tmp_path, one_thread):
        "The results are those of a sweep in this process, to the last bit; on one machine the notebook tests it each time"
        keys = dict(data='digits', models='small', batch_sizes=256, lrs=[1e-3, 1e-2], epochs=1)
        there,here = [make_study(o, tmp_path/f'{o}.jsonl', **keys) for o in ('there', 'here')]
        run(there, on=get_executor('ray', address=nodes.address), show=False)
        run(here, workers=0, show=False)
        assert {k: d['metrics'] for k,d in there.store.records().items()} == {k: d['metrics'] for k,d in here.store.records().items()}

    @pytest.mark.slow
    def test_a_sweep_that_is_ended(self, nodes, driver): # the last, as it ends the cluster
        "Ctrl-C is quiet, and like `kill -9` it leaves nothing behind; a lost head is told before Ray ends the process"
        begin,study = driver
        def kept(): return study.store.read()[0]
        def left(): return gone({d['env']['pid'] for d in kept()})
        with begin(2) as p:
            t = time.time()
            os.killpg(p.pid, signal.SIGINT)
            out,err = p.communicate(timeout=60)
        said = [o for o in err.splitlines() if o and 'no room for a worker' not in o] # which is no fault where the machine is busy
        assert (p.returncode, said) == (1, ['bslr: stopped. What is finished is kept; the same command goes on from there.'])
        assert time.time() - t < 20
        assert 2 <= (n := len(kept())) < 16 and left() == []
        with begin(n + 1) as p: p.kill()
        assert n < (n := len(kept())) < 16 and left() == []
        with begin(n + 1, workers=1) as p:
            t = time.time()
            os.kill(nodes.head_node.all_processes['gcs_server'][0].process.pid, signal.SIGKILL)
            out,err = p.communicate(timeout=120)
        assert p.returncode == 1 and time.time() - t < 45
        assert err.startswith(f'bslr: the head of the cluster at {nodes.address} has not answered for 6 seconds'), err
        assert len(err.splitlines()) == 1, err
        assert n < len(before := kept()) < 48
        run(study, engine='stub', workers=0, show=False)
        assert kept()[:len(before)] == before and sorted(d['config']['bs'] for d in kept()) == list(range(1, 49))

class Head:
    "Answers as Ray's head does, while it is up"
    def __init__(self):
        self.up,self.server = True,socket.create_server(('127.0.0.1', 0))
        self.address = f'127.0.0.1:{self.server.getsockname()[1]}'
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with self.server:
            while True:
                with self.server.accept()[0] as s: s.sendall(b'\0\0\0\4\0\0\0\0\0'*self.up)

class Fake:
    "What a crew needs of Ray: machines, and workers that do as told"
    def __init__(self, behave, machines=2, begin=lambda machine: None, cpus=1, replaced=True, lacking=()):
        from ray import exceptions
        self.exceptions,self.behave,self.begin,self.cpus,self.replaced = exceptions,behave,begin,cpus,replaced
        self.alive,self.busy,self.lacking = [f'm{i}' for i in range(machines)],{},lacking

    def nodes(self):
        return [dict(NodeID=o, Alive=True, Resources=dict(CPU=float(self.cpus)), NodeManagerAddress=o) for o in self.alive]

    def lose(self, machine):
        self.alive.remove(machine)
        if self.replaced: self.alive.append(f'another{len(self.alive)}{time.time()}')

    def remote(self, cls): return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: FakeActor(self)))
    def kill(self, actor): self.busy.pop(actor, None)
    def put(self, part): return part

    def wait(self, waiting, num_returns=1, timeout=None):
        end = time.monotonic() + timeout
        while not (here := [o for o in waiting if o.is_here()]) and time.monotonic() < end: time.sleep(.001)
        return here[:num_returns],[]

    def get(self, answer):
        if isinstance(answer.value, Exception): raise answer.value
        return answer.value

class Answer:
    "A reference that is there once `find` gives something"
    def __init__(self, find): self.find,self.value = find,None
    def is_here(self):
        if self.value is None: self.value = self.find()
        return self.value is not None

class Answers:
    "A generator of references, one a while after the other; none comes from a machine that is gone"
    def __init__(self, values, actor, seconds=.01): self.values,self.actor,self.seconds,self.at = values,actor,seconds,time.monotonic()
    def is_here(self): return time.monotonic() >= self.at and self.actor.ray.busy.get(self.actor) in (None, *self.actor.ray.alive)
    def __next__(self):
        answer = Answer(None)
        answer.value = next(self.values)
        self.at = time.monotonic() + self.seconds
        return answer

class FakeActor:
    "A worker: it has a machine to itself, prepares, and trains"
    def __init__(self, ray):
        self.ray = ray
        self.machine,self.prepare,self.fetch_images,self.train = [
            SimpleNamespace(remote=f) for f in (self.find_machine, self.begin, self.fetch, self.runs)]

    def find_machine(self):
        def find():
            places = list(self.ray.busy.values())
            free = [o for o in self.ray.alive if places.count(o) < self.ray.cpus]
            if free: self.ray.busy[self] = free[0]
            return free[0] if free else None
        return Answer(find)

    def begin(self, task): return Answer(lambda: self.ray.begin(self.ray.busy[self]) or self.ray.busy[self] not in self.ray.lacking)
    def fetch(self, name, sha, parts): return Answer(lambda: True)

    def runs(self, group): return Answers(self.answers(group), self)

    def answers(self, group):
        "As the driver hears them; what ends a worker is what `behave` says of a run, or of None before any has begun"
        if what := self.ray.behave(None):
            yield self.death(what)
            return
        yield 'begun'
        for c in group:
            if what := self.ray.behave(c):
                yield self.death(what)
                return
            yield Run(c, metrics=[dict(epoch=1, acc=.5)])

    def death(self, what):
        if what == 'machine': self.ray.lose(self.ray.busy[self])
        errors = self.ray.exceptions
        return errors.ActorUnavailableError('no answer', None) if what == 'unreachable' else errors.ActorDiedError()

@pytest.fixture
def crew(monkeypatch):
    "Have groups trained by fakes: the groups that were begun, the runs, and the warnings, in one list"
    for k,v in dict(TICK=.05, GRACE=.01, SILENCE=.01, HEAD_TIMEOUT=1).items(): monkeypatch.setattr(cluster, k, v)
    def run(groups, behave=lambda c: None, head=None, told=None, seen=lambda ray: None, **kw):
        told = [] if told is None else told
        monkeypatch.setattr(cluster.warnings, 'warn', told.append)
        seen(ray := Fake(behave, **kw))
        crew = cluster._Crew(ray, Groups(groups), cluster.Task('', dict(path='images'), ('colours', '')), told.append, head=head)
        for runs in crew.batches(): told += runs
        return told
    return run

class TestCrew:
    "Whose fault it is, told by fakes"
    def test_a_machine_is_lost(self, crew):
        "What it had begun is done elsewhere: together once more, then each alone"
        lost = []
        def behave(c):
            if c and c.bs == 2 and len(lost) < 3: return lost.append(c) or 'machine'
        told = crew([cfgs(3), cfgs(1, .5)], behave)
        runs = [o for o in told if isinstance(o, Run)]
        assert Counter((r.cfg, r.status) for r in runs) == Counter((c, 'ok') for c in [*cfgs(3), *cfgs(1, .5)])
        assert sum('of the cluster was lost; ' in o for o in told if isinstance(o, str)) == 3
        assert [len(o) for o in told if isinstance(o, list) and cfgs(2)[1] in o] == [3, 2, 1, 1]

    def test_two_workers_are_on_a_lost_machine(self, crew):
        "It is told once, with all that begins again, and nothing is done twice that was done"
        def behave(c):
            if c and c.bs == 3 and not lost: return lost.append(c) or 'machine'
        lost = []
        told = crew([cfgs(4), cfgs(2, .5)], behave, machines=1, cpus=2)
        [message] = [o for o in told if isinstance(o, str)]
        n = int(message.split('; ')[1].split()[0])
        again = sum(len(o) for o in told if isinstance(o, list)) - 6
        assert message.startswith('machine m0 of the cluster was lost; ') and n == again >= 2
        assert Counter((r.cfg, r.status) for r in told if isinstance(r, Run)) == Counter((c, 'ok') for c in [*cfgs(4), *cfgs(2, .5)])

    def test_an_idle_machine_is_lost(self, crew):
        "It is told all the same"
        ray = []
        def behave(c):
            if c and c.bs == 20: ray[0].lose('m1')
        told = crew([cfgs(40)], behave, replaced=False, seen=ray.append)
        assert [o for o in told if isinstance(o, str)] == ['machine m1 of the cluster was lost; no run has to begin again']
        assert Counter(r.status for r in told if isinstance(r, Run)) == Counter(ok=40)

    def test_a_worker_dies_before_it_is_heard_to_have_begun(self, crew):
        "No machine is lost, so none is told of; its run has a second chance, and no third"
        early = ['worker']
        told = crew([cfgs(1)], lambda c: early.pop() if not c and early else None)
        assert [r.status for r in told if isinstance(r, Run)] == ['ok'] and not [o for o in told if isinstance(o, str)]
        told = crew([cfgs(1)], lambda c: None if c else 'worker')
        assert [(r.status, r.message) for r in told if isinstance(r, Run)] == [('failed', 'the worker process died')]
        assert not [o for o in told if isinstance(o, str)]

    def test_a_lost_machine_whose_worker_was_not_heard_to_have_begun(self, crew):
        early = ['machine']
        told = crew([cfgs(1)], lambda c: early.pop() if not c and early else None)
        assert [o for o in told if isinstance(o, str)] == ['machine m0 of the cluster was lost; 1 run that it had taken begins again']
        assert [r.status for r in told if isinstance(r, Run)] == ['ok']

    @pytest.mark.parametrize('what', ['machine', 'unreachable'])
    def test_a_run_that_loses_every_machine_has_failed(self, crew, what):
        told = crew([[c] for c in cfgs(3)], lambda c: what if c and c.bs == 2 else None)
        assert {r.cfg.bs: r.status for r in told if isinstance(r, Run)} == {1: 'ok', 2: 'failed', 3: 'ok'}
        assert sum(isinstance(o, list) and o[0].bs == 2 for o in told) == cluster.MAX_LOST
        assert [r.message for r in told if isinstance(r, Run) and r.cfg.bs == 2] == ['5 machines were lost while they trained it']

    def test_a_run_that_kills_its_worker_is_tried_once_alone(self, crew):
        told = crew([cfgs(4)], lambda c: 'worker' if c and c.bs == 2 else None)
        ends = {r.cfg.bs: (r.status, r.message) for r in told if isinstance(r, Run)}
        assert ends == {2: ('failed', 'the worker process died')} | {bs: ('ok', '') for bs in (1, 3, 4)}
        assert sum(isinstance(o, list) and cfgs(2)[1] in o for o in told) == 2 and not [o for o in told if isinstance(o, str)]

    def test_a_worker_that_cannot_begin(self, crew):
        "Is used no more and told of; if all are such, it is an error"
        from ray.exceptions import RayTaskError
        broken = lambda node: RayTaskError('prepare', 'no module of that name', ImportError())
        told = crew([[c] for c in cfgs(20)], begin=lambda node: broken(node) if node == 'm0' else None)
        assert Counter(r.status for r in told if isinstance(r, Run)) == Counter(ok=20)
        assert sum('could not begin' in o for o in told if isinstance(o, str)) == 1
        with pytest.raises(ClusterError, match='could not begin(.|\n)*no module of that name'): crew([[c] for c in cfgs(20)], begin=broken)

    @pytest.mark.parametrize('error', [None, OSError('no space left'), DataError('broken image')])
    def test_recording_goes_on_while_images_are_packed(self, crew, monkeypatch, error):
        "Whoever has them trains meanwhile; if they cannot be packed, what was done is kept"
        five_done,waited,told = threading.Event(),[],[]
        def pack(path, file, valid=None):
            waited.append(five_done.wait(10))
            if error: raise error
            return 'sha'
        def behave(c):
            if c and c.bs == 6: five_done.set()
        monkeypatch.setattr(remote, 'pack_images', pack)
        sweep = lambda: crew([[c] for c in cfgs(12)], behave, told=told, lacking=['m1'])
        if error:
            with pytest.raises(WorkerError, match=f'the images could not be packed: {error}'): sweep()
        else: sweep()
        ended = Counter(r.status for r in told if isinstance(r, Run))
        assert waited == [True] and (ended == Counter(ok=12) if not error else 5 <= ended['ok'] < 12)

    def test_nobody_is_there(self, crew):
        with pytest.raises(ClusterError, match='no machine of the cluster has what a worker takes, 1 CPU: there are $'):
            crew([cfgs(1)], machines=0)

    def test_the_head_is_lost(self, crew):
        "Said once it has been silent for a while; what came before, and until then, is kept"
        head,told,t = Head(),[],time.time()
        def behave(c):
            if c and c.bs == 4: head.up = False
        message = f'head of the cluster at {head.address} has not answered for 1 seconds: it is lost.*What is finished is kept.*same'
        with pytest.raises(ClusterError, match=message): crew([[c] for c in cfgs(800)], behave, head.address, told)
        assert 4 <= len([o for o in told if isinstance(o, Run)]) < 800 and 1 < time.time() - t < 7

    def test_the_head_is_silent_for_a_moment(self, crew):
        head = Head()
        def behave(c):
            if c and c.bs == 4 and head.up:
                head.up = False
                threading.Timer(.3, setattr, (head, 'up', True)).start()
        assert Counter(r.status for r in crew([[c] for c in cfgs(12)], behave, head.address) if isinstance(r, Run)) == Counter(ok=12)

    def test_the_head_is_lost_when_all_is_begun(self, crew):
        "What is under way on other machines is done without it"
        head = Head()
        def behave(c): head.up = False
        assert Counter(r.status for r in crew([cfgs(12)], behave, head.address) if isinstance(r, Run)) == Counter(ok=12)

    def test_groups_are_taken_as_there_is_room(self, crew):
        "So a budget of time can end a sweep between two of them"
        taken,done = [],[]
        def groups():
            for c in cfgs(12):
                taken.append(len(taken) - len(done))
                yield [c]
        crew(groups(), lambda c: done.append(c) if c else None)
        assert len(done) == 12 and max(taken) <= 4 # two in work, and at most two for workers on their way

class TestAddress:
    "Known within seconds, where Ray itself would try for two minutes and end the process"
    def refused(self, address, match):
        t = time.time()
        with pytest.raises(ClusterError, match=match): flat(on_cluster([cfgs(1)], 'fast', {}, address=address))
        assert time.time() - t < 8

    @pytest.mark.parametrize('address,match', [
        ('nowhere', 'expected HOST:PORT'), ('host:', 'expected HOST:PORT'), ('ray://127.0.0.1:10001', 'HOST:PORT'),
        ('127.0.0.1:99999', 'no cluster at'), ('no.such.host.invalid:6379', 'no cluster at no.such')])
    def test_no_address(self, address, match): self.refused(address, match)

    def test_nobody_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as s: port = s.getsockname()[1]
        self.refused(f'127.0.0.1:{port}', f'no cluster at 127.0.0.1:{port}: .*refused')

    def test_somebody_else_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as s: self.refused(f'127.0.0.1:{s.getsockname()[1]}', 'timed out')

    def test_of_a_head_that_has_died(self, monkeypatch, tmp_path):
        "As `ray start` leaves it on this machine"
        with socket.create_server(('127.0.0.1', 0)) as s: port = s.getsockname()[1]
        monkeypatch.setenv('RAY_TMPDIR', str(tmp_path))
        monkeypatch.delenv('RAY_ADDRESS', raising=False)
        (tmp_path/'ray').mkdir()
        (tmp_path/'ray/ray_current_cluster').write_text(f'127.0.0.1:{port}')
        self.refused(None, f'no cluster at [0-9.]+:{port}: .*`ray stop` removes it')

    def test_of_the_environment(self, monkeypatch):
        monkeypatch.setenv('RAY_ADDRESS', 'elsewhere')
        self.refused(None, "address 'elsewhere': expected")

def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ClusterError, match=r"not installed \(pip install 'ray>="): flat(on_cluster([cfgs(1)], 'fast', {}))

def test_packing_can_be_ended_at_any_time(tmp_path, monkeypatch):
    "The thread is gone at once, however much there was to pack"
    (tmp_path/'red').mkdir()
    for i in range(20): (tmp_path/'red'/f'{i}.png').write_bytes(bytes(10))
    packed,begun = [],threading.Event()
    def put(part): packed.append(part)
    addfile = remote.tarfile.TarFile.addfile
    def slowly(*args):
        begun.set()
        time.sleep(.02)
        return addfile(*args)
    monkeypatch.setattr(remote.tarfile.TarFile, 'addfile', slowly)
    packing = remote.Packing(tmp_path, put)
    assert begun.wait(10)
    packing.close()
    with pytest.raises(ValueError, match='closed file'): packing.packed.result(10)
    assert packed == []

def test_images_that_were_changed_on_the_way(tmp_path, colours):
    sha = remote.pack_images(colours, f := io.BytesIO())
    whole,cache = f.getvalue(),tmp_path/'cache'
    def unpack(parts): return remote.unpack_images('colours', sha, parts, cache)
    with pytest.raises(DataError, match='changed on the way'): unpack([whole[:-2048], bytes(2047), b'x'])
    assert not [o for o in cache.iterdir() if o.suffix != '.lock']
    assert unpack([whole]) == unpack([])

def test_a_table_of_labels_and_the_chosen_split_travel_too(tmp_path, colours):
    "What a worker unpacks is the same data: by their fingerprint, and image by image"
    import shutil
    from bs_lr_study.training.data import fingerprint
    from bs_lr_study.training.folders import read_folder
    labelled = tmp_path/'labelled'
    labelled.mkdir()
    pictures = sorted(colours.rglob('*.png'))
    for i,o in enumerate(pictures): shutil.copy(o, labelled/f'{i}.png')
    rows = [f'{i}.png,{o.parent.name},{"train" if i % 3 else "test" if i % 2 else "val"}' for i,o in enumerate(pictures)]
    (labelled/'labels.csv').write_text('\n'.join(['file,label,split', *rows]))
    for valid in (None, 'test'):
        sha = remote.pack_images(labelled, f := io.BytesIO(), valid)
        there = remote.unpack_images('labelled', sha, [f.getvalue()], tmp_path/f'cache-{valid}')
        ours,theirs = read_folder(labelled, valid),read_folder(there, valid)
        assert [o.name for o in ours.files] == [o.name for o in theirs.files] and len(ours.files) > 3
        assert (ours.labels, ours.parts) == (theirs.labels, theirs.parts) and 'valid' in ours.parts
        assert fingerprint('labelled', there, valid) == fingerprint('labelled', labelled, valid)

def test_a_busy_driver_does_not_take_its_own_silence_for_that_of_the_head(monkeypatch):
    "The time without an answer counts from the first look in vain, however long nobody has looked"
    crew = cluster._Crew(None, None, None, head='127.0.0.1:1')
    assert not crew._look() and not crew._look()
    monkeypatch.setattr(cluster, 'HEAD_TIMEOUT', 0)
    with pytest.raises(cluster.ClusterError, match='has not answered'): crew._look()
