"What is drawn, against the tables and the printed numbers"
import subprocess, sys, warnings

import matplotlib as mpl
mpl.use('Agg')
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import crosstab_acc, load_runs
from bs_lr_study.report.plots import plot_acc, plot_curves, plot_heatmap

@pytest.fixture(scope='module')
def df(): return load_runs()

@pytest.fixture(autouse=True)
def strict():
    "A plot that warns (of empty slices, of missing glyphs) is a fault; no figure outlives its test"
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield
    plt.close('all')

def toy(rows, **kw):
    d = pd.DataFrame(rows, columns=['model', 'bs', 'lr', 'acc']).assign(**kw)
    return d.assign(run=[f'run{i}' for i in range(len(d))], acc=d.acc.astype(float))

def lines(ax): return {o.get_label(): o for o in ax.lines}
def named(ax): return [o.get_text() for o in ax.texts]
def signs(ax): return [o.get_text() for legend in ax.figure.legends for o in legend.get_texts()]
def xlabels(ax): return [o.get_text() for o in ax.get_xticklabels()]
def overlapping(ax):
    "Pairs of neighbouring x tick labels that cover each other, judged by their boxes before turning"
    ax.figure.canvas.draw()
    boxes = [o.get_window_extent() for o in ax.get_xticklabels() if o.get_text()]
    if ax.get_xticklabels()[0].get_rotation(): # a turned label needs its height, 1/sin 45°, beside its neighbour
        height = ax.get_xticklabels()[0].get_fontsize()*ax.figure.dpi/72
        mid = [(o.x0 + o.x1)/2 for o in boxes]
        return [p for p in zip(mid, mid[1:]) if p[1] - p[0] < 1.41*height]
    return [(a, b) for a,b in zip(boxes, boxes[1:]) if a.x1 > b.x0]


class TestAcc:
    def test_draws_the_published_numbers(self, df):
        ax = plot_acc(df, 'xresnet18')
        assert list(lines(ax)) == ['1e-4', '1e-3', '1e-2']
        assert lines(ax)['1e-3'].get_ydata().tolist() == [
            .452229, .709809, .778344, .795414, .789299, .784968, .769427, .744713, .719236, .647389, .544459, .336306]
        assert lines(ax)['1e-3'].get_xdata().tolist() == [2**i for i in range(12)]

    def test_draws_the_table(self, df):
        t,drawn = crosstab_acc(df, 'xresnet34'),lines(plot_acc(df, 'xresnet34'))
        for (lr,row),line in zip(t.iterrows(), drawn.values()):
            assert dict(zip(line.get_xdata(), line.get_ydata())) == row.dropna().to_dict()

    def test_axes_say_what_they_are(self, df):
        ax = plot_acc(df, 'xresnet18')
        assert xlabels(ax) == '1 2 4 8 16 32 64 128 256 512 1024 2048'.split()
        assert ax.get_xscale() == 'log' and ax.xaxis.get_transform().base == 2
        assert ax.get_xlabel() == 'Batch size (examples per update)' and ax.get_ylabel() == 'Accuracy (%)'
        assert ax.get_title('left') == 'xresnet18' and named(ax) == ['1e-4', '1e-3', '1e-2', 'Learning rate']
        ax.figure.canvas.draw()
        assert '80' in [o.get_text() for o in ax.get_yticklabels()] # per cent, from shares

    def test_labels_do_not_overlap(self, df):
        for ax in [plot_acc(df, 'xresnet18'), *plot_acc(df).axes]: assert not overlapping(ax)

    def test_ticks_are_thinned_where_there_are_too_many(self):
        ax = plot_acc(toy([('m', 2**i, .1, .5) for i in range(21)]))
        assert xlabels(ax)[:3] == ['1', '4', '16'] and not overlapping(ax)

    def test_batch_size_between_the_ticks(self):
        ax = plot_acc(toy([('m', 48, .1, .5), ('m', 100, .1, .6)]))
        assert xlabels(ax) == ['32', '64', '128'] and ax.lines[0].get_xdata().tolist() == [48, 100]

    def test_a_panel_a_model(self, df):
        fig = plot_acc(df)
        assert [ax.get_title('left') for ax in fig.axes] == ['xresnet18', 'xresnet34', 'xse_resnext50']
        assert len({ax.get_ylim() for ax in fig.axes}) == len({ax.get_xlim() for ax in fig.axes}) == 1
        assert named(fig.axes[2]) == [*(f'1e-{i}' for i in (7, 6, 5, 4, 3, 2)), 'Learning rate']
        assert len({lines(ax)['1e-3'].get_color() for ax in fig.axes}) == 1

    def test_a_line_is_named_at_its_end(self, df):
        ax = plot_acc(df, 'xresnet34')
        ax.figure.canvas.draw()
        for text in ax.texts[:-1]:
            line = lines(ax)[text.get_text()]
            x,y = line.get_xdata()[-1],line.get_ydata()[-1]
            assert text.xy == (x, y) and text.get_color() == line.get_color()
            assert text.get_window_extent().x0 > ax.transData.transform((x, y))[0]
            assert text.get_window_extent().x1 <= ax.figure.bbox.x1

    def test_one_model_one_lr_one_cell(self, df):
        ax = plot_acc(df[df.model.eq('xresnet18') & df.lr.eq(1e-2)])
        assert len(ax.lines) == 1
        one = plot_acc(df[:1])
        assert len(one.lines) == 1 and one.lines[0].get_ydata().tolist() == [.388535]
        assert one.lines[0].get_marker() not in ('', 'None')
        assert xlabels(one) == ['1'] and one.get_xlim()[0] < 1 < one.get_xlim()[1]

    def test_seeds(self):
        d = toy([('m', 4, .1, .2), ('m', 4, .1, .4), ('m', 8, .1, .6), ('m', 8, .1, .6)], seed=[0, 1, 0, 1])
        ax = plot_acc(d)
        assert ax.lines[0].get_ydata() == pytest.approx([.3, .6])
        whiskers = ax.collections[0].get_segments()
        assert [w[:,1].tolist() for w in whiskers] == [pytest.approx([.3 - .02**.5, .3 + .02**.5]), pytest.approx([.6, .6])]
        assert signs(ax) == ['mean of 2 runs', '± 1 s.d. of the runs']
        top = plot_acc(d, agg='max')
        assert top.lines[0].get_ydata() == pytest.approx([.4, .6]) and not top.collections
        assert signs(top) == ['max of 2 runs']

    def test_diverged_cells_show(self):
        rows = [('m', 4, .1, .5), ('m', 8, .1, None), ('m', 16, .1, .6), ('m', 32, .1, None)]
        d = toy(rows, status=['ok', 'diverged', 'ok', 'oom'])
        ax = plot_acc(d)
        assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, True, False]
        assert ax.collections[0].get_offsets()[:, 0].tolist() == [8]
        assert named(ax) == ['1e-1', 'Learning rate'] and signs(ax) == ['diverged']

    def test_row_without_accuracy(self):
        ax = plot_acc(toy([('m', 4, .1, .5), ('m', 4, 1., None), ('m', 8, 1., None)], status=['ok', 'diverged', 'diverged']))
        assert np.isnan(lines(ax)['1e0'].get_ydata()).all() and len(ax.collections) == 1

    def test_nothing_but_divergence(self):
        ax = plot_acc(toy([('m', 4, .1, None)], status='diverged'))
        assert ax.get_ylim() == (0, 1)

    def test_nothing_at_all(self):
        with pytest.raises(ValueError, match='nothing to draw'): plot_acc(toy([('m', 4, .1, None)], status='oom'))

    def test_given_axes(self, df):
        fig,(left,right) = plt.subplots(1, 2)
        plt.sca(left)
        assert plot_acc(df, 'xresnet18', ax=right) is right
        assert plt.gca() is left and len(plt.get_fignums()) == 1 and not left.lines
        with pytest.raises(ValueError, match='say which: choose one of xresnet18'): plot_acc(df, ax=left)

    def test_refusals(self, df):
        with pytest.raises(ValueError, match="'vgg'.*choose one of xresnet18"): plot_acc(df, 'vgg')
        with pytest.raises(ValueError, match='epochs'): plot_acc(df.assign(epochs=[1]*23 + [5]*100))
        assert not plt.get_fignums()

    def test_input_is_left_alone(self, df):
        d = df.copy()
        plot_acc(d), plot_heatmap(d, 'xresnet34')
        pd.testing.assert_frame_equal(d, df)

    def test_ring_where_some_runs_were_lost(self):
        d = toy([('m', 4, .1, .5), ('m', 4, .1, None), ('m', 8, .1, .6), ('m', 8, .1, .62), ('m', 16, .1, None), ('m', 16, .1, None)],
                status=['ok', 'failed', 'ok', 'ok', 'diverged', 'diverged'], seed=[0, 1]*3)
        ax = plot_acc(d)
        ring, = [o for o in ax.collections if o.get_label() == 'some runs lost']
        assert ring.get_offsets().tolist() == [[4, .5]] and not len(ring.get_facecolors())
        assert signs(ax)[-2:] == ['diverged', 'some runs lost']
        assert 'some runs lost' not in signs(plot_acc(d[2:]))


class TestHeatmap:
    def test_draws_the_table(self, df):
        t,ax = crosstab_acc(df, 'xresnet34'),plot_heatmap(df, 'xresnet34')
        np.testing.assert_array_equal(ax.collections[0].get_array().filled(np.nan).reshape(t.shape), t)
        assert [o.get_text() for o in ax.texts] == [f'{100*v:.1f}' for v in t.values.ravel() if v == v]
        assert '80.1' in [o.get_text() for o in ax.texts]

    def test_crosstab_or_runs(self, df):
        a,b = plot_heatmap(df, 'xresnet18'),plot_heatmap(crosstab_acc(df, 'xresnet18'))
        np.testing.assert_array_equal(a.collections[0].get_array(), b.collections[0].get_array())
        assert (a.get_title(), b.get_title()) == ('xresnet18', '')

    def test_axes(self, df):
        ax = plot_heatmap(df, 'xresnet34')
        assert xlabels(ax) == '1 2 4 8 16 32 64 128 256 512 1024 2048'.split() and not overlapping(ax)
        at = {o.get_text(): ax.transData.transform((0, y))[1] for o,y in zip(ax.get_yticklabels(), ax.get_yticks())}
        assert sorted(at, key=at.get) == [f'1e-{i}' for i in (7, 6, 5, 4, 3, 2)] # upwards
        assert ax.get_xlabel().startswith('Batch size (examples per update)') and ax.get_ylabel() == 'Learning rate'
        assert ax.figure.axes[1].get_ylabel() == 'Accuracy (%)'

    def test_missing_cells_are_hatched(self, df):
        ax = plot_heatmap(df, 'xresnet34')
        assert ax.patches[0].get_hatch() and ax.get_xlabel().endswith('hatched: no accuracy')
        assert ax.collections[0].get_facecolors()[0][3] == 0 # lr 1e-7, bs 1: not run
        assert 'hatched' not in plot_heatmap(df, 'xresnet18').get_xlabel()

    def test_small_and_empty(self, df):
        assert [o.get_text() for o in plot_heatmap(df[:1]).texts] == ['38.9']
        d = toy([('m', 4, .1, .5), ('m', 4, 1., None), ('m', 8, 1., None)], status=['ok', 'diverged', 'diverged'])
        assert [o.get_text() for o in plot_heatmap(d).texts] == ['50.0', '×1/1', '×1/1']
        assert [o.get_text() for o in plot_heatmap(d[1:]).texts] == ['×1/1', '×1/1']

    def test_lost_runs_are_told_with_their_share(self):
        rows = [('m', 4, .1, .5), ('m', 4, .1, None), ('m', 4, .1, None), ('m', 8, .1, .6)]
        d = toy(rows, status=['ok', 'diverged', 'failed', 'ok'], seed=[0, 1, 2, 0])
        ax = plot_heatmap(d)
        places = {o.get_text(): o.get_position() for o in ax.texts}
        assert set(places) == {'50.0', '60.0', '×1/3', '!1/3'}
        assert {places[o][0] for o in ('50.0', '×1/3', '!1/3')} == {.5}
        assert ax.get_xlabel().endswith('×: diverged, !: failed') and 'hatched' not in ax.get_xlabel()
        ax.figure.canvas.draw()
        boxes = [o.get_window_extent() for o in ax.texts if o.get_position()[0] == .5]
        assert not any(a.overlaps(b) for i,a in enumerate(boxes) for b in boxes[:i])
        bare = plot_heatmap(d.pivot_table(index='lr', columns='bs', values='acc')) # which knows of none
        assert not [o for o in bare.texts if '/' in o.get_text()]

    def test_given_axes_and_options(self, df):
        fig,ax = plt.subplots()
        assert plot_heatmap(df, 'xresnet18', ax=ax, vmin=0, vmax=1, cmap='cividis') is ax
        assert ax.collections[0].get_clim() == (0, 1) and ax.collections[0].get_cmap().name == 'cividis' and len(plt.get_fignums()) == 1


class TestCurves:
    @pytest.fixture
    def epochs(self):
        def row(bs, lr, i):
            losses = dict(train_loss=2 - i*lr, valid_loss=2.5 - i*lr)
            return dict(run=f'd-m-bs-{bs}-lr-{lr}', model='m', bs=bs, lr=lr, seed=0, epoch=i, acc=.1*i) | losses
        return pd.DataFrame([row(bs, lr, i) for bs in (8, 16) for lr in (.1, .01) for i in (2, 0, 1)])

    def test_draws_the_rows(self, epochs):
        ax = plot_curves(epochs)
        assert len(ax.lines) == 4
        assert ax.lines[0].get_xdata().tolist() == [0, 1, 2] and ax.lines[0].get_ydata().tolist() == [2.5, 2.4, 2.3]
        assert ax.get_xlabel() == 'Epoch' and ax.get_ylabel() == 'Validation loss'
        assert named(ax) == ['1e-1', '1e-2', 'Learning rate']

    def test_what_is_drawn_and_coloured(self, epochs):
        ax = plot_curves(epochs[epochs.lr == .1], y='acc')
        assert named(ax) == ['8', '16', 'Batch size'] and ax.get_ylabel() == 'Accuracy (%)'
        assert plot_curves(epochs, y='train_loss', hue='bs').lines[0].get_ydata()[0] == 2

    def test_runs_of_one_name_and_two_seeds(self, epochs):
        assert len(plot_curves(pd.concat([epochs, epochs.assign(seed=1)])).lines) == 8

    def test_a_panel_a_model(self, epochs):
        assert len(plot_curves(pd.concat([epochs, epochs.assign(model='n')])).axes) == 2

    def test_loss_that_is_not_a_number(self, epochs):
        epochs.loc[0, 'valid_loss'] = np.nan
        assert np.isnan(plot_curves(epochs).lines[0].get_ydata()[2])

    def test_choices(self, epochs):
        with pytest.raises(ValueError, match="there is no column 'loss': the metrics in this table are"): plot_curves(epochs, y='loss')
        with pytest.raises(ValueError, match="hue is 'seed': choose one of lr, bs"): plot_curves(epochs, hue='seed')
        assert not plt.get_fignums()

    def test_from_a_store(self, tmp_path):
        from bs_lr_study.runs import Run, RunConfig
        from bs_lr_study.store import Store
        store = Store(tmp_path/'runs.jsonl')
        m = [dict(epoch=i, train_loss=2-i/2, valid_loss=2-i/3, acc=i/3) for i in range(3)]
        store.append(Run(RunConfig(data='digits', model='mlp', bs=8, lr=.1), metrics=m, name='a'))
        assert plot_curves(store.epochs_df()).lines[0].get_ydata().tolist() == [o['valid_loss'] for o in m]


def test_import_is_light():
    code = "import sys, bs_lr_study.report.plots; print([m for m in ('torch', 'fastai', 'wandb') if m in sys.modules])"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'

def test_a_heatmap_without_a_bar(df):
    "Several share one, so seaborn's `cbar=False` leaves it out"
    ax = plot_heatmap(df, 'xresnet18', cbar=False)
    assert ax.collections[0].colorbar is None and len(ax.figure.axes) == 1
