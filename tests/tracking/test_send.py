"""W&B hears of every run, and no mood of its server reaches a sweep. The real package speaks to a server that is made here."""
import json, os, pickle, signal, subprocess, sys, threading, time, warnings
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd, pytest

from bs_lr_study.tracking import send as tracking
from bs_lr_study.analysis import load_runs
from bs_lr_study.runs import Run, RunConfig, grid, run_from_dict, run_to_dict
from bs_lr_study.store import Store
from bs_lr_study.tracking.send import TrackingError, _installed, sync, tracked
from bs_lr_study.tracking.events import read_sent, sent_path, sent_summary, unsent, wandb_id
from bs_lr_study.readers.table import frames_to_table
from bs_lr_study.readers.wandb_table import runs_to_frames
from bs_lr_study.readers.wandb_log import log_records, offline_runs

KEY = '0123456789'*4
WAIT = 1.5 # Seconds for which W&B may hold up the end of a sweep here

needs_wandb = pytest.mark.skipif(not _installed(), reason='wandb is not installed')

# --- a server such as W&B's, of many moods

class Wandb(ThreadingHTTPServer):
    "As much of W&B's server as its package asks for"
    daemon_threads = True
    def __init__(self, mood='well'):
        super().__init__(('127.0.0.1', 0), Handler)
        self.mood,self.runs,self.asked,self.closing = mood,{},[],threading.Event()
        self.url = f'http://127.0.0.1:{self.server_port}'
        threading.Thread(target=self.serve_forever, args=(.02,), daemon=True).start()

    def handle_error(self, *_): pass # the other end has gone

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def answer(self, query, v):
        "GraphQL"
        project = dict(id='p', name=v.get('project') or 'uncategorized', entityName='me', entity=dict(id='e', name='me'))
        run = self.runs.get(v.get('name'))
        if 'upsertBucket' in query:
            new,run = run is None,run or self.runs.setdefault(v['name'], dict(id=v['name'], history=[], summary={}, project=v['project']))
            name,tags = v.get('displayName') or run.get('name'),v.get('tags') or run.get('tags') or []
            config = {k: o['value'] for k,o in json.loads(v.get('config') or '{}').items()}
            run |= dict(state='running', name=name, tags=tags, config=config)
            bucket = dict(id=run['id'], name=run['id'], displayName=run['name'], description=None,
                          config=v.get('config'), sweepName=None, project=project,
                          historyLineCount=len(run['history']))
            return dict(upsertBucket=dict(inserted=new, bucket=bucket))
        if 'RunResumeStatus' in query:
            return dict(model=dict(project, bucket=run and dict(
                id=run['id'], name=run['id'], displayName=run['name'],
                summaryMetrics=json.dumps(run['summary']), logLineCount=0,
                historyLineCount=len(run['history']), eventsLineCount=0,
                historyTail=json.dumps([json.dumps(o) for o in run['history'][-1:]]), eventsTail='[]', notes=None,
                config=json.dumps({k: dict(value=o) for k,o in run['config'].items()}),
                tags=run['tags'], wandbConfig='{"t": 1}')))
        if 'run(name:' in query:
            return dict(project=dict(project, internalId='1', run=run and dict(
                id=run['id'], name=run['id'], displayName=run['name'], state=run['state'], tags=run['tags'],
                config='{}', summaryMetrics=json.dumps(run['summary']), historyLineCount=len(run['history']),
                projectId='1', sweepName=None, group=None, jobType=None, commit=None, readOnly=False,
                createdAt='2026-01-01T00:00:00Z', heartbeatAt='2026-01-01T00:00:00Z', description='', notes='',
                user=dict(name='me', username='me'), systemMetrics='{}', historyKeys=None)))
        if 'createRunFiles' in query:
            files = [dict(name=f, uploadUrl=f'{self.url}/upload') for f in v['files']]
            return dict(createRunFiles=dict(runID='r', uploadHeaders=[], files=files))
        if 'viewer' in query: return dict(viewer=dict(id='u', entity='me', username='me', email='', flags='{}', teams=dict(edges=[])))
        return dict(serverInfo=dict(cliVersionInfo={}, latestLocalVersionInfo=None, features=[]))

    def stream(self, run, body):
        "What a run is made of, as it comes"
        for file,part in body.get('files', {}).items():
            lines = [json.loads(o) for o in part['content']]
            if file == 'wandb-history.jsonl': run['history'][part['offset']:] = lines
            if file == 'wandb-summary.json': run['summary'] = lines[-1]
        if body.get('complete'): run['state'] = 'finished' if body['exitcode'] == 0 else 'failed'

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass

    def reply(self, what, status=200, **headers):
        body = json.dumps(what).encode()
        self.send_response(status)
        headers = headers | {'Content-Type': 'application/json', 'Content-Length': len(body)}
        for k,v in headers.items(): self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        s,body = self.server,self.rfile.read(int(self.headers.get('Content-Length') or 0))
        s.asked.append(self.path)
        if s.mood == 'hangs': return s.closing.wait(60)
        if s.mood == 'slow': time.sleep(5)
        if s.mood == 'refuses': return self.reply(dict(errors=[dict(message='you are not logged in')]), 401)
        if s.mood == 'throttles': return self.reply(dict(errors=[dict(message='too many requests')]), 429, Retry_After=1)
        if s.mood == 'dies' and self.path.endswith('file_stream') and len(s.runs) > 1: # the first run goes well
            s.socket.close()
            return self.connection.close()
        if self.path == '/graphql':
            data = json.loads(body)
            return self.reply(dict(data=s.answer(data['query'], data.get('variables') or {})))
        if self.path.endswith('file_stream'): s.stream(s.runs[self.path.split('/')[-2]], json.loads(body))
        self.reply({})

    do_GET = do_PUT = do_POST

@pytest.fixture
def server():
    made = []
    def make(mood='well'):
        made.append(Wandb(mood))
        return made[-1]
    yield make
    for s in made: s.close()

# --- runs that need no training

CFGS = grid(data='digits', model='tiny', bs=[32, 64], lr=[1e-3, 1e-2], epochs=2)

def made_up(cfg, status='ok', n=None):
    "A run as an engine would give it"
    n = (2 if status == 'ok' else 1) if n is None else n
    metrics,steps = [dict(epoch=e, train_loss=2/e, valid_loss=2.1/e, acc=(180 + 36*e)/360) for e in range(1, n + 1)],1437//cfg.bs
    updates = [dict(step=i, train_loss=2.3 - i/100, lr=cfg.lr*i/100) for i in range(15, steps*n + 1, 15)]
    message = '' if status == 'ok' else f'{status} for the test'
    cost = dict(seconds=.5, steps=steps*n, examples=steps*n*cfg.bs)
    env = dict(engine='fast', device='cpu', n_train=1437, n_valid=360, data_fingerprint='f'*16)
    name = f'digits-{cfg.model}-bs-{cfg.bs}-lr-{cfg.lr}'
    return Run(cfg, status, message, metrics, cost, env, name, 1, '2026-01-01T00:00:00+00:00', updates)

RUNS = [made_up(c, s) for c,s in zip(CFGS, ['ok', 'diverged', 'ok', 'failed'])]

def fill(path):
    store = Store(path)
    for r in RUNS: store.append(r)
    return store

def history(run):
    "What a record says happened, by update"
    rows = {}
    for u in run.updates: rows.setdefault(u['step'], {}).update(u)
    for m in run.metrics: rows.setdefault(m['epoch']*(1437//run.cfg.bs), {}).update(m)
    return {k: {a: b for a,b in v.items() if a != 'step'} for k,v in sorted(rows.items())}

def told_rows(lines): return {o['_step']: {k: v for k,v in o.items() if k[0] != '_'} for o in lines}

# --- offline: wandb's files read back

def read_offline(folder):
    "Project, tags, history and exit code of a run in wandb's files; the rest is read by `offline_runs`"
    from wandb.proto.wandb_internal_pb2 import Record
    path, = folder.glob('*.wandb')
    out = dict(history=[])
    for r in map(Record.FromString, log_records(path.read_bytes())):
        kind = r.WhichOneof('record_type')
        if kind == 'run': out |= dict(id=r.run.run_id, project=r.run.project, tags=list(r.run.tags))
        if kind == 'history': out['history'].append({o.key or '.'.join(o.nested_key): json.loads(o.value_json) for o in r.history.item})
        if kind == 'exit': out['exit'] = r.exit.exit_code
    return out

def same_runs(ours, theirs):
    "The same table, whatever else W&B has to say"
    ours,theirs = (df.sort_values('run', ignore_index=True) for df in (ours, theirs))
    ours = ours.dropna(axis=1, how='all')
    assert set(ours) <= set(theirs)
    pd.testing.assert_frame_equal(ours, theirs[list(ours)], check_dtype=False)

@needs_wandb
def test_a_grid_logged_offline_is_the_table_of_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    monkeypatch.setenv('WANDB_API_KEY', KEY)
    store = Store(tmp_path/'runs.jsonl')
    with tracked(store, mode='offline', project='lab'):
        for r in RUNS: store.append(r)
    same_runs(load_runs(store.path), load_runs(offline_runs(tmp_path/'wandb')))
    runs = {o['id']: o for o in map(read_offline, (tmp_path/'wandb').glob('offline-run-*'))}
    assert len(runs) == 4
    for r in RUNS:
        seen = runs[wandb_id(run_to_dict(r))]
        assert seen['tags'] == [f'bs={r.cfg.bs}', f'model={r.cfg.model}', f'lr={r.cfg.lr}'] and seen['project'] == 'lab'
        assert told_rows(seen['history']) == history(r) and seen['exit'] == (r.status != 'ok')
    assert unsent(store, mode='offline') == [] and len(unsent(store, mode='online')) == 4
    assert sync(store.path, mode='offline') == 0 and len(list((tmp_path/'wandb').glob('offline-run-*'))) == 4
    assert sent_summary(store) == '4 of 4 runs in project lab, offline'
    assert not any(KEY.encode() in o.read_bytes() for o in tmp_path.rglob('*') if o.is_file())

# --- online, with W&B in each of its moods

MOODS = ['well', 'down', 'slow', 'hangs', 'refuses', 'throttles', 'dies', 'killed']

def processes_of(pid):
    args = ['ps', '-o', 'pid', '--no-headers', '--ppid', str(pid)]
    return subprocess.run(args, capture_output=True, text=True).stdout.split()

def gone(pid):
    for _ in range(300):
        state = subprocess.run(['ps', '-o', 'stat', '--no-headers', str(pid)], capture_output=True, text=True).stdout.strip()
        if not state or state[0] == 'Z': return True # who has ended and only waits to be counted is gone
        time.sleep(.1)

def sweep_while(sender, server, mood, store):
    "Record runs as a sweep would, from when the sender is awake; wait till W&B has been spoken to. The seconds that each record took"
    def wait_for(f, until=time.monotonic() + 120):
        while not f() and time.monotonic() < until: time.sleep(.02)
    wait_for(lambda: sender.said()[0])
    took = []
    for r in RUNS:
        start = time.monotonic()
        store.append(r)
        took.append(time.monotonic() - start)
        if mood != 'down': wait_for(lambda: server.asked)
        if mood == 'killed': sender.process.kill()
        if mood in ('well', 'dies'): wait_for(lambda: len(read_sent(store.path)) >= (len(took) if mood == 'well' else 1))
    if mood == 'dies': wait_for(lambda: len(server.runs) > 1)
    return took

@pytest.fixture(scope='module')
def swept(tmp_path_factory):
    "The same runs recorded with W&B in each mood: all senders begin together, since it is their imports that take time"
    old,out = dict(os.environ),{}
    servers = {m: Wandb(m) for m in MOODS}
    servers['down'].close()
    for m,s in servers.items():
        os.environ |= dict(WANDB_BASE_URL=s.url, WANDB_API_KEY=KEY)
        store = Store(tmp_path_factory.mktemp(m)/'runs.jsonl')
        block = tracked(store, mode='online', project='me/lab', wait=WAIT, timeout=10)
        out[m] = dict(store=store, server=s, block=block, sender=block.__enter__())
    os.environ.clear()
    os.environ |= old
    for m,o in out.items():
        o['took'] = sweep_while(o['sender'], o['server'], m, o['store'])
        o['children'] = [o['sender'].process.pid, *processes_of(o['sender'].process.pid)]
        start = time.monotonic()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            o['block'].__exit__(None, None, None)
        o |= dict(end=time.monotonic() - start, said=[str(w.message) for w in said])
    yield out
    for s in servers.values(): s.close()

@needs_wandb
@pytest.mark.parametrize('mood', MOODS)
def test_no_mood_of_wandb_reaches_a_sweep(swept, mood, tmp_path):
    o,plain = swept[mood],fill(tmp_path/'runs.jsonl')
    assert o['store'].path.read_bytes() == plain.path.read_bytes() # the same records as without W&B, to the byte
    assert max(o['took']) < 5 and o['end'] < WAIT + 5 # W&B itself would take 10 and more
    got = {d['wandb_id'] for d in read_sent(o['store'].path)}
    there = {k for k,r in o['server'].runs.items() if r['state'] in ('finished', 'failed')}
    assert got <= there # nothing is thought to be there that is not
    assert len(got) == dict(well=4, dies=1).get(mood, 0)
    if mood == 'well': assert o['said'] == []
    else:
        assert len(o['said']) == 1 and f'W&B has got {len(got)} of 4 runs' in o['said'][0]
        assert f'bslr sync {o["store"].path} --project me/lab' in o['said'][0]
    assert KEY not in str(o['said']) and all(gone(p) for p in o['children'])
    assert not o['sender'].folder.exists()

def on_server(server):
    "What the server has, as `offline_runs` and `project_runs` have it"
    return frames_to_table(runs_to_frames([dict(r, name=r['name']) for r in server.runs.values()]), None, 'the server')

def as_recorded(server):
    "Each run on the server is its record"
    by_id = {r['config']['id']: r for r in server.runs.values()}
    assert len(by_id) == len(server.runs) == len(RUNS)
    for r in RUNS:
        seen = by_id[r.id]
        assert told_rows(seen['history']) == history(r) and len(seen['history']) == len(history(r))
        assert seen['state'] == ('finished' if r.status == 'ok' else 'failed') and seen['summary']['status'] == r.status
        assert seen['summary'].get('acc') == r.acc and 'lr' not in seen['summary'] and seen['config']['lr'] == r.cfg.lr
        assert seen['tags'] == [f'bs={r.cfg.bs}', f'model={r.cfg.model}', f'lr={r.cfg.lr}'] and seen['project'] == 'lab'

@needs_wandb
def test_what_wandb_has_is_what_was_recorded(swept):
    o = swept['well']
    as_recorded(o['server'])
    same_runs(load_runs(o['store'].path), load_runs(on_server(o['server'])))
    assert sent_summary(o['store']) == f"4 of 4 runs in {o['server'].url}/me/lab"
    assert str(Path.home()) not in json.dumps(o['server'].runs) and os.uname().nodename not in json.dumps(o['server'].runs)

@needs_wandb
def test_what_was_missed_is_sent_later_and_once(swept, server, tmp_path, monkeypatch):
    "A run that died half way is completed; who has all asks for nothing"
    died = swept['dies']
    good = server()
    good.runs = {k: dict(r) for k,r in died['server'].runs.items()} # W&B is back, with what it had
    path = tmp_path/'runs.jsonl'
    path.write_bytes(died['store'].path.read_bytes())
    lines = [dict(o, server=f'127.0.0.1:{good.server_port}') for o in read_sent(died['store'].path)]
    sent_path(path).write_text(''.join(json.dumps(o) + '\n' for o in lines))
    for k,v in dict(WANDB_BASE_URL=good.url, WANDB_API_KEY=KEY).items(): monkeypatch.setenv(k, v)
    half = next(r for k,r in good.runs.items() if k != lines[0]['wandb_id'])
    half['history'] = [dict(_step=15, train_loss=2.15, lr=half['config']['lr']*.15)] # as if its first row had come through
    assert sync(path) == 3
    as_recorded(good)
    n = len(good.asked)
    assert sync(path) == 0 and not any(o.endswith('file_stream') for o in good.asked[n:])

@needs_wandb
def test_sync_says_why_it_failed(server, tmp_path, monkeypatch):
    for k,v in dict(WANDB_BASE_URL=server('refuses').url, WANDB_API_KEY=KEY).items(): monkeypatch.setenv(k, v)
    store = fill(tmp_path/'runs.jsonl')
    with pytest.raises(TrackingError, match='W&B has got 0 of 4 runs .*401.* the same command goes on') as e:
        sync(store.path, 'lab', timeout=10)
    assert KEY not in str(e.value)

@needs_wandb
def test_a_record_that_cannot_be_told_swallows_no_other(tmp_path, monkeypatch):
    "W&B's package takes the next run for one that was not ended; and two such records at the head are no reason to give up"
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    store = Store(tmp_path/'runs.jsonl')
    for r in RUNS[:2]: store.add(run_to_dict(r) | dict(metrics=[dict(acc=.5)])) # of no epoch
    for r in RUNS[2:]: store.append(r)
    with pytest.raises(TrackingError, match="W&B has got 2 of 4 runs .*KeyError: 'epoch'"): sync(store.path, 'lab', 'offline')
    logs = {o['id']: o for o in map(read_offline, (tmp_path/'wandb').glob('offline-run-*'))}
    for r in RUNS[2:]: assert told_rows(logs[wandb_id(run_to_dict(r))]['history']) == history(r)

def test_a_store_is_read_again_only_once_it_has_changed():
    class Over:
        "An event that is set after fifty looks"
        looks = 0
        def is_set(self): return self.looks > 50
        def wait(self, _): self.looks += 1
    over,read_at = Over(), []
    def items():
        read_at.append(over.looks)
        return []
    tracking._follow(items, None, None, None, over, stamp=lambda: over.looks > 20)
    assert len(read_at) == 3 and read_at[0] == 0 and 20 < read_at[1] < 25 and read_at[2] > 50

# --- modes

def modes(monkeypatch, tmp_path, cases):
    "What `auto` comes to, in several surroundings at once"
    with ExitStack() as stack, warnings.catch_warnings(record=True):
        senders = []
        for i,(env,mode) in enumerate(cases):
            with monkeypatch.context() as m:
                for k in ('WANDB_API_KEY', 'WANDB_MODE'): m.delenv(k, raising=False)
                here = dict(HOME=str(tmp_path), NETRC=str(tmp_path/'none'), WANDB_BASE_URL='http://127.0.0.1:9',
                            WANDB_CONFIG_DIR=str(tmp_path))
                for k,v in here.items(): m.setenv(k, v)
                for k,v in env.items(): m.setenv(k, v)
                senders.append(stack.enter_context(tracked(Store(tmp_path/f'{i}.jsonl'), mode=mode)))
        until = time.monotonic() + 120
        while not all(s.said()[0] for s in senders) and time.monotonic() < until: time.sleep(.05)
        return [s.said()[0].get('mode') for s in senders]

@needs_wandb
def test_modes(monkeypatch, tmp_path):
    (tmp_path/'netrc').write_text(f'machine 127.0.0.1:9\nlogin user\npassword {KEY}\n')
    (tmp_path/'netrc').chmod(0o600)
    cases = [({}, 'auto', 'offline'),
             (dict(WANDB_API_KEY=KEY), 'auto', 'online'),
             (dict(NETRC=str(tmp_path/'netrc')), 'auto', 'online'),
             (dict(WANDB_API_KEY=KEY, WANDB_MODE='offline'), 'auto', 'offline'),
             (dict(WANDB_API_KEY=KEY, WANDB_MODE='disabled'), 'auto', 'off'),
             (dict(WANDB_API_KEY=KEY, WANDB_MODE='offline'), 'online', 'online')]
    assert modes(monkeypatch, tmp_path, [c[:2] for c in cases]) == [c[2] for c in cases]

def test_off_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, 'Popen', lambda *_, **__: pytest.fail('a process was started'))
    with tracked(Store(tmp_path/'runs.jsonl'), mode='off') as sender: assert sender is None
    with pytest.raises(ValueError, match='choose from auto, online, offline, off'):
        with tracked(Store(tmp_path/'runs.jsonl'), mode='on'): pass

def test_not_installed(tmp_path, monkeypatch):
    "A folder named wandb, such as its own offline runs make, is no package"
    (tmp_path/'wandb').mkdir()
    monkeypatch.chdir(tmp_path)
    site = next(o for o in sys.path if o.endswith('site-packages'))
    (tmp_path/'lib').mkdir() # all that is installed but wandb
    for o in os.listdir(site):
        if not o.startswith('wandb'): os.symlink(f'{site}/{o}', tmp_path/'lib'/o)
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(tmp_path), str(tmp_path/'lib'), str(Path(__file__).parents[2])]))
    code = 'import bs_lr_study.tracking.send as t, wandb; print(t._installed(), wandb.__path__)'
    out = subprocess.run([sys.executable, '-S', '-c', code], env=env, capture_output=True, text=True)
    assert out.stdout.startswith('False'), out.stderr
    monkeypatch.setattr('bs_lr_study.tracking.send._installed', lambda: False)
    store = Store(tmp_path/'runs.jsonl')
    with pytest.warns(UserWarning, match=r"wandb is not installed \(pip install 'wandb>=0.31'\)"), tracked(store, mode='online'):
        for r in RUNS: store.append(r)
    assert len(store.records()) == 4
    with pytest.raises(TrackingError, match='not installed'): sync(store.path)
    with pytest.raises(ValueError, match='choose online, offline or auto'): sync(store.path, mode='off')

def test_no_process_to_be_had(tmp_path, monkeypatch):
    def full(*_, **__): raise OSError(12, 'Cannot allocate memory')
    monkeypatch.setattr(subprocess, 'Popen', full)
    monkeypatch.setattr('bs_lr_study.tracking.send._installed', lambda: True)
    store = Store(tmp_path/'runs.jsonl')
    with pytest.warns(UserWarning, match='Cannot allocate memory'), tracked(store, mode='online'): store.append(RUNS[0])
    assert len(store.records()) == 1

# --- the sender's life

@needs_wandb
@pytest.mark.skipif(os.name == 'nt', reason='signals')
def test_a_sweep_that_is_killed_leaves_no_sender_and_ctrl_c_none_to_wait_for(tmp_path, server):
    env = os.environ | dict(WANDB_BASE_URL=server('hangs').url, WANDB_API_KEY=KEY)
    code = f'''
import sys, time
from bs_lr_study.store import Store
from bs_lr_study.tracking.send import tracked
with tracked(Store({str(tmp_path/"runs.jsonl")!r}), mode="online", wait=60) as s:
    print(s.process.pid, flush=True)
    time.sleep(60)
'''
    for sig in (signal.SIGKILL, signal.SIGINT):
        p = subprocess.Popen([sys.executable, '-c', code], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, start_new_session=True)
        pid = int(p.stdout.readline())
        time.sleep(.5)
        os.killpg(p.pid, sig)
        assert p.wait(20) != 0 and gone(pid)

@needs_wandb
@pytest.mark.skipif(os.name == 'nt', reason='file descriptors')
def test_a_sender_hears_the_end_though_a_worker_holds_its_pipe(tmp_path):
    "As a forked worker of a DataLoader does"
    sender = tracking.Sender(tmp_path/'runs.jsonl', mode='offline')
    holder = subprocess.Popen(['sleep', '120'], pass_fds=[sender.process.stdin.fileno()])
    try: sender.end(100)
    finally: holder.kill()
    assert holder.wait() and sender.process.returncode == 0 # it came to an end and was not ended

def test_old_lists_and_torn_ones(tmp_path):
    store = fill(tmp_path/'runs.jsonl')
    ids = [wandb_id(d) for d in store.records().values()]
    sound = json.dumps(dict(wandb_id=ids[0], mode='online')).encode()
    torn = b'{"wandb_id": "' + ids[1].encode()
    sent_path(store.path).write_bytes(sound + b'\n\xff\xfe\nnull\n[]\n' + torn)
    assert [wandb_id(d) for d in unsent(store, mode='online')] == ids[1:]
    assert len(unsent(store, mode='online', server='elsewhere')) == 4
    assert sent_summary(store) == '1 of 4 runs in project None, online'
    assert [d['id'] for d in unsent(store, ids={CFGS[3].id})] == [CFGS[3].id]
    store.append(made_up(CFGS[0], 'oom', n=0)) # tried again: another record, another run
    assert len(unsent(store, mode='online')) == 4

# --- updates in the record

def test_records_without_updates_are_as_they_were():
    r = made_up(CFGS[0])
    old = run_to_dict(r)
    assert run_from_dict(old) == r
    del old['updates']
    assert run_from_dict(old).updates == [] and 'updates' not in run_to_dict(run_from_dict(old)) and run_from_dict(old).id == r.id

@pytest.mark.parametrize('schedule', ['one_cycle', 'constant'])
def test_both_engines_note_the_same_updates(one_thread, schedule):
    from bs_lr_study.training import fast
    from bs_lr_study.training import learner as train
    cfg = RunConfig('digits', 'small', 128, 1e-2, epochs=2, schedule=schedule)
    a,b = train.train(cfg, log_every=5),next(fast.train_many([cfg], log_every=5))
    n = a.cost['steps']//2
    assert [u['step'] for u in a.updates] == [u['step'] for u in b.updates] == list(range(5, 2*n + 1, 5))
    for u,v in zip(a.updates, b.updates):
        assert u['lr'] == pytest.approx(v['lr'], rel=1e-9)
        assert u['train_loss'] == pytest.approx(v['train_loss'], rel=1e-3)
    every = train.train(cfg, log_every=1)
    smoothed = [m['train_loss'] for m in every.metrics] # as an epoch's is
    assert [every.updates[m['epoch']*n - 1]['train_loss'] for m in every.metrics] == smoothed
    assert train.train(cfg).updates == [] and every.metrics == a.metrics

def test_a_run_that_diverges_notes_what_came_before(one_thread):
    from bs_lr_study.training import fast
    from bs_lr_study.training import learner as train
    cfg = RunConfig('digits', 'small', 64, 1e38, epochs=1, opt='sgd', schedule='constant')
    for r in (train.train(cfg, log_every=1), next(fast.train_many([cfg], log_every=1))):
        assert r.status == 'diverged' and [u['step'] for u in r.updates] == list(range(1, r.cost['steps'] + 1)) and len(r.updates) < 10

@needs_wandb
def test_a_sweep_with_wandb_hanging_is_the_sweep_without(tmp_path, server, monkeypatch, one_thread):
    from bs_lr_study.sweep import make_study, run
    for k,v in dict(WANDB_BASE_URL=server('hangs').url, WANDB_API_KEY=KEY).items(): monkeypatch.setenv(k, v)
    real = tracking.tracked
    monkeypatch.setattr('bs_lr_study.sweep.runner.tracked', lambda *args: real(*args, wait=WAIT))
    keys = dict(data='digits', models='small', batch_sizes=[256], lrs=[1e-3, 1e-2], epochs=1)
    here,there = (make_study('s', tmp_path/f'{o}.jsonl', **keys) for o in ('here', 'there'))
    opts = dict(workers=0, show=False, log_every=2)
    run(here, **opts)
    with pytest.warns(UserWarning, match='W&B has got 0 of 2 runs'): run(there, **opts, wandb='online', project='lab')
    plain = lambda s: {k: (d['status'], d['metrics'], d['updates']) for k,d in s.store.records().items()}
    assert plain(here) == plain(there) and len(plain(here)) == 2

# --- a Learner of one's own

@pytest.fixture(scope='module')
def fit():
    "A function that fits a line with some callbacks, and gives its `Learner`"
    import torch
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader
    from fastai.learner import Learner
    x = torch.linspace(0, 1, 96)[:,None]
    pairs = list(zip(x, 3*x))
    def fit(*cbs, n=2, loader=DataLoader):
        dls = DataLoaders(loader(pairs[:64], bs=16), DataLoader(pairs[64:], bs=32))
        learn = Learner(dls, torch.nn.Linear(1, 1), torch.nn.MSELoss(), cbs=cbs)
        with learn.no_logging(): learn.fit(n, .1)
        return learn
    return fit

def torch_loader(pairs, bs):
    "A loader of torch, whose images nobody has counted"
    from torch.utils.data import DataLoader, IterableDataset
    class Stream(IterableDataset):
        def __iter__(self): return iter(pairs)
    class Loader(DataLoader):
        def __len__(self): return len(pairs)//bs
    return Loader(Stream(), batch_size=bs)

def breaks_off(at):
    "A callback that ends a fit with an error"
    from fastai.callback.core import Callback
    class BreaksOff(Callback):
        def before_batch(self):
            if self.train_iter == at: raise RuntimeError('out of luck')
    return BreaksOff()

@needs_wandb
def test_a_learner_on_wandb(fit, server, tmp_path, monkeypatch):
    from bs_lr_study.tracking.callback import TrackWandb
    well = server()
    for k,v in dict(WANDB_BASE_URL=well.url, WANDB_API_KEY=KEY).items(): monkeypatch.setenv(k, v)
    cb = TrackWandb('me/lines', 'line', tags=['first'], config=dict(lr=.1, path=tmp_path), log_every=3,
                    mode='online', wait=60, folder=tmp_path/'live')
    with pytest.raises(RuntimeError, match='out of luck'): fit(cb, breaks_off(5))
    learn = fit(cb) # ends what was broken off
    assert os.listdir(tmp_path/'live') == []
    broken,run = well.runs.values()
    assert (broken['state'], broken['summary']['status'], [o['_step'] for o in broken['history']]) == ('failed', 'failed', [3, 4])
    assert (run['state'], run['summary']['status'], run['summary']['steps'], run['name'], run['tags']) == \
        ('finished', 'ok', 8, 'line', ['first'])
    assert {k: run['config'][k] for k in ('model', 'bs', 'epochs', 'n_train', 'n_valid', 'n_params', 'opt', 'lr', 'path')} == \
        dict(model='Linear', bs=16, epochs=2, n_train=64, n_valid=32, n_params=2, opt='Adam', lr=.1, path=str(tmp_path))
    rows = told_rows(run['history'])
    update,epoch = ['lr', 'train_loss'],['epoch', 'train_loss', 'valid_loss']
    assert {k: sorted(v) for k,v in rows.items()} == {3: update, 4: epoch, 6: update, 8: epoch}
    assert rows[6]['train_loss'] == pytest.approx(learn.recorder.losses[5].item())
    assert rows[8]['valid_loss'] == pytest.approx(learn.recorder.values[1][1])
    assert pickle.loads(pickle.dumps(learn)).track_wandb.project == 'me/lines' # so that it can be exported

@needs_wandb
def test_a_learner_with_wandb_hanging(fit, server, tmp_path, monkeypatch):
    "Training waits no longer than it was said to, and what W&B missed is sent from the file"
    from bs_lr_study.tracking.callback import TrackWandb
    hangs,well = server('hangs'),server()
    for k,v in dict(WANDB_BASE_URL=hangs.url, WANDB_API_KEY=KEY).items(): monkeypatch.setenv(k, v)
    start = time.monotonic()
    with pytest.warns(UserWarning, match='W&B has not got all of this run') as said:
        fit(TrackWandb('lines', log_every=2, mode='online', wait=1, folder=tmp_path/'live'))
    assert time.monotonic() - start < 15 # W&B has 20 s for an answer, and gives none
    kept, = (tmp_path/'live').glob('*.jsonl')
    assert len(said) == 1 and f'`bslr sync {kept}` sends it' in str(said[0].message)
    monkeypatch.setenv('WANDB_BASE_URL', well.url)
    assert sync(kept) == 1 and os.listdir(tmp_path/'live') == []
    run, = well.runs.values()
    assert [o['_step'] for o in run['history']] == [2, 4, 6, 8] and run['state'] == 'finished' and run['project'] == 'lines'

def test_a_learner_that_cannot_be_tracked(fit, tmp_path, monkeypatch):
    from bs_lr_study.tracking.callback import TrackWandb
    (tmp_path/'file').write_text('')
    with pytest.warns(UserWarning, match='W&B gets no more of this run, which goes on') as said:
        learn = fit(TrackWandb(folder=tmp_path/'file', log_every=1))
    assert len(said) == 1 and len(learn.recorder.values) == 2
    monkeypatch.setattr('bs_lr_study.tracking.send._installed', lambda: False)
    with pytest.warns(UserWarning, match='wandb is not installed'): fit(TrackWandb(folder=tmp_path/'live'))
    assert len(list((tmp_path/'live').glob('*.jsonl'))) == 1 # to be sent once it is
    with pytest.warns(UserWarning, match='wandb is not installed'): fit(TrackWandb(folder=tmp_path/'plain'), loader=torch_loader)
    begin = json.loads(next((tmp_path/'plain').glob('*.jsonl')).read_text().splitlines()[0])['begin']
    assert {k: begin['config'][k] for k in ('bs', 'n_train', 'n_valid')} == dict(bs=16, n_train=None, n_valid=32)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        fit(TrackWandb(folder=tmp_path/'none', mode='off'))
    assert not (tmp_path/'none').exists()

@needs_wandb
def test_sync_on_the_command_line(tmp_path, monkeypatch, capsys):
    from bs_lr_study.cli import main
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    fill(tmp_path/'runs.jsonl')
    for said in ('W&B had missed 4 runs of runs.jsonl, and has got them now\n', 'W&B had missed 0 runs of runs.jsonl\n'):
        monkeypatch.setattr(sys, 'argv', ['bslr', 'sync', 'runs.jsonl', '--wandb', 'offline'])
        main()
        assert capsys.readouterr().out == said
    monkeypatch.setattr(sys, 'argv', ['bslr', 'sync', 'digits'])
    with pytest.raises(SystemExit, match='runs/digits.jsonl: no such file'): main()
