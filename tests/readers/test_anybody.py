"Tables of anybody: kinds of files that were once refused or read wrong, each rebuilt here, and what is right"
import itertools, json, os, re, subprocess, sys, warnings
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from bs_lr_study.analysis import by_setting, cells, comparable, crosstab_acc, load_runs, metric_of, optima
from bs_lr_study.analysis.settings import settings_of
from bs_lr_study.readers.ask import AskError, for_shell, parse_columns
from bs_lr_study.readers.rates import is_search

ACC = dict(zip(itertools.product((16, 32, 64), (1e-4, 1e-3, 1e-2)), (.8590, .9099, .8622, .8805, .9309, .8770, .8618, .9134, .8587)))
GRID = [(bs, lr, acc) for (bs,lr),acc in ACC.items()]

def put(tmp_path, rows, name='runs.csv'):
    path = tmp_path/name
    pd.DataFrame(rows).to_csv(path, index=False)
    return path

def quiet(src, **kw):
    "What is read, with no word of warning"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return load_runs(src, **kw)

def values(df, name='acc'): return {(r.bs, r.lr): r[name] for _,r in df.iterrows()}

def exported(**more):
    "As the web app of W&B saves a grid"
    head = dict(State='finished')
    return [dict(Name=f'grey-wave-{i}', **head, Runtime=60 + i) | {k: v(bs, lr, acc, i) for k,v in more.items()}
            for i,(bs,lr,acc) in enumerate(GRID, 1)]

BS,LR,VALUE = lambda *o: o[0], lambda *o: o[1], lambda *o: o[2]


class TestOtherSettings:
    def test_tables_refuse_and_name_them(self, tmp_path):
        rows = [dict(Name=f'r{i}', State='finished', Runtime=60 + i, batch_size=bs, lr=lr, model='cnn', optimizer=opt, weight_decay=wd,
                     val_acc=round(acc - .3*(opt == 'sgd') - wd, 4))
                for i,((bs,lr,acc),opt,wd) in enumerate(itertools.product(GRID, ('adam', 'sgd'), (0, .1)))]
        df = quiet(put(tmp_path, rows))
        said = r'differ in optimizer \(adam, sgd\); weight_decay \(0, 0.1\)'
        for table in (cells, crosstab_acc, optima):
            with pytest.raises(ValueError, match=said): table(df)
        sets = by_setting(df)
        assert len(sets) == 4 and all(values(o)[32, 1e-3] == max(values(o).values()) for o in sets.values())
        assert all(cells(o).n.eq(1).all() and cells(o)['std'].isna().all() for o in sets.values())
        one = quiet(put(tmp_path, rows), where=dict(optimizer='adam', weight_decay='0'))
        assert values(one) == ACC and settings_of(one) == []

    def test_no_run_to_run_error_is_made_of_them(self, tmp_path):
        from bs_lr_study.analysis.replicates import run_error, run_sd
        df = quiet(pd.DataFrame([dict(bs=bs, lr=lr, acc=acc - .3*k, dropout=.1*k) for bs,lr,acc in GRID for k in range(2)]))
        for f in (run_sd, run_error):
            with pytest.raises(ValueError, match=r'differ in dropout \(0, 0.1\)'): f(df)


class TestWithoutAModel:
    rows = exported(batch_size=BS, learning_rate=LR, epochs=lambda *o: 10, val_accuracy=VALUE)

    @pytest.mark.parametrize('columns', [None, dict(model=None)])
    def test_it_is_one_model(self, tmp_path, columns):
        df = quiet(put(tmp_path, self.rows), columns=columns)
        assert values(df) == ACC and df.model.nunique() == 1 and df.status.eq('ok').all()

    def test_from_a_shell(self): assert parse_columns(['model=none']) == dict(model=None)


class TestPerCent:
    rows = exported(batch_size=BS, learning_rate=LR, arch=lambda *o: 'cnn', val_accuracy=lambda *o: round(100*o[2], 2))

    def test_it_is_read_as_such_aloud(self, tmp_path):
        with pytest.warns(UserWarning, match=r'acc was read as per cent, since it runs from 85.87 to 93.09'):
            assert values(load_runs(put(tmp_path, self.rows))) == pytest.approx(ACC, abs=1e-12)

    def test_in_doubt_somebody_has_to_say(self, tmp_path):
        rows = [r | dict(val_accuracy=.1 if i == 0 else r['val_accuracy']) for i,r in enumerate(self.rows)]
        with pytest.raises(AskError, match="or per cent in all rows; if all of it is per cent, say unit='per cent'") as e:
            load_runs(put(tmp_path, rows))
        assert for_shell(e.value).endswith("say --unit 'per cent'")
        got = values(quiet(put(tmp_path, rows), unit='per cent'))
        assert got[16, 1e-4] == .001 and got[32, 1e-3] == pytest.approx(.9309)

    @pytest.mark.parametrize('name', ['val_loss', 'mse', 'perplexity', 'rmse', 'wer'])
    def test_it_is_never_said_of_a_loss(self, tmp_path, name):
        rows = [dict(bs=bs, lr=lr) | {name: 100*acc} for bs,lr,acc in GRID]
        assert values(quiet(put(tmp_path, rows)), name)[16, 1e-4] == pytest.approx(85.9)

    def test_a_name_that_says_it_needs_no_word(self, tmp_path):
        rows = [dict(bs=bs, lr=lr, acc_pct=acc) for bs,lr,acc in GRID] # all below one per cent
        assert values(quiet(put(tmp_path, rows)))[16, 1e-4] == pytest.approx(.00859)


class TestPlainTables:
    @pytest.mark.parametrize('order', itertools.permutations(['batch_size', 'learning_rate', 'accuracy']))
    @pytest.mark.parametrize('more', [{}, dict(seed=7), dict(name='x'), dict(model='cnn')], ids=str)
    def test_the_usual_names_in_any_order(self, tmp_path, order, more):
        rows = [dict(batch_size=bs, learning_rate=lr, accuracy=acc, **{k: f'{v}{i}' if k == 'name' else v for k,v in more.items()})
                for i,(bs,lr,acc) in enumerate(GRID)]
        df = quiet(put(tmp_path, [{k: r[k] for k in (*order, *more)} for r in rows]))
        assert values(df) == ACC and df.run.is_unique
        assert df.run[0] == ('x0' if 'name' in more else 'row 0')

    def test_the_flat_table_of_the_api(self, tmp_path):
        rows = [dict(batch_size=bs, learning_rate=lr, arch='cnn', _runtime=60, _step=9, _timestamp=1.7e9, _wandb="{'runtime': 60}",
                     val_accuracy=acc, name=f'grey-wave-{i}', id=f'r{i}') for i,(bs,lr,acc) in enumerate(GRID)]
        df = quiet(put(tmp_path, rows))
        assert values(df) == ACC and df.run.tolist() == [f'grey-wave-{i}' for i in range(9)]

    def test_a_history_is_no_table_of_runs(self, tmp_path):
        rows = [dict(_step=i, _runtime=i, val_acc=.1*i) for i in range(5)]
        with pytest.raises(ValueError, match='history of one run of W&B, one row per step.*table of runs'): load_runs(put(tmp_path, rows))
        rows = [dict(epoch=i, step=10*i, val_acc=.1*i) for i in range(5)]
        with pytest.raises(ValueError, match='history of one run, one row per step'): load_runs(put(tmp_path, rows))

    def test_of_histories_the_last_rows_count(self, tmp_path):
        rows = [dict(bs=bs, lr=lr, epoch=e, val_acc=acc - .1*(4 - e)) for bs,lr,acc in GRID for e in range(5)]
        with pytest.warns(UserWarning, match='epoch counts up within 9 runs: of their 45 rows the last'):
            assert values(load_runs(put(tmp_path, rows))) == pytest.approx(ACC)

    @pytest.mark.parametrize('columns,unit',
        [(['batch_tokens'], 'tokens'), (['batch_size_seconds'], 'seconds'), (['batch_duration'], 'seconds')])
    def test_batches_of_seconds_or_tokens(self, tmp_path, columns, unit):
        rows = [{columns[0]: bs + .5, 'lr': lr, 'val_loss': 1 - acc} for bs,lr,acc in GRID]
        df = quiet(put(tmp_path, rows))
        assert df.bs.tolist() == [bs + .5 for bs,*_ in GRID] and df.attrs['bs_unit'] == unit
        assert cells(df).bs.nunique() == 3 and optima(df).bs.tolist() == [32.5]*3

    def test_the_batch_of_an_update(self, tmp_path):
        rows = [dict(per_device_train_batch_size=bs//4, gradient_accumulation_steps=2, world_size=2, learning_rate=lr, eval_loss=1 - acc)
                for bs,lr,acc in GRID]
        df = quiet(put(tmp_path, rows))
        assert df.bs.tolist() == [bs for bs,*_ in GRID] and [*by_setting(df)] == ['']
        rows = [dict(global_batch_size=bs, train_batch_size=bs//2, per_device_eval_batch_size=bs, lr=lr, val_loss=1 - acc)
                for bs,lr,acc in GRID]
        df = quiet(put(tmp_path, rows))
        assert df.bs.tolist() == [bs for bs,*_ in GRID] and [*by_setting(df)] == ['']
        rows = [dict(batch_size=bs//2, accumulate_grad_batches=2, learning_rate=lr, eval_loss=1 - acc) for bs,lr,acc in GRID]
        said = r"say columns=dict\(bs='batch_size\*accumulate_grad_batches'\)"
        with pytest.warns(UserWarning, match=said): load_runs(put(tmp_path, rows))
        df = quiet(put(tmp_path, rows), columns=parse_columns('bs=batch_size*accumulate_grad_batches'))
        assert df.bs.tolist() == [bs for bs,*_ in GRID]


class TestTheSameRunsTwice:
    rows = [dict(bs=bs, lr=lr, seed=s, val_loss=1 - acc + .001*s) for (bs,lr,acc),s in itertools.product(GRID, range(3))]

    @pytest.mark.parametrize('key', ['seed', None])
    def test_whole_tables(self, tmp_path, key):
        df = pd.DataFrame(self.rows)
        if key != 'seed': df = df.drop(columns='seed')
        path = put(tmp_path, pd.concat([df, df]).sample(frac=1, random_state=0))
        with pytest.warns(UserWarning, match='27 of 54 rows repeat another'): got = load_runs(path)
        assert len(got) == 27 and cells(got)['std'].tolist() == pytest.approx([.001]*9)

    @pytest.mark.parametrize('shuffled', [False, True])
    def test_histories_that_nothing_tells_apart(self, tmp_path, shuffled):
        rows = [o | dict(step=100*i, val_loss=o['val_loss'] + .1*(3 - i)) for o in self.rows for i in (1, 2, 3)]
        df = pd.DataFrame(rows).drop(columns='seed')
        with pytest.warns(UserWarning, match='step counts up within 27 runs'):
            got = load_runs(put(tmp_path, df.sample(frac=1, random_state=0) if shuffled else df))
        assert len(got) == 27 and cells(got).val_loss.tolist() == pytest.approx(cells(load_runs(pd.DataFrame(self.rows))).val_loss.tolist())

    def test_equal_results_of_different_runs_stay(self, tmp_path):
        rows = [dict(bs=bs, lr=lr, val_acc=.1 if lr > .005 else acc) for (bs,lr,acc),_ in itertools.product(GRID, range(2))]
        rows[0]['val_acc'] += .01
        assert len(quiet(put(tmp_path, rows))) == 18
        assert len(quiet(put(tmp_path, [o | dict(seed=i) for i,o in enumerate(rows)]))) == 18


class TestHowRunsEnded:
    trials = [dict(number=i, value=v, params_batch_size=bs, params_lr=lr, state=state) for i,(bs,lr,v,state) in enumerate(
        [(16, 1e-4, .8559, 'COMPLETE'), (16, 1e-4, None, 'FAIL'), (16, 1e-3, .909, 'COMPLETE'), (16, 1e-3, .9075, 'COMPLETE'),
         (32, 1e-4, .8821, 'COMPLETE'), (32, 1e-3, .9318, 'COMPLETE'), (64, 1e-4, .8559, 'COMPLETE'), (64, 1e-4, .3446, 'PRUNED'),
         (64, 1e-3, .9047, 'COMPLETE'), (64, 1e-3, .3639, 'RUNNING')])]

    @pytest.mark.parametrize('columns', [dict(acc='value'), dict(run='number', acc='value', bs='params_batch_size', lr='params_lr'),
                                         dict(run='number', acc='value', status='state')])
    def test_only_what_is_complete_has_a_result(self, columns):
        df = quiet(pd.DataFrame(self.trials), columns=columns)
        assert df.status.tolist() == ['ok', 'failed'] + ['ok']*5 + ['pruned', 'ok', 'running']
        table = crosstab_acc(df)
        assert table.loc[1e-4].tolist() == [.8559, .8821, .8559] and table.loc[1e-3].tolist() == pytest.approx([.90825, .9318, .9047])
        assert df.message[7] == 'status: pruned at 0.3446'

    def test_a_value_has_to_be_explained(self, tmp_path):
        with pytest.raises(AskError, match="metric='value', lower=True") as e: load_runs(put(tmp_path, self.trials))
        assert '--metric value --lower true' in for_shell(e.value)
        assert optima(quiet(put(tmp_path, self.trials), metric='value', lower=False)).bs.tolist() == [32, 32]
        assert optima(quiet(put(tmp_path, self.trials), metric='value', lower=True)).bs.tolist() == [16, 64]

    @pytest.mark.parametrize('word,status', [
        ('FINISHED', 'ok'), ('FAILED', 'failed'), ('KILLED', 'failed'), ('TERMINATED', 'ok'), ('ERROR', 'failed'),
            ('EarlyStopped', 'stopped'),
        ('SCHEDULED', 'running'), ('completed', 'ok'), ('TrialState.PRUNED', 'pruned'), ('out of memory', 'oom')])
    def test_words_of_all_tools(self, tmp_path, word, status):
        rows = [{'run_id': f'{i:032x}', 'status': word if i == 4 else 'FINISHED', 'metrics.val_acc': acc, 'params.lr': lr,
                 'params.batch_size': bs, 'params.model': 'cnn', 'tags.mlflow.runName': f'enc_{i}'} for i,(bs,lr,acc) in enumerate(GRID)]
        df = quiet(put(tmp_path, rows))
        assert df.status[4] == status and df.run[4] == 'enc_4' and (df.acc[4] == .9309 if status == 'ok' else np.isnan(df.acc[4]))
        assert cells(df).n.sum() == 8 + (status == 'ok')

    def test_an_infinite_loss_has_diverged(self, tmp_path):
        rows = [dict(bs=bs, lr=lr, val_loss='inf' if lr > 1e-3 else 1 - acc) for bs,lr,acc in GRID]
        df = quiet(put(tmp_path, rows))
        assert df.status.eq('diverged').tolist() == [lr > 1e-3 for _,lr,_ in GRID] and df.val_loss.isna().sum() == 3


class TestMetrics:
    def test_what_names_itself(self, tmp_path):
        df = quiet(put(tmp_path, exported(bs=BS, lr=LR, model=lambda *o: 'cnn', **{'eval/top1': VALUE})))
        assert values(df) == ACC and metric_of(df).label == 'accuracy'

    def test_nothing_names_itself(self, tmp_path):
        path = put(tmp_path, exported(bs=BS, lr=LR, quality=VALUE))
        with pytest.raises(AskError, match=r"metric='quality', lower=True") as e: load_runs(path)
        assert '--metric quality --lower true' in for_shell(e.value)
        assert values(quiet(path, columns=dict(acc='quality'))) == ACC
        assert values(quiet(path, metric='quality', lower=False), 'quality') == ACC

    def test_of_several_the_validation_one_is_proposed(self, tmp_path):
        rows = [dict(bs=bs, lr=lr, train_loss=.1, train_f1=.9, test_f1=acc, val_f1=acc - .01, val_loss=1 - acc) for bs,lr,acc in GRID]
        with pytest.raises(AskError, match=r"val_f1, val_loss, test_f1; say which it is: metric='val_f1'"): load_runs(put(tmp_path, rows))
        df = quiet(put(tmp_path, rows), metric='val_loss')
        assert metric_of(df).lower and {'train_loss', 'test_f1', 'val_f1'} <= set(df) and optima(df).bs.tolist() == [32]*3
        assert metric_of(quiet(put(tmp_path, rows), metric='F1')).name == 'val_f1'

    def test_training_measures_are_never_taken(self, tmp_path):
        rows = [dict(bs=bs, lr=lr, train_loss=1 - acc) for bs,lr,acc in GRID]
        with pytest.raises(AskError, match='train_loss is of the training data'): load_runs(put(tmp_path, rows))
        assert metric_of(quiet(put(tmp_path, rows), metric='train_loss')).lower

    def test_a_loaded_frame_knows_its_metric(self, tmp_path):
        df = quiet(put(tmp_path, [dict(bs=bs, lr=lr, val_loss=1 - acc, test_loss=2 - acc) for bs,lr,acc in GRID]), metric='test_loss')
        pd.testing.assert_frame_equal(quiet(df), df)
        assert quiet(df).attrs['metric'] == df.attrs['metric']


class TestLearningRates:
    def test_a_continuum_is_a_random_search(self, tmp_path):
        rng = np.random.default_rng(0)
        rows = [dict(run=f't{i}', acc=.9 - .05*abs(np.log10(lr) + 3), model='cnn', bs=int(bs), lr=lr)
                for i,(bs,lr) in enumerate(zip(rng.choice([16, 32, 64], 40), 10**rng.uniform(-5, -1, 40)))]
        df = quiet(put(tmp_path, rows))
        assert is_search(df) and df.lr.tolist() == [r['lr'] for r in rows]
        assert not is_search(quiet(pd.DataFrame([dict(bs=bs, lr=lr, acc=acc) for bs,lr,acc in GRID])))
        from bs_lr_study.readers.rates import bin_rates
        from bs_lr_study.report import compose
        text = compose.tables(df)
        assert 'cnn: a random search, 40 learning rates in 40 runs' in text and 'were not run' not in text
        assert not re.search(r'\d\.\d{3,}e-', text) # three digits
        assert [p.name for p in compose.save_plots(df, tmp_path)] == ['search-cnn.png']
        page = compose.report(df)
        shown = [o for p in page.parts for o in p.body]
        assert [o.kind for o in shown if getattr(o, 'cross', False)] == []
        with pytest.raises(ValueError, match='no cell has two runs'): # those of a bin are no replicates
            from bs_lr_study.analysis.replicates import run_sd
            run_sd(bin_rates(df, 4))
        assert cells(bin_rates(df, 4)).lr.nunique() == 4

    def test_rounding_makes_no_rows(self, tmp_path):
        rows = [dict(bs=bs, lr=float(np.float32(lr)) if bs == 16 else lr*1.002 if bs == 32 else lr, acc=acc) for bs,lr,acc in GRID]
        with pytest.warns(UserWarning, match='agree within half a per cent count as one'): df = load_runs(put(tmp_path, rows))
        assert sorted(df.lr.unique()) == [1e-4, 1e-3, 1e-2]

    @pytest.mark.parametrize('end', [0, 1e-8, 4e-6])
    def test_where_a_schedule_ended_is_no_peak(self, tmp_path, end):
        rows = [dict(learning_rate=lr, lr=end*lr*(1 + i/10), bs=bs, val_acc=acc) for i,(bs,lr,acc) in enumerate(GRID)]
        with pytest.warns(UserWarning, match='learning_rate was read as the peak learning rate, and lr as where schedules ended'):
            assert values(load_runs(put(tmp_path, rows))) == ACC
        rows = [{k: v for k,v in r.items() if k != 'lr'} | {'train/lr': r['lr'], 'lr-AdamW': r['lr']} for r in rows]
        df = quiet(put(tmp_path, rows))
        assert values(df) == ACC and comparable(df) is df


STATE = dict(epoch=3., log_history=[dict(epoch=1., learning_rate=1e-4, step=10)])

@pytest.mark.parametrize('name', ['state.json', 'state.csv', 'state'])
@pytest.mark.parametrize('text', [json.dumps(STATE, indent=1), '[1, 2]', '\n {broken'], ids=['state', 'list', 'broken'])
def test_json_is_called_so(tmp_path, text, name):
    (tmp_path/name).write_text(text)
    with pytest.raises(ValueError, match='JSON') as e: load_runs(tmp_path/name)
    assert 'column' not in str(e.value)


class TestGrids:
    "A file of models, batch sizes, learning rates, seeds and one measure, as benchmarks of hyperparameters have it"
    @pytest.fixture(scope='class')
    def grid(self):
        rng = np.random.default_rng(1)
        bss,lrs = 2**np.arange(2, 8), 10.**np.arange(-5, 0)
        rows = [dict(model=f'mlp{m}', bs=bs, lr=lr, seed=s) for m in range(3) for bs in bss for lr in lrs for s in range(5)]
        df = pd.DataFrame(rows)
        peak = df.model.str[3:].astype(int) + 4
        return df.assign(acc=(.9 - .02*(np.log2(df.bs) - peak)**2 - .03*(np.log10(df.lr) + 3)**2 + rng.normal(0, .004, len(df))).clip(0, 1))

    @pytest.mark.parametrize('measure', ['acc', 'error', 'mse'])
    def test_the_best_cells_are_the_true_ones(self, tmp_path, grid, measure):
        flat = grid if measure == 'acc' else grid.drop(columns='acc').assign(**{measure: (1 - grid.acc)*(1
            if measure == 'error' else 1e-3)})
        flat.to_csv(tmp_path/'grid.csv', index=False)
        df = quiet(tmp_path/'grid.csv')
        m = metric_of(df)
        assert m.name == measure and m.lower == (measure != 'acc') and settings_of(df) == []
        means = flat.groupby(['model', 'lr', 'bs'])[measure].mean()
        for model,of_model in means.groupby('model'):
            best = (of_model.idxmin() if m.lower else of_model.idxmax())[1:]
            c = cells(df[df.model == model])
            top = c.sort_values(measure, ascending=m.lower).iloc[0]
            assert (top.lr, top.bs) == best and c.n.eq(5).all()
        rows = optima(df).set_index(['model', 'lr']).bs
        want = means.groupby(['model', 'lr']).agg(lambda s: s.idxmin()[2] if m.lower else s.idxmax()[2])
        assert rows.astype(int).to_dict() == want.astype(int).to_dict()


# Columns of any kind: what is a setting, and what is not

def of_settings(rng, n, name):
    "Values of a setting: few, and each in several runs"
    kinds = dict(words=['adam', 'sgd', 'lion'], numbers=[0., .1, .25], whole=[1, 2, 4], switches=[True, False])
    return rng.choice(kinds[name], n)

MEASURED = dict(
    runtime=lambda rng, n: rng.uniform(50, 60, n), train_loss=lambda rng, n: rng.uniform(0, 1, n),
    gpu_util=lambda rng, n: rng.integers(90, 100, n), host=lambda rng, n: rng.choice(['a1', 'a2'], n),
    grad_norm=lambda rng, n: rng.lognormal(0, 1, n), created=lambda rng, n: [f'2026-11-{i%28 + 1:02d}T12:00:{i%60:02d}' for i in range(n)],
    something=lambda rng, n: rng.normal(0, 1, n), slot=lambda rng, n: [f'node-{i}:{rng.integers(9)}' for i in range(n)],
    best_val_acc=lambda rng, n: rng.choice([.5, .6, .7], n), _step=lambda rng, n: rng.integers(5, 9, n),
        wall_time_s=lambda rng, n: rng.integers(5, 9, n))

@given(st.integers(0, 10**6), st.sampled_from(['words', 'numbers', 'whole', 'switches', None]),
    st.sampled_from(['knob', 'weight_decay', 'Optimizer', 'cfg.x']),
       st.lists(st.sampled_from(sorted(MEASURED)), unique=True, max_size=4), st.integers(1, 4), st.booleans())
@settings(max_examples=int(os.environ.get('BSLR_FUZZ', 60)), deadline=None, suppress_health_check=list(HealthCheck))
def test_settings_are_told_from_what_was_measured(seed, kind, name, measured, n_seeds, two_models):
    rng = np.random.default_rng(seed)
    rows = [dict(model=f'm{m}', bs=bs, lr=lr, seed=s, val_acc=rng.uniform(.5, .9))
            for m in range(1 + two_models) for bs in (8, 16, 32) for lr in (.01, .1) for s in range(n_seeds)]
    df = pd.DataFrame(rows)
    if kind: df[name] = of_settings(rng, len(df), kind)
    for o in measured: df[o] = MEASURED[o](rng, len(df))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # that runs were of different length
        runs = load_runs(df[rng.permutation(list(df))])
    varies = bool(kind) and df[name].nunique() > 1
    follows = varies and kind in ('numbers', 'whole') and all(df.groupby(['model', o])[name].nunique().max() > 1
        for o in ('bs', 'lr')) is False
    of_model = varies and two_models and df.groupby('model')[name].nunique().max() == 1
    if follows or of_model: return # said in the notebook
    assert settings_of(runs) == [name]*varies
    if varies:
        with pytest.raises(ValueError, match=re.escape(f'differ in {name} (')): cells(runs)
    else: assert cells(runs).n.eq(n_seeds).all()


# Whole tables, in the new forms: a right answer or a clear error

NAMES = dict(bs=['bs', 'batch_size', 'Batch Size', 'params_batch_size', 'config/batch_size', 'BatchSize'],
             lr=['lr', 'learning_rate', 'params.lr', 'learningRate', 'max_lr'], model=['model', 'arch', None, None],
             seed=['seed', 'random_seed', None], run=['run', 'name', 'trial_id', None, None])
MEASURES = dict(acc=(False, 1), val_acc=(False, 1), accuracy=(False, 100), test_acc=(False, 1), val_loss=(True, 7),
    error=(True, 1), mse=(True, 1e-4),
                perplexity=(True, 900), r2=(False, 1), f1=(False, 1), val_auc=(False, 100))
CORRUPT = [None]*6 + ['bs zero', 'lr text', 'no bs', 'no metric', 'one word', 'negative lr', 'twice']

@given(st.fixed_dictionaries({k: st.sampled_from(v) for k,v in NAMES.items()}), st.sampled_from(sorted(MEASURES)), st.sampled_from(CORRUPT),
       st.sampled_from(['state', 'status', None]), st.integers(0, 10**6))
@settings(max_examples=int(os.environ.get('BSLR_FUZZ', 200)), deadline=None, suppress_health_check=list(HealthCheck))
def test_any_table_is_right_or_refused(tmp_path_factory, names, measure, corrupt, state, seed):
    rng = np.random.default_rng(seed)
    lower,top = MEASURES[measure]
    want = [dict(run=f'job{i}', model=f'm{m}', bs=bs, lr=lr, seed=s, y=round(float(rng.uniform(.3, .9)), 6))
            for i,(m,bs,lr,s) in enumerate(itertools.product(range(rng.integers(1, 3)), (8, 16, 24), (1e-3, .02),
                range(rng.integers(1, 3))))]
    words = ['COMPLETE', 'FINISHED', 'finished', 'TERMINATED', 'ok']
    good = rng.random(len(want)) < .8
    rows = [{names[k]: r[k] for k in NAMES if names[k]} | {measure: float(f"{r['y']*top:.12g}")} for r in want]
    if state: rows = [r | {state: rng.choice(words) if ok else rng.choice(['FAILED', 'PRUNED', 'RUNNING', 'crashed'])} for r,
        ok in zip(rows, good)]
    k = int(rng.integers(len(rows)))
    if corrupt == 'bs zero': rows[k][names['bs']] = 0
    if corrupt == 'lr text': rows[k][names['lr']] = '0,01'
    if corrupt == 'negative lr': rows[k][names['lr']] = -.1
    if corrupt == 'one word': rows[k][measure] = 'n.a.?'
    if corrupt == 'no bs': rows = [{c: v for c,v in r.items() if c != names['bs']} for r in rows]
    if corrupt == 'no metric': rows = [{c: v for c,v in r.items() if c != measure} for r in rows]
    cols = list(rng.permutation(list(rows[0])))
    df = pd.DataFrame(rows)[cols]
    path = tmp_path_factory.getbasetemp()/'any.csv'
    txt = df.to_csv(index=False)
    if corrupt == 'twice': txt = txt.replace(names['bs'], names['lr'], 1) if ',' in txt else txt
    path.write_text(txt)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: got = load_runs(path)
        except ValueError as e:
            assert corrupt, f'refused, though it is right: {e}'
            assert len(str(e)) > 30 and re.search(r'row \d|column|metric', str(e)) and for_shell(e), str(e)
            return
    assert not corrupt, f'taken, though it is wrong: {corrupt}'
    several = names['model'] is None and len({r['model'] for r in want}) > 1
    m = got.attrs['metric']
    assert m.lower == lower and len(got) == len(want)
    if state is None: good[:] = True
    scale = top if lower or measure == 'r2' else 1
    for r,ok,(_,row) in zip(want, good, got.iterrows()):
        assert (row.bs, row.lr) == (r['bs'], r['lr']) and (several or names['model'] is None or row.model == r['model'])
        assert np.isnan(row[m.name]) if not ok else row[m.name] == pytest.approx(r['y']*scale, rel=1e-9)
        if names['run']: assert row.run == r['run']
        if names['seed']: assert row.seed == r['seed']

def test_both_forms_are_written_where_they_are_met(tmp_path):
    path = put(tmp_path, exported(bs=BS, lr=LR, quality=VALUE))
    code = f'from bs_lr_study.cli import main; import sys; sys.argv = ["bslr", "report", {str(path)!r}]; main()'
    told = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path).stderr
    assert '--metric quality --lower' in told and 'lower=True' not in told

def test_reading_runs_needs_no_framework(tmp_path):
    path = put(tmp_path, [dict(bs=bs, lr=lr, acc=acc) for bs,lr,acc in GRID])
    code = (f'from bs_lr_study.analysis import cells, load_runs; import sys; cells(load_runs({str(path)!r})); '
            'print([o for o in ("torch", "fastai", "wandb", "pandera", "matplotlib") if o in sys.modules])')
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'

def test_several_sources_are_one_table(tmp_path):
    a = put(tmp_path, [dict(id=i, bs=bs, lr=lr, val_loss=1 - acc, seed=0) for i,(bs,lr,acc) in enumerate(GRID)], 'a.csv')
    b = put(tmp_path, [dict(id=i, bs=bs, lr=lr, val_loss=1 - acc, seed=1) for i,(bs,lr,acc) in enumerate(GRID)], 'b.csv')
    both = load_runs([a, b])
    assert len(both) == 18 and metric_of(both).name == 'val_loss' and cells(both).n.eq(2).all()
    c = put(tmp_path, [dict(bs=bs, lr=lr, acc=acc) for bs,lr,acc in GRID], 'c.csv')
    with pytest.raises(ValueError, match='about different metrics, val_loss in .*a.csv, acc in .*c.csv'): load_runs([a, c])

SHARED = Path(__file__).parents[3]/'shared'

@pytest.mark.skipif(not (SHARED/'cases').exists(), reason='the cases are not here; all of them are rebuilt above')
class TestTheCasesThemselves:
    "What `bslr report` prints of each, setting by setting"
    def printed(self, case, **asked):
        from bs_lr_study.cli.reports import read_runs
        from bs_lr_study.report.compose import tables
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            df = read_runs([str(SHARED/'cases'/case)], **asked)
            return {k: tables(o) for k,o in by_setting(df).items()}, [for_shell(o.message) for o in told]

    @pytest.mark.parametrize('case,told', [('03-no-model-column/export.csv', []), ('04-per-cent/export.csv', ['acc was read as per cent']),
        ('06-flat-table-of-the-api/runs.csv', []), ('08-plain-table/grid.csv', []), ('11-no-mapping-in-a-shell/export.csv', [])])
    def test_read_without_a_word_more(self, case, told):
        said,warned = self.printed(case)
        assert [*said] == [''] and re.match(r'Best: (cnn|model) at bs 32, lr 1e-3 \(9\d\.\d %\), the highest accuracy of 9 cells', said[''])
        assert len(warned) == len(told) and all(map(str.startswith, warned, told))

    def test_01_other_settings_are_not_pooled(self):
        said,_ = self.printed('01-other-settings-pooled/export.csv')
        assert [*said] == [f'optimizer {o}, weight_decay {wd}' for o in ('adam', 'sgd') for wd in ('0', '0.1')]
        assert all('9 runs, one a cell' in o and not re.search(r'\d ±', o) for o in said.values())

    def test_09_only_what_is_complete_has_a_result(self):
        with pytest.raises(AskError) as e: self.printed('09-optuna-trials/trials.csv')
        said = for_shell(e.value)
        assert 'say --metric value --lower true, or --metric value --lower false; if it is an accuracy, --columns acc=value' in said
        said,_ = self.printed('09-optuna-trials/trials.csv', columns=['acc=value', 'status=state'])
        assert '85.6 …1/2' in said[''] and '85.6 !1/2' in said[''] and '1 pruned: status: pruned at 0.3446' in said['']
        assert '88.1 ±0.1 (2)*' in said[''] and '36.2' not in said['']

    def test_10_a_failed_run_is_shown(self):
        said,_ = self.printed('10-mlflow-status/runs.csv')
        assert '!1/1' in said[''] and '1 failed' in said['']

    def test_13_a_random_search_is_called_so(self):
        said,_ = self.printed('13-learning-rates-from-a-continuum/trials.csv')
        assert 'cnn: a random search, 40 learning rates in 40 runs' in said[''] and '--bins 8' in said['']
        assert not re.search(r'\d\.\d{3,}e-', said[''])
        said,_ = self.printed('13-learning-rates-from-a-continuum/trials.csv', bins=6)
        table = said[''].split('rows bins of the learning rate, columns batch size')[1].split('(* best')[0]
        assert len(table.strip().splitlines()) == 8 # two lines of heading

    def test_14_json_is_called_so(self):
        with pytest.raises(ValueError, match=r'trainer_state.json is JSON .* give a CSV or JSON lines'):
            self.printed('14-json/trainer_state.json')

PUBLIC = 'fcnet_naval_propulsion', 'fcnet_protein_structure', 'hpobench_australian', 'hpobench_car', 'hpobench_segment'
BOTH_WAYS = [(o, upside_down) for o in PUBLIC for upside_down in (False, True) if not (upside_down and o.startswith('fcnet'))]

def public_grid(name, upside_down, models=None):
    "A grid of others, of accuracies or errors, and what its measure is called; of its first models only if so asked"
    flat = pd.read_csv(SHARED/'data'/'grids'/f'{name}.csv')
    if upside_down: flat = flat.assign(error=(1 - flat.acc).round(6)).drop(columns='acc')
    return flat[flat.model.isin(flat.model.unique()[:models])], flat.columns[-1]

def best_of(flat, measure):
    "Model, bs and lr of the best mean, by pandas alone; the smaller batch size of equal ones"
    means = flat.groupby(['model', 'bs', 'lr'])[measure].mean().round(12)
    return means.idxmax() if measure == 'acc' else means.idxmin()

@pytest.mark.skipif(not (SHARED/'data').exists(), reason='the grids of others are not here; TestGrids makes some up')
class TestPublicGrids:
    @pytest.mark.parametrize('name,upside_down', BOTH_WAYS)
    def test_the_best_cells_are_the_true_ones(self, tmp_path, name, upside_down):
        flat,measure = public_grid(name, upside_down)
        df = quiet(put(tmp_path, flat))
        m = metric_of(df)
        assert (m.name, m.lower, len(df)) == (measure, measure != 'acc', len(flat)) and settings_of(df) == []
        for model,of_model in flat.groupby('model'):
            c = cells(df[df.model == model])
            best = c.sort_values([measure, 'bs'], ascending=[m.lower, True]).iloc[0]
            means = of_model.groupby(['bs', 'lr'])[measure].mean()
            assert best[measure] == pytest.approx(means.min() if m.lower else means.max())
            assert means[best.bs, best.lr] == pytest.approx(best[measure]) and c.n.eq(of_model.seed.nunique()).all()

    @pytest.mark.parametrize('name,upside_down', [('fcnet_protein_structure', False), ('hpobench_segment', True)])
    def test_from_file_to_report_with_one_command(self, tmp_path, name, upside_down, monkeypatch, capsys):
        "Of one network, at four batch sizes"
        from bs_lr_study.cli import main
        flat,measure = public_grid(name, upside_down, 1)
        flat = flat[flat.bs.isin(flat.bs.unique()[:4])]
        put(tmp_path, flat, 'grid.csv')
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['bslr', 'report', 'grid.csv'])
        monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)
        main()
        said = re.match(r'Best: (\S+) at bs (\d+), lr (\S+) \(.*\), the lowest (MSE|error) of', capsys.readouterr().out)
        assert (said[1], int(said[2]), pytest.approx(float(said[3]), rel=.005)) == best_of(flat, measure) # three digits of lr
        assert f'bs {said[2]}, lr {said[3]}' in (tmp_path/'plots'/'report.html').read_text()


class TestOtherPrograms:
    "Tables as spreadsheets, other tools and other countries write them"
    def write(self, tmp_path, text, name='runs.csv'):
        (tmp_path/name).write_text(text, encoding='utf-8')
        return tmp_path/name

    def test_decimal_commas(self, tmp_path):
        text = 'batch_size;learning_rate;val_loss\n' + ''.join(f'{bs};{lr:f};{1 - acc:.4f}\n'.replace('.', ',') for bs,lr,acc in GRID)
        with pytest.warns(UserWarning, match="with ';' between its fields and a comma in its numbers"):
            assert values(load_runs(self.write(tmp_path, text)), 'val_loss') == pytest.approx({(bs, lr): 1 - acc for bs,lr,acc in GRID})
        with pytest.warns(UserWarning), pytest.raises(ValueError, match='bs is 1.024, but must be a whole number'): # no thousands
            load_runs(self.write(tmp_path, 'bs;lr;val_loss\n1,024;0,1;0,5\n'))

    @pytest.mark.parametrize('name', ['val_acc', 'Val Accuracy (%)', 'val_f1', 'error'])
    def test_signs_of_per_cent(self, tmp_path, name):
        "Which are per cent however small they are"
        rows = [{'Batch Size': bs, 'Learning Rate': f'{lr:.0E}', name: f'{acc:.2f}%'} for bs,lr,acc in GRID]
        df = quiet(put(tmp_path, rows))
        assert values(df, df.attrs['metric'].name) == pytest.approx({k: round(v, 2)/100 for k,v in ACC.items()})

    def test_not_a_number_beside_infinity(self, tmp_path):
        rows = [dict(bs=bs, lr=lr, loss={16: 'nan', 32: 'inf'}.get(bs, 1 - acc) if lr == 1e-2 else f'{1 - acc:.3e}') for bs,lr,acc in GRID]
        df = quiet(put(tmp_path, rows))
        assert df.loss.isna().sum() == 2 and df.status[df.bs.eq(32) & df.lr.eq(.01)].tolist() == ['diverged']
        assert pd.isna(df.status[2]) and cells(df).n.sum() == 7

    def test_a_failed_run_in_what_mlflow_downloads(self, tmp_path):
        "Which has a Name, a User and a Status, and is no export of W&B"
        rows = [{'Start Time': '2026-11-01 10:00:00', 'Duration': '1.0min', 'Run ID': f'{i:032x}', 'Name': f'run-{i}', 'User': 'me',
                 'Source Name': 'train.py', 'Status': 'FAILED' if i == 8 else 'FINISHED', 'batch_size': bs, 'lr': lr, 'val_rmse': 1 - acc}
                for i,(bs,lr,acc) in enumerate(GRID)]
        df = quiet(put(tmp_path, rows))
        assert df.status.tolist() == ['ok']*8 + ['failed'] and df.run[0] == 'run-0' and np.isnan(df.val_rmse[8]) and settings_of(df) == []

    @pytest.mark.parametrize('head', ['# sweep of 3 November\n# lab 4\nbs,lr,val_loss\n', '# bs,lr,val_loss\n', '#bs,lr,val_loss\n'])
    def test_remarks_before_a_table(self, tmp_path, head):
        "As numpy.savetxt writes a header, and as people write remarks"
        df = quiet(self.write(tmp_path, head + '8,.1,.5\n16,1e-2,.25\n'))
        assert df[['bs', 'lr', 'val_loss']].values.tolist() == [[8, .1, .5], [16, .01, .25]]

    def test_a_crosstab_is_called_so(self, tmp_path):
        for form in ('{}', 'bs={}', 'bs {}'):
            wide = pd.DataFrame([dict(lr=.1) | {form.format(bs): .5 for bs in (8, 16)}])
            with pytest.raises(ValueError, match='seems to be a crosstab.* a row per run'): load_runs(put(tmp_path, wide))

    def test_a_table_in_markdown_is_called_so(self, tmp_path):
        with pytest.raises(ValueError, match='is a table in Markdown'):
            load_runs(self.write(tmp_path, '| bs | lr | val_loss |\n|---|---|---|\n| 8 | .1 | .5 |\n'))

    def test_tokens_are_counted_in_whole_numbers(self, tmp_path):
        df = quiet(put(tmp_path, [dict(batch_tokens=1024*bs, lr=lr, val_loss=1 - acc) for bs,lr,acc in GRID]))
        assert df.bs.dtype == int and df.attrs['bs_unit'] == 'tokens'

    def test_attrs_of_others_do_no_harm_and_ours_go_through_a_file(self):
        df = pd.DataFrame([dict(bs=bs, lr=lr, fid=1 - acc) for bs,lr,acc in GRID])
        df.attrs = dict(metric='fid', measured='x', objective='loss', bs_unit=3, all_runs=[1])
        runs = quiet(df, metric='fid', lower=True)
        back = pd.DataFrame(runs)
        back.attrs = json.loads(json.dumps(runs.attrs)) # as a parquet file keeps them
        assert quiet(back).attrs == runs.attrs and cells(back).attrs['metric'].lower
