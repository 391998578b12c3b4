"""Tables for papers and READMEs: what is written reads back as what was measured."""
import re

import numpy as np, pandas as pd, pytest
from markdown_it import MarkdownIt

from bs_lr_study.analysis import best_by, cells, crosstab, crosstab_text, inflection_table, load_runs
from bs_lr_study.analysis.stats import best_sets
from bs_lr_study.metrics import metric
from bs_lr_study.report.files import save_table, styled, tables_of, to_latex, to_markdown, written

@pytest.fixture(scope='module')
def df(): return load_runs().query('model == "xresnet18"')

def loss_of(df):
    other = df.assign(val_loss=1e-4/(df.acc + .01)**3).drop(columns='acc')
    other.attrs['metric'] = metric('val_loss')
    return other

def markdown_rows(text):
    "The cells of a Markdown table as a reader shows them"
    html = MarkdownIt('commonmark').enable('table').render(text)
    return [re.findall(r'<t[hd][^>]*>(.*?)</t[hd]>', row) for row in re.findall(r'<tr>(.*?)</tr>', html, re.S)]

def latex_rows(text):
    return [[o.strip() for o in line.removesuffix(r'\\').split('&')] for line in text.splitlines() if '&' in line]

@pytest.mark.parametrize('form,rows', [(to_markdown, markdown_rows), (to_latex, latex_rows)])
@pytest.mark.parametrize('turn,scale', [(lambda d: d, 100), (loss_of, 1)])
def test_a_crosstab_reads_back(df, form, rows, turn, scale):
    t = crosstab(turn(df))
    head,*body = rows(form(t))
    assert head[1:] == [str(b) for b in t] and [float(o[0]) for o in body] == pytest.approx(t.index.tolist())
    assert np.array([[float(o) for o in row[1:]] for row in body]) == pytest.approx(scale*t.to_numpy(), rel=5e-3, abs=5e-3*(scale == 100))

def test_every_table_takes_every_form(df, tmp_path):
    every = tables_of(df) | {'sets': best_sets(df, sd=.01), 'wide': inflection_table(df), 'text': crosstab_text(df)}
    for name,t in every.items():
        for form in ('csv', 'md', 'tex', 'html'): assert save_table(t, tmp_path/'new'/f'{name}.{form}').stat().st_size
        assert len({len(o) for o in markdown_rows(to_markdown(t))}) == 1, name
        assert len({len(o) for o in latex_rows(to_latex(t))}) == 1 or written(t).shape[1] == 1, name

def test_a_csv_keeps_all_digits(df, tmp_path):
    back = load_runs(save_table(df, tmp_path/'tidy.csv'))
    pd.testing.assert_frame_equal(crosstab(back, 'xresnet18'), crosstab(df, 'xresnet18'))
    assert pd.read_csv(save_table(best_by(df, 'bs'), tmp_path/'b.csv'), index_col=0).acc.tolist() == best_by(df, 'bs').tolist()

def test_hostile_names():
    t = pd.DataFrame(dict(model=['a|b', '50%_{x}\\&<i>', '$m$ #1 ~^'], acc=[.5, np.nan, 1.]))
    t.attrs['metric'] = metric('acc')
    assert [o[0] for o in markdown_rows(to_markdown(t))[1:]] == ['a|b', '50%_{x}\\&amp;&lt;i&gt;', '$m$ #1 ~^']
    tex = to_latex(t)
    assert r'50\%\_\{x\}' in tex and r'\&' in tex and r'\$m\$ \#1' in tex and '--' in tex
    assert '<i>' not in to_markdown(t).replace(r'\<i\>', '')

def test_captions(df):
    assert r'\caption{A\_1}' in to_latex(crosstab(df), caption='A_1') and r'\label{t}' in to_latex(crosstab(df), 'A', 't')

def test_the_best_is_lightest(df):
    for runs,sign in ((df, 1), (loss_of(df), -1)):
        t = crosstab(runs)
        style = styled(t)
        style._compute()
        gain = sign*t.to_numpy()
        def light(cell): return sum(int(style.ctx[cell][0][1][i:i+2], 16) for i in (1, 3, 5))
        best,worst = (np.unravel_index(o, gain.shape) for o in (gain.argmax(), gain.argmin()))
        assert light(tuple(best)) > light(tuple(worst))

def test_unknown_forms(df, tmp_path):
    with pytest.raises(ValueError, match='a table is written as .tex, .md, .html, .csv'): save_table(df, tmp_path/'a.xlsx')
    assert not list(tmp_path.iterdir())

def test_missing_values_are_dashes():
    t = cells(load_runs().head(3))
    assert written(t)['std'].tolist() == ['–']*3 and written(t.assign(tested=False))['tested'].tolist() == ['no']*3
