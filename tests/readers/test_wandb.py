"Runs from W&B: export CSVs, logs in folders, a server; each as the table that its runs make, by a second and plain way to read them"
import csv, json, os, re, shutil, struct, subprocess, sys, threading, time, warnings, zlib
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from bs_lr_study.analysis import crosstab_acc, inflection_table, load_runs
from bs_lr_study.runs import Run, grid, run_name
from bs_lr_study.store import Store
from bs_lr_study.readers.wandb_project import project_runs
from bs_lr_study.readers.wandb_project import reading_error
from bs_lr_study.readers.wandb_log import log_records, offline_runs, read_log

OWN = ['Name', 'State', 'Notes', 'User', 'Tags', 'Created', 'Runtime', 'Sweep']

def export(path, runs, columns=None, own=OWN):
    "Write runs as the web app does: every cell quoted, W&B's own columns first, empty where a run has nothing to say"
    columns = columns or list(dict.fromkeys(k for r in runs for k in r if k not in OWN))
    with path.open('w', newline='') as f:
        out = csv.writer(f, quoting=csv.QUOTE_ALL)
        out.writerow([*own, *columns])
        for r in runs:
            r = dict(State='finished', Notes='-', User='me', Tags='bs=8, baseline',
                     Created='2025-06-04T12:00:00.000Z', Runtime=61, Sweep='') | r
            out.writerow(['' if (v := r.get(c)) is None else v for c in [*own, *columns]])
    return path

def mine(i, **kw): return dict(Name=f'imagenette-xresnet18-bs-{2**i}-lr-0.01', accuracy=.5 + i/100) | kw
def theirs(i, **kw): return dict(Name=f'dry-sun-{i}', arch='resnet18', batch_size=2**i, learning_rate=.1, **{'val/acc': .5 + i/100}) | kw


class TestExport:
    def test_the_published_runs(self, tmp_path):
        "As their project exports: names, states and an accuracy, beside a lot that is beside the point"
        df = load_runs()
        rows = [dict(Name=o.run, State='finished', epoch=5, accuracy=o.acc, train_loss=.9,
                     **{'Learner.lr': .001, 'batch size': o.bs, 'frozen idx': 0, 'lr_0': 1e-7})
                for o in df.itertuples()]
        got = load_runs(export(tmp_path/'wandb_export.csv', rows))
        pd.testing.assert_frame_equal(got[df.columns], df)
        assert (got.status == 'ok').all()
        for table in (inflection_table, lambda o: crosstab_acc(o, 'xresnet34')): pd.testing.assert_frame_equal(table(got), table(df))

    def test_columns_instead_of_names(self, tmp_path):
        got = load_runs(export(tmp_path/'e.csv', [theirs(3), theirs(4)]))
        assert got[['run', 'acc', 'model', 'bs', 'lr']].values.tolist() == [
            ['dry-sun-3', .53, 'resnet18', 8, .1],
            ['dry-sun-4', .54, 'resnet18', 16, .1]]

    def test_a_frame_and_a_file_are_one(self, tmp_path):
        path = export(tmp_path/'e.csv', [theirs(3), theirs(4)])
        pd.testing.assert_frame_equal(load_runs(pd.read_csv(path)), load_runs(path))

    def test_two_scripts_with_two_names(self, tmp_path):
        rows = [theirs(3, learning_rate=None, lr=.2), theirs(4)]
        assert load_runs(export(tmp_path/'e.csv', rows)).lr.tolist() == [.2, .1]

    def test_two_columns_of_one_name(self, tmp_path):
        "A config and a summary may both have a key; the file says not which is which"
        path = export(tmp_path/'e.csv', [theirs(3), theirs(4)])
        path.write_text(path.read_text().replace('"learning_rate"', '"learning_rate","learning_rate"').replace('"0.1"', '"0.1","1e-06"'))
        with pytest.warns(UserWarning, match='learning_rate was read as the peak learning rate, and learning_rate.1 as where'):
            assert load_runs(path).lr.tolist() == [.1, .1]
        path.write_text(path.read_text().replace('"1e-06"', '"0.2"', 1))
        said = ("learning_rate and learning_rate.1 could each be lr, but they differ: 0.1 and 0.2 in row 0; "
                "say which it is: columns=dict(lr='learning_rate')")
        with pytest.raises(ValueError, match=re.escape(said)): load_runs(path)
        assert load_runs(path, columns=dict(lr='learning_rate')).lr.tolist() == [.1, .1]

    @pytest.mark.parametrize('state,acc,status,said', [
        ('finished', .5, 'ok', ''),
        ('crashed', .5, 'failed', 'W&B: crashed'),
        ('failed', None, 'failed', 'W&B: failed'),
        ('killed', .5, 'failed', 'W&B: killed'),
        ('preempted', .5, 'failed', 'W&B: preempted'),
        ('Finished', .5, 'ok', ''),
        ('finished', None, None, '')])
    def test_states(self, tmp_path, state, acc, status, said):
        got = load_runs(export(tmp_path/'e.csv', [mine(3, State=state, accuracy=acc), mine(4)])).iloc[0]
        assert (got.status if status else pd.isna(got.status)) in (status, True) and got.message == said
        assert got.acc == acc if status == 'ok' else pd.isna(got.acc)

    def test_what_a_run_recorded_counts(self, tmp_path):
        rows = [mine(3, State='failed', status='diverged', message='loss is nan'),
                mine(4, State='finished', status='oom', accuracy=.9),
                mine(5, State='crashed', status='done'),
                mine(6, status='ok')]
        got = load_runs(export(tmp_path/'e.csv', rows, ['accuracy', 'status', 'message']))
        assert got.status.tolist() == ['diverged', 'oom', 'failed', 'ok'] and got.acc.notna().tolist() == [False]*3 + [True]
        assert got.message.tolist() == ['loss is nan', '', 'W&B: crashed', '']

    def test_running_runs_are_kept_without_a_result(self, tmp_path):
        rows = [mine(3), mine(4, State='running'), mine(5, State='pending', accuracy=None)]
        got = load_runs(export(tmp_path/'e.csv', rows))
        assert got.status.tolist() == ['ok', 'running', 'running'] and got.acc.notna().tolist() == [True, False, False]
        assert got.message.tolist() == ['', 'W&B: running at 0.54', 'W&B: pending']

    def test_a_rerun_replaces_a_failure_aloud(self, tmp_path):
        rows = [mine(3, State='crashed'), mine(3, accuracy=.7), mine(4, State='crashed')]
        with pytest.warns(UserWarning, match='left out 1 of 3 runs that were made again, such as imagenette'):
            got = load_runs(export(tmp_path/'e.csv', rows))
        assert got.acc.tolist()[0] == .7 and got.status.tolist() == ['ok', 'failed']
        with pytest.raises(ValueError, match='twice, with acc and status 0.6, ok; 0.7, ok'):
            load_runs(export(tmp_path/'e.csv', [mine(3, accuracy=.6), mine(3, accuracy=.7)]))

    def test_attempts_of_others_are_no_reruns(self, tmp_path):
        "Only ids that this project made say that two runs are one"
        rows = [theirs(3, id='imagenette', attempt=1), theirs(4, id='imagenette', attempt=2)]
        assert len(load_runs(export(tmp_path/'e.csv', rows))) == 2

    def test_without_states(self, tmp_path):
        with pytest.warns(UserWarning, match='no column State: all its runs are taken as finished'):
            got = load_runs(export(tmp_path/'e.csv', [mine(3)], own=['Name', 'Runtime', 'Notes', 'Tags']))
        assert got.status.tolist() == ['ok']

    @pytest.mark.parametrize('rows,columns,msg', [
        ([dict(Name='a', bs=1)], None,
         r"e.csv: no column names a metric that is known here, such as accuracy.*such as metric='COLUMN', lower=True; there are bs"),
        ([theirs(3, batch_size=None, Pack=8)], None,
         r"no column with values is called bs, batch_size.*, and not every name.*"
         r"say which holds the batch size.*there are arch"),
        ([{k: v for k,v in theirs(3, **{'loader.batch_size': 8}).items() if k != 'batch_size'}], None,
         r"columns=dict\(bs='loader.batch_size'\); it may be one of loader.batch_size"),
        ([theirs(3, accuracy=.9)], None, r"could each be the metric, but they differ: 0.53 and 0.9 in row 0; say .*: metric='val/acc'"),
        ([theirs(3)], dict(lr='LR'), "there is no column 'LR' for lr: there are arch, batch_size, learning_rate, val/acc"),
        ([theirs(3)], dict(rate='learning_rate'), "columns says what 'rate' is, but that is no field: choose from run, acc, data, model"),
        ([theirs(3, **{'val/acc': 53}), theirs(4)], None, r'row 0 \(dry-sun-3\): acc is 53, and 1 .*0…1.*per cent'),
        ([theirs(3, batch_size=2.5)], None, r'row 0 \(dry-sun-3\): bs is 2.5.*whole number'),
        ([theirs(3, learning_rate='0,1')], None, r"lr is '0,1'.*with a point"),
        ([mine(3, lr=.5)], None, 'lr is 0.5, but the name says 0.01'),
        ([mine(3, State='resting')], None,
            "row 0 .imagenette.*: status is 'resting', but must be one of ok.*finished, COMPLETE, PRUNED or crashed"),
    ])
    def test_errors(self, tmp_path, rows, columns, msg):
        with pytest.raises(ValueError, match=re.compile(msg, re.S)): load_runs(export(tmp_path/'e.csv', rows), columns=columns)

    def test_mapping(self, tmp_path):
        rows = [theirs(3, **{'top1': .9, 'opt.lr': .3}), theirs(4, **{'top1': .8, 'opt.lr': .3})]
        got = load_runs(export(tmp_path/'e.csv', rows), columns=dict(acc='summary.top1', lr='config.opt.lr', seed=None))
        assert got.acc.tolist() == [.9, .8] and got.lr.tolist() == [.3, .3] and 'opt.lr' not in got
        assert load_runs(export(tmp_path/'e.csv', [mine(3, lr=.5)]), columns=dict(lr=None)).lr.tolist() == [.01]

    def test_names_from_another_column(self, tmp_path):
        rows = [theirs(3, ID='007', what='a-m-bs-8-lr-0.1'), theirs(4, ID='12', what='a-m-bs-16-lr-0.1')]
        got = load_runs(export(tmp_path/'e.csv', rows, own=OWN + ['ID']), columns=dict(run='what'))
        assert got[['run', 'model', 'bs']].values.tolist() == [
            ['a-m-bs-8-lr-0.1', 'm', 8],
            ['a-m-bs-16-lr-0.1', 'm', 16]]

    @pytest.mark.parametrize('header,msg', [
        ('"Step","dry-sun-1 - accuracy","dry-sun-1 - accuracy__MIN","dry-sun-1 - accuracy__MAX"',
         'what W&B saves from a chart, curves over Step.*table of runs instead'),
        ('"_step","_runtime","accuracy"', 'history of one run')])
    def test_other_exports_are_told_apart(self, tmp_path, header, msg):
        (tmp_path/'c.csv').write_text(header + '\n' + ','.join(['1']*(header.count(',') + 1)) + '\n')
        with pytest.raises(ValueError, match=msg): load_runs(tmp_path/'c.csv')

    def test_mapping_of_a_plain_csv(self, tmp_path):
        (tmp_path/'p.csv').write_text('id,net,batch,rate,top1,acc\nx,m,8,0.1,0.5,0.9\n')
        got = load_runs(tmp_path/'p.csv', columns=dict(run='id', model='net', bs='batch', lr='rate', acc='top1'))
        assert got.values.tolist() == [['x', .5, 'm', 8, .1]]
        with pytest.raises(ValueError, match="no column 'top5' for acc: there are id, net"):
            load_runs(tmp_path/'p.csv', columns=dict(run='id', acc='top5'))


# As many as a few seconds allow; BSLR_FUZZ=2500 throws more
N = int(os.environ.get('BSLR_FUZZ', 50))

SAID = dict(
    model=['model', 'arch', 'Architecture', 'model_name'],
    bs=['bs', 'batch_size', 'Batch Size', 'batch-size'],
    lr=['lr', 'learning_rate', 'lr_max'],
    acc=['acc', 'accuracy', 'val/acc', 'Valid Accuracy', 'eval.accuracy'],
    seed=['seed', 'random_seed'])
CELL = st.tuples(
    st.sampled_from(['m', 'x-y', 'resnet18', 'NAnet']),
    st.integers(0, 11).map(lambda i: 2**i),
    st.sampled_from([.1, .01, 1e-5, 3e-4]),
    st.integers(0, 3))
STATES = st.sampled_from(['finished']*6 + ['crashed', 'running', 'killed'])
GRIDS = st.lists(st.tuples(CELL, st.floats(0, 1) | st.none(), STATES, st.booleans()),
                 min_size=1, max_size=8, unique_by=lambda o: o[0])
NOISE = st.dictionaries(
    st.sampled_from(['loss', 'opt.lr', 'train/acc', 'notes, "quoted"', 'lr_0', 'Learner.lr', 'µ', 'tags']),
    st.sampled_from([1, .5, 'a "b", c', 'é', '']),
    max_size=4)

@given(GRIDS, st.sampled_from(['all', 'some', 'none']),
       st.fixed_dictionaries({k: st.sampled_from(v) for k,v in SAID.items()}),
       NOISE, st.randoms(use_true_random=False))
@settings(max_examples=N, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_grid_written_as_an_export_reads_back(tmp_path_factory, cells, named, said, noise, rnd):
    "With names that say all, some or nothing, columns in any order and under any of their names, gaps, states and other columns"
    rows,want = [],[]
    for i,((model,bs,lr,seed),acc,state,one) in enumerate(cells):
        name = f'data-{model}-bs-{bs}-lr-{lr}-seed-{seed}' if named == 'all' or named == 'some' and one else f'dry-sun-{i}'
        cfg = {} if named == 'all' else {said[k]: v for k,v in dict(model=model, bs=bs, lr=lr, seed=seed).items()}
        rows.append(dict(Name=name, State=state) | cfg | {said['acc']: acc} | noise)
        status = dict(crashed='failed', killed='failed', running='running').get(state, 'ok' if acc is not None else None)
        want.append((name, acc if state == 'finished' else None, model, bs, lr, seed, status))
    cols = list(dict.fromkeys(k for r in rows for k in r if k not in OWN))
    rnd.shuffle(cols)
    path = export(tmp_path_factory.getbasetemp()/'grid.csv', rows, cols)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        df = load_runs(path)
    if 'seed' not in df: df['seed'] = df.attrs['all_runs']['seed']
    cells = df[['run', 'acc', 'model', 'bs', 'lr', 'seed', 'status']]
    got = [tuple(None if pd.isna(v) else v for v in o) for o in cells.itertuples(index=False)]
    assert got == want


def framed(records, mark=b':W&B\xe1\xbe\0'):
    """Records in LevelDB's log format, from its description

    Blocks of 32768 bytes, headers of checksum, length and kind, no header in the last 6 bytes of a block."""
    out = bytearray(mark)
    for rec in records:
        first = True
        while first or rec:
            room = 32768 - len(out) % 32768
            if room < 7:
                out += bytes(room)
                room = 32768
            part,rec = rec[:room - 7],rec[room - 7:]
            kind = bytes([1 if first and not rec else 2 if first else 3 if rec else 4])
            out += struct.pack('<IH', zlib.crc32(kind + part), len(part)) + kind + part
            first = False
    return bytes(out)

class TestLog:
    EDGES = [0, 1, 7, 32747, 32748, 32749, 32750, 32753, 32754, 32755, 32761, 32768, 70000, 100]
    SIZES = st.lists(st.sampled_from(EDGES) | st.integers(0, 200), max_size=6)

    @given(SIZES, st.data())
    @settings(max_examples=N, deadline=None)
    def test_any_records_come_back_and_a_tear_costs_only_the_last(self, sizes, data):
        recs = [bytes([65 + i])*n for i,n in enumerate(sizes)]
        raw = framed(recs)
        assert log_records(raw) == recs
        cut = data.draw(st.integers(7, len(raw)))
        got = log_records(raw[:cut])
        assert got == recs[:len(got)] and (len(got) == len(recs) or len(framed(recs[:len(got) + 1])) > cut)

    @given(st.data())
    @settings(max_examples=N, deadline=None)
    def test_a_flipped_bit_is_never_read(self, data):
        recs = [bytes([65 + i])*n for i,n in enumerate([10, 40000, 5])]
        raw = bytearray(framed(recs))
        raw[data.draw(st.integers(7, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        got = log_records(bytes(raw))
        assert got == recs[:len(got)] and len(got) < 3

    def test_zeros_after_a_crash(self): assert log_records(framed([b'a', b'b']) + bytes(5000)) == [b'a', b'b']

    @pytest.mark.parametrize('raw,msg', [
        (b'run,acc\n', "no log of W&B: it begins with b'run,acc'"),
        (b':W&B\xe1\xbe\1xyz', 'another form')])
    def test_other_files(self, tmp_path, raw, msg):
        with pytest.raises(ValueError, match=msg): log_records(raw)
        (tmp_path/'run-x.wandb').write_bytes(raw)
        pytest.importorskip('wandb')
        with pytest.raises(ValueError, match=f'run-x.wandb is .*{msg}'): load_runs(tmp_path)

    @pytest.mark.parametrize('raw', [b'', b':W&', b':W&B\xe1\xbe\0'])
    def test_killed_before_its_first_record(self, tmp_path, raw):
        assert log_records(raw) == []
        (tmp_path/'run-x.wandb').write_bytes(raw)
        pytest.importorskip('wandb')
        with pytest.raises(ValueError, match='none of them says anything of its run, such as .*run-x.wandb'): load_runs(tmp_path)


CFGS = grid(data='digits', model=['small', 'x-y'], bs=[8, 64], lr=[1e-5, .1], seed=1, epochs=2)[::3]
ENV = dict(n_train=1437, n_valid=360, engine='fast', device='cpu', data_fingerprint='0f', versions=dict(torch='2.15'))

def epochs_of(i):
    return [dict(epoch=e, train_loss=1 - .1*e, valid_loss=.9, acc=round(.3 + .05*i + .1*e, 6)) for e in range(2)]

RUNS = [Run(c, metrics=epochs_of(i), cost=dict(seconds=1.5 + i, steps=10), env=ENV, name=run_name(c))
        for i,c in enumerate(CFGS)]
RUNS[1] = replace(RUNS[1], status='diverged', message='loss is nan', metrics=[dict(epoch=0, train_loss=None, valid_loss=None, acc=.1)])
LOST = replace(RUNS[2], status='failed', message='out of disk', metrics=[])

@pytest.fixture(scope='module')
def logged(tmp_path_factory):
    "Some runs in a store, one of them at the second attempt, and the same as this project logs them to a folder of W&B"
    pytest.importorskip('wandb')
    from bs_lr_study.tracking.send import sync
    tmp = tmp_path_factory.mktemp('logged')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('WANDB_DIR', str(tmp))
        for r in (LOST, *RUNS[:2], replace(RUNS[2], attempt=2)):
            Store(tmp/'runs.jsonl').append(r)
            if r is LOST: sync(tmp/'runs.jsonl', project='digits', mode='offline')
        sync(tmp/'runs.jsonl', project='digits', mode='offline')
    return tmp

def same(store, other):
    "Whether a table has what the store's has, in whatever order"
    def plain(o): return o.sort_values('run', ignore_index=True).astype(object).where(lambda o: o.notna(), None)
    store,other = plain(store),plain(other[list(store)])
    pd.testing.assert_frame_equal(store, other, check_dtype=False)

def by_wandb(folder):
    "The runs of a folder as W&B's own program reads them"
    from wandb.util import get_core_path
    def read(log):
        args = ['leet', 'inspect', '--no-observability', '--summary', '--json', '--run-file', log, folder]
        p = subprocess.run([get_core_path(), *args], capture_output=True, text=True, check=True)
        return json.loads(p.stdout)
    return [read(o) for o in folder.glob('wandb/offline-run-*/run-*.wandb')]

def log_of(folder, name):
    "The log of a run"
    return next(o for o in folder.glob('wandb/offline-run-*/run-*.wandb') if read_log(o)['name'] == name)

def cells_of(d):
    "Nested values under dotted names, as the web app shows them; W&B's own keys apart"
    out = {}
    for k,v in d.items():
        if k[0] != '_': out |= {f'{k}.{i}': o for i,o in cells_of(v).items()} if isinstance(v, dict) else {k: v}
    return out

def as_export(runs, path):
    "Runs as the web app exports them: a column for each key of the config, then one for each key of the summary, some of the same name"
    rows = [(r, cells_of(r['config']), cells_of(r['summary'])) for r in runs]
    keys = [list(dict.fromkeys(k for r in rows for k in r[i])) for i in (1, 2)]
    with path.open('w', newline='') as f:
        out = csv.writer(f, quoting=csv.QUOTE_ALL)
        out.writerow([*OWN, *keys[0], *keys[1]])
        for r,*said in rows:
            own = r['name'], r['state'], '-', 'me', '', r['start_time'], 3, ''
            cells = [*own, *(d.get(k) for d,ks in zip(said, keys) for k in ks)]
            out.writerow(['' if v is None else v for v in cells])
    return path


def put_log(folder, day, *recs):
    "A log of the run abc"
    d = folder/f'offline-run-{day}_120000-abc'
    d.mkdir()
    (d/'run-abc.wandb').write_bytes(framed([o.SerializeToString() for o in recs]))


class TestFolder:
    def test_one_grid_is_one_table_from_store_folder_export_and_server(self, logged, tmp_path, server):
        store,theirs = load_runs(logged/'runs.jsonl'),by_wandb(logged)
        assert len(store) == 3 and len(theirs) == 4
        server.runs = theirs
        for src in (logged, logged/'wandb', as_export(theirs, tmp_path/'export.csv'), 'wandb:me/digits'):
            with pytest.warns(UserWarning, match='left out 1 of 4 runs that were made again'): got = load_runs(src)
            same(store, got)
            pd.testing.assert_frame_equal(crosstab_acc(got, 'x-y'), crosstab_acc(store, 'x-y'))
            pd.testing.assert_frame_equal(inflection_table(got), inflection_table(store)[list(inflection_table(got))])

    def test_it_reads_what_wandb_reads(self, logged):
        for r in by_wandb(logged):
            got = read_log(logged/'wandb'/Path(r['file']).parent.name/Path(r['file']).name)
            assert (got['name'], got['state'], got['id'], got['project']) == (r['name'], r['state'], r['run_id'], 'digits')
            def told(o): return {c: v for c,v in cells_of(o).items() if v is not None}
            for k in ('config', 'summary'): assert told(got[k]) == told(r[k])

    def test_one_run(self, logged):
        log = log_of(logged, RUNS[0].name)
        for src in (log, str(log), log.parent): assert load_runs(src).run.tolist() == [RUNS[0].name]

    def test_a_killed_run_is_read_up_to_there_aloud(self, logged, tmp_path):
        "Cut at many places, the log gives no run, or one that failed, or the run as it was when all of it was there"
        log = log_of(logged, RUNS[0].name)
        raw = log.read_bytes()
        (tmp_path/log.parent.name).mkdir()
        seen = set()
        for cut in [7, *range(50, len(raw), 211), len(raw)]:
            (tmp_path/log.parent.name/log.name).write_bytes(raw[:cut])
            with warnings.catch_warnings(record=True) as w:
                warnings.simplefilter('always')
                try: got = load_runs(tmp_path)
                except ValueError as e:
                    assert re.search('no column names a metric|none of them says anything of its run', str(e))
                    got = None
            seen_so_far = read_log(tmp_path/log.parent.name/log.name)
            said = [str(o.message) for o in w]
            said_so = any('1 of 1 runs have no end' in o and 'read as far as it goes' in o for o in said)
            assert seen_so_far['project'] is None or seen_so_far['state'] == 'finished' or said_so
            if got is not None:
                if got.status.tolist() == ['ok']: assert got.acc.tolist() == [RUNS[0].acc]
                else: assert got.status.tolist() == ['failed'] and got.acc.isna().all()
            seen.add(None if got is None else got.status[0])
        assert seen == {None, 'failed', 'ok'}

    def test_a_resumed_run_is_one(self, tmp_path):
        from wandb.proto.wandb_internal_pb2 import ConfigRecord, Record, RunExitRecord, RunRecord, SummaryRecord
        def items(cls, **kw): return cls(update=[dict(key=k, value_json=json.dumps(v)) for k,v in kw.items()])
        def put(day, *recs): put_log(tmp_path, day, *recs)
        start = Record(run=RunRecord(run_id='abc', project='p', display_name='a-m-bs-8-lr-0.1', config=items(ConfigRecord, seed=3)))
        put(20250602, start, Record(summary=items(SummaryRecord, acc=.7)), Record(exit=RunExitRecord(exit_code=0)))
        put(20250601, start, Record(summary=items(SummaryRecord, acc=.2, loss=1)), Record(exit=RunExitRecord(exit_code=1)))
        assert load_runs(tmp_path)[['acc', 'seed', 'loss', 'status']].values.tolist() == [[.7, 3, 1, 'ok']]

    def test_one_run_in_two_projects_is_two(self, tmp_path):
        "What was sent to one project offline, and then to another, has the same id in both"
        from wandb.proto.wandb_internal_pb2 import Record, RunExitRecord, RunRecord, SummaryRecord
        for day,project,acc in ((20250601, 'a', '0.1'), (20250602, 'b', '0.2')):
            put_log(tmp_path, day,
                    Record(run=RunRecord(run_id='abc', project=project, display_name='d-m-bs-8-lr-0.1')),
                    Record(summary=SummaryRecord(update=[dict(key='acc', value_json=acc)])),
                    Record(exit=RunExitRecord()))
        assert [offline_runs(tmp_path, project=o).acc.tolist() for o in 'ab'] == [[.1], [.2]]

    @pytest.mark.parametrize('torn', [b'', framed([])])
    def test_a_log_that_says_nothing_hides_no_other(self, logged, tmp_path, torn):
        "As a run leaves that was killed as it began"
        shutil.copytree(logged/'wandb', tmp_path/'wandb', symlinks=True)
        (tmp_path/'wandb'/'offline-run-20250601_120000-abc').mkdir()
        (tmp_path/'wandb'/'offline-run-20250601_120000-abc'/'run-abc.wandb').write_bytes(torn)
        said = 'left out 1 logs that say nothing of their run, such as run-abc.wandb'
        with pytest.warns(UserWarning, match=said), pytest.warns(UserWarning, match='made again'):
            got = load_runs(tmp_path)
        same(load_runs(logged/'runs.jsonl'), got)

    def test_what_was_taken_away_is_gone(self, tmp_path):
        from wandb.proto.wandb_internal_pb2 import Record, RunRecord, SummaryRecord
        def summary(**kw): return Record(summary=SummaryRecord(**kw))
        put_log(tmp_path, 20250601,
                Record(run=RunRecord(run_id='abc', project='p')),
                summary(update=[dict(key='acc', value_json='0.1'), dict(key='top', value_json='{"one": 1, "two": 2}')]),
                summary(remove=[dict(key='acc'), dict(nested_key=['top', 'one']), dict(nested_key=['no', 'such'])]))
        log, = tmp_path.glob('*/*.wandb')
        assert read_log(log)['summary'] == dict(top=dict(two=2))

    def test_several_projects(self, logged, tmp_path):
        from wandb.proto.wandb_internal_pb2 import Record, RunRecord
        shutil.copytree(logged/'wandb', tmp_path/'wandb', symlinks=True)
        (tmp_path/'wandb'/'run-20250601_120000-abc').mkdir()
        other = Record(run=RunRecord(run_id='abc', project='mnist')).SerializeToString()
        (tmp_path/'wandb'/'run-20250601_120000-abc'/'run-abc.wandb').write_bytes(framed([other]))
        said = r"holds runs of 2 projects, digits, mnist: choose with load_runs\(offline_runs\('.*', project='digits'\)\)"
        with pytest.raises(ValueError, match=said): load_runs(tmp_path)
        with pytest.warns(UserWarning, match='made again'): assert len(load_runs(offline_runs(tmp_path, project='digits'))) == 3

    def test_no_runs(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='holds no runs that can be read: .* W&B'): load_runs(tmp_path)

    @pytest.mark.parametrize('there', ['nothing', 'a folder'])
    def test_without_the_package(self, logged, tmp_path, monkeypatch, there):
        if there == 'nothing': monkeypatch.setitem(sys.modules, 'wandb', None)
        else: monkeypatch.setitem(sys.modules, 'wandb', type(sys)('wandb')) # as a folder of that name imports
        for src in (logged, 'wandb:me/digits'):
            with pytest.raises(ImportError, match=re.escape("not installed: pip install 'wandb>=0.31'")): load_runs(src)


def test_without_the_package_on_the_command_line(monkeypatch):
    from bs_lr_study.cli import main
    monkeypatch.setitem(sys.modules, 'wandb', None)
    monkeypatch.setattr(sys, 'argv', ['bslr', 'report', 'wandb:me/digits'])
    with pytest.raises(SystemExit, match=r"^bslr: .*not installed: pip install 'wandb>=0.31'$"): main()


class Server(ThreadingHTTPServer):
    """As much of W&B's server as its package needs to read a project, page by page

    `faults` are what it answers first: status, headers, body."""
    def __init__(self): super().__init__(('127.0.0.1', 0), Answer); self.runs,self.faults,self.asked,self.login = [],[],[],200

class Answer(BaseHTTPRequestHandler):
    def log_message(self, *args): pass

    def do_POST(self):
        q = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        if 'runs(' not in q['query']:
            me = dict(id='1', entity='me', username='me', email='', flags='{}', teams=dict(edges=[]))
            return self.say(self.server.login, {}, dict(data=dict(viewer=me)))
        self.server.asked.append(q['variables'])
        if not self.server.faults: return self.say(200, {}, dict(data=self.page(**q['variables'])))
        fault = self.server.faults.pop(0)
        if fault: self.say(*fault)
        else: self.close_connection = True

    def page(self, project, entity, perPage, cursor=None, **_):
        if (entity, project) != ('me', 'digits'): return dict(project=None)
        first,last = int(cursor or 0),int(cursor or 0) + min(perPage, PAGE)
        edges = [dict(cursor=str(i + 1), node=self.node(i, r)) for i,r in enumerate(self.server.runs) if first <= i < last]
        page = dict(endCursor=str(last), hasNextPage=last < len(self.server.runs))
        return dict(project=dict(internalId='1', runCount=len(self.server.runs), readOnly=False,
                                 runs=dict(edges=edges, pageInfo=page)))

    def node(self, i, r):
        cfg = {k: dict(value=v, desc=None) for k,v in r['config'].items()}
        return dict(
            id=f'x{i}', name=r['run_id'], displayName=r['name'], state=r['state'],
            config=json.dumps(cfg), summaryMetrics=json.dumps(r['summary']), systemMetrics='{}',
            tags=[], projectId='1', sweepName=None, group=None, jobType=None, commit=None, readOnly=False,
            createdAt='', heartbeatAt='', description='', notes='',
            historyLineCount=1, user=dict(name='me', username='me'), historyKeys=None)

    def say(self, status, headers, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        for k,v in (headers | {'Content-Length': str(len(body))}).items(): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body)

PAGE = 3

@pytest.fixture
def server(monkeypatch, tmp_path):
    "W&B's own package with a server of this process"
    pytest.importorskip('wandb')
    s = Server()
    threading.Thread(target=s.serve_forever, daemon=True).start()
    here = dict(WANDB_BASE_URL=f'http://127.0.0.1:{s.server_port}', WANDB_API_KEY='x'*40,
                WANDB_SILENT='true', WANDB_ERROR_REPORTING='false', WANDB_DIR=str(tmp_path))
    for k,v in here.items(): monkeypatch.setenv(k, v)
    yield s
    s.shutdown()
    s.server_close()

def some(n):
    return [dict(run_id=f'r{i}', name=f'imagenette-xresnet18-bs-{2**i}-lr-0.01', state='finished',
                 config={}, summary=dict(accuracy=.5 + i/100, loss='NaN'))
            for i in range(n)]

class TestServer:
    def test_pages(self, server):
        server.runs = some(8)
        got = load_runs('wandb:me/digits')
        assert got.acc.tolist() == [.5 + i/100 for i in range(8)] and got.bs.tolist() == [2**i for i in range(8)] and got.loss.isna().all()
        assert [o['cursor'] for o in server.asked] == [None, '3', '6']

    def test_it_waits_as_long_as_the_server_says_and_goes_on_where_it_was(self, server):
        busy = 429, {'Retry-After': '1'}, dict(errors=[dict(message='too many requests')])
        server.runs,server.faults = some(5),[None, busy, (503, {'Retry-After': '1'}, {})]
        start = time.monotonic()
        assert len(project_runs('me/digits', show=False)) == 5
        assert time.monotonic() - start > 2 and [o['cursor'] for o in server.asked] == [None]*4 + ['3']

    @pytest.mark.parametrize('path,fault,kind,msg', [
        ('me/digits', (401, {}, {}), PermissionError, 'does not know who asks for me/digits: run `wandb login`, or set WANDB_API_KEY'),
        ('me/digits', (403, {}, {}), PermissionError, 'does not let this account read me/digits'),
        ('me/digits', (200, {}, dict(data=None, errors=[dict(message='permission denied', path=['project'])])),
         PermissionError, 'does not let this account read me/digits'),
        ('me/digits', (404, {}, {}), FileNotFoundError, 'there is no project me/digits at http://127.0.0.1'),
        ('me/digist', None, FileNotFoundError, 'there is no project me/digist at http://127.0.0.1'),
        ('me/digits', (200, {}, [1]), ConnectionError, 'reading me/digits from http://127.0.0.1.* failed'),
    ])
    def test_what_waiting_does_not_cure(self, server, path, fault, kind, msg):
        server.runs,server.faults = some(2),[fault]*bool(fault)
        with pytest.raises(kind, match=msg.replace('http://', '')): load_runs(f'wandb:{path}')
        assert len(server.asked) == 1

    def test_it_does_not_wait_for_ever(self, server):
        server.faults = [(503, {}, {})]*20
        with pytest.raises(TimeoutError, match='gave no page of me/digits within 1 s, tries included'): project_runs('me/digits', timeout=1)

    @pytest.mark.parametrize('status,kind,msg', [
        (401, PermissionError, 'run `wandb login`, or set WANDB_API_KEY'),
        (403, PermissionError, 'does not let this account'),
        (503, TimeoutError, 'within 1 s, tries included')])
    def test_it_fails_before_the_first_page(self, server, status, kind, msg):
        server.login = status
        with pytest.raises(kind, match=msg): project_runs('me/digits', timeout=1 if status == 503 else 60)
        assert server.asked == []

    def test_nobody_listens(self, server):
        server.shutdown()
        server.server_close()
        with pytest.raises(TimeoutError, match='is there a network'): project_runs('me/digits', timeout=1)

    def test_without_a_key(self, server, monkeypatch, tmp_path):
        monkeypatch.delenv('WANDB_API_KEY')
        monkeypatch.setenv('NETRC', str(tmp_path/'none'))
        with pytest.raises(PermissionError, match='run `wandb login`, or set WANDB_API_KEY'): load_runs('wandb:me/digits')
        monkeypatch.setenv('WANDB_API_KEY', 'short')
        with pytest.raises(PermissionError, match='40'): load_runs('wandb:me/digits')
        assert server.asked == []

    def test_filters_go_to_the_server(self, server):
        server.runs = some(2)
        project_runs('me/digits', filters={'tags': 'grid'}, show=False)
        assert json.loads(server.asked[0]['filters']) == {'tags': 'grid'}

    def test_errors_hold_no_password(self, monkeypatch):
        monkeypatch.setenv('WANDB_BASE_URL', 'https://me:secret@wandb.example.org')
        said = str(reading_error(ValueError('Could not find project p'), 'me/p', 1))
        assert 'wandb.example.org' in said and 'secret' not in said

    def test_progress(self, server, capsys):
        server.runs = some(4)
        project_runs('me/digits')
        assert re.search('me/digits.*4/4 runs', capsys.readouterr().out)
        project_runs('me/digits', show=False)
        assert capsys.readouterr().out == ''

    @pytest.mark.parametrize('path', ['digits', 'me/digits/r1', '/digits', 'me/', 'https://wandb.ai/me/digits'])
    def test_paths(self, server, path):
        with pytest.raises(ValueError, match='is no project of W&B: expected ENTITY/PROJECT'): load_runs(f'wandb:{path}')
        assert server.asked == []


class TestWhichIsWhich:
    @pytest.fixture(autouse=True)
    def no_network(self, monkeypatch):
        "Whatever is asked for, no socket is opened"
        def refuse(*args): raise AssertionError('a typo went to the network')
        monkeypatch.setattr('socket.socket.connect', refuse)

    @pytest.mark.parametrize('src,msg', [
        ('me/digits', 'no file me/digits; .*a project of W&B is wandb:ENTITY/PROJECT'),
        ('runs.cvs', 'no file runs.cvs'),
        ('wandb/nowhere', 'no file wandb/nowhere')])
    def test_a_typo_stays_here(self, src, msg):
        with pytest.raises(FileNotFoundError, match=msg): load_runs(src)

    def test_a_folder_by_its_bare_name(self, logged, monkeypatch):
        monkeypatch.chdir(logged)
        with pytest.warns(UserWarning, match='made again'): assert len(load_runs('wandb')) == 3

    def test_a_record_goes_before_a_folder(self, tmp_path, monkeypatch):
        (tmp_path/'2025-06-04').mkdir()
        monkeypatch.chdir(tmp_path)
        assert len(load_runs('2025-06-04')) == 123

def test_wandb_is_not_imported_before_it_is_needed(tmp_path):
    path = export(tmp_path/'e.csv', [mine(3)])
    code = (f"import sys; from bs_lr_study.analysis import load_runs; load_runs({str(path)!r}); "
            "import bs_lr_study.readers.wandb_project; "
            "print([m for m in ('torch', 'fastai', 'wandb', 'rich', 'google.protobuf') if m in sys.modules])")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
