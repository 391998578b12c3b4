"What is drawn of laws, budgets, costs, noise and `lr_find`, against the tables that it is drawn from"
import warnings

import matplotlib as mpl
mpl.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest

from bs_lr_study.analysis.laws import STEP_LAWS, fit_law
from bs_lr_study.probe.lr_find import READINGS
from bs_lr_study.probe.lr_study import load_curves, lr_advice
from bs_lr_study.report.charts import (plot_cost, plot_laws, plot_lr_find, plot_noise, plot_pareto, plot_to_target,
                                       save_curves)
from bs_lr_study.report.style import plot_style

@pytest.fixture(autouse=True)
def strict():
    "A plot that warns is a fault; no figure outlives its test"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.simplefilter('ignore', DeprecationWarning) # of libraries that read curves
        yield
    plt.close('all')

def drawn(ax): return {o.get_label(): o for o in ax.lines}

class TestLaws:
    bss = 2**np.arange(4, 12)

    def fit(self, law): return fit_law(self.bss, 100 + 1e5/self.bss, STEP_LAWS[law])

    def test_points_and_curves(self):
        fits = [self.fit(o) for o in ('trade-off', 'perfect')]
        ax = plot_laws(fits)
        np.testing.assert_allclose(drawn(ax)['measured'].get_ydata(), 100 + 1e5/self.bss)
        np.testing.assert_allclose(drawn(ax)['perfect'].get_ydata(), fits[1](drawn(ax)['perfect'].get_xdata()))
        assert ax.get_xlabel() == 'Batch size (examples per update)' and ax.get_xticklabels()[0].get_text() == '16'
        assert not ax.collections # a band is for one law

    def test_the_band_of_one(self):
        ax = plot_laws(self.fit('perfect'))
        assert [o.get_label() for o in ax.collections] == ['90% interval']

class TestToTarget:
    taken = pd.DataFrame(dict(bs=[8, 16, 32], steps=[8, 8, 16], examples=[64, 128, 512], seconds=[1., 2., 8.]))

    def test_multiples_of_the_least(self):
        lines = {k: o.get_ydata().tolist() for k,o in drawn(plot_to_target(self.taken)).items()}
        assert lines == {'updates (least: 8)': [1, 1, 2], 'examples (least: 64)': [1, 2, 8], 'seconds (least: 1)': [1, 2, 8]}

    def test_what_is_unknown_is_left_out(self):
        t = self.taken.drop(columns='seconds').assign(steps=[np.nan, 8, 16])
        assert {k: len(o.get_xdata()) for k,o in drawn(plot_to_target(t)).items()} == {'updates (least: 8)': 2, 'examples (least: 128)': 2}

    def test_nobody_arrives(self):
        with pytest.raises(ValueError, match='nothing to draw'): plot_to_target(self.taken.assign(steps=np.nan))

class TestPareto:
    table = pd.DataFrame(dict(bs=[8, 8, 16], acc=[.9, .8, .95], seconds=[10., 11., 20.], peak_memory=np.array([1, 2, 3])*2.**30))

    def test_the_front_is_the_table(self):
        ax = plot_pareto(self.table, 'peak_memory')
        front = drawn(ax)['front']
        assert front.get_xdata().tolist() == [1, 3] and front.get_ydata().tolist() == [.9, .95]
        assert ax.get_xlabel() == 'Peak memory (GiB)' and list(drawn(ax)) == ['front', '8', '16']

    def test_refusals(self):
        with pytest.raises(ValueError, match="cost is 'joules'"): plot_pareto(self.table, 'joules')
        with pytest.raises(ValueError, match='nothing to draw'): plot_pareto(self.table.assign(seconds=np.nan))

def test_costs():
    index = pd.MultiIndex.from_product([[1, 2, 4], ['seconds', 'updates']], names=['bs', 'what'])
    by = pd.DataFrame(dict(mid=range(1, 7), lo=range(1, 7), hi=range(1, 7)), index)
    ax,other = plot_cost(by, ('updates', 'seconds')).axes
    assert [ax.get_title(), other.get_title()] == ['Updates', 'Seconds']
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 4] and ax.lines[0].get_ydata().tolist() == [2, 4, 6]
    with pytest.raises(ValueError, match='no peak_memory in the table: it has updates, seconds'): plot_cost(by, ('peak_memory',))

def test_noise():
    curve = pd.DataFrame(dict(step=[0, 1, 2], b_simple=[np.inf, 10, 20], lo=[0, 5, 10], hi=[np.inf, np.inf, 40]))
    ax = plot_noise(curve)
    assert ax.get_yscale() == 'log' and ax.get_ylim() == (2.5, 80)
    assert drawn(ax)['B_simple'].get_ydata().tolist() == [10, 20]
    assert plot_noise(curve.assign(b_simple=np.inf, lo=np.inf)).get_xlabel() == 'Updates' # lost in the noise

class TestLRFind:
    @pytest.mark.parametrize('dark', [pytest.param(False, marks=pytest.mark.slow), True])
    def test_panels(self, dark):
        curves = load_curves('digits').query('num_it == 100 and seed < 2')
        read = lr_advice(curves)
        with plot_style(dark): fig = plot_lr_find(curves, read)
        axs = [a for a in fig.axes if a.get_visible() and a.lines]
        assert [a.get_title() for a in axs][:2] == ['bs 1: 0.077 epoch', 'bs 2: 0.15 epoch'] and len(axs) == 10
        marks = [float(l.get_xdata()[0]) for l in axs[6].lines if l.get_label() == 'valley']
        assert marks == read[read.bs == 64].valley.tolist()
        legend = {o.get_text() for o in fig.legends[0].get_texts()}
        assert legend == {'stable range', 'smoothed loss', *READINGS, 'chosen from it'}

    def test_curves_that_share_no_plot(self):
        curves = load_curves('digits')
        with pytest.raises(ValueError, match='num_it'): plot_lr_find(curves, lr_advice(curves))
        empty = curves.assign(losses=[np.array([])]*len(curves))
        with pytest.raises(ValueError, match='no curve could be made'): plot_lr_find(empty, lr_advice(empty))

    def test_a_file_a_model(self, tmp_path):
        curves = load_curves('digits').query('num_it == 100 and seed == 0 and bs > 128')
        paths = save_curves(curves, lr_advice(curves), tmp_path/'plots', 'svg')
        assert [o.name for o in paths] == ['lr_find-small.svg'] and paths[0].read_text().startswith('<?xml')
