"The tables, against the numbers the post printed and against a second way to compute them"
import subprocess, sys
from dataclasses import replace

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from bs_lr_study.analysis import (best_by, best_run, cells, comparable, crosstab_acc, find_record, inflection_table,
                                  load_runs, printable, records, top_runs)
from bs_lr_study.analysis.tables import best_rows

# What the post printed, digit for digit. Not derived from the record.
TOP = '''
imagenette-xresnet34-bs-16-lr-0.001 0.800764 xresnet34 16 1e-3
imagenette-xresnet18-bs-32-lr-0.01 0.799745 xresnet18 32 1e-2
imagenette-xresnet18-bs-64-lr-0.01 0.797452 xresnet18 64 1e-2
imagenette-xresnet18-bs-16-lr-0.01 0.796433 xresnet18 16 1e-2
imagenette-xresnet18-bs-8-lr-0.001 0.795414 xresnet18 8 1e-3
imagenette-xresnet34-bs-8-lr-0.001 0.795414 xresnet34 8 1e-3
imagenette-xresnet34-bs-16-lr-0.01 0.795159 xresnet34 16 1e-2
imagenette-xresnet18-bs-128-lr-0.01 0.791338 xresnet18 128 1e-2
imagenette-xresnet34-bs-64-lr-0.01 0.790573 xresnet34 64 1e-2
imagenette-xresnet34-bs-32-lr-0.01 0.789554 xresnet34 32 1e-2
'''
BY_MODEL = 'xresnet34 0.800764 xresnet18 0.799745 xse_resnext50 0.788280'
BY_BS = '''16 0.800764 32 0.799745 64 0.797452 8 0.795414 128 0.791338 4 0.784968 256 0.764841 512 0.731975 2 0.719745
1024 0.662166 2048 0.485350 1 0.452229'''
BY_LR = '1e-3 0.800764 1e-2 0.799745 1e-4 0.715414 1e-5 0.526624 1e-6 0.304713 1e-7 0.150828'
CROSSTABS = dict(xresnet18='''
lr 1 2 4 8 16 32 64 128 256 512 1024 2048
1e-4 0.388535 0.608153 0.693503 0.704968 0.698089 0.665478 0.624713 0.512102 0.400000 0.310318 0.146497 0.000255
1e-3 0.452229 0.709809 0.778344 0.795414 0.789299 0.784968 0.769427 0.744713 0.719236 0.647389 0.544459 0.336306
1e-2 0.285605 0.649682 0.738089 0.778089 0.796433 0.799745 0.797452 0.791338 0.747006 0.731975 0.661147 0.485350
''', xresnet34='''
lr 1 2 4 8 16 32 64 128 256 512 1024 2048
1e-7 NaN 0.109554 0.109045 0.087389 0.100892 NaN NaN NaN NaN NaN NaN NaN
1e-6 NaN 0.243822 0.180127 0.201274 0.159236 NaN NaN NaN NaN NaN NaN NaN
1e-5 NaN 0.385478 0.456051 0.446879 0.428535 NaN NaN NaN NaN NaN NaN NaN
1e-4 0.388535 0.597962 0.704459 0.709809 0.715414 0.680764 0.641529 0.560510 0.489172 0.393376 0.269299 0.212229
1e-3 0.403567 0.719745 0.784968 0.795414 0.800764 0.787261 0.765860 0.751592 0.728408 0.667771 0.580127 0.430828
1e-2 0.246624 0.638217 0.721019 0.776306 0.795159 0.789554 0.790573 0.787006 0.764841 0.723312 0.662166 0.385732
''', xse_resnext50='''
lr 2 4 8 16 32 64 128 256 512
1e-7 0.106497 0.127389 0.150828 0.126624 NaN NaN NaN NaN NaN
1e-6 0.117452 0.234395 0.291465 0.304713 NaN NaN NaN NaN NaN
1e-5 0.239745 0.420127 0.502675 0.526624 NaN NaN NaN NaN NaN
1e-4 0.203057 0.568917 0.661147 0.660382 0.652229 0.639236 0.623949 0.601019 0.575541
1e-3 0.186752 0.642803 0.766624 0.774267 0.768917 0.743694 0.720510 0.699363 0.671847
1e-2 0.140637 0.263185 0.564586 0.736306 0.788280 0.770701 0.776306 0.763567 0.725605
''')
INFLECTION = '''
lr xresnet18 xresnet34 xse_resnext50
1e-7 . – 8
1e-6 . – –
1e-5 . 4 –
1e-4 8 16 8
1e-3 8 16 16
1e-2 32 16 32
'''

def words(txt): return [line.split() for line in txt.strip().splitlines()]
def pairs(txt): return list(zip(txt.split()[::2], txt.split()[1::2]))
def digits(x): return 'NaN' if pd.isna(x) else f'{x:.6f}'

@pytest.fixture(scope='module')
def df(): return load_runs()

def toy(rows, **kw):
    "Runs of `(model, bs, lr, acc)`"
    d = pd.DataFrame(rows, columns=['model', 'bs', 'lr', 'acc']).assign(**kw)
    return d.assign(run=[f'run{i}' for i in range(len(d))], acc=d.acc.astype(float))


class TestPublished:
    def test_top_ten(self, df):
        t = printable(top_runs(df))
        assert t.columns.tolist() == ['run', 'acc', 'model', 'bs', 'lr']
        assert [[run, digits(acc), m, str(bs), lr] for run,acc,m,bs,lr in t.itertuples(index=False)] == words(TOP)

    def test_best_run(self, df):
        b = best_run(df)
        assert (b.run, digits(b.acc), b.model, b.bs, b.lr) == ('imagenette-xresnet34-bs-16-lr-0.001', '0.800764', 'xresnet34', 16, 1e-3)

    @pytest.mark.parametrize('key,txt', [('model', BY_MODEL), ('bs', BY_BS), ('lr', BY_LR)])
    def test_best_by(self, df, key, txt):
        s = printable(best_by(df, key)).acc
        assert [(str(k), digits(v)) for k,v in s.items()] == pairs(txt)

    @pytest.mark.parametrize('model', CROSSTABS)
    @pytest.mark.parametrize('agg', ['mean', 'max'])
    def test_crosstab(self, df, model, agg):
        t = printable(crosstab_acc(df, model, agg=agg))
        assert [['lr', *map(str, t.columns)], *[[lr, *map(digits, row)] for lr,row in zip(t.index, t.values)]] == words(CROSSTABS[model])

    def test_inflection(self, df):
        t,why = printable(inflection_table(df)),inflection_table(df, detail=True)
        got = [[lr, *('.' if w == 'not tested' else str(v) for v,w in zip(vs, ws))] for lr,vs,ws in zip(t.index, t.values, why.values)]
        assert [['lr', *t.columns], *got] == words(INFLECTION)

    def test_shape(self, df):
        assert df.shape == (123, 5)
        assert df.dtypes.astype(str).tolist()[1] == 'float64' and df.bs.dtype == int and df.lr.dtype == float
        assert df.run.iloc[0] == 'imagenette-xresnet18-bs-1-lr-0.0001'


class TestLoad:
    def test_earlier_post(self):
        d = load_runs('2025-06-01')
        assert d.shape == (10, 5)
        assert d.iloc[0].tolist() == ['imagenette-xresnet34-bs-64-lr-1e-2', .7929, 'xresnet34', 64, .01]

    def test_every_record_loads(self):
        for name in records(): assert len(load_runs(name))

    def test_from_csv_and_frame(self, df, tmp_path):
        df[['run', 'acc']].to_csv(tmp_path/'mine.csv', index=False)
        for src in (tmp_path/'mine.csv', str(tmp_path/'mine.csv'), df[['run', 'acc']], df):
            pd.testing.assert_frame_equal(load_runs(src), df)

    def test_from_store(self, tmp_path):
        from bs_lr_study.runs import Run, RunConfig
        from bs_lr_study.store import Store
        store = Store(tmp_path/'runs.jsonl')
        m = [dict(epoch=0, train_loss=1., valid_loss=1., acc=.5)]
        cfg = RunConfig(data='digits', model='mlp', bs=4, lr=.1)
        for bs in (4, 8): store.append(Run(replace(cfg, bs=bs), metrics=m, name=f'digits-mlp-bs-{bs}-lr-0.1'))
        store.append(Run(replace(cfg, bs=16), status='diverged', message='loss is nan', name='digits-mlp-bs-16-lr-0.1'))
        d = load_runs(tmp_path/'runs.jsonl')
        assert d.columns[:5].tolist() == ['run', 'acc', 'model', 'bs', 'lr']
        assert {'seed', 'epochs', 'status', 'data'} <= set(d)
        assert crosstab_acc(d).loc[.1].tolist()[:2] == [.5, .5] and np.isnan(crosstab_acc(d).loc[.1, 16])
        assert inflection_table(d, detail=True).loc[.1, 'mlp'] == 'at the edge (4)' # a tie, so the smaller

    def test_frame_is_left_alone(self, df):
        mine = df[['run', 'acc']].copy()
        load_runs(mine)
        assert mine.columns.tolist() == ['run', 'acc']

    def test_own_columns_count(self):
        d = load_runs(toy([('m', 8, .1, .5)], note='warm GPU'))
        assert d.columns.tolist() == ['run', 'acc', 'model', 'bs', 'lr', 'note']

    def test_fields_in_names_become_columns(self):
        names = [f'digits-mlp-bs-8-lr-0.1-seed-{i}-epochs-10' for i in (1, 2)]
        d = load_runs(pd.DataFrame(dict(run=names, acc=[.5, .6])))
        assert d.columns.tolist() == ['run', 'acc', 'model', 'bs', 'lr', 'seed']
        assert d.seed.tolist() == [1, 2]

    def test_record_names(self):
        assert find_record('2025-06-04-imagenette').name == '2025-06-04-imagenette.csv'
        with pytest.raises(ValueError, match="no record '2024'.*2025-06-01-imagenette-bs64.*path to a CSV"): load_runs('2024')
        with pytest.raises(ValueError, match='several records'): load_runs('2025')
        with pytest.raises(FileNotFoundError, match='nowhere.csv'): load_runs('nowhere.csv')

    @pytest.mark.parametrize('csv,msg', [
        ('', 'holds no runs'),
        ('run,acc\n', 'holds no runs'),
        ('run,result\na-b-bs-1-lr-1,0.5\n', "no column names a metric .*there are run, result"),
        ('run,acc\na-b-bs-1-lr-1,78.4\na-b-bs-2-lr-1,0.4\n', r'row 0 \(a-b-bs-1-lr-1\): acc is .*78.4.* per cent'),
        ('run,acc\na-b-bs-1-lr-1,-0.1\n', r'acc is .*-0.1.*must be a share in 0…1'),
        ('run,acc\na-b-bs-1-lr-1,300\n', r'acc is .*300.*must be a share in 0…1'),
        ('run,acc\na-b-bs-1-lr-1,0.5\na-b-bs-2-lr-1,good\n', r"row 1 \(a-b-bs-2-lr-1\): acc is 'good'"),
        ('run,acc\na-b-bs-1-lr-1,0.5\nthe best one,0.6\n', "row 1: 'the best one' is no run name"),
        ('run,acc\na-b-bs-1-lr-1,0.5\na-b-bs-1-lr-1,0.6\n', 'row 1: a-b-bs-1-lr-1 is there twice, with acc 0.5; 0.6'),
        ('run,acc,model,bs,lr\nx,0.5,m,8.5,0.1\n', r'row 0 \(x\): bs is .*8.5.*whole number'),
        ('run,acc,model,bs,lr\nx,0.5,m,8,0\n', 'lr is .*0.*above 0'),
    ])
    def test_bad_input(self, tmp_path, csv, msg):
        (tmp_path/'bad.csv').write_text(csv)
        with pytest.raises(ValueError, match=msg): load_runs(tmp_path/'bad.csv')

    def test_empty_store(self, tmp_path):
        (tmp_path/'runs.jsonl').write_text('')
        with pytest.raises(ValueError, match='holds no runs'): load_runs(tmp_path/'runs.jsonl')

    def test_copies_are_dropped_aloud(self, df):
        with pytest.warns(UserWarning, match='dropped 1 of 124 rows.*imagenette-xresnet18-bs-1-lr-0.0001'):
            d = load_runs(pd.concat([df, df[:1]]))
        pd.testing.assert_frame_equal(d, df)

    def test_seeds_are_no_copies(self):
        d = toy([('m', 8, .1, .5), ('m', 8, .1, .5)], seed=[0, 1])
        assert len(load_runs(d.assign(run='same name'))) == 2

    def test_blank_accuracy_is_kept(self):
        assert load_runs(toy([('m', 8, .1, np.nan)])).acc.isna().all()


class TestMixing:
    tables = [crosstab_acc, inflection_table, best_run, top_runs, cells, lambda d: best_by(d, 'lr')]
    rows = [('m', 8, .1, .5), ('m', 16, .1, .6)]

    @pytest.mark.parametrize('table', tables)
    @pytest.mark.parametrize('field,values', [('epochs', [5, 10]), ('data', ['digits', 'imagenette']), ('size', [128, np.nan]),
                                              ('wd', [0., .01]), ('opt', ['adam', 'sgd']), ('n_out', [10, 1000])])
    def test_refused_by_name(self, table, field, values):
        shown = ', '.join('missing' if v != v else '0' if v == 0 else str(v) for v in values)
        with pytest.raises(ValueError, match=f'{field}.*\\({shown}\\)'): table(toy(self.rows, **{field: values}))

    def test_different_data_in_names_alone(self, df):
        other = load_runs(df[['run', 'acc']].assign(run=df.run.str.replace('imagenette', 'imagewoof')))
        with pytest.raises(ValueError, match=r'data \(imagenette, imagewoof\)'): best_run(pd.concat([df, other]))

    def test_suffix_in_names_alone(self):
        d = load_runs(pd.DataFrame(dict(run=['a-m-bs-8-lr-0.1', 'a-m-bs-8-lr-0.1-epochs-10'], acc=[.5, .6])))
        with pytest.raises(ValueError, match=r'epochs \(10, missing\)'): crosstab_acc(d)

    def test_seeds_and_missing_values_are_fine(self):
        comparable(toy(self.rows, seed=[0, 1], size=[None, np.nan], epochs=5))

    def test_outputs_belong_to_the_model(self):
        d = toy([('a', 8, .1, .5), ('b', 8, .1, .6)], n_out=[10, 1000])
        assert inflection_table(d).shape == (1, 2)

    def test_only_the_model_at_hand_counts(self):
        d = toy([('a', 8, .1, .5), ('b', 8, .1, .6)], epochs=[5, 10])
        assert crosstab_acc(d, 'a').loc[.1, 8] == .5


class TestCells:
    two = [('m', 4, .1, .1), ('m', 8, .1, .5), ('m', 8, .1, .7), ('m', 16, .1, .65)]

    def test_seeds(self):
        d = toy(self.two, seed=[0, 0, 1, 0])
        assert crosstab_acc(d).loc[.1].tolist() == pytest.approx([.1, .6, .65])
        assert crosstab_acc(d, agg='max').loc[.1].tolist() == [.1, .7, .65]
        assert inflection_table(d, detail=True).loc[.1, 'm'] == 'at the edge (16)'
        assert inflection_table(d, agg='max').loc[.1, 'm'] == 8
        assert best_by(d, 'bs').index.tolist() == [16, 8, 4] and best_by(d, 'bs', agg='max').index.tolist() == [8, 16, 4]
        assert best_run(d).acc == .7
        c = cells(d).set_index('bs')
        assert c.n.tolist() == [1, 2, 1] and c['std'][8] == pytest.approx(.2/2**.5) and np.isnan(c['std'][4])

    def test_choices(self, df):
        with pytest.raises(ValueError, match="'best'.*mean, median, max, min"): crosstab_acc(df, 'xresnet18', agg='best')
        with pytest.raises(ValueError, match='say which: choose one of xresnet18, xresnet34, xse_resnext50'): crosstab_acc(df)
        with pytest.raises(ValueError, match="'vgg'.*xresnet18, xresnet34"): crosstab_acc(df, 'vgg')
        with pytest.raises(ValueError, match="'seed'.*model, bs, lr"): best_by(df, 'seed')

    def test_runs_without_accuracy(self):
        d = toy([('m', 4, .1, .2), ('m', 8, .1, np.nan), ('m', 8, .1, .6), ('m', 16, .1, np.nan)],
                seed=[0, 0, 1, 0], status=['ok', 'diverged', 'ok', 'diverged'])
        assert crosstab_acc(d).loc[.1, 8] == .6 and np.isnan(crosstab_acc(d).loc[.1, 16])
        assert inflection_table(d).loc[.1, 'm'] == 8
        assert len(top_runs(d)) == 2 and cells(d).n_diverged.tolist() == [0, 1, 1]

    def test_accuracy_of_a_run_that_diverged_does_not_count(self):
        d = toy([('m', 4, .1, .2), ('m', 8, .1, .9)], status=['ok', 'diverged'])
        assert best_run(d).bs == 4 and np.isnan(crosstab_acc(d).loc[.1, 8])

    def test_nothing_left(self):
        d = toy([('m', 4, .1, np.nan), ('m', 8, .1, np.nan)], status='diverged')
        assert crosstab_acc(d).isna().all(axis=None) and crosstab_acc(d).shape == (1, 2)
        assert inflection_table(d).isna().all(axis=None) and inflection_table(d, detail=True).loc[.1, 'm'] == 'diverged'
        assert best_by(d, 'bs').isna().all() and top_runs(d).empty and best_run(d).isna().all()
        for t in (best_run(d), crosstab_acc(d), inflection_table(d), best_by(d, 'lr')): printable(t)

    @pytest.mark.parametrize('status', ['oom', 'failed', 'untrainable'])
    def test_broken_runs_test_nothing(self, status):
        d = toy([('m', 4, .1, .2), ('m', 8, .1, .6), ('m', 16, .1, np.nan)], status=['ok', 'ok', status])
        assert inflection_table(d, detail=True).loc[.1, 'm'] == 'at the edge (8)'
        assert inflection_table(d[2:], detail=True).loc[.1, 'm'] == 'not tested'

    def test_blank_accuracy_tests_nothing(self):
        d = toy([('m', 4, .1, .2), ('m', 8, .1, .6), ('m', 16, .1, np.nan)])
        assert inflection_table(d, detail=True).loc[.1, 'm'] == 'at the edge (8)'

    def test_one_cell(self):
        d = toy([('m', 8, .1, .5)])
        assert inflection_table(d).isna().all(axis=None) and inflection_table(d).m.dtype == 'Int64'
        assert inflection_table(d, detail=True).loc[.1, 'm'] == 'one cell'

    def test_ties(self):
        d = toy([('b', 4, .1, .2), ('b', 8, .1, .6), ('b', 16, .1, .6), ('b', 32, .1, .1), ('a', 8, .1, .6)])
        assert inflection_table(d).loc[.1, 'b'] == 8
        assert best_by(d, 'bs').index.tolist() == [8, 16, 4, 32]
        assert best_by(d, 'model').index.tolist() == ['a', 'b']
        assert top_runs(d, 3).run.tolist() == ['run1', 'run4', 'run2']

    def test_ties_of_means_that_rounding_tells_apart(self):
        d = toy([('m', 4, .1, 0), ('m', 8, .1, .15), ('m', 8, .1, .15), ('m', 16, .1, .1), ('m', 16, .1, .2),
                 ('m', 32, .1, 0)], seed=range(6))
        assert inflection_table(d).loc[.1, 'm'] == 8

    def test_order_of_rows(self, df):
        mixed = df.sample(frac=1, random_state=1)
        for model in CROSSTABS: pd.testing.assert_frame_equal(crosstab_acc(mixed, model), crosstab_acc(df, model))
        pd.testing.assert_frame_equal(inflection_table(mixed)[list(CROSSTABS)], inflection_table(df)[list(CROSSTABS)], check_names=False)
        for key in ('model', 'bs', 'lr'): pd.testing.assert_series_equal(best_by(mixed, key), best_by(df, key))

    def test_models_in_order_of_appearance(self):
        assert inflection_table(toy([('z', 8, .1, .5), ('a', 8, .1, .5)])).columns.tolist() == ['z', 'a']

    def test_input_is_left_alone(self, df):
        d = df.copy()
        for f in (cells, inflection_table, top_runs, best_run, printable): f(d)
        crosstab_acc(d, 'xresnet18'), best_by(d, 'lr'), load_runs(d)
        pd.testing.assert_frame_equal(d, df)

    def test_repeated_index(self, df):
        d = pd.concat([df[:36], load_runs('2025-06-01')])
        assert cells(d).n.sum() == 46


class TestPrintable:
    def test_numbers_stay_in_the_table(self, df):
        t = crosstab_acc(df, 'xresnet18')
        printable(t)
        assert t.index.tolist() == [1e-4, 1e-3, 1e-2] and t.index.name == 'lr' and t.columns.name == 'bs'

    def test_lr_wherever_it_is(self, df):
        t = crosstab_acc(df, 'xresnet18')
        assert printable(t).index.tolist() == printable(t.T).columns.tolist() == ['1e-4', '1e-3', '1e-2']
        assert printable(df).lr.iloc[0] == '1e-4'
        assert printable(best_run(df)).lr.tolist() == ['1e-3']

    def test_dash(self, df):
        assert printable(inflection_table(df)).loc['1e-6'].tolist() == ['–']*3


rows = st.lists(st.tuples(st.sampled_from('ab'), st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([.1, .01]),
                          st.sampled_from([None, .1, .2, .3, .4]), st.sampled_from(['ok', 'diverged', 'oom'])), min_size=1, max_size=30)

def frame(rows):
    d = toy([(m, bs, lr, acc if status == 'ok' else None) for m,bs,lr,acc,status in rows],
            status=[o[-1] for o in rows], seed=range(len(rows)))
    return d[(d.status != 'ok') | d.acc.notna()]

def brute(d, model, lr, bs):
    "Mean accuracy of a cell by a loop; None if it was not tested, NaN if it has no accuracy"
    here = [r for r in d.itertuples() if (r.model, r.lr, r.bs) == (model, lr, bs) and r.status in ('ok', 'diverged')]
    accs = [r.acc for r in here if r.status == 'ok']
    return None if not here else sum(accs)/len(accs) if accs else float('nan')

class TestBruteForce:
    @given(rows)
    @settings(max_examples=60, deadline=None)
    def test_crosstab(self, rows):
        d = frame(rows)
        for model in set(d.model):
            t = crosstab_acc(d, model)
            assert sorted(t.index) == list(t.index) and sorted(t.columns) == list(t.columns)
            for lr in t.index:
                for bs in t.columns:
                    v = brute(d, model, lr, bs)
                    assert t.loc[lr, bs] == pytest.approx(np.nan if v is None else v, nan_ok=True)

    @given(rows)
    @settings(max_examples=60, deadline=None)
    def test_inflection(self, rows):
        d = frame(rows)
        if d.empty: return
        t = inflection_table(d)
        for model in set(d.model):
            for lr in set(d.lr):
                tested = {bs: v for bs in (1, 2, 4, 8, 16) if (v := brute(d, model, lr, bs)) is not None}
                top = max((v for v in tested.values() if v == v), default=None)
                best = top is not None and min(bs for bs,v in tested.items() if abs(v - top) < 1e-9)
                inside = best and min(tested) < best < max(tested)
                assert (t.loc[lr, model] == best) if inside else pd.isna(t.loc[lr, model])


def test_import_is_light():
    heavy = 'torch', 'fastai', 'wandb', 'matplotlib', 'scipy', 'pandera'
    code = f'import sys, bs_lr_study.analysis; print([m for m in {heavy} if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'

some_rows = st.lists(st.tuples(st.sampled_from('ab'), st.sampled_from([1, 2, 4, 8]), st.one_of(st.none(), st.integers(0, 3))), min_size=1)

@given(some_rows, st.booleans())
@settings(max_examples=60, deadline=None)
def test_best_rows_by_brute_force(rows, lowest):
    d = pd.DataFrame(rows, columns=['way', 'bs', 'y']).astype(dict(y=float)).drop_duplicates(['way', 'bs'])
    found = best_rows(d, 'bs', ['way'], 'y', lowest).set_index('way')
    for way,o in d.groupby('way'):
        known = [((y if lowest else -y), bs) for bs,y in zip(o.bs, o.y) if not np.isnan(y)]
        assert (way in found.index) == bool(known)
        if not known: continue
        bs = min(known)[1]
        where = 'one cell' if len(o) == 1 else 'at the edge' if bs in (o.bs.min(), o.bs.max()) else 'inside'
        assert (found.bs[way], found['where'][way]) == (bs, where)
