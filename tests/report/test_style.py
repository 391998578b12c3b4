"The look of plots: it ends with its block, is seen on its page, and tells lines apart without colour"
import warnings
from itertools import combinations

import matplotlib as mpl
mpl.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import load_runs
from bs_lr_study.report.plots import plot_acc, plot_heatmap
from bs_lr_study.analysis.stats import best_sets
from bs_lr_study.report.style import line_styles, log2_axis, plot_style, save_figure, spread

@pytest.fixture(scope='module')
def df(): return load_runs()

@pytest.fixture(autouse=True)
def strict():
    "A plot that warns is a fault; no figure outlives its test"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield
    plt.close('all')

def luminance(c):
    c = np.array(mpl.colors.to_rgb(c))
    return np.where(c <= .04045, c/12.92, ((c + .055)/1.055)**2.4) @ [.2126, .7152, .0722]

def contrast(a, b):
    lo,hi = sorted([luminance(a), luminance(b)])
    return (hi + .05)/(lo + .05)

def test_leaves_nothing_behind(df):
    before = dict(mpl.rcParams)
    for dark in (False, True):
        with plot_style(dark): plot_acc(df, 'xresnet18'), plot_heatmap(df, 'xresnet18')
        assert dict(mpl.rcParams) == before
    plot_acc(df), plot_heatmap(df, 'xresnet34')
    assert dict(mpl.rcParams) == before

def test_ends_after_an_error():
    before = dict(mpl.rcParams)
    with pytest.raises(KeyError), plot_style(): raise KeyError
    assert dict(mpl.rcParams) == before

@pytest.mark.parametrize('dark,page', [(False, 'white'), (True, '#111111')])
def test_is_seen_on_its_page(df, dark, page):
    with plot_style(dark): ax,heat = plot_acc(df, 'xresnet34'),plot_heatmap(df, 'xresnet34')
    for line in ax.lines: assert contrast(line.get_color(), page) >= 3
    for a in (ax, heat, heat.figure.axes[1]):
        a.figure.canvas.draw() # outside of the style
        texts = [a.xaxis.label, a.yaxis.label, a.title, *a.get_xticklabels(), *a.get_yticklabels()]
        if legend := a.get_legend(): texts += legend.get_texts()
        for o in texts: assert contrast(o.get_color(), page) >= 7, o
    assert mpl.colors.same_color(ax.figure.get_facecolor(), page)

def lightness(c): return 116*luminance(c)**(1/3) - 16

@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('n', [2, 6, 10, 12])
def test_lines_differ_without_colour(dark, n):
    "In grey as well: neighbours differ by what an eye sees, 2.3 steps of lightness, and by marker and dash"
    with plot_style(dark): styles = list(line_styles(range(n)).values())
    steps = np.diff([lightness(s['color']) for s in styles])
    assert steps.min() > max(2.3, .6*steps.mean())
    assert all(a['marker'] != b['marker'] and a['linestyle'] != b['linestyle'] for a,b in zip(styles, styles[1:]))

def grid(n_lrs, n_bss=12, models=('m',), seeds=1):
    "Runs whose lines end close to each other"
    cells = [(m, 2**b, 10.**-i, s) for m in models for b in range(n_bss) for i in range(n_lrs) for s in range(seeds)]
    d = pd.DataFrame(cells, columns=['model', 'bs', 'lr', 'seed'])
    acc = .8 - .002*np.log10(d.lr)**2 - .01*np.log2(d.bs) + .001*d.seed
    return d.assign(run=[f'run{i}' for i in range(len(d))], acc=acc)

LONG = 'a-model-whose-name-is-far-longer-than-40-letters'
PICTURES = dict(
    twelve=lambda: plot_acc(grid(12)), one=lambda: plot_acc(grid(1, 1)), seeds=lambda: plot_acc(grid(6, seeds=3)),
    panels=lambda: plot_acc(grid(6, models='abc', seeds=2)), long=lambda: plot_acc(grid(3, models=[LONG, 'b'])),
    published=lambda: plot_acc(load_runs(), sets=best_sets(load_runs(), sd=.0078)),
    heatmap=lambda: plot_heatmap(grid(12)), wide=lambda: plot_heatmap(grid(3, 20)),
    long_heatmap=lambda: plot_heatmap(grid(2, 4, [LONG])))

def tick_labels(axis):
    "Those within the axis: what lies beyond is not drawn"
    lo,hi = sorted(axis.get_view_interval())
    ticks = [o for o in axis.get_major_ticks() if lo <= o.get_loc() <= hi]
    return [label for o in ticks for label in (o.label1, o.label2) if label.get_visible()]

def texts(fig):
    "All texts of a figure that are seen, and what each covers"
    fig.canvas.draw()
    found = [*fig.texts, *(o for legend in fig.legends for o in legend.get_texts())]
    for ax in fig.axes:
        found += [*ax.texts, ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label]
        for axis in (ax.xaxis, ax.yaxis): found += tick_labels(axis)
    return {o: mpl.text.Text.get_window_extent(o) for o in found if o.get_text() and o.get_visible()}

@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('name', PICTURES)
def test_texts_can_be_read(name, dark):
    "At the 700 pixels at which it is shown no letter is smaller than 9, no text covers another, and none is cut off"
    with plot_style(dark), mpl.rc_context({'axes.grid': False}):
        fig = PICTURES[name]().get_figure()
        boxes = texts(fig)
        whole = fig.get_tightbbox().transformed(fig.dpi_scale_trans) # what is saved
    shown = min(1, 700/whole.width)
    assert min(o.get_fontsize()*fig.dpi/72*shown for o in boxes) >= 9
    assert whole.width <= 740 or name == 'wide'
    for (a,one),(b,other) in combinations(boxes.items(), 2):
        covered = one.padded(-1, -2).overlaps(other.padded(-1, -2))
        assert not covered or a.get_rotation() and b.get_rotation(), (a.get_text(), b.get_text())
    for o,box in boxes.items():
        assert whole.x0 - 1 <= box.x0 and box.x1 <= whole.x1 + 1 and whole.y0 - 1 <= box.y0, o.get_text()

def test_saved_files_hold_all_of_it(tmp_path):
    "A title wider than the axes is in the file"
    path = save_figure(lambda: plot_acc(grid(3, models=[LONG*2])), tmp_path/'a.png')
    ink = (plt.imread(path)[..., :3] < .9).any(axis=2)
    assert not ink[0].any() and not ink[:, 0].any() and not ink[:, -1].any()

@pytest.mark.parametrize('at,expected', [
    ([1, 5, 9], [1, 5, 9]), ([5, 5, 5], [3, 5, 7]), ([0, 0], [0, 2]), ([10, 9.5], [10, 8])])
def test_labels_move_as_little_as_will_do(at, expected):
    np.testing.assert_allclose(spread(at, 2, 0, 10), expected)

def test_labels_that_moved_lie_nearest_of_all():
    "Against a search: no other places that far apart have a smaller sum of squares"
    from scipy.optimize import minimize
    rng = np.random.default_rng(0)
    for n in (2, 4, 7):
        at = rng.uniform(0, 40, n)
        apart = dict(type='ineq', fun=lambda p: np.diff(p) - 3)
        best = minimize(lambda p: ((p - np.sort(at))**2).sum(), 3*np.arange(n), constraints=apart)
        np.testing.assert_allclose(np.sort(spread(at, 3, -100, 100)), best.x, atol=1e-3)

def test_vector_text(df, tmp_path):
    with plot_style(): plot_acc(df, 'xresnet18').figure.savefig(tmp_path/'a.pdf')
    assert b'/Type3' not in (tmp_path/'a.pdf').read_bytes()

@pytest.mark.parametrize('fmt,begins', [('png', b'\x89PNG'), ('svg', b'<?xml'), ('pdf', b'%PDF')])
def test_files(tmp_path, fmt, begins):
    path = save_figure(lambda: plt.subplots()[1], tmp_path/'made'/f'a.{fmt}', dark=True)
    assert path.read_bytes().startswith(begins) and not plt.get_fignums()

@pytest.mark.parametrize('bss,ticks', [([1], ['1']), ([48, 100], ['32', '64', '128']), ([1, 2**20], [str(4**i) for i in range(11)])])
def test_ticks_are_powers_of_two(bss, ticks):
    ax = plt.subplots()[1]
    log2_axis(ax, bss)
    assert [o.get_text() for o in ax.get_xticklabels()] == ticks
