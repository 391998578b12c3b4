"""Sweeps that are thrown at the readers in the form of each tool, whole and damaged: a right answer or a clear error.

BSLR_FUZZ=10000 throws more of them."""
import json, math, os, shutil, warnings

import pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from bs_lr_study.analysis import load_runs

N = int(os.environ.get('BSLR_FUZZ', 60))

# A run is a dict of bs, lr, seed, losses (its curve) and state

def lines(rows): return '\n'.join(map(json.dumps, rows)) + '\n'

def nested(r, names=('batch_size', 'lr')):
    return dict(config={names[0]: r['bs'], 'opt': {names[1]: r['lr']}, 'seed': r['seed']}, val_loss=r['losses'][-1], status=r['state'])

def flat(r): return dict(batch_size=r['bs'], learning_rate=r['lr'], seed=r['seed'], val_loss=r['losses'][-1], status=r['state'])

def json_lines(at, runs): (at/'runs.jsonl').write_text(lines(map(nested, runs)))
def json_list(at, runs): (at/'runs.json').write_text(json.dumps(dict(runs=[*map(flat, runs)])))
def json_split(at, runs): pd.DataFrame([*map(flat, runs)]).to_json(at/'runs.json', orient='split', index=False)
def plain_csv(at, runs): pd.DataFrame([*map(flat, runs)]).to_csv(at/'runs.csv', index=False)

def optuna_csv(at, runs):
    states = dict(FINISHED='COMPLETE', FAILED='FAIL')
    rows = [dict(number=i, values_val_loss=r['losses'][-1], params_batch_size=r['bs'], params_lr=r['lr'],
        params_seed=r['seed'], state=states[r['state']])
            for i,r in enumerate(runs)]
    pd.DataFrame(rows).to_csv(at/'trials.csv', index=False)

def optuna_journal(at, runs):
    whole = json.dumps(dict(name='IntDistribution', attributes=dict(log=False, step=1, low=1, high=2**20)))
    real = json.dumps(dict(name='FloatDistribution', attributes=dict(log=True, step=None, low=1e-9, high=1e9)))
    ops = [dict(op_code=0, study_name='s', directions=[1])]
    for i,r in enumerate(runs):
        ops.append(dict(op_code=4, study_id=0, datetime_start='2026-11-28'))
        for name,v,kind in (('batch_size', r['bs'], whole), ('lr', r['lr'], real), ('seed', r['seed'], whole)):
            ops.append(dict(op_code=5, trial_id=i, param_name=name, param_value_internal=v, distribution=kind))
        ops += [dict(op_code=7, trial_id=i, step=j, intermediate_value=v) for j,v in enumerate(r['losses'])]
        ops.append(dict(op_code=6, trial_id=i, state=1 if r['state'] == 'FINISHED' else 3, values=r['losses'][-1:]))
    (at/'journal.log').write_text(lines(ops))

def mlflow_csv(at, runs):
    rows = [{'run_id': f'{i:032x}', 'status': r['state'], 'metrics.val_loss': r['losses'][-1], 'params.lr': r['lr'],
        'params.batch_size': r['bs'],
             'params.seed': r['seed']} for i,r in enumerate(runs)]
    pd.DataFrame(rows).to_csv(at/'runs.csv', index=False)

def mlruns(at, runs):
    for i,r in enumerate(runs):
        run = at/'mlruns'/'1'/f'{i:032x}'
        for o in ('params', 'metrics', 'tags'): (run/o).mkdir(parents=True)
        status = 3 if r['state'] == 'FINISHED' else 4
        (run/'meta.yaml').write_text(f'run_id: {i:032x}\nrun_name: run{i}\nstatus: {status}\nlifecycle_stage: active\n')
        for k,v in (('batch_size', r['bs']), ('lr', r['lr']), ('seed', r['seed'])): (run/'params'/k).write_text(str(v))
        (run/'metrics'/'val_loss').write_text(''.join(f'{1000 + j} {v} {j}\n' for j,v in enumerate(r['losses'])))

def lightning(at, runs):
    for i,r in enumerate(runs):
        run = at/'lightning_logs'/f'version_{i}'
        run.mkdir(parents=True)
        (run/'hparams.yaml').write_text(f"batch_size: {r['bs']}\nlr: {r['lr']}\nseed: {r['seed']}\nstatus: {r['state']}\n")
        rows = [f'{j},,{2*j},\n,{1e-9*(j + 1)},{2*j},\n{j},,{2*j + 1},{v}\n' for j,v in enumerate(r['losses'])]
        (run/'metrics.csv').write_text('epoch,lr-Adam,step,val_loss\n' + ''.join(rows))

def ray(at, runs):
    for i,r in enumerate(runs):
        run = at/'train'/f'train_abc_{i:05}_{i}'
        run.mkdir(parents=True)
        (run/'params.json').write_text(json.dumps(dict(batch_size=r['bs'], lr=r['lr'], seed=r['seed'])))
        (run/'result.json').write_text(lines(dict(val_loss=v, training_iteration=j + 1, done=False, trial_id=f'abc_{i:05}')
            for j,v in enumerate(r['losses'])))
        if r['state'] == 'FAILED': (run/'error.txt').write_text('RuntimeError: no luck\n')

def trainer(at, runs):
    for i,r in enumerate(runs):
        run = at/'out'/f'run{i}'
        run.mkdir(parents=True)
        log = [dict(step=j, eval_loss=v, loss=9., learning_rate=0.) for j,v in enumerate(r['losses'])]
        (run/'trainer_state.json').write_text(json.dumps(dict(log_history=log, max_steps=9, global_step=9
            if r['state'] == 'FINISHED' else 5, num_train_epochs=3, train_batch_size=1)))
        args = dict(per_device_train_batch_size=r['bs'], gradient_accumulation_steps=1, learning_rate=r['lr'],
            seed=r['seed'], num_devices=1)
        (run/'training_args.json').write_text(json.dumps(args))

def keras_tuner(at, runs):
    for i,r in enumerate(runs):
        (at/f'trial_{i}').mkdir()
        seen = [dict(value=[v], step=j) for j,v in enumerate(r['losses'])]
        d = dict(trial_id=str(i), hyperparameters=dict(space=[], values=dict(batch_size=r['bs'], learning_rate=r['lr'], seed=r['seed'])),
                 metrics=dict(metrics=dict(val_loss=dict(direction='min', observations=seen))), score=1., best_step=0,
                 status=dict(FINISHED='COMPLETED').get(r['state'], r['state']), message=None)
        (at/f'trial_{i}'/'trial.json').write_text(json.dumps(d))

def recipe(at, runs):
    rows = [dict(summary=str(dict(val_loss=r['losses'][-1], _step=9)),
        config=str(dict(batch_size=r['bs'], lr=r['lr'], seed=r['seed'], status=r['state'])),
                 name=f'calm-sea-{i}') for i,r in enumerate(runs)]
    pd.DataFrame(rows).to_csv(at/'project.csv')

FORMS = [json_lines, json_list, json_split, plain_csv, optuna_csv, optuna_journal, mlflow_csv, mlruns, lightning, ray,
    trainer, keras_tuner, recipe]
IN_FILES = {json_lines, json_list, json_split, plain_csv, optuna_csv, optuna_journal, mlflow_csv, recipe}

LOSS = st.integers(1, 90_000).map(lambda o: o/1e4)
RUN = st.fixed_dictionaries(dict(losses=st.lists(LOSS, min_size=1, max_size=4), state=st.sampled_from(['FINISHED']*5 + ['FAILED'])))
CELLS = st.lists(st.tuples(st.sampled_from([1, 8, 32, 512]), st.sampled_from([1e-5, 3e-4, .01, .5]), st.integers(0, 2)),
    min_size=1, max_size=6, unique=True)
ODD = dict(bs=[0, -8, 'many', None, 2.5, math.nan, True, [8]], lr=[0, -1e-3, 'auto', None, math.inf, math.nan, {'base': .1}],
    loss=[math.nan, math.inf, 'low', None, [1.]])

@st.composite
def sweeps(draw):
    return [dict(bs=bs, lr=lr, seed=seed) | draw(RUN) for bs,lr,seed in draw(CELLS)]

def load(at, form):
    where = next(p for p in at.iterdir()) if form in IN_FILES else at
    kw = dict(columns=dict(lr='config.opt.lr', bs='config.batch_size', seed='config.seed')) if form is json_lines else {}
    metric = dict(metric='eval_loss') if form is trainer else dict(metric='values_val_loss', lower=True) if form in (optuna_csv,) else {}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return load_runs(where, **kw, **metric)

def found(df):
    "Of each run what was set and its result, None if it has none"
    y = df.attrs['metric'].name
    return {(int(r.bs), float(r.lr), int(r.seed)): None if pd.isna(r[y]) else float(r[y]) for _,r in df.iterrows()}

def wanted(runs): return {(r['bs'], r['lr'], r['seed']): pytest.approx(r['losses'][-1]) if r['state'] == 'FINISHED' else None for r in runs}

@pytest.fixture(scope='module')
def place(tmp_path_factory):
    at = tmp_path_factory.mktemp('forms')
    def empty():
        shutil.rmtree(at)
        at.mkdir()
        return at
    return empty

@given(sweeps(), st.sampled_from(FORMS))
@settings(max_examples=N, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_whole_sweep_is_read_right(place, runs, form):
    at = place()
    form(at, runs)
    if all(r['state'] != 'FINISHED' for r in runs): # no run has a result: it may be read, or refused
        try: assert set(found(load(at, form)).values()) == {None}
        except ValueError as e: assert len(str(e)) > 20
    else: assert found(load(at, form)) == wanted(runs)

@given(sweeps(), st.sampled_from(FORMS), st.data())
@settings(max_examples=N, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_odd_value_is_refused_or_only_its_own_run_is_lost(place, runs, form, data):
    at,i = place(),data.draw(st.integers(0, len(runs) - 1))
    field = data.draw(st.sampled_from([*ODD]))
    value = data.draw(st.sampled_from(ODD[field]))
    bad = [dict(r) for r in runs]
    if field == 'loss': bad[i]['losses'] = [*runs[i]['losses'][:-1], value]
    else: bad[i][field] = value
    form(at, bad)
    try: got = found(load(at, form))
    except (ValueError, FileNotFoundError) as e:
        assert len(str(e)) > 20, e
        return
    want = wanted(runs)
    key = runs[i]['bs'], runs[i]['lr'], runs[i]['seed']
    for k in got.keys() - {key}: assert k in want and got[k] == want[k], (k, field, value)
    if field == 'loss' and got.get(key) is not None: assert got[key] in bad[i]['losses'] # what its curve said last
    if field != 'loss': assert got.get(key) is None or bad[i][field] == runs[i][field], 'a run without its setting has a place in the table'

@given(sweeps(), st.sampled_from(FORMS), st.data())
@settings(max_examples=N, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_bytes_end_in_a_table_or_a_clear_error(place, runs, form, data):
    at = place()
    form(at, runs)
    paths = sorted(p for p in at.rglob('*') if p.is_file())
    path = data.draw(st.sampled_from(paths))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        k = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        kind = data.draw(st.sampled_from(['cut', 'byte', 'twice', 'gone']))
        if kind == 'cut': del raw[k:]
        if kind == 'byte' and raw: raw[k] = data.draw(st.sampled_from(b'\0\xff"{}[],:;-0aN\n\r\x1b'))
        if kind == 'twice': raw[k:k] = raw[k:k+40]
        if kind == 'gone': del raw[k:k+5]
    path.write_bytes(bytes(raw))
    try: assert len(load(at, form)) > 0
    except (ValueError, FileNotFoundError) as e: assert len(str(e)) > 20, e

def places(d, at=()):
    "Each place in nested JSON"
    for k,v in d.items() if isinstance(d, dict) else enumerate(d) if isinstance(d, list) else ():
        yield (*at, k)
        yield from places(v, (*at, k))

def changed(d, at, value):
    "JSON without what is in a place, or with something else there"
    d = json.loads(json.dumps(d))
    *way,last = at
    inner = d
    for k in way: inner = inner[k]
    if value is Ellipsis: del inner[last]
    else: inner[last] = value
    return d

@pytest.mark.parametrize('form', [json_list, optuna_journal, ray, trainer, keras_tuner], ids=lambda o: o.__name__)
@pytest.mark.parametrize('value', [..., None, [], {}, 'odd', -1], ids=str)
def test_json_that_lacks_a_key_or_has_another_kind_of_value_there(place, form, value):
    "Whole JSON, but not as the tool writes it: a table, or an error that names the file or what is missing"
    at = place()
    form(at, [dict(bs=8, lr=.01, seed=0, losses=[.5, .25], state='FINISHED'), dict(bs=32, lr=.1, seed=1, losses=[.75], state='FINISHED')])
    for path in sorted(p for p in at.rglob('*') if p.suffix in ('.json', '.log')):
        text = path.read_text()
        rows = [json.loads(o) for o in text.splitlines()] if path.suffix == '.log' or path.name == 'result.json' else [json.loads(text)]
        for i,row in enumerate(rows):
            for where in places(row):
                path.write_text('\n'.join(json.dumps(changed(o, where, value) if i == j else o) for j,o in enumerate(rows)) + '\n')
                try: assert set(found(load(at, form))) <= {(8, .01, 0), (32, .1, 1)}, where
                except (ValueError, FileNotFoundError) as e: assert len(str(e)) > 20, (where, e)
                except AttributeError: assert where[-1] == 'seed' and value is ..., where # then there is none in the table
        path.write_text(text)
        if form in (ray, trainer, keras_tuner): break # the others are alike
