"""Reports and plots of a loss, in its own words; and of runs that have no accuracy at all."""
import re

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import load_runs
from bs_lr_study.report import report, save_plots, tables
from bs_lr_study.report.plots import plot_acc, plot_curves, plot_heatmap, plot_lines
from bs_lr_study.runs import Run, grid
from bs_lr_study.store import Store
from bs_lr_study.sweep.board import Board
from bs_lr_study.sweep.live import board_lines, run_line
from bs_lr_study.sweep.study import Study

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

@pytest.fixture(scope='module')
def losses():
    "Runs of one model whose loss is lowest at bs 8, over four powers of ten, three seeds"
    rng = np.random.default_rng(0)
    d = pd.DataFrame([(bs, lr, seed) for bs in (2, 4, 8, 16, 32) for lr in (1e-3, 1e-2) for seed in range(3)], columns=['bs', 'lr', 'seed'])
    far = np.abs(np.log2(d.bs/8)) + 2*(d.lr > 1e-3)
    return load_runs(d.assign(model='m', val_loss=1e-4*10**far*np.exp(.05*rng.standard_normal(len(d)))))

ACCURACY = re.compile(r'accurac|points|per cent|%(?! at| interval)', re.I)

def test_a_loss_is_never_called_an_accuracy(losses):
    text,page = tables(losses),report(losses).markdown()
    for said in (text, re.sub(r'at 90 per cent|at 95 %', '', page)): assert not ACCURACY.search(re.sub('at 95 %', '', said))
    assert text.startswith('Best: m at bs 8, lr 1e-3 (') and 'the lowest validation loss of 10 cells.' in text
    assert 'Inflection point: the batch size past which the validation loss rises' in text

def test_the_answer_is_that_of_the_grid(losses):
    means = losses.groupby(['bs', 'lr']).val_loss.mean()
    assert means.idxmin() == (8, 1e-3)
    first = report(losses).parts[0]
    assert first.title == 'The answer' and first.body[0].text.startswith('Best: m at bs 8, lr 1e-3 (')

def test_lines_and_colours_of_a_loss(losses):
    ax = plot_lines(losses)
    assert ax.get_ylabel() == 'Validation loss' and ax.get_yscale() == 'log'
    low = ax.lines[0].get_ydata()
    assert np.allclose(low, losses[losses.lr == 1e-3].groupby('bs').val_loss.mean())
    assert not any('math' in o.get_text() for o in ax.get_yticklabels())
    colours = plot_heatmap(losses).collections[0]
    light = colours.cmap(colours.norm([losses.val_loss.min(), losses.val_loss.max()])).sum(1)
    assert light[0] > light[1], 'the best is the lightest'
    with pytest.raises(ValueError, match="there is no column 'acc'"): plot_acc(losses)

def test_one_of_several_metrics(losses):
    both = losses.assign(f1=1/(1 + losses.val_loss))
    assert plot_lines(both, metric='f1').get_ylabel() == 'F1 (%)' and plot_lines(both).get_ylabel() == 'Validation loss'
    assert 'the highest F1 of 10 cells' in tables(both, metric='f1')

def test_plots_are_files(losses, tmp_path):
    names = [o.name for o in save_plots(losses, tmp_path, 'pdf')]
    assert names == ['validation-loss.pdf', 'heatmap-m.pdf'] and (tmp_path/names[0]).read_bytes().startswith(b'%PDF')

# Our own runs without an accuracy, such as a regression

CFGS = grid(data='own', model='m', bs=[8, 16, 32], lr=[.01, .1], epochs=1)

@pytest.fixture
def study(tmp_path):
    store = Store(tmp_path/'runs.jsonl')
    s = Study('own', {f'own-m-bs-{c.bs}-lr-{c.lr}': c for c in CFGS}, store)
    for i,c in enumerate(CFGS[:-1]):
        store.append(Run(c, metrics=[dict(epoch=1, train_loss=.5, valid_loss=.1 + .1*i, mae=.3 + i)], name=f'own-m-bs-{c.bs}-lr-{c.lr}'))
    return s

def test_runs_without_accuracy(study):
    df = study.store.to_df()
    assert 'acc' not in df and df.mae.tolist() == [.3, 1.3, 2.3, 3.3, 4.3]
    runs = load_runs(study.store.path, metric='valid_loss')
    assert runs.valid_loss.min() == pytest.approx(.1) and 'validation loss' in tables(runs)
    assert plot_curves(study.store.epochs_df(), 'mae').get_ylabel() == 'MAE'

def test_board_of_losses(study):
    board = Board(study)
    title, = board.tabs
    row = board.rows(title)[.01]
    assert board.metric.lower and [best for _,best in row.values()] == [True, False, False]
    text = '\n'.join(o.plain for o in board_lines(board))
    assert '0.100*' in text and 'validation loss' in text and 'per cent' not in text
    run = Run(CFGS[0], metrics=[dict(epoch=1, valid_loss=.1)], name='own')
    assert run.acc is None and 'loss 0.1000' in run_line(run, board)

def test_board_shows_accuracy_where_there_is_one(study):
    study.store.append(Run(CFGS[-1], metrics=[dict(epoch=1, valid_loss=.1, acc=.5)], name='x'))
    assert Run(CFGS[0]).acc is None and Store(study.store.path).to_df().acc.notna().sum() == 1
