"The look of plots: it ends with its block, is seen on its page, and tells lines apart without colour"
import warnings

import matplotlib as mpl
mpl.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pytest

from bs_lr_study.analysis import load_runs
from bs_lr_study.report.plots import plot_acc, plot_heatmap
from bs_lr_study.report.style import line_styles, log2_axis, plot_style, save_figure

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

@pytest.mark.parametrize('dark', [False, True])
@pytest.mark.parametrize('n', [2, 6, 10])
def test_lines_differ_without_colour(dark, n):
    with plot_style(dark): styles = list(line_styles(range(n)).values())
    grey = [luminance(s['color']) for s in styles]
    assert grey == sorted(grey) and len({s['marker'] for s in styles}) == n
    assert all(a['linestyle'] != b['linestyle'] for a,b in zip(styles, styles[1:]))

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
