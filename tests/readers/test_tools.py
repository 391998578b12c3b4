"Readers of tools on files of the tools themselves: the last value of each curve, the learning rate that was given, how each run ended"
import gzip, json, os, pickle, re, shutil, sqlite3, warnings
from pathlib import Path

import pandas as pd, pytest

from bs_lr_study.analysis import load_runs, settings_of
from bs_lr_study.readers.sources import FILES, find_reader
from bs_lr_study.readers.tool_files import files_in, sqlite_tables
from bs_lr_study.readers.wandb_table import split_frames

from tool_data import CELLS, curve, final_loss, unpack

TRUTH = {cell: final_loss(*cell) for cell in CELLS}

def read(path):
    "What the reader of a path makes of it, as one table"
    df = find_reader(path).read(path)
    if df.columns.nlevels == 1: return df
    return pd.concat([o for o in split_frames(df).values() if len(o.columns)], axis=1)

def losses(df, bs='batch_size', lr='lr', loss='val_loss', status=None):
    "Batch size and learning rate with their loss, of the runs that went well"
    if status: df = df[df[status].isin(['COMPLETE', 'FINISHED', 'TERMINATED', 'COMPLETED'])]
    assert not df.duplicated([bs, lr]).any()
    return {(int(o[0]), float(o[1])): pytest.approx(float(o[2]), abs=1e-6) for o in df[[bs, lr, loss]].itertuples(index=False)}

@pytest.fixture(scope='module')
def left(tmp_path_factory):
    "A folder with what each tool left, one beside the other"
    root = tmp_path_factory.mktemp('tools')
    for tool in ('optuna', 'ray', 'lightning', 'mlflow', 'trainer', 'keras_tuner', 'tensorboard'):
        (root/tool).mkdir()
        unpack(tool, root/tool)
    return root


def test_the_curves_end_at_what_is_not_their_best():
    "Otherwise nothing here would tell the last value from the best"
    for cell in CELLS: assert curve(*cell)[-1] == TRUTH[cell] != min(curve(*cell)) != max(curve(*cell)) != TRUTH[cell]

def test_the_files_name_no_machine():
    for p in Path(__file__).parent.joinpath('data').glob('*.json'):
        text = p.read_text(encoding='utf-8')
        for word in ('/work', '/root', '/home/', '/tmp', os.uname().nodename*3): assert word not in text, (p.name, word)

class TestOptuna:
    @pytest.mark.parametrize('name', ['optuna.db', 'optuna_journal.log'])
    def test_storages_are_the_table_that_optuna_makes(self, left, name):
        "Without Optuna: a categorical batch size is stored as the number of its choice, a pruned trial has no value of its own"
        want = pd.read_csv(left/'optuna'/'optuna_trials.csv')
        want = want[want.state != 'WAITING'][['number', 'value', 'params_batch_size', 'params_lr', 'params_optimizer',
            'user_attrs_epochs', 'state']]
        got = read(left/'optuna'/name)[list(want)]
        pd.testing.assert_frame_equal(got, want, check_dtype=False)
        assert got.state.tolist() == ['COMPLETE']*6 + ['PRUNED', 'FAIL', 'RUNNING']
        assert losses(got, 'params_batch_size', 'params_lr', 'value', 'state') == TRUTH

    def test_a_folder_with_several(self, left):
        with pytest.raises(ValueError, match='holds 2 storages of Optuna, such as optuna.db and optuna_journal.log: give one of them'):
            read(left/'optuna')

    def test_several_studies_are_told_apart(self, left, tmp_path):
        path = shutil.copy(left/'optuna'/'optuna.db', tmp_path/'two.db')
        con = sqlite3.connect(path)
        con.execute("INSERT INTO studies VALUES (2, 'other')")
        con.execute('UPDATE trials SET study_id = 2 WHERE number < 3')
        con.commit()
        con.close()
        df = read(path)
        assert df.study.tolist() == ['other']*3 + ['grid']*6

    def test_names_and_infinities(self, left, tmp_path):
        path = shutil.copy(left/'optuna'/'optuna.db', tmp_path/'inf.db')
        con = sqlite3.connect(path)
        con.execute('CREATE TABLE study_system_attributes (study_id INTEGER, key TEXT, value_json TEXT)')
        con.execute("INSERT INTO study_system_attributes VALUES (1, 'study:metric_names', '[\"val_loss\"]')")
        con.execute("UPDATE trial_values SET value = NULL, value_type = 'INF_POS' WHERE trial_id = 1")
        con.commit()
        con.close()
        assert read(path).values_val_loss.iloc[0] == float('inf')

    def test_what_came_after_the_end_does_not_count(self, left, tmp_path):
        "Two workers had the trial in hand; and a study that was deleted is gone"
        path = shutil.copy(left/'optuna'/'optuna_journal.log', tmp_path/'j.log')
        late = [dict(op_code=6, trial_id=0, state=3, values=[99.]), dict(op_code=0, study_name='other', directions=[1]),
                dict(op_code=4, study_id=1, datetime_start=None), dict(op_code=1, study_id=1)]
        with open(path, 'a') as f: f.write('\n'.join(map(json.dumps, late)) + '\n')
        pd.testing.assert_frame_equal(read(path), read(left/'optuna'/'optuna_journal.log'))

    def test_a_torn_journal(self, left, tmp_path):
        raw = (left/'optuna'/'optuna_journal.log').read_bytes()
        (tmp_path/'j.log').write_bytes(raw[:-20])
        with pytest.warns(UserWarning, match='left out line .*, which was not written to its end'): assert len(read(tmp_path/'j.log')) == 9


class TestRay:
    def test_results(self, left):
        df = read(left/'ray')
        assert losses(df[df.lr < .4], status='status') == TRUTH
        assert (df['opt.name'] == 'sgd').all() and 'hostname' not in df

    def test_how_trials_ended(self, left):
        "A rule stopped those at 0.4 after two of three reports; those at 0.5 failed"
        df = read(left/'ray')
        assert df.groupby('lr').status.unique().map(list).to_dict() == {
            .001: ['TERMINATED'], .01: ['TERMINATED'], .1: ['TERMINATED'], .4: ['stopped'], .5: ['ERROR']}
        assert set(df.message.dropna()) == {'RuntimeError: out of luck'}
        assert df[df.lr == .4].val_loss.tolist() == pytest.approx([curve(bs, .4)[1] for bs in df[df.lr == .4].batch_size])

    def test_without_the_state_of_the_experiment(self, left, tmp_path):
        "It is in a parent that may not have been copied: what failed or stopped is known all the same"
        shutil.copytree(left/'ray', tmp_path/'ray')
        for p in files_in(tmp_path, 'experiment_state*'): p.unlink()
        assert read(tmp_path).status.value_counts().to_dict() == {'stopped': 2, 'ERROR': 2}

    def test_one_trial(self, left):
        path = next(o for o in (left/'ray'/'ray').iterdir() if '00000_0' in o.name)
        assert losses(read(path)) == {(16, .001): TRUTH[16, .001]}


class TestLightning:
    def test_logs(self, left):
        df = read(left/'lightning')
        assert losses(df) == TRUTH
        assert df.sizes.unique().tolist() == ['[8, 4]'] # a tuple of Python's, which is no YAML
        assert df.Name.tolist() == [f'version_{i}' for i in range(6)]

    def test_the_learning_rate_is_the_one_that_was_given(self, left):
        "`lr-SGD` is where the schedule had got to in the last epoch"
        df = find_reader(left/'lightning').read(left/'lightning')
        assert 'lr-SGD' in df['summary'] and 'lr-SGD' not in df['config']
        assert (df['summary', 'lr-SGD'] < .4*df['config', 'lr']).all()

    def test_nan_is_what_it_ended_with(self, left, tmp_path):
        shutil.copytree(left/'lightning', tmp_path/'l')
        path = files_in(tmp_path, 'metrics.csv')[0]
        lines = path.read_text().splitlines()
        path.write_text('\n'.join([*lines,
            lines[0].replace('val_loss', 'nan').replace('epoch,', '2,').replace('lr-SGD', '').replace('step,', '5,')
                                   .replace('train_loss_epoch', '').replace('train_loss_step', '')]) + '\n')
        assert read(tmp_path).val_loss.isna().tolist() == [True] + [False]*5


class TestMLflow:
    @pytest.mark.parametrize('name', ['mlruns', 'mlflow.db'])
    def test_runs(self, left, name):
        df = read(left/'mlflow'/name)
        assert losses(df, status='status') == TRUTH
        assert df.status.value_counts().to_dict() == {'FINISHED': 6, 'FAILED': 1}
        assert sorted(df.Name) == [f'enc_{i}' for i in range(6)] + ['lost']
        good = df[df.status == 'FINISHED']
        assert (good['train/loss'].astype(float) - .7*good.val_loss.astype(float)).abs().max() < 1e-9 and (good.lr_now == 0).all()

    def test_the_table_that_mlflow_makes_says_the_same(self, left):
        want = pd.read_csv(left/'mlflow'/'mlflow_runs.csv').set_index('tags.mlflow.runName')
        got = read(left/'mlflow'/'mlruns').set_index('Name').loc[want.index]
        for ours,theirs in dict(status='status', batch_size='params.batch_size', val_loss='metrics.val_loss').items():
            assert got[ours].astype(want[theirs].dtype).tolist() == pytest.approx(want[theirs].tolist(), nan_ok=True)

    def test_folder_and_database_side_by_side(self, left): assert losses(read(left/'mlflow'), status='status') == TRUTH

    def test_deleted_runs(self, left, tmp_path):
        shutil.copytree(left/'mlflow'/'mlruns', tmp_path/'mlruns')
        meta = next(p for p in files_in(tmp_path, 'meta.yaml') if (p.parent/'params').exists())
        meta.write_text(meta.read_text().replace('active', 'deleted'))
        with pytest.warns(UserWarning, match='left out 1 of 7 runs, which MLflow calls deleted'): assert len(read(tmp_path)) == 6

    def test_two_experiments_are_told_apart(self, left, tmp_path):
        for name in ('first', 'second'):
            shutil.copytree(next(o for o in (left/'mlflow'/'mlruns').iterdir() if len(o.name) > 5), tmp_path/'mlruns'/name)
            meta = tmp_path/'mlruns'/name/'meta.yaml'
            if meta.exists(): meta.write_text(meta.read_text().replace('name: grid', f'name: {name}'))
        assert sorted(read(tmp_path).experiment.unique()) == ['first', 'second']


class TestTrainer:
    def test_states_with_arguments(self, left):
        "Four passes are accumulated: the batch size of an update is not what the state calls train_batch_size"
        df = read(left/'trainer')
        want = {k: v for k,v in TRUTH.items() if k[0] == 16}
        assert losses(df, 'bs', 'learning_rate', 'eval_loss') == want
        assert df.seed.tolist() == [7]*3 and df.devices.tolist() == [1]*3

    def test_the_model_card_will_do(self, left, tmp_path):
        shutil.copytree(left/'trainer', tmp_path/'t')
        for p in files_in(tmp_path, 'training_args.json'): p.unlink()
        assert losses(read(tmp_path), 'bs', 'learning_rate', 'eval_loss') == {k: v for k,v in TRUTH.items() if k[0] == 16}

    def test_a_lone_state_says_what_is_missing(self, left, tmp_path):
        shutil.copytree(left/'trainer', tmp_path/'t', ignore=shutil.ignore_patterns('training_args.json', 'README.md'))
        with pytest.raises(ValueError, match=r'trainer_state.json has only where the schedule ended. Put the arguments beside it'):
            read(tmp_path)

    @pytest.mark.parametrize('devices', [1, 2, 8])
    def test_devices(self, left, tmp_path, devices):
        "From the speeds, if no file says how many; one is assumed aloud if those are not there"
        run = tmp_path/'run'
        shutil.copytree(left/'trainer'/'trainer'/'run0', run)
        state = json.loads((run/'trainer_state.json').read_text())
        last = state['log_history'][-1]
        last |= dict(train_samples_per_second=16.*devices*last['train_steps_per_second'])
        (run/'trainer_state.json').write_text(json.dumps(state))
        assert read(run).bs.tolist() == [16*devices]
        for k in ('train_samples_per_second', 'train_steps_per_second'): del last[k]
        (run/'trainer_state.json').write_text(json.dumps(state))
        with pytest.warns(UserWarning, match='nothing says how many devices trained 1 of 1 runs'): assert read(run).bs.tolist() == [16]
        args = json.loads((run/'training_args.json').read_text())
        (run/'training_args.json').write_text(json.dumps(args | dict(num_devices=devices)))
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert read(run).bs.tolist() == [16*devices]

    def test_checkpoints_are_no_runs(self, left, tmp_path):
        "The state of the last checkpoint counts, if the run has none of its own"
        run = tmp_path/'run'
        shutil.copytree(left/'trainer'/'trainer'/'run0', run)
        state = json.loads((run/'trainer_state.json').read_text())
        (run/'trainer_state.json').unlink()
        for step,loss in ((2, 5.), (10, 4.), (9, 3.)):
            (run/f'checkpoint-{step}').mkdir()
            log = [dict(eval_loss=loss, step=step), state['log_history'][-1]]
            (run/f'checkpoint-{step}'/'trainer_state.json').write_text(json.dumps(state | dict(log_history=log)))
        df = read(tmp_path)
        assert df.eval_loss.tolist() == [4.] and df.Name.tolist() == ['run']

    def test_stopped_early(self, left, tmp_path):
        shutil.copytree(left/'trainer', tmp_path/'t')
        path = files_in(tmp_path, 'trainer_state.json')[0]
        path.write_text(json.dumps(json.loads(path.read_text()) | dict(max_steps=60)))
        assert read(tmp_path).status.fillna('').tolist() == ['stopped', '', '']


class TestKerasTuner:
    def test_trials(self, left):
        df = read(left/'keras_tuner')
        assert losses(df, lr='learning_rate', status='status') == TRUTH
        assert df.status.value_counts().to_dict() == {'COMPLETED': 6, 'FAILED': 1}
        assert df.message.dropna().str.contains('out of luck').tolist() == [True]

    def test_a_lone_value_is_that_of_the_best_epoch(self, left, tmp_path):
        shutil.copytree(left/'keras_tuner', tmp_path/'k')
        for p in files_in(tmp_path, 'trial.json'):
            d = json.loads(p.read_text())
            for m in d['metrics']['metrics'].values(): m['observations'] = m['observations'][1:2]
            p.write_text(json.dumps(d))
        with pytest.warns(UserWarning, match='Keras Tuner keeps that of the best epoch'): read(tmp_path)


class TestJSON:
    def test_the_page_of_tensorboard(self, left):
        "Its CSV and its JSON are one table"
        pd.testing.assert_frame_equal(read(left/'tensorboard'/'hparams.json'), pd.read_csv(left/'tensorboard'/'hparams.csv'))
        assert losses(read(left/'tensorboard'/'hparams.json'), 'bs') == TRUTH

    @pytest.mark.parametrize('write', [
        lambda p, rows: p.with_suffix('.jsonl').write_text('\n'.join(map(json.dumps, rows))),
        lambda p, rows: p.with_suffix('.json').write_text('\n'.join(map(json.dumps, rows))),
        lambda p, rows: p.with_suffix('.json').write_text(json.dumps(rows, indent=1)),
        lambda p, rows: p.with_suffix('.json').write_text('\ufeff' + json.dumps(dict(results=rows)), encoding='utf-8'),
        lambda p, rows: p.with_suffix('.jsonl').write_bytes(gzip.compress('\n'.join(map(json.dumps, rows)).encode()))])
    def test_runs_of_anybody(self, tmp_path, write):
        rows = [dict(config=dict(bs=bs, opt=dict(lr=lr)), val_loss=v) for (bs,lr),v in TRUTH.items()]
        write(tmp_path/'runs', rows)
        assert losses(read(next(tmp_path.iterdir())), 'config.bs', 'config.opt.lr') == TRUTH

    @pytest.mark.parametrize('text, msg', [
        ('{"log_history": []}', 'the state of a run of the Trainer'), ('[1, 2]', 'a list of JSON, but not of objects'),
            ('[]', 'it holds nothing'),
        ('{"cells": [], "nbformat": 4}', 'a notebook'), ('{"lr": 0.1', 'is no whole JSON: line 1'),
            ('{"a": 1, "b": {"c": 2}}', 'one object, with a, b'),
        ('{"columns": ["a"], "data": [[1, 2]]}', 'columns and data do not fit'),
            ('{"a": ' + '['*10**5, 'is no JSON of runs: RecursionError')])
    def test_other_json_is_named(self, tmp_path, text, msg):
        (tmp_path/'x.json').write_text(text)
        with pytest.raises(ValueError, match=msg): read(tmp_path/'x.json')

    def test_a_line_that_is_none(self, tmp_path):
        (tmp_path/'x.jsonl').write_text('{"bs": 1}\n{"bs": 2\n{"bs": 3}\n')
        with pytest.raises(ValueError, match='x.jsonl, line 2 is no whole JSON'): read(tmp_path/'x.jsonl')


class TestWhichItIs:
    def test_each_is_known_by_what_it_left(self, left):
        names = {o: find_reader(left/o).__name__.rpartition('.')[2]
            for o in ('optuna', 'ray', 'lightning', 'mlflow', 'trainer', 'keras_tuner')}
        assert names == dict(optuna='optuna', ray='ray_tune', lightning='lightning', mlflow='mlflow', trainer='hf_trainer',
            keras_tuner='keras_tuner')

    def test_mixed_tools_are_named_with_their_places(self, left):
        with pytest.raises(ValueError) as e: find_reader(left)
        for o in ('Optuna (optuna)', 'Ray Tune (ray/ray)', 'Lightning (lightning/lightning_logs)', 'MLflow (mlflow',
            'Keras Tuner (keras_tuner'): assert o in str(e.value)

    def test_the_current_folder(self, left, monkeypatch):
        monkeypatch.chdir(left)
        with pytest.raises(ValueError, match=r'holds runs of Optuna \(optuna\), of Ray Tune .* and of Keras Tuner'): load_runs('.')

    def test_a_csv_is_left_to_others(self, left): assert find_reader(left/'tensorboard'/'hparams.csv') is None

    def test_too_many_files(self, tmp_path, monkeypatch):
        monkeypatch.setattr('bs_lr_study.readers.tool_files._MOST_FILES', 3)
        for i in range(4): (tmp_path/f'{i}.txt').touch()
        with pytest.raises(ValueError, match='holds more than 3 files: give the folder of the runs'): find_reader(tmp_path)

    def test_a_folder_that_links_to_itself(self, left, tmp_path):
        shutil.copytree(left/'lightning', tmp_path/'l')
        (tmp_path/'l'/'again').symlink_to(tmp_path)
        assert losses(read(tmp_path)) == TRUTH


def parquet(): return b'PAR1' + bytes(20)
def event(): return b'\x18\0\0\0\0\0\0\0\xa3\x7fK"' + bytes(8)

@pytest.mark.parametrize('name, raw, msg', [
    ('runs.parquet', parquet(), 'a parquet file: read it with pandas and give the frame'),
    ('runs.pkl', pickle.dumps([1]), 'a pickle: pickles can run anything'),
    ('training_args.bin', pickle.dumps([1]), 'a pickle'),
    ('model.ckpt', b'PK\3\4' + bytes(30), 'a checkpoint: holds weights of a model'),
    ('model.safetensors', b'\x60\0\0\0\0\0\0\0{"w"', 'a checkpoint'),
    ('runs.zip', b'PK\3\4' + bytes(30), 'a zip: unpack it'),
    ('runs.xlsx', b'PK\3\4' + bytes(30), r'Excel file: save the sheet as .* load_runs\(pd.read_excel\(.runs.xlsx.\)\)'),
    ('events.out.tfevents.1795896230.host', event(), 'an event file of TensorBoard: save a table instead'),
    ('page.csv', b'<!doctype html><html>', 'a web page: download the table as CSV'),
    ('x.npy', b'\x93NUMPY\1\0', 'an array of numpy')])
def test_what_cannot_be_read_is_named(tmp_path, name, raw, msg):
    (tmp_path/name).write_bytes(raw)
    with pytest.raises(ValueError, match=msg): find_reader(tmp_path/name)

def test_a_database_of_something_else(tmp_path):
    con = sqlite3.connect(tmp_path/'x.db')
    con.execute('CREATE TABLE songs (name TEXT)')
    con.commit()
    con.close()
    with pytest.raises(ValueError, match='a database with songs, of no tool that is known here'): find_reader(tmp_path/'x.db')

@pytest.mark.parametrize('name, msg', [('run/events.out.tfevents.1.h', 'an event file of TensorBoard'),
    ('a/training_args.bin', 'a pickle of the Trainer'),
                                       ('a/runs.csv', 'a CSV: give the file'),
                                           ('a/readme.txt', 'expected what one of these tools leaves in a folder')])
def test_a_folder_without_runs(tmp_path, name, msg):
    (tmp_path/name).parent.mkdir()
    (tmp_path/name).touch()
    with pytest.raises(FileNotFoundError, match=msg): find_reader(tmp_path)


class TestStrangers:
    def test_yaml_makes_no_objects(self, left, tmp_path):
        shutil.copytree(left/'lightning', tmp_path/'l')
        path = files_in(tmp_path, 'hparams.yaml')[0]
        text = path.read_text()
        path.write_text(text + f'evil: !!python/object/apply:pathlib.Path.touch ["{tmp_path}/touched"]\nmine: !Custom {{a: 1}}\n')
        df = read(tmp_path)
        assert df['evil'].dropna().tolist() == [json.dumps([f'{tmp_path}/touched'])] and df['mine.a'].dropna().tolist() == [1]
        assert not (tmp_path/'touched').exists()

    def test_databases_stay_as_they_are(self, left):
        for path in (left/'optuna'/'optuna.db', left/'mlflow'/'mlflow.db'):
            raw,there = path.read_bytes(),set(path.parent.iterdir())
            path.chmod(0o444)
            read(path)
            assert path.read_bytes() == raw and set(path.parent.iterdir()) == there

    def test_a_view_in_place_of_a_table(self, tmp_path):
        "It could compute for ever; only tables are asked"
        con = sqlite3.connect(tmp_path/'v.db')
        for o in ('studies', 'trial_params', 'trial_values'): con.execute(f'CREATE TABLE {o} (x)')
        con.execute('CREATE VIEW trials AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r')
        con.commit()
        con.close()
        assert 'trials' not in sqlite_tables(tmp_path/'v.db')
        with pytest.raises(ValueError, match='of no tool that is known here'): find_reader(tmp_path/'v.db')

    @pytest.mark.parametrize('tool', ['optuna', 'ray', 'lightning', 'mlflow', 'trainer', 'keras_tuner'])
    def test_damaged_files_are_named(self, left, tmp_path, tool):
        "A file of each name cut in half, or full of other bytes: a table or a ValueError that names the file"
        place = shutil.copytree(left/tool, tmp_path/'there')
        for path in {p.name: p for p in files_in(place)}.values():
            whole = path.read_bytes()
            path.chmod(0o644)
            for raw in (whole[:len(whole)//2], b'\xff\xfe{]', b'{}', b'[1]', b''):
                path.write_bytes(raw)
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter('ignore')
                        reader = find_reader(where := path if tool == 'optuna' else place)
                        assert reader is None or isinstance(reader.read(where), pd.DataFrame) # None: it may be a CSV
                except (ValueError, FileNotFoundError) as e: assert str(place) in str(e), e
            path.write_bytes(whole)

def test_sources_load_nothing_that_is_heavy():
    import subprocess, sys
    code = f'''import sys
for o in {list(FILES.values())!r}: __import__(o)
print([o for o in ("torch", "fastai", "wandb", "optuna", "mlflow", "ray", "lightning", "transformers") if o in sys.modules])'''
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


class TestLoadRuns:
    "From what a tool left to the table, in one line"
    @pytest.mark.parametrize('place, metric', [
        ('optuna/optuna.db', None), ('optuna/optuna_journal.log', None), ('ray', None), ('lightning', None),
            ('mlflow/mlruns', None), ('mlflow/mlflow.db', None),
        ('mlflow/mlflow_runs.csv', None), ('keras_tuner', None), ('tensorboard/hparams.csv', None), ('tensorboard/hparams.json', None)])
    def test_one_line(self, left, place, metric):
        df = load_runs(left/place, metric=metric)
        y = df.attrs['metric']
        good = df[df.status == 'ok'] if 'status' in df else df
        assert y.lower and losses(good, 'bs', 'lr', y.name) == TRUTH
        assert df[y.name].notna().sum() == len(TRUTH) # pruned, stopped, failed and running ones have no result
        assert settings_of(good) == []

    def test_the_table_of_optuna(self, left):
        "No storage says there which way the objective goes"
        with pytest.raises(ValueError, match="metric='value', lower=True"): load_runs(left/'optuna'/'optuna_trials.csv')
        df = load_runs(left/'optuna'/'optuna_trials.csv', metric='value', lower=True)
        assert losses(df[df.status == 'ok'], 'bs', 'lr', 'value') == TRUTH and df.status.tolist()[6:] == ['pruned', 'failed', 'running']

    def test_the_trainer(self, left):
        df = load_runs(left/'trainer', metric='eval_loss')
        assert losses(df, 'bs', 'lr', 'eval_loss') == {k: v for k,v in TRUTH.items() if k[0] == 16}
        assert len(df.columns) < 40 and load_runs(left/'trainer').acc.tolist() == pytest.approx([1 - o/5 for o in df.eval_loss])

    def test_what_a_tool_measured_is_no_setting(self, left, tmp_path):
        "Even if it is called like one: only what was in the config can be"
        shutil.copytree(left/'mlflow'/'mlruns', tmp_path/'mlruns')
        for i,p in enumerate(files_in(tmp_path, 'lr_now')): p.rename(p.with_name('weight_decay')).write_text(f'1000 {i % 2} 0\n')
        df = load_runs(tmp_path)
        assert df.weight_decay.nunique() == 2 and settings_of(df) == []
        for i,p in enumerate(files_in(tmp_path, 'optimizer')): p.write_text(['adam', 'sgd'][i % 2])
        assert settings_of(load_runs(tmp_path)) == ['optimizer']

    def test_a_sweep_in_two_places(self, left):
        df = load_runs([left/'mlflow'/'mlruns', left/'lightning'])
        assert len(df) == 13 and settings_of(df[df.status != 'failed'].drop(columns='status')) == []

    @pytest.mark.parametrize('cell', ["{'val_loss': 0.5, 'x': nan, '_wandb': {'runtime': 60}}", '{"val_loss": 0.5}', {'val_loss': .5}])
    def test_the_recipe_of_wandb(self, cell):
        df = pd.DataFrame(dict(summary=[cell]*2,
            config=["{'batch_size': 16, 'optimizer': {'lr': 0.1}}", "{'batch_size': 32, 'optimizer': {'lr': 0.1}}"],
                               name=['a', 'b']))
        with pytest.warns(UserWarning, match='keeps no states'): got = load_runs(df, columns=dict(lr='optimizer.lr'))
        assert got[['run', 'bs', 'lr', 'val_loss']].values.tolist() == [['a', 16, .1, .5], ['b', 32, .1, .5]]

    @pytest.mark.parametrize('cell', ["{'a': __import__('os')}", "{'a': open('x')}", '[1]', "{'a'", '('*10**5, '{"a": ' + '['*10**5])
    def test_no_dict(self, cell):
        with pytest.warns(UserWarning), pytest.raises(ValueError, match='row 0: config holds no dict'):
            load_runs(pd.DataFrame(dict(summary=['{}'], config=[cell], name=['a'])))

    def test_an_address(self, left, monkeypatch):
        monkeypatch.chdir(left/'optuna')
        for o in ('sqlite:///optuna.db', f'sqlite:///{left}/optuna/optuna.db'): assert len(load_runs(o)) == 9
        with pytest.raises(ValueError, match='postgresql://here/x is on a server, which is not asked: save its runs as CSV'): load_runs('postgresql://here/x')


GUIDE = Path(__file__).parents[2]/'nbs'/'guides'/'05_bring_your_own.ipynb'
NOT_HERE = 'wandb:', "'wandb'", 'parquet' # a server, a log that wandb writes (see test_wandb), a package that is not installed

def lines_of_the_guide():
    "The last column of its table"
    text = '\n'.join(''.join(o['source']) for o in json.loads(GUIDE.read_text(encoding='utf-8'))['cells'])
    return re.findall(r'^\| .* \| .* \| `(load_runs\(.*\))` \|$', text, re.MULTILINE)

@pytest.fixture(scope='module')
def desk(left, tmp_path_factory):
    "The files of all tools in one folder, under the names that the guide uses"
    desk = tmp_path_factory.mktemp('desk')
    for tool in left.iterdir():
        for o in tool.iterdir(): (shutil.copytree if o.is_dir() else shutil.copy)(o, desk/o.name)
    rows = pd.DataFrame([dict(batch_size=bs, lr=lr, val_loss=v) for (bs,lr),v in TRUTH.items()])
    rows.to_csv(desk/'runs.csv', index=False)
    rows.to_json(desk/'runs.jsonl', orient='records', lines=True)
    rows.assign(Name='calm-sea', State='finished').to_csv(desk/'wandb_export.csv', index=False)
    config = [str(dict(batch_size=bs, optimizer=dict(lr=lr))) for bs,lr in TRUTH]
    pd.DataFrame(dict(summary=[str(dict(val_loss=v)) for v in TRUTH.values()], config=config, name='calm-sea')).to_csv(desk/'project.csv')
    return desk

def test_the_guide_names_all_tools():
    lines = lines_of_the_guide()
    assert len(lines) >= 19 and len([o for o in lines if not any(w in o for w in NOT_HERE)]) >= 16

@pytest.mark.filterwarnings("ignore:W&B's recipe")
@pytest.mark.parametrize('line', [o for o in lines_of_the_guide() if not any(w in o for w in NOT_HERE)])
def test_each_line_of_the_guide(desk, monkeypatch, line):
    monkeypatch.chdir(desk)
    df = eval(line, dict(load_runs=load_runs, pd=pd, df=pd.read_csv('runs.csv')))
    y = df.attrs['metric'].name
    assert losses(df[df[y].notna()], 'bs', 'lr', y) == {k: v for k,v in TRUTH.items() if k[0] == 16 or 'trainer' not in line}
