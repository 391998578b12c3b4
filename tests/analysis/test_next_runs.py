"What to run next, against sets made with the runs that are proposed, and grids whose open question is known"
import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis.findings import findings
from bs_lr_study.analysis.next_runs import next_runs
from bs_lr_study.analysis.stats import best_sets
from bs_lr_study.report.answer import answer

def row(means, n=4, sd=.01, bss=None, lr=.1):
    "A row whose cells show these means exactly, and all the same scatter"
    e = sd*np.resize([-1, 1], n)
    return pd.DataFrame([dict(run=f'{bs}-{s}-{lr}', model='m', bs=bs, lr=lr, seed=s, acc=y + e[s])
        for bs,y in zip(bss or 2**np.arange(len(means)), means) for s in range(n)])

def column(means, lrs, **kw): return pd.concat([row([y], bss=[8], lr=lr, **kw) for lr,y in zip(lrs, means)], ignore_index=True)

def size(df): return best_sets(df, sd=.01).candidates.map(len).sum()

def test_the_cells_in_doubt_come_and_the_hopeless_do_not():
    t = next_runs(row([.5, .70, .71, .3]), 9, sd=.01)
    assert set(t.bs) == {2, 4} and not t.new.any() and (t.runs == 4).all() and (np.diff(t.shrinks) <= 1e-12).all()

def test_a_cell_less_is_about_a_cell_less_in_the_sets():
    "Runs twice as many in the cell that comes first, the means as they are: the set loses the cell in doubt"
    df = row([.5, .7135, .725, .3])
    first = next_runs(df, 1, sd=.01).iloc[0]
    again = df[df.bs == first.bs].assign(run=lambda t: t.run + '+', seed=lambda t: t.seed + 9)
    assert size(df) == 2 and size(pd.concat([df, again], ignore_index=True)) == 1 and .1 < first.shrinks <= 1

def test_of_two_that_tell_as_much_the_one_with_fewer_runs_comes_first():
    few,many = (row([.5, .70, .71, .3], n).assign(lr=lr, run=lambda d: d.run + f'-{lr}') for n,lr in ((2, .1), (8, .4)))
    t = next_runs(pd.concat([few, many], ignore_index=True).query('not (bs == 1 or bs == 8)'), 9, sd=.02)
    per_run = (t.shrinks/t.runs).to_numpy()
    assert (np.diff(per_run) <= 1e-12).all() and set(t.runs) == {2, 8}

def test_past_an_end_that_is_best_a_further_value_comes():
    t = next_runs(row([.5, .6, .7, .8]), 3, sd=.01)
    assert t.iloc[0][['bs', 'new']].tolist() == [16, True] and t.shrinks[0] > .5
    t = next_runs(column([.8, .7, .6, .5], [1e-4, 1e-3, 1e-2, 1e-1]), 3, sd=.01)
    assert t.lr[0] == pytest.approx(1e-5) and t.new[0]

def test_no_batch_is_smaller_than_one():
    t = next_runs(row([.8, .7, .6, .5]), 9, sd=.01)
    assert t.empty

def test_past_an_end_that_diverged_nothing_comes():
    df = row([.5, .6, .7, .8, np.nan]).assign(status=lambda d: np.where(d.acc.isna(), 'diverged', 'ok'))
    assert not (next_runs(df, 9, sd=.01).bs > 8).any()

def test_between_neighbours_that_lie_apart_a_round_value_comes():
    t = next_runs(column([.5, .7, .699, .5], [1e-4, 1e-3, 1e-2, 1e-1]), 9, sd=.001)
    assert 3e-3 in t.lr[t.new].round(9).tolist()
    t = next_runs(row([.5, .7, .699, .5], bss=[1, 4, 16, 64]), 9, sd=.001)
    assert set(t.bs[t.new]) <= {2, 8, 32} and 8 in set(t.bs[t.new])
    t = next_runs(row([.5, .7, .699, .5]), 9, sd=.001)
    assert not t.new.any() # neighbours a factor of two apart are near enough

def test_less_may_be_better():
    df = row([.5, .6, .7, .8])
    loss = df.assign(val_loss=1 - df.acc).drop(columns='acc')
    pd.testing.assert_frame_equal(next_runs(loss, 9, sd=.01), next_runs(df, 9, sd=.01))

def test_nothing_known_is_said():
    df = row([.5, .6], n=1).rename(columns=dict(acc='val_loss'))
    with pytest.raises(ValueError, match='give how far a run moves as sd'): next_runs(df)

def test_findings_and_the_answer_say_it():
    df = row([.5, .6, .7, .8])
    t = findings(df, .01)
    said = t[t.kind == 'next']
    assert said.evidence.item()['runs'] == next_runs(df, 3, sd=.01).query('shrinks > .1').to_dict('records')
    assert 'bs 16, lr 1e-1, not tried yet, 4 times' in said.sentence.item() and answer(t)[-1] == said.sentence.item()
    assert findings(row([.5, .9, .5], n=4, sd=.001, bss=[8, 16, 32])).query('kind == "next"').empty
