"""The report: the numbers of the runs, whole and unharmed, as HTML and as Markdown, of any set of runs."""
import csv, re, subprocess, sys
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np, pandas as pd, pytest
from markdown_it import MarkdownIt

from bs_lr_study import cli
from bs_lr_study.analysis import find_record, load_runs
from bs_lr_study.report import report
from bs_lr_study.files import clean
from bs_lr_study.report.compose import _MOST
from bs_lr_study.report.page import docs_url

class Tables(HTMLParser):
    "The tables of a page: rows of (text, value)"
    def __init__(self, html):
        super().__init__()
        self.tables,self.cell,self.caption = [],None,None
        self.feed(html)
    def handle_starttag(self, tag, attrs):
        if tag == 'table': self.tables.append(dict(rows=[], caption=''))
        elif tag == 'tr': self.tables[-1]['rows'].append([])
        elif tag in ('td', 'th'): self.cell = ['', dict(attrs).get('data-v')]
        elif tag == 'caption': self.caption = True
    def handle_endtag(self, tag):
        if tag in ('td', 'th'): self.tables[-1]['rows'][-1].append(tuple(self.cell)); self.cell = None
        elif tag == 'caption': self.caption = None
    def handle_data(self, data):
        if self.cell: self.cell[0] += data
        elif self.caption: self.tables[-1]['caption'] += data

def html_tables(html): return {t['caption']: t['rows'] for t in Tables(html).tables}

@pytest.fixture
def published(reports): return reports['published']

@pytest.fixture
def digits(reports): return reports['digits']

def few(): return load_runs().query('model == "xresnet18" and 4 < bs < 64 and lr > 1e-4').reset_index(drop=True)

def test_the_numbers_are_those_of_the_csv(published):
    "Every cell of every crosstab, and every run, against the file"
    with open(find_record('2025-06-04')) as f: acc = {o['run']: float(o['acc']) for o in csv.DictReader(f)}
    tables,cells = html_tables(published.html()),{}
    for name,(head,*rows) in tables.items():
        if 'by learning rate (rows)' not in name: continue
        model = name.split(':')[0]
        for (_,lr),*row in rows:
            cells |= {f'imagenette-{model}-bs-{bs}-lr-{float(lr)}': float(v) for (bs,_),(_,v) in zip(head[1:], row) if v}
    assert cells == acc
    (head,*rows), = [t for k,t in tables.items() if k.startswith('123 runs')]
    assert [h for h,_ in head] == ['run', 'accuracy (%)', 'model', 'bs', 'lr']
    assert {r[0][0]: float(r[1][1]) for r in rows} == acc
    assert [r[0][0] for r in rows][:1] == [max(acc, key=acc.get)]

def test_markdown_has_the_same_tables(published):
    "As a Markdown reader sees them"
    def texts(html): return [[[v for v,_ in row] for row in t['rows']] for t in Tables(html).tables]
    got = texts(MarkdownIt('commonmark').enable('table').render(published.markdown()))
    assert len(got) > 8 and got == texts(published.html())

def test_what_it_holds(published, digits):
    for rep in (published, digits):
        assert [p.title for p in rep.parts][:5] == ['The answer', 'Accuracy by batch size and learning rate', 'What is best',
            'Findings', 'What was run']
        assert [p.title for p in rep.parts][-2:] == ['Claims', 'The runs']
        assert len(rep.html()) < 1_500_000
    assert 'What it cost' in [p.title for p in digits.parts] and 'What it cost' not in [p.title for p in published.parts]
    assert '±' in digits.html() and 'may be the best of their row, at 90 per cent' in published.html()
    assert f'{docs_url()}nbs/lab/claims_grid.html#best-run' in published.html() and docs_url().startswith('https://')

def test_other_metrics_have_their_best_cell(digits, published):
    "The table against pandas, the means of the seeds of each cell"
    means = load_runs('digits-fast').groupby(['bs', 'lr']).valid_loss.mean()
    (bs, lr),least = means.idxmin(),means.min()
    (_,row), = [t for k,t in html_tables(digits.html()).items() if 'what else was measured' in k]
    assert [v for v,_ in row[:2]] == ['small', 'validation loss'] and (int(row[2][1]), float(row[3][1])) == (bs, lr)
    assert float(row[4][1]) == pytest.approx(least)
    assert not any('what else' in k for k in html_tables(published.html()))

def test_words_of_certainty_are_explained_where_they_stand(digits):
    "Each links to what it means, which a pointer sees on it as well; Markdown says it in a list"
    html = digits.html()
    words = re.findall(r'<a class="tag" data-tag="([^"]*)" href="#([^"]*)" title="([^"]+)">', html)
    assert {w for w,*_ in words} >= {'clear', 'within noise', 'open'}
    for word,to,meaning in words:
        assert f'<dt id="{to}"><span class="tag" data-tag="{word}">' in html and f'<dd>{meaning}</dd>' in html
    assert '- *clear*: holds at the level asked for' in digits.markdown()

def test_contents_lead_to_each_model(published):
    links = re.findall(r'<a href="#([^"]+)">(xresnet18|xresnet34|xse_resnext50)</a>', published.html())
    assert [o for _,o in links] == ['xresnet18', 'xresnet34', 'xse_resnext50']
    for to,name in links: assert f'<h3 id="{to}">{name}</h3>' in published.html()

def test_sets_are_in_the_picture(published):
    "The pale strokes, what they mean, and the same in the caption"
    lines = next(o for p in published.parts for o in p.body if o.kind == 'plot')
    assert "may be its line's best" in lines.svg[0] and 'may be the best of their line, at 90 per cent' in lines.caption

def test_nothing_from_outside(published, digits):
    "No address but links to read, no event handler, no style that loads"
    for rep in (published, digits):
        html = rep.html()
        assert not re.search(r'<(?:link|img|image|script|iframe|object|embed|use)[^>]*(?:src|href)="(?!#|data:)', html)
        assert not re.search(r'@import|url\((?!#)|<[^>]* on\w+=', html)
        assert "default-src 'none'" in html

def test_plots_are_well_formed_and_named(published):
    plots = [o for p in published.parts for o in p.body if o.kind == 'plot']
    assert len(plots) == 4
    for o in plots:
        for pic in o.svg:
            root = ET.fromstring(pic)
            title = root.find('{http://www.w3.org/2000/svg}title')
            assert root.get('role') == 'img' and root.get('aria-labelledby') == title.get('id') and title.text == o.caption
    assert 'from 0.0 to 80.0 per cent, the best at bs 32, lr 1e-2' in plots[1].caption
    texts = [t.text for t in ET.fromstring(plots[1].svg[0]).iter('{http://www.w3.org/2000/svg}text')]
    assert {'1e-4', '2048', 'Learning rate'} <= set(texts) # text, not outlines

ODD = ['<script>', '$x$', '$\\frac{', '\\', '日本語', '{{ 7*7 }}', '</style></title>', 'a|b', '`', '\x07\x1b[31m', 'x'*300,
       '{% raw %}', '_', '%s', '\u202egnp.exe']

def test_any_name_of_a_model(monkeypatch):
    "Shown as it is, but for what cannot be shown, in the page, its plots and Markdown"
    monkeypatch.setitem(_MOST, 'models', 6) # to draw
    df = few().query('bs < 32 and lr > 1e-3')
    odd = pd.concat([df.assign(model=o, run=[f'{o}-{i}' for i in range(len(df))], data='d') for o in ODD], ignore_index=True)
    rep = report(odd, ODD[0])
    names = {r[2][0] for k,t in html_tables(rep.html()).items() if k.endswith('best first') for r in t[1:]}
    assert names == {clean(o) for o in ODD}
    plots = [o.svg[0] for p in rep.parts for o in p.body if o.kind == 'plot']
    for o in ('$x$', '{{ 7*7 }}', '日本語', '&lt;script&gt;'): assert any(f'>{o}</text>' in pic for pic in plots), o
    rep.markdown().encode()

def test_lost_runs():
    "Statuses and reasons are told, with what is missing last"
    df = few().assign(status='ok', message='')
    df.loc[df.index[:3], ['status', 'message', 'acc']] = ['diverged', 'the loss is nan', np.nan]
    df.loc[df.index[3], ['status', 'message', 'acc']] = ['failed', 'first line\nsecond line', np.nan]
    tables = html_tables(report(df).html())
    lost = [[v for v,_ in r] for r in tables['Runs that did not go well'][1:]]
    assert lost == [['diverged', 'the loss is nan', '3'], ['failed', 'first line', '1']]
    rows = next(t for k,t in tables.items() if k.endswith('best first'))[1:]
    assert [r[1] for r in rows[-4:]] == [('–', '')]*4 and all(float(r[1][1]) > 0 for r in rows[:-4])

@pytest.mark.parametrize('change', [
    dict(acc=np.nan), dict(acc=np.nan, status='diverged'), dict(acc=np.nan, status='failed', message=None),
    dict(acc=.5, seconds=0., steps=5, examples=10), pytest.param(dict(acc=0.), marks=pytest.mark.slow)])
def test_odd_sets(change):
    "No accuracy, none different, no time: a report all the same"
    df = few().assign(**change)
    for o in (df, df.head(1)):
        rep = report(o)
        assert len(html_tables(rep.html())) >= 2 and rep.markdown()

def test_one_run_and_none():
    assert 'one a cell' in str(report(few().head(1)))
    with pytest.raises(ValueError, match='no runs to report on'): report(load_runs().head(0))
    with pytest.raises(ValueError, match='cannot share a table'): report(pd.concat([few(), load_runs('digits-fast')]))

def test_columns_of_ones_own():
    "Lists, times, booleans and infinities in further columns do no harm"
    df = few()
    n = len(df)
    df = df.assign(tags=[['a', i] for i in range(n)], when=pd.date_range('2025-01-01', periods=n), converged=[i % 2 == 0 for i in range(n)],
                   valid_loss=[np.inf, *range(n-1)], note=[None]*(n-1) + ['|x|'])
    head,*rows = next(t for k,t in html_tables(report(df).html()).items() if k.endswith('best first'))
    cols = [h for h,_ in head]
    by = {r[0][0]: dict(zip(cols, r)) for r in rows}
    first = by[df.run.iloc[0]]
    assert first['valid_loss'] == ('inf', '') and first['converged'][0] == 'True'
    assert first['when'][0].startswith('2025-01-01') and first['tags'][0] == "['a', 0]"

def test_saving(tmp_path, digits):
    paths = digits.save(tmp_path/'a folder'/'digits.md')
    md = paths[0].read_text()
    links = re.findall(r'!\[[^\]]*\]\(([^)]+)\)', md)
    assert links == ['digits_plots/accuracy-1.svg', 'digits_plots/heatmap-1.svg'] and all((paths[0].parent/o).exists() for o in links)
    assert digits.save(tmp_path/'x.HTML')[0].read_text() == digits.html()
    with pytest.raises(ValueError, match='x.pdf: a report is .html or .md'): digits.save(tmp_path/'x.pdf')

def many(n_models, n_seeds, rng):
    lrs,bss = [1e-4, 1e-3, 1e-2], [2**i for i in range(8)]
    rows = product([f'net{m}' for m in range(n_models)], lrs, bss, range(n_seeds))
    df = pd.DataFrame(rows, columns=['model', 'lr', 'bs', 'seed'])
    df['acc'] = (.7 + .02*np.log2(df.bs) - .05*(np.log10(df.lr) + 3)**2 + rng.normal(0, .01, len(df))).clip(0, 1)
    return df.assign(run=[f'digits-{o.model}-bs-{o.bs}-lr-{o.lr!r}-seed-{o.seed}' for o in df.itertuples()])

@pytest.mark.slow
def test_a_hundred_thousand_runs():
    "A page of a few hundred kilobytes that says what it leaves out"
    df = load_runs(many(1, 4167, np.random.default_rng(0)))
    assert len(df) > 100_000
    html = report(df).html()
    assert len(html) < 1_500_000 and 'The 1,000 best of 100,008 runs: a page cannot hold them all' in html

@pytest.mark.slow
def test_many_models():
    df = load_runs(many(20, 1, np.random.default_rng(1)))
    rep = report(df)
    html = rep.html()
    assert 'The first 12 of 20 models.' in html and len(html) < 4e6
    assert sum(o.kind == 'plot' for p in rep.parts for o in p.body) == 3 + 12

@pytest.fixture
def flowers(tmp_path):
    "A few runs that do not ship with the package, in a file"
    df = few()
    df.assign(run=df.run.str.replace('imagenette', 'flowers')).to_csv(tmp_path/'a.csv', index=False)
    return tmp_path/'a.csv'

def test_command(flowers, monkeypatch, capsys):
    "The page beside the plots, Markdown on demand"
    monkeypatch.chdir(flowers.parent)
    cli.report('a.csv', md='r.md')
    assert capsys.readouterr().out.splitlines()[-1].startswith('Report: plots/report.html, r.md')
    assert Path('plots/report.html').read_text().startswith('<!doctype html>')
    assert Path('r.md').exists() and Path('r_plots/heatmap-1.svg').exists()

@pytest.mark.slow
def test_same_runs_same_bytes(flowers):
    "Also in another process"
    code = '''from bs_lr_study.analysis import load_runs
from bs_lr_study.report import report
report(load_runs('a.csv'), 'x').save('a.html')'''
    subprocess.run([sys.executable, '-c', code], check=True, cwd=flowers.parent)
    assert flowers.with_suffix('.html').read_text() == report(load_runs(flowers), 'x').html()
