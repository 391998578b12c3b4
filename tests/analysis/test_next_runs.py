"Which cells to run again, against sets made with the runs that are proposed"
import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis.next_runs import next_runs
from bs_lr_study.analysis.stats import best_sets

def row(means, n=4, sd=.01):
    "A row whose cells show these means exactly, and all the same scatter"
    e = sd*np.resize([-1, 1], n)
    return pd.DataFrame([dict(run=f'{i}-{s}', model='m', bs=2**i, lr=.1, seed=s, acc=y + e[s]) for i,y in enumerate(means)
        for s in range(n)])

def size(df): return best_sets(df, sd=.01).candidates.map(len).sum()

def test_the_cell_in_doubt_comes_first_and_the_hopeless_last():
    df = row([.5, .70, .72, .3])
    t = next_runs(df, 4, sd=.01)
    assert set(t.bs[:2]) == {2, 4} and t.shrinks.iloc[-1] == pytest.approx(0, abs=.01)
    assert (t.runs == 4).all() and (np.diff(t.shrinks) <= 1e-12).all()

def test_a_whole_cell_less_is_a_whole_cell_less_in_the_sets():
    "Runs twice as many in the cell that comes first, the means as they are: the set loses the cell in doubt"
    df = row([.5, .7135, .725, .3])
    first = next_runs(df, 1, sd=.01).iloc[0]
    again = df[df.bs == first.bs].assign(run=lambda t: t.run + '+', seed=lambda t: t.seed + 9)
    assert size(df) == 2 and size(pd.concat([df, again], ignore_index=True)) == 1 and .2 < first.shrinks <= 1

def test_nothing_known_is_said():
    df = row([.5, .6], n=1).rename(columns=dict(acc='val_loss'))
    with pytest.raises(ValueError, match='give how far a run moves as sd'): next_runs(df)
