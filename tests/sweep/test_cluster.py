"""A real Ray cluster of several nodes on this machine, with an engine that only sleeps; one sweep is trained for real."""
import os, signal, socket, subprocess, sys, textwrap, threading, time, warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from bs_lr_study.register import ENGINES
from bs_lr_study.runs import Run, grid

pytest.importorskip('ray', reason='Ray is an extra')
from bs_lr_study.sweep import cluster, remote
from bs_lr_study.sweep.cluster import on_cluster
from bs_lr_study.sweep.connect import ClusterError
from bs_lr_study.sweep import load_study, make_study, run
from bs_lr_study.sweep.workers import Groups, WorkerError
from bs_lr_study.sweep.executors import get_executor

STUB = '''
"An engine that trains nothing; the learning rate says what is to happen"
import ctypes, os, signal, time
from bs_lr_study.runs import Run
from helper_of_stub import acc_of

def train_many(cfgs, told=None, path=None, **opts):
    for c in cfgs:
        if c.lr == 9.: os.kill(os.getpid(), signal.SIGKILL)
        if c.lr == 8.: ctypes.string_at(0)
        if c.lr == 6.: time.sleep(600)
        if c.lr == 7.: raise RuntimeError('an engine that breaks')
        time.sleep(told or 0)
        env = dict(pid=os.getpid(), ppid=os.getppid(), names=sorted(os.environ), cuda=os.environ.get('CUDA_VISIBLE_DEVICES'), device=opts.get('device'), path=str(path))
        yield Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=acc_of(c))], cost=dict(seconds=told), env=env)
'''

@pytest.fixture(scope='module')
def stub(tmp_path_factory):
    "An engine in a folder that only this process has on its path"
    folder = tmp_path_factory.mktemp('engine')
    (folder/'stub_engine.py').write_text(STUB)
    (folder/'helper_of_stub.py').write_text('def acc_of(c): return 1/(1 + c.bs*c.lr)\n')
    (folder/'.env').write_text('KEY=secret')
    sys.path.insert(0, str(folder))
    import stub_engine # noqa: F401, it travels because it is imported
    ENGINES['stub'] = 'stub_engine:train_many'
    yield folder
    del ENGINES['stub']
    sys.path.remove(str(folder))

def patiently(f, n=3, **kw):
    "A node gives its helpers 15 seconds to start, which may be too few on a busy machine that has not read them before"
    try: return f(**kw)
    except Exception:
        if n == 1: raise
        return patiently(f, n - 1, **kw)

@pytest.fixture(scope='module')
def nodes(tmp_path_factory):
    "A head without CPUs, a node with one, and one with two and what Ray takes for a GPU"
    os.environ.update(RAY_USAGE_STATS_ENABLED='0', XDG_CACHE_HOME=str(tmp_path_factory.mktemp('cache')))
    from ray.cluster_utils import Cluster
    usual = dict(object_store_memory=80 << 20, include_dashboard=False)
    head = dict(num_cpus=0, no_monitor=True, include_log_monitor=False, _system_config=dict(health_check_period_ms=1000, health_check_failure_threshold=5))
    c = patiently(Cluster, initialize_head=True, head_node_args=head | usual)
    c.join = lambda **kw: patiently(c.add_node, **kw, **usual)
    c.join(num_cpus=1)
    c.join(num_cpus=2, num_gpus=1)
    yield c
    c.shutdown()

def cfgs(n, lr=1e-3, data='digits', **kw): return grid(data=data, model='small', bs=list(range(1, n + 1)), lr=lr, **kw)

def flat(came): return [r for runs in came for r in runs]

def raylet_of(node): return node.all_processes['raylet'][0].process.pid

def lose(raylet):
    "A machine with all that runs on it, as when its plug is pulled; its processes"
    pids = [raylet, *map(int, Path(f'/proc/{raylet}/task/{raylet}/children').read_text().split())]
    for pid in pids: os.kill(pid, signal.SIGKILL) # first what would tell of a worker's death
    return pids

def alive(pid):
    try: return 'Z' not in Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError: return False

def gone(pids, seconds=20):
    "Those of some processes that are still there after a while"
    end = time.time() + seconds
    while (left := [p for p in pids if alive(p)]) and time.time() < end: time.sleep(.1)
    return left

@pytest.fixture
def driver(nodes, stub, tmp_path):
    "A function that begins a sweep by the command line and waits until so many runs are kept; the study"
    (tmp_path/'sweep.py').write_text(textwrap.dedent(f'''
        import sys; sys.path.insert(0, {str(stub)!r})
        import stub_engine, bs_lr_study.cli as cli, bs_lr_study.sweep.cluster as cluster
        from bs_lr_study.register import ENGINES
        ENGINES['stub'] = 'stub_engine:train_many'
        cluster.TICK,cluster.HEAD_TIMEOUT = .5,6
        sys.argv = ['bslr', 'run', 's', '--settings', 's.ini', '--store', 's.jsonl', '--engine', 'stub', '--show', 'none', '--on', 'ray', '--address', '{nodes.address}', '--workers', sys.argv[1]]
        if __name__ == '__main__': cli.main()
    '''))
    (tmp_path/'s.ini').write_text(f'[s]\ndata = digits\nmodels = small\nbatch_sizes = {" ".join(map(str, range(1, 49)))}\nlrs = 1e-3\n')
    (stub/'stub_engine.py').write_text(STUB.replace('told or 0', '.5'))
    study = load_study('s', tmp_path/'s.ini', tmp_path/'s.jsonl')
    def begin(n, workers=2):
        p = subprocess.Popen([sys.executable, 'sweep.py', str(workers)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        while len(study.store.read()[0]) < n and p.poll() is None: time.sleep(.05)
        return p
    yield begin,study
    (stub/'stub_engine.py').write_text(STUB)

@pytest.mark.skipif(not Path('/proc').exists(), reason='/proc tells which processes are left')
class TestCluster:
    def test_runs_that_end_their_process(self, nodes, stub):
        "By a signal or by a fault in memory, or do not end it, among others of their group: these alone have failed"
        group = [*cfgs(2), *cfgs(1, 9.), *cfgs(1, 8.), *cfgs(1, 6.), *cfgs(1, 1e-2)]
        begun = []
        runs = flat(on_cluster([group, cfgs(1, .5)], 'stub', {}, begun.append, address=nodes.address, workers=2, timeout=3))
        assert Counter(r.cfg for r in runs) == Counter([*group, *cfgs(1, .5)])
        assert {r.cfg for r in runs if r.status != 'ok'} == {*cfgs(1, 9.), *cfgs(1, 8.), *cfgs(1, 6.)}
        assert all(r.status == 'failed' and ('took longer than the 3 s' if r.cfg.lr == 6 else 'the worker process died (') in r.message for r in runs if r.cfg.lr > 1)
        assert group in begun and [group[-1]] in begun

    def test_gpus_are_shared_and_images_travel(self, nodes, stub, colours, monkeypatch):
        "Two workers on one GPU; a folder of the same path that holds something else is not taken for the images"
        import bs_lr_study.training.data as data
        monkeypatch.setattr(cluster, 'fingerprint', lambda *_: 'of other images')
        runs = flat(on_cluster([[c] for c in cfgs(6, data='colours', size=8)], 'stub', dict(path=colours, told=.5), address=nodes.address, gpus=.5))
        assert {(r.env['cuda'], r.env['device']) for r in runs} == {('0', 'cuda')} and len({r.env['pid'] for r in runs}) == 2
        there, = {r.env['path'] for r in runs}
        assert there != str(colours) and data.fingerprint('colours', Path(there)) == data.fingerprint('colours', colours)

    def test_a_cluster_that_cannot_do_it(self, nodes, stub, tmp_path, monkeypatch):
        "Said once it is known, with the machines or the reason"
        with pytest.raises(ClusterError, match='1 CPU and 2 GPUs: there are .*0 GPUs'): flat(on_cluster([cfgs(1)], 'stub', {}, address=nodes.address, gpus=2))
        with pytest.raises(WorkerError, match='an engine that breaks'): flat(on_cluster([cfgs(1, 7.)], 'stub', {}, address=nodes.address))
        monkeypatch.setitem(ENGINES, 'stub', 'not_there:train_many')
        with pytest.raises(ClusterError, match="could not begin(.|\n)*No module named 'not_there'"): flat(on_cluster([cfgs(1)], 'stub', {}, address=nodes.address))

    def test_a_full_cluster_is_waited_for_and_a_node_that_joins_is_used(self, nodes, stub, monkeypatch):
        monkeypatch.setattr(cluster, 'PATIENCE', 1)
        hold = f'import ray, sys\nray.init({nodes.address!r}, log_to_driver=False)\nheld = ray.util.placement_group([dict(CPU=1)]*int(ray.cluster_resources()["CPU"]))\nprint(held.wait(60), flush=True)\nsys.stdin.read()'
        told,joined = [],[]
        with subprocess.Popen([sys.executable, '-c', hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as holder:
            assert holder.stdout.readline() == 'True\n'
            monkeypatch.setattr(cluster.warnings, 'warn', lambda o: told.append(o) or joined or joined.append(nodes.join(num_cpus=1)))
            runs = flat(on_cluster([[c] for c in cfgs(2)], 'stub', {}, address=nodes.address))
            holder.stdin.close()
        assert 'no room for a worker' in told[0] and [(r.status, r.env['ppid']) for r in runs] == [('ok', raylet_of(joined[0]))]*2

    def test_a_node_is_lost(self, nodes, stub, tmp_path, monkeypatch, capfd):
        "In mid-sweep: each run is recorded once, as a sweep in this process has it; a warning is all there is to read, and no secret travels"
        monkeypatch.setenv('A_SECRET_OF_MINE', 'hush')
        keys = dict(data='digits', models='small', batch_sizes=list(range(1, 17)), lrs=1e-3)
        study,killed = make_study('s', tmp_path/'ray.jsonl', **keys),[]
        def on_run(r): # its worker has begun the next one when the third run is there
            if len(study.store.read()[0]) == 3: killed.extend(lose(r.env['ppid']))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            ended = run(study, engine='stub', on=get_executor('ray', address=nodes.address, workers=2), show=False, on_run=on_run, told=.5)
        assert any('of the cluster was lost; ' in str(o.message) for o in said), ([str(o.message) for o in said], killed)
        assert killed[0] in {raylet_of(o) for o in nodes.worker_nodes}
        assert ended == Counter(ok=16)
        good,bad = study.store.read()
        assert len(good) == 16 and not bad and {d['id'] for d in good} == {c.id for c in study.cfgs}
        plain = make_study('s', tmp_path/'here.jsonl', **keys)
        run(plain, engine='stub', workers=0, show=False)
        assert {k: d['metrics'] for k,d in plain.store.records().items()} == {k: d['metrics'] for k,d in study.store.records().items()}
        assert not any('A_SECRET_OF_MINE' in d['env']['names'] for d in good)
        out = capfd.readouterr()
        assert (out.out, out.err) == ('', '')
        assert gone({d['env']['pid'] for d in good}) == []

    def test_the_fast_engine(self, nodes, tmp_path, one_thread):
        "By the command line; the results are those of a sweep in this process, to the last bit"
        keys = dict(data='digits', models='small', batch_sizes=256, lrs=[1e-3, 1e-2], epochs=1)
        (tmp_path/'s.ini').write_text('[s]\n' + ''.join(f'{k} = {" ".join(map(str, v)) if isinstance(v, list) else v}\n' for k,v in keys.items()))
        bslr = Path(sys.executable).parent/'bslr'
        done = subprocess.run([bslr, 'run', 's', '--settings', 's.ini', '--on', 'ray', '--address', nodes.address, '--show', 'none'], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and not done.stderr, done.stderr
        study = make_study('s', tmp_path/'runs/s.jsonl', **keys)
        here = make_study('here', tmp_path/'here.jsonl', **keys)
        run(here, workers=0, show=False)
        assert {k: d['metrics'] for k,d in study.store.records().items()} == {k: d['metrics'] for k,d in here.store.records().items()}

    def test_a_sweep_that_is_ended(self, nodes, driver): # the last, as it ends the cluster
        "Ctrl-C is quiet and quick, and like `kill -9` it leaves nothing on the cluster; the loss of the head is told in words, before Ray would end the process. The same command goes on"
        begin,study = driver
        def kept(): return study.store.read()[0]
        with begin(2) as p:
            t = time.time()
            os.killpg(p.pid, signal.SIGINT)
            out,err = p.communicate(timeout=60)
        said = [o for o in err.splitlines() if o and 'no room for a worker' not in o] # which is no fault where the machine is busy
        assert (p.returncode, said) == (1, ['bslr: stopped. What is finished is kept; the same command goes on from there.']) and time.time() - t < 20
        assert 2 <= (n := len(kept())) < 16 and gone({d['env']['pid'] for d in kept()}) == []
        with begin(n + 1) as p: p.kill()
        assert n < (n := len(kept())) < 16 and gone({d['env']['pid'] for d in kept()}) == []
        with begin(n + 1, workers=1) as p:
            t = time.time()
            os.kill(nodes.head_node.all_processes['gcs_server'][0].process.pid, signal.SIGKILL)
            out,err = p.communicate(timeout=120)
        assert p.returncode == 1 and time.time() - t < 45
        assert err.startswith(f'bslr: the head of the cluster at {nodes.address} has not answered for 6 seconds') and len(err.splitlines()) == 1, err
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
    "What a crew needs of Ray: machines of one CPU each, and workers that do as told"
    def __init__(self, behave, machines=2, begin=lambda machine: None):
        from ray import exceptions
        self.exceptions,self.behave,self.begin = exceptions,behave,begin
        self.alive,self.busy = [f'm{i}' for i in range(machines)],{}

    def nodes(self):
        return [dict(NodeID=o, Alive=True, Resources=dict(CPU=1.), NodeManagerAddress=o) for o in self.alive]

    def remote(self, cls): return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: FakeActor(self)))
    def kill(self, actor): self.busy.pop(actor, None)

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
    "A generator of references, one a while after the other, until the first that is an error"
    def __init__(self, values, seconds=.01): self.values,self.seconds,self.at = values,seconds,time.monotonic()
    def is_here(self): return time.monotonic() >= self.at
    def __next__(self):
        answer = Answer(None)
        answer.value = next(self.values)
        self.at = time.monotonic() + self.seconds
        return answer

class FakeActor:
    "A worker: it has a machine to itself, prepares, and trains"
    def __init__(self, ray):
        self.ray = ray
        self.machine,self.prepare,self.train = [SimpleNamespace(remote=f) for f in (self.find_machine, self.begin, self.runs)]

    def find_machine(self):
        def find():
            free = [o for o in self.ray.alive if o not in self.ray.busy.values()]
            if free: self.ray.busy[self] = free[0]
            return free[0] if free else None
        return Answer(find)

    def begin(self, task): return Answer(lambda: self.ray.begin(self.ray.busy[self]) or True)

    def runs(self, group): return Answers(self.answers(group))

    def answers(self, group):
        "As the driver hears them; what ends a worker is what `behave` says of a run"
        yield 'begun'
        for c in group:
            if what := self.ray.behave(c):
                yield self.death(what)
                return
            yield Run(c, metrics=[dict(epoch=1, acc=.5)])

    def death(self, what):
        if what == 'machine':
            self.ray.alive.remove(self.ray.busy[self])
            self.ray.alive.append(f'another{len(self.ray.alive)}{time.time()}') # it is replaced
        errors = self.ray.exceptions
        return errors.ActorUnavailableError('no answer', None) if what == 'unreachable' else errors.ActorDiedError()

@pytest.fixture
def crew(monkeypatch):
    "Have groups trained by fakes: the groups that were begun, the runs, and the warnings, in one list"
    for k,v in dict(TICK=.05, GRACE=.01, HEAD_TIMEOUT=1).items(): monkeypatch.setattr(cluster, k, v)
    def run(groups, behave=lambda c: None, head=None, told=None, **kw):
        told = [] if told is None else told
        monkeypatch.setattr(cluster.warnings, 'warn', told.append)
        crew = cluster._Crew(Fake(behave, **kw), Groups(groups), cluster.Task('', {}), told.append, head=head)
        for runs in crew.batches(): told += runs
        return told
    return run

class TestCrew:
    "Whose fault it is, told by fakes"
    def test_a_machine_is_lost(self, crew):
        "What it had begun is done elsewhere: together once more, then each alone"
        lost = []
        def behave(c):
            if c.bs == 2 and len(lost) < 3: return lost.append(c) or 'machine'
        told = crew([cfgs(3), cfgs(1, .5)], behave)
        runs = [o for o in told if isinstance(o, Run)]
        assert Counter((r.cfg, r.status) for r in runs) == Counter((c, 'ok') for c in [*cfgs(3), *cfgs(1, .5)])
        assert sum('of the cluster was lost; ' in o for o in told if isinstance(o, str)) == 3
        assert [len(o) for o in told if isinstance(o, list) and cfgs(2)[1] in o] == [3, 2, 1, 1]

    @pytest.mark.parametrize('what', ['machine', 'unreachable'])
    def test_a_run_that_loses_every_machine_has_failed(self, crew, what):
        told = crew([[c] for c in cfgs(3)], lambda c: what if c.bs == 2 else None)
        assert {r.cfg.bs: r.status for r in told if isinstance(r, Run)} == {1: 'ok', 2: 'failed', 3: 'ok'}
        assert sum(isinstance(o, list) and o[0].bs == 2 for o in told) == cluster.MAX_LOST
        assert [r.message for r in told if isinstance(r, Run) and r.cfg.bs == 2] == ['5 machines were lost while they trained it']

    def test_a_run_that_kills_its_worker_is_tried_once_alone(self, crew):
        told = crew([cfgs(4)], lambda c: 'worker' if c.bs == 2 else None)
        assert {r.cfg.bs: (r.status, r.message) for r in told if isinstance(r, Run)} == {1: ('ok', ''), 2: ('failed', 'the worker process died'), 3: ('ok', ''), 4: ('ok', '')}
        assert sum(isinstance(o, list) and cfgs(2)[1] in o for o in told) == 2 and not [o for o in told if isinstance(o, str)]

    def test_a_worker_that_cannot_begin(self, crew):
        "Is used no more and told of; if all are such, it is an error"
        from ray.exceptions import RayTaskError
        broken = lambda node: RayTaskError('prepare', 'no module of that name', ImportError())
        told = crew([[c] for c in cfgs(20)], begin=lambda node: broken(node) if node == 'm0' else None)
        assert Counter(r.status for r in told if isinstance(r, Run)) == Counter(ok=20)
        assert sum('could not begin' in o for o in told if isinstance(o, str)) == 1
        with pytest.raises(ClusterError, match='could not begin(.|\n)*no module of that name'): crew([[c] for c in cfgs(20)], begin=broken)

    def test_nobody_is_there(self, crew):
        with pytest.raises(ClusterError, match='no machine of the cluster has what a worker takes, 1 CPU: there are $'): crew([cfgs(1)], machines=0)

    def test_the_head_is_lost(self, crew):
        "Said once it has been silent for a while; what came before, and until then, is kept"
        head,told,t = Head(),[],time.time()
        def behave(c):
            if c.bs == 4: head.up = False
        with pytest.raises(ClusterError, match=rf'head of the cluster at {head.address} has not answered for 1 seconds: it is lost.*What is finished is kept.*same command'): crew([[c] for c in cfgs(800)], behave, head.address, told)
        assert 4 <= len([o for o in told if isinstance(o, Run)]) < 800 and 1 < time.time() - t < 7

    def test_the_head_is_silent_for_a_moment(self, crew):
        head = Head()
        def behave(c):
            if c.bs == 4 and head.up:
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
        crew(groups(), lambda c: done.append(c))
        assert len(done) == 12 and max(taken) <= 4 # two in work, and at most two for workers on their way

class TestAddress:
    "Known within seconds, where Ray itself would try for two minutes and end the process"
    def refused(self, address, match):
        t = time.time()
        with pytest.raises(ClusterError, match=match): flat(on_cluster([cfgs(1)], 'fast', {}, address=address))
        assert time.time() - t < 8

    @pytest.mark.parametrize('address,match', [('nowhere', 'expected HOST:PORT'), ('host:', 'expected HOST:PORT'), ('127.0.0.1:99999', 'no cluster at'),
                                               ('no.such.host.invalid:6379', 'no cluster at no.such'), ('ray://127.0.0.1:10001', 'HOST:PORT')])
    def test_no_address(self, address, match): self.refused(address, match)

    def test_nobody_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as s: port = s.getsockname()[1]
        self.refused(f'127.0.0.1:{port}', f'no cluster at 127.0.0.1:{port}: .*refused')

    def test_somebody_else_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as s: self.refused(f'127.0.0.1:{s.getsockname()[1]}', 'timed out')

    def test_of_the_environment(self, monkeypatch):
        monkeypatch.setenv('RAY_ADDRESS', 'elsewhere')
        self.refused(None, "address 'elsewhere': expected")

def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ClusterError, match=r"not installed \(pip install 'bs_lr_study\[ray\]'\)"): flat(on_cluster([cfgs(1)], 'fast', {}))

def test_images_that_were_changed_on_the_way(tmp_path, colours):
    import io
    from bs_lr_study.files import DataError
    sha = remote.pack_images(colours, f := io.BytesIO())
    with pytest.raises(DataError, match='changed on the way'): remote.unpack_images('colours', sha, [f.getvalue()[:-2048], bytes(2047), b'x'], tmp_path/'cache')
    assert not [o for o in (tmp_path/'cache').iterdir() if o.suffix != '.lock']
    assert remote.unpack_images('colours', sha, [f.getvalue()], tmp_path/'cache') == remote.unpack_images('colours', sha, [], tmp_path/'cache')
