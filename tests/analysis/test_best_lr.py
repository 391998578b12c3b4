"The best learning rate at each batch size: against the published cells, closed forms of parabolas and simulation"
import numpy as np, pandas as pd, pytest
from scipy.stats import linregress, t as student

from known_powers import follows
from bs_lr_study.analysis import load_runs
from bs_lr_study.analysis.best_lr import RULES, best_lrs, lr_power
from bs_lr_study.analysis.laws import LR_LAWS, fit_law, params_table, rounding

class TestBestLrs:
    def test_published_cells(self):
        t = best_lrs(load_runs(), 'xresnet18').set_index('bs')
        df = load_runs()
        for bs,row in t.iterrows():
            of = df[(df.model == 'xresnet18') & (df.bs == bs)]
            assert row.acc == of.acc.max() and row.lr == of.lr[of.acc.idxmax()]
            assert row.at_edge == (row.lr in (1e-4, 1e-2)) and row.n_lrs == 3 and row.ratio == pytest.approx(10)

    def test_a_batch_size_without_accuracy_is_no_point(self):
        df = pd.DataFrame(dict(run=['a', 'b', 'c'], model='m', bs=[8, 8, 16], lr=[.1, .01, .1], acc=[.5, .6, np.nan],
                               status=['ok', 'ok', 'diverged']))
        assert best_lrs(df).bs.tolist() == [8]


LRS = 1e-4*10**(np.arange(7)/2)

def column(gain, lrs=LRS, n=2, wobble=0., bs=8, rng=None):
    "Runs of one batch size whose cells have these means, with seeds that lie `wobble` to both sides or are drawn"
    seeds = wobble*np.resize([-1, 1], n) if rng is None else None
    rows = [(lr, s, g + (seeds[s] if rng is None else wobble*rng.normal())) for lr,g in zip(lrs, gain) for s in range(n)]
    df = pd.DataFrame(rows, columns=['lr', 'seed', 'acc']).assign(bs=bs, model='m')
    return df.assign(run=[f'{bs}-{i}' for i in range(len(df))])

class TestRefined:
    @pytest.mark.parametrize('top', [-6.5, -6., -5.2, -4.])
    def test_of_a_parabola_it_is_the_top(self, top):
        t = best_lrs(column(.9 - .01*(np.log(LRS) - top)**2), refine=True, sd=1e-6).iloc[0]
        assert np.log(t.lr) == pytest.approx(top, abs=1e-4) and t.sd == pytest.approx(rounding(10**.5))
        assert t.lr_tried == LRS[np.abs(np.log(LRS) - top).argmin()]

    def test_neighbours_at_unequal_distances(self):
        lrs = np.array([1e-4, 2e-4, 1e-3, 3e-3, 1e-2])
        t = best_lrs(column(.9 - .01*(np.log(lrs) + 6.6)**2, lrs), refine=True, sd=1e-6).iloc[0]
        assert np.log(t.lr) == pytest.approx(-6.6, abs=1e-4)
        assert t.sd == pytest.approx(rounding((3e-3/2e-4)**.5)) # the mean step of its two neighbours

    def test_at_an_edge_there_is_no_error(self):
        t = best_lrs(column(np.linspace(.5, .9, 7)), refine=True, sd=.01).iloc[0]
        assert t.at_edge and t.lr == t.lr_tried == LRS[-1] and np.isnan(t.sd)

    def test_a_neighbour_that_diverged_leaves_the_cell_as_it_is(self):
        df = column([.1, .2, .3, .5, .8, np.nan, np.nan]).assign(status=lambda d: np.where(d.acc.isna(), 'diverged', 'ok'))
        t = best_lrs(df, refine=True, sd=1e-6).iloc[0]
        assert t.lr == pytest.approx(t.lr_tried) == pytest.approx(LRS[4]) and not t.at_edge and t.sd == pytest.approx(rounding(10**.5))

    def test_a_rival_far_away_counts(self):
        "Half of the draws lie four steps off"
        t = best_lrs(column([.1, .8, .1, .1, .1, .8001, .1]), refine=True, sd=.01).iloc[0]
        assert t.sd == pytest.approx(4*np.log(10)/2/2**.5, rel=.1)

    def test_the_error_is_that_of_grids_made_again(self):
        gain,rng = .9 - .004*(np.log(LRS) + 5.7)**2,np.random.default_rng(0)
        again = [best_lrs(column(gain, n=3, wobble=.01, rng=rng), refine=True, sd=.01).iloc[0] for _ in range(60)]
        off = np.array([np.log(o.lr) + 5.7 for o in again])
        typical = np.sqrt(np.mean([o.sd**2 for o in again]))
        assert .6 < np.sqrt((off**2).mean())/typical < 1.2

def test_weighted_intervals_hold_where_plain_ones_do_not():
    "The exponent of a law whose points are far surer at large batches; a quick form of what the calibration does"
    rng,bss,held = np.random.default_rng(1),2**np.arange(1, 11),dict(weighted=0, plain=0)
    for _ in range(25):
        lrs = 1e-5*np.exp(rng.uniform(0, 1))*10**(np.arange(12)/2)
        df = pd.concat([column(.9 - np.minimum(.001*bs*(np.log(lrs) - np.log(.002*bs**.5))**2, .5), lrs, 2, .01, bs, rng) for bs in bss])
        t = best_lrs(df, refine=True, sd=.01).query('not at_edge')
        fits = dict(weighted=fit_law(t.bs, t.lr, LR_LAWS['power'], sd=t.sd), plain=fit_law(t.bs, t.lr_tried, LR_LAWS['power']))
        for k,o in fits.items():
            p = params_table(o).loc['exponent']
            held[k] += p.lo <= .5 <= p.hi
    assert held['weighted'] >= 23 >= held['plain']


def as_loss(df): return df.assign(val_loss=1 - df.acc).drop(columns='acc')

class TestPower:
    @pytest.mark.parametrize('n', [2, 3])
    def test_intervals_hold_the_truth_as_often_as_they_promise(self, n):
        "Of known powers, at two and at three seeds, and seldom more than one rule fits"
        found = [(p, lr_power(follows(p, n, seed))) for p in RULES.values() for seed in range(6)]
        assert np.mean([o['lo'] <= p <= o['hi'] for p,o in found]) >= .85
        assert np.mean([sum(o['rules'].values()) == 1 for _,o in found]) > .8

    @pytest.mark.parametrize('power', [0, .3, .5, 1])
    def test_without_noise_it_is_the_slope_of_the_tops(self, power):
        df = follows(power, noise=0)
        o,t = lr_power(df, sd=1e-6),best_lrs(df, refine=True, sd=1e-6).query('not at_edge')
        assert o['exponent'] == pytest.approx(power, abs=1e-4)
        assert o['exponent'] == pytest.approx(np.polyfit(np.log(t.bs), np.log(t.lr), 1)[0], abs=1e-6)
        assert {k: o['lo'] <= p <= o['hi'] for k,p in RULES.items()} == o['rules'] and o['known']

    def test_edges_are_left_out_and_named(self):
        "Where the grid ends too soon; with them the power would be far too small"
        df = follows(1, noise=.002, lr=3e-3, step=10**.25, n_lrs=8, bss=2**np.arange(1, 11))
        o,t = lr_power(df),best_lrs(df)
        assert sorted([*o['bss'], *o['edges']]) == t.bs.tolist() and o['edges'] == t.bs[t.at_edge].tolist() and len(o['edges']) > 2
        assert o['lo'] <= 1 <= o['hi'] and np.polyfit(np.log(t.bs), np.log(t.lr), 1)[0] < .9

    def test_two_points_make_a_line_whatever_they_are(self):
        df = follows(.5)
        assert 'exponent' not in lr_power(df[df.bs < 32]) and lr_power(df[df.bs < 32])['bss'] == [8, 16]
        edge = df[df.lr <= 1e-3]
        assert 'exponent' not in lr_power(edge) and len(lr_power(edge)['edges']) > 4
        assert lr_power(df[df.lr == df.lr.min()]) == dict(bss=[], edges=[], known=True) # one learning rate has no edge

    def test_one_seed_of_a_loss_is_judged_by_how_its_points_scatter(self):
        "As the line of another program through the learning rates as tried, where they scatter more than the grid rounds"
        df = as_loss(follows(.5, n=1, noise=.15, step=10**.25, n_lrs=17, seed=3))
        o,t = lr_power(df),best_lrs(df).query('not at_edge')
        line = linregress(np.log(t.bs), np.log(t.lr))
        off = np.log(t.lr) - line.intercept - line.slope*np.log(t.bs)
        assert not o['known'] and np.sqrt((off**2).sum()/(len(t) - 2)) > rounding(10**.25)
        half = student.ppf(.95, len(t) - 2)*line.stderr
        assert [o[k] for k in ('exponent', 'lo', 'hi')] == pytest.approx([line.slope, line.slope - half, line.slope + half], abs=2e-3)

    def test_points_that_happen_to_lie_on_a_line_are_no_surer_than_the_grid_rounds(self):
        df = as_loss(follows(0, n=1, noise=0))
        o,x = lr_power(df),np.log(2**np.arange(3, 10))
        half = student.ppf(.95, 5)*rounding(10**.5)/np.sqrt(((x - x.mean())**2).sum())
        assert (o['exponent'], o['lo'], o['hi']) == pytest.approx((0, -half, half), abs=2e-3)
