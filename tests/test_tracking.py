"""W&B hears of every run, and no mood of its server reaches a sweep. The real package speaks to a server that is made here."""
import json, os, signal, struct, subprocess, sys, threading, time, warnings
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd, pytest

from bs_lr_study.runs import RunConfig, Run, grid, run_from_dict, run_to_dict
from bs_lr_study.store import Store
from bs_lr_study.tracking import TrackingError, _installed, missing, read_sent, sent_path, sync, tracked, wandb_id

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
            run |= dict(state='running', name=v.get('displayName'), tags=v.get('tags') or [], config={k: o['value'] for k,o in json.loads(v.get('config') or '{}').items()})
            return dict(upsertBucket=dict(inserted=new, bucket=dict(id=run['id'], name=run['id'], displayName=run['name'], description=None, config=v.get('config'), sweepName=None,
                                                                    project=project, historyLineCount=len(run['history']))))
        if 'RunResumeStatus' in query:
            return dict(model=dict(project, bucket=run and dict(id=run['id'], name=run['id'], displayName=run['name'], summaryMetrics=json.dumps(run['summary']), logLineCount=0,
                historyLineCount=len(run['history']), eventsLineCount=0, historyTail=json.dumps([json.dumps(o) for o in run['history'][-1:]]), eventsTail='[]', notes=None,
                config=json.dumps({k: dict(value=o) for k,o in run['config'].items()}), tags=run['tags'], wandbConfig='{"t": 1}')))
        if 'run(name:' in query:
            return dict(project=dict(project, internalId='1', run=run and dict(id=run['id'], name=run['id'], displayName=run['name'], state=run['state'], tags=run['tags'], config='{}',
                summaryMetrics=json.dumps(run['summary']), historyLineCount=len(run['history']), projectId='1', sweepName=None, group=None, jobType=None, commit=None, readOnly=False,
                createdAt='2026-01-01T00:00:00Z', heartbeatAt='2026-01-01T00:00:00Z', description='', notes='', user=dict(name='me', username='me'), systemMetrics='{}', historyKeys=None)))
        if 'createRunFiles' in query: return dict(createRunFiles=dict(runID='r', uploadHeaders=[], files=[dict(name=f, uploadUrl=f'{self.url}/upload') for f in v['files']]))
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
        for k,v in (headers | {'Content-Type': 'application/json', 'Content-Length': len(body)}).items(): self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        s,body = self.server,self.rfile.read(int(self.headers.get('Content-Length') or 0))
        s.asked.append(self.path)
        if s.mood == 'hangs': return s.closing.wait(60)
        if s.mood == 'slow': time.sleep(3)
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
    return Run(cfg, status, '' if status == 'ok' else f'{status} for the test', metrics, dict(seconds=.5, steps=steps*n, examples=steps*n*cfg.bs),
               dict(engine='fast', device='cpu', n_train=1437, n_valid=360, data_fingerprint='f'*16), f'digits-{cfg.model}-bs-{cfg.bs}-lr-{cfg.lr}', 1, '2026-01-01T00:00:00+00:00', updates)

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

def told(lines): return {o['_step']: {k: v for k,v in o.items() if k[0] != '_'} for o in lines}

def table(rows):
    "The columns of `Store.to_df` from what W&B has: config, summary, name"
    out = []
    for cfg,summary,name in rows:
        env,row = cfg['env'],dict(run=name) | cfg | summary
        out.append(row | {k: env.get(k) for k in ('n_train', 'n_valid', 'engine', 'device', 'data_fingerprint')})
    return pd.DataFrame(out)

def same_table(ours, theirs):
    theirs = theirs.reindex(columns=ours.columns).sort_values('run', ignore_index=True)
    pd.testing.assert_frame_equal(ours.sort_values('run', ignore_index=True), theirs, check_dtype=False)

# --- offline: wandb's files read back

def log_records(path):
    "The records in wandb's own log: blocks of 32 kB, each record in one piece or several, after 7 bytes of header"
    from wandb.proto.wandb_internal_pb2 import Record
    raw,at,part = path.read_bytes(),7,b''
    while at < len(raw):
        if 32768 - at % 32768 < 7: at += 32768 - at % 32768
        _,n,kind = struct.unpack('<IHB', raw[at:at+7])
        part,at = part + raw[at+7:at+7+n],at + 7 + n
        if kind in (1, 4): # whole, or the last piece
            rec = Record()
            rec.ParseFromString(part)
            yield rec
            part = b''

def read_offline(folder):
    "Id, name, tags, config, history, summary and exit code of a run in wandb's files"
    path, = folder.glob('*.wandb')
    out = dict(history=[], summary={}, config={}, exit=None)
    for r in log_records(path):
        kind = r.WhichOneof('record_type')
        if kind == 'run': out |= dict(id=r.run.run_id, name=r.run.display_name, tags=list(r.run.tags), project=r.run.project, config={o.key: json.loads(o.value_json) for o in r.run.config.update})
        if kind == 'history': out['history'].append({(o.key or '.'.join(o.nested_key)): json.loads(o.value_json) for o in r.history.item})
        if kind == 'summary':
            for o in r.summary.remove: out['summary'].pop(o.key or o.nested_key[0], None)
            out['summary'] |= {(o.key or '.'.join(o.nested_key)): json.loads(o.value_json) for o in r.summary.update}
        if kind == 'exit': out['exit'] = r.exit.exit_code
    return out

@needs_wandb
def test_a_grid_logged_offline_is_the_table_of_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    monkeypatch.setenv('WANDB_API_KEY', KEY)
    store = Store(tmp_path/'runs.jsonl')
    with tracked(store, mode='offline', project='lab'):
        for r in RUNS: store.append(r)
    runs = [read_offline(o) for o in (tmp_path/'wandb').glob('offline-run-*')]
    same_table(store.to_df(), table((r['config'], r['summary'], r['name']) for r in runs))
    by_id = {r['config']['id']: r for r in runs}
    for r in RUNS:
        seen = by_id[r.id]
        assert seen['tags'] == [f'bs={r.cfg.bs}', f'model={r.cfg.model}', f'lr={r.cfg.lr}'] and seen['project'] == 'lab'
        assert told(seen['history']) == history(r)
        assert seen['exit'] == (r.status != 'ok')
    assert missing(store, mode='offline') == [] and len(missing(store, mode='online')) == 4
    assert sync(store.path, mode='offline') == 0 and len(list((tmp_path/'wandb').glob('offline-run-*'))) == 4
    assert not any(KEY.encode() in o.read_bytes() for o in tmp_path.rglob('*') if o.is_file())

# --- online, with W&B in each of its moods

MOODS = ['well', 'down', 'slow', 'hangs', 'refuses', 'throttles', 'dies', 'killed']

def processes_of(pid): return subprocess.run(['ps', '-o', 'pid', '--no-headers', '--ppid', str(pid)], capture_output=True, text=True).stdout.split()

def gone(pid):
    for _ in range(50):
        try: os.kill(int(pid), 0)
        except ProcessLookupError: return True
        time.sleep(.1)

def sweep_while(sender, server, mood, store):
    "Record runs as a sweep would, from when the sender is awake; wait till W&B has been spoken to. The seconds that each record took"
    def wait_for(f, until=time.monotonic() + 60):
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
    with warnings.catch_warnings(record=True), ExitStack() as stack:
        for m,s in servers.items():
            os.environ |= dict(WANDB_BASE_URL=s.url, WANDB_API_KEY=KEY)
            store = Store(tmp_path_factory.mktemp(m)/'runs.jsonl')
            block = tracked(store, mode='online', project='me/lab', wait=WAIT, timeout=10)
            out[m] = dict(store=store, server=s, block=block, sender=block.__enter__())
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
    os.environ.clear()
    os.environ |= old

@needs_wandb
@pytest.mark.parametrize('mood', MOODS)
def test_no_mood_of_wandb_reaches_a_sweep(swept, mood, tmp_path):
    o,plain = swept[mood],fill(tmp_path/'runs.jsonl')
    assert o['store'].path.read_bytes() == plain.path.read_bytes() # the same records as without W&B, to the byte
    assert max(o['took']) < 2 and o['end'] < WAIT + 2
    got = {d['wandb_id'] for d in read_sent(o['store'].path)}
    there = {k for k,r in o['server'].runs.items() if r['state'] in ('finished', 'failed')}
    assert got <= there # nothing is thought to be there that is not
    assert len(got) == dict(well=4, dies=1).get(mood, 0)
    if mood == 'well': assert o['said'] == []
    else: assert len(o['said']) == 1 and f'W&B has got {len(got)} of 4 runs' in o['said'][0] and f'bslr sync {o["store"].path} --project me/lab' in o['said'][0]
    assert KEY not in str(o['said']) and all(gone(p) for p in o['children'])
    assert not o['sender'].folder.exists()

@needs_wandb
def test_what_wandb_has_online_is_the_table_of_the_store(swept):
    server,store = swept['well']['server'],swept['well']['store']
    runs = list(server.runs.values())
    same_table(store.to_df(), table((r['config'], r['summary'], r['name']) for r in runs))
    for r in RUNS:
        seen = next(o for o in runs if o['config']['id'] == r.id)
        assert told(seen['history']) == history(r) and seen['state'] == ('finished' if r.status == 'ok' else 'failed')
        assert seen['tags'] == [f'bs={r.cfg.bs}', f'model={r.cfg.model}', f'lr={r.cfg.lr}'] and seen['project'] == 'lab'
        assert not {'host', 'os', 'args', 'email'} & set(seen['config'])
