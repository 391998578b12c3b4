"Budgets against definitions worked out the long way"
import subprocess, sys, warnings

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

from bs_lr_study.analysis import crosstab_acc, find_record, inflection_table
from bs_lr_study.analysis.budgets import (any_length, at_updates, cell_costs, cost_by_bs, knee, pareto, planned_steps, run_costs, to_target,
                                          trials, updates_plan)
from bs_lr_study.runs import Run, RunConfig, run_name
from bs_lr_study.store import Store

@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*in mid-schedule')
        yield

def stored(tmp_path, runs):
    store = Store(tmp_path/'runs.jsonl')
    for o in runs: store.append(o)
    return store.to_df(),store.epochs_df()

def made(bs, lr, accs, status='ok', seed=0, steps=None, **kw):
    "A run as training records it: one accuracy an epoch, of 64 training examples"
    cfg = RunConfig(**dict(data='digits', model='small', bs=bs, lr=lr, seed=seed, epochs=len(accs) or 5) | kw)
    n = 64//bs*len(accs) if steps is None else steps
    metrics = [dict(epoch=i, acc=a, train_loss=1 - a, valid_loss=2 - a) for i,a in enumerate(accs, 1)]
    cost = dict(seconds=float(len(accs)), steps=n, examples=n*bs)
    return Run(cfg, status=status, metrics=metrics, cost=cost, env=dict(n_train=64), name=run_name(cfg))


class TestPlan:
    @given(st.lists(st.integers(1, 64), min_size=1, max_size=6), st.integers(1, 5000))
    def test_no_other_number_of_epochs_is_nearer(self, bss, updates):
        for o in updates_plan(bss, updates, 64).itertuples():
            per = 64//o.bs
            assert o.updates == o.epochs*per and o.examples == o.updates*o.bs and o.epochs >= 1
            assert all(abs(o.updates - updates) <= abs(e*per - updates) for e in (o.epochs - 1, o.epochs + 1) if e >= 1)

    def test_what_is_affordable(self): assert updates_plan([8, 16], 80, 64, 640).affordable.tolist() == [True, False]

    def test_no_update_in_an_epoch(self):
        with pytest.raises(ValueError, match='bs 128 is more than the 64 training'): updates_plan([8, 128], 10, 64)


class TestUpdates:
    def test_tables_accept_what_is_selected(self, tmp_path):
        df,_ = stored(tmp_path, [made(8, .1, [.5]*2), made(16, .1, [.6]*4), made(32, .1, [.7]*8),
                                made(32, .1, [.1]*2), made(16, .1, [.1]*2)])
        with pytest.raises(ValueError, match='differ in epochs'): crosstab_acc(df)
        t = at_updates(df, 16)
        assert crosstab_acc(t).loc[.1].to_dict() == {8: .5, 16: .6, 32: .7}
        assert t.n_epochs.tolist() == [2, 4, 8] and inflection_table(t, detail=True).loc[.1, 'small'] == 'at the edge (32)'
        assert 'epochs' not in ' '.join(t.run)

    def test_the_nearest_of_a_cell(self, tmp_path):
        df,_ = stored(tmp_path, [made(8, .1, [.5]*10), made(8, .1, [.6]*11), made(8, .1, [.7]*10, seed=1)])
        assert at_updates(df, 81).acc.tolist() == [.5, .7]

    def test_a_diverged_run_stays_with_its_budget(self, tmp_path):
        df,_ = stored(tmp_path, [made(8, .1, [.5]*2), made(16, .1, [], 'diverged', steps=3, epochs=4)])
        assert planned_steps(df).tolist() == [16, 16] and len(at_updates(df, 16)) == 2

    def test_nothing_near(self, tmp_path):
        df,_ = stored(tmp_path, [made(8, .1, [.5]*2)])
        with pytest.raises(ValueError, match='no run has 100 updates within 10%: there are runs of 16'): at_updates(df, 100)

    def test_published_runs_have_no_updates(self):
        df = pd.DataFrame(dict(run=['a'], acc=[.5], model='m', bs=8, lr=.1))
        with pytest.raises(ValueError, match='the runs lack steps'): at_updates(df, 10)

    def test_only_epochs_leave_the_name(self):
        df = pd.DataFrame(dict(run=['digits-small-bs-8-lr-0.1-epochs-10-seed-3', 'digits-small-bs-8-lr-0.1-seed-3-epochs-7'],
                               epochs=[10, 7]))
        assert any_length(df).run.tolist() == ['digits-small-bs-8-lr-0.1-seed-3']*2

    def test_shipped_runs(self):
        "At five epochs bs 512 is 9 points behind bs 32; at 200 updates they are level"
        short,long = (Store(find_record(o)).to_df() for o in ('digits', 'digits-updates'))
        t = crosstab_acc(at_updates(pd.concat([short, long]), 200)).max()
        assert list(t.index) == [32, 64, 128, 256, 512] and abs(t[512] - t[32]) < .01
        assert crosstab_acc(short).max()[32] - crosstab_acc(short).max()[512] > .08


accs = st.lists(st.integers(0, 10).map(lambda i: i/10), min_size=1, max_size=5)

class TestTarget:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from([4, 8, 16]), st.sampled_from([.01, .1]), st.booleans(), accs), min_size=1, max_size=8),
           st.integers(1, 10))
    def test_against_loops(self, rows, tenths):
        target,best,n = tenths/10,{},{}
        recs,eps = [],[]
        for i,(bs,lr,diverged,curve) in enumerate(rows):
            status = 'diverged' if diverged else 'ok'
            recs.append(dict(run=f'r{i}', model='m', bs=bs, lr=lr, status=status, steps=len(curve)*64//bs, seconds=7.))
            eps += [dict(run=f'r{i}', epoch=e, acc=a) for e,a in enumerate(curve, 1)]
            hits = [e for e,a in enumerate(curve, 1) if a >= target]
            outcome = 'n_diverged' if diverged else 'n_reached' if hits else 'n_missed'
            n.setdefault(bs, dict(n_reached=0, n_missed=0, n_diverged=0))[outcome] += 1
            if hits and not diverged: best[bs] = min(best.get(bs, np.inf), hits[0]*64//bs)
        t = to_target(pd.DataFrame(recs), pd.DataFrame(eps), target).set_index('bs')
        assert t.steps.dropna().to_dict() == pytest.approx(best)
        assert t[['n_reached', 'n_missed', 'n_diverged']].to_dict('index') == n

    def test_measures(self, tmp_path):
        df,ep = stored(tmp_path, [made(8, .1, [.2, .9]), made(16, .1, [.1, .2, .3, .95]), made(16, .2, [.1], 'oom')])
        t = to_target(df, ep, .9, price=7200).set_index('bs')
        assert t.steps.to_dict() == {8: 16, 16: 16} and t.examples.to_dict() == {8: 128, 16: 256}
        assert t.steps_before.to_dict() == {8: 8, 16: 12}
        assert t.seconds.to_dict() == {8: 2, 16: 4} and t.cost.to_dict() == {8: 4, 16: 8} and t.n_other.to_dict() == {8: 0, 16: 1}

    def test_the_cheapest_by_each(self, tmp_path):
        a,b = made(8, .1, [.9]*4),made(8, .2, [.1, .9, .9, .9])
        df,ep = stored(tmp_path, [a, b])
        df['seconds'] = [400., 4.]
        assert to_target(df, ep, .9).lr.tolist() == [.1] and to_target(df, ep, .9, by='seconds').lr.tolist() == [.2]

    def test_losses_fall(self, tmp_path):
        df,ep = stored(tmp_path, [made(8, .1, [.2, .6, .8])])
        assert to_target(df, ep, 1.4, metric='valid_loss').epoch.tolist() == [2]
        assert to_target(df, ep, .1, metric='train_loss').n_missed.tolist() == [1]

    def test_mid_schedule(self, tmp_path):
        df,ep = stored(tmp_path, [made(8, .1, [.2, .9, .9]), made(16, .1, [.2, .2, .9])])
        with pytest.warns(UserWarning, match='at 1 of 2 batch sizes .* in mid-schedule'): t = to_target(df, ep, .9)
        assert t.mid_schedule.tolist() == [True, False]
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            to_target(df.assign(schedule='constant'), ep, .9)

    def test_a_length_is_a_thing_to_tune(self, tmp_path):
        df,ep = stored(tmp_path, [made(8, .1, [.2, .9]), made(8, .1, [.1, .2, .3, .95])])
        t = to_target(df, ep, .9)
        assert t.steps.tolist() == [16] and t.n_reached.tolist() == [2]

    def test_what_cannot_be_compared(self, tmp_path):
        df,ep = stored(tmp_path, [made(8, .1, [.2, .9]), made(8, .1, [.9, .9], opt='sgd')])
        with pytest.raises(ValueError, match='differ in opt'): trials(df, ep, .9)
        with pytest.raises(ValueError, match='two runs are called'): trials(pd.concat([df[:1], df[:1]]), ep, .9)
        with pytest.raises(ValueError, match='the epochs of other runs'): trials(df[:1], ep.assign(run='other'), .9)
        with pytest.raises(ValueError, match='acc'): trials(df[:1], ep.drop(columns='acc'), .9, metric='acc')
        with pytest.raises(ValueError, match="by is 'euro': choose one of steps, examples, seconds"): to_target(df[:1], ep, .9, by='euro')
        with pytest.raises(ValueError, match='no runs of model'): to_target(df[:1], ep, .9, model='large')

    def test_nobody_arrives(self, tmp_path):
        df,ep = stored(tmp_path, [made(8, .1, [.2, .3])])
        t = to_target(df, ep, .9)
        assert t.steps.isna().all() and t.n_missed.tolist() == [1]



class TestPareto:
    @given(st.lists(st.tuples(*[st.integers(0, 5)]*3), max_size=25),
           st.sampled_from([['seconds'], ['peak_memory'], ['seconds', 'peak_memory']]))
    def test_against_the_definition(self, rows, costs):
        t = pd.DataFrame(rows, columns=['acc', 'seconds', 'peak_memory'])
        key = lambda o: tuple(o[c] for c in ['acc', *costs])
        beats = lambda a,b: a.acc >= b.acc and all(a[c] <= b[c] for c in costs) and key(a) != key(b)
        want = {key(b) for _,b in t.iterrows() if not any(beats(a, b) for _,a in t.iterrows())}
        front = pareto(t, costs)
        assert {key(o) for _,o in front.iterrows()} == want and len(front) == len(want)

    def test_rows_without_a_number_are_no_choice(self):
        t = pd.DataFrame(dict(acc=[.5, np.nan, .9], seconds=[1., 1., np.nan]))
        assert pareto(t).index.tolist() == [0]

    def test_costs_of_cells(self, tmp_path):
        df,_ = stored(tmp_path, [made(8, .1, [.5], seed=s) for s in range(3)] + [made(8, .2, [], 'diverged', epochs=1, steps=0)])
        df['seconds'],df['peak_memory'] = [1., 2., 9., .1],[5, 7, 6, 1]
        t = cell_costs(df).set_index('lr')
        assert t.seconds[.1] == 2 and t.peak_memory[.1] == 7 and t.n[.1] == 3 and np.isnan(t.seconds[.2])

    def test_frames_put_together_as_they_are(self, tmp_path):
        "Row labels that repeat, as after `pd.concat`"
        df,ep = stored(tmp_path, [made(8, .1, [.5]), made(16, .1, [.6])])
        two = pd.concat([df[:1], df[1:].set_index(df.index[:1])])
        assert len(cell_costs(two)) == 2 and len(at_updates(two, 8)) == 1
        assert len(to_target(two, ep, .5)) == 2 and len(pareto(cell_costs(two))) >= 1

    def test_lengths_are_not_averaged(self, tmp_path):
        df,_ = stored(tmp_path, [made(8, .1, [.5]), made(8, .1, [.5, .6])])
        with pytest.raises(ValueError, match='differ in epochs'): cell_costs(df)



N = 2**14 # images

def timed_runs(seconds, bss=tuple(2**i for i in range(11)), seeds=3):
    "Runs of two epochs, each of which takes `seconds(bs, seed)`"
    def one(b, s):
        counts = dict(epochs=2, steps=2*N//b, examples=2*N, n_train=N, train_seconds=2*seconds(b, s))
        return dict(run=f'{b}-{s}', model='m', bs=b, lr=.1, seed=s) | counts
    return pd.DataFrame([one(b, s) for b in bss for s in range(seeds)])

class TestCosts:
    def test_rates(self):
        t = run_costs(timed_runs(lambda b, s: 10.), price=7.2)
        assert np.allclose(t.images_per_second, t.examples/20) and np.allclose(t.seconds_per_update, 20/t.updates)
        assert np.allclose(t.price, .04)

    def test_a_run_that_ended_early_is_counted_as_far_as_it_went(self):
        d = timed_runs(lambda b, s: 10., bss=(16,), seeds=1)
        half = d.assign(steps=d.steps//2, examples=d.examples//2, train_seconds=10.)
        assert run_costs(half).seconds_per_epoch.item() == pytest.approx(run_costs(d).seconds_per_epoch.item())
        assert run_costs(d.assign(steps=0)).empty

    def test_another_clock(self):
        t = run_costs(timed_runs(lambda b, s: 10.).assign(cpu_seconds=4.), clock='cpu_seconds')
        assert (t.seconds == 4).all()
        with pytest.raises(ValueError, match='the runs lack cpu_seconds'): run_costs(timed_runs(lambda b, s: 1.), clock='cpu_seconds')

    def test_middle_and_interval_are_those_of_logs(self):
        by = cost_by_bs(run_costs(timed_runs(lambda b, s: 2.**s, bss=(4,))))
        o = by.loc[4, 'seconds_per_epoch']
        x = np.log([1, 2, 4])
        half = 2.919986*x.std(ddof=1)/3**.5 # Student's t, 2 degrees of freedom, 90 %
        assert (np.log(o.mid), np.log(o.lo), np.log(o.hi)) == pytest.approx((x.mean(), x.mean() - half, x.mean() + half))
        assert np.isnan(cost_by_bs(run_costs(timed_runs(lambda b, s: 1., bss=(4,), seeds=1))).loc[4, 'seconds'].lo)

    def test_no_torch(self):
        code = 'import sys, bs_lr_study.analysis.budgets; print("torch" in sys.modules)'
        assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == 'False'

class TestKnee:
    @pytest.mark.parametrize('per_call,at', [(10, 64), (40, 256), (160, 1024)])
    def test_known(self, per_call, at):
        "A doubling from b saves ½/(1 + b/a): less than a tenth once b > 4a"
        assert set(knee(run_costs(timed_runs(lambda b, s: per_call/b + 1.))).bs.fillna(-1)) == {at if at < 1024 else -1}

    def test_wider_steps_count_by_doublings(self):
        assert set(knee(run_costs(timed_runs(lambda b, s: 40/b + 1., bss=(1, 4, 16, 64, 256, 1024)))).bs) == {256}

    def test_it_may_rise_again(self):
        assert set(knee(run_costs(timed_runs(lambda b, s: 1/b + b/100.))).bs) == {8}

    @pytest.mark.parametrize('kw,bss,said', [(dict(saves=0), (1, 2), 'saves is 0'), ({}, (4,), 'is seen in several')])
    def test_refusals(self, kw, bss, said):
        with pytest.raises(ValueError, match=said): knee(run_costs(timed_runs(lambda b, s: 1., bss=bss)), **kw)
