"""What notebooks show of runs, studies, boards and findings: tables and lists of text, whatever the text."""
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd, pytest

from bs_lr_study.analysis import load_runs
from bs_lr_study.analysis.findings import findings, findings_text
from bs_lr_study.runs import Run, RunConfig
from bs_lr_study.sweep.board import Board
from bs_lr_study.sweep.live import board_html
from bs_lr_study.sweep.study import make_study

EVIL = '<script>alert(1)</script>'

class Page(HTMLParser):
    "Tags that are opened, all of which must be closed, and the texts between them"
    def __init__(self, html):
        super().__init__()
        self.tags,self.open,self.texts = [],[],[]
        self.feed(html)
        assert self.open == []
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
    def handle_endtag(self, tag): assert self.open.pop() == tag
    def handle_data(self, data): self.texts.append(data)

def shown(o):
    page = Page(o._repr_html_())
    assert 'script' not in page.tags
    return page

def pairs(page): return dict(zip(page.texts[1::2], page.texts[2::2]))

@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_study('two', data='digits', models='small', batch_sizes=[64, 8], lrs=[1e-2, 1e-3], seeds=[0, 1])

def ended(cfg, **kwargs): return Run(cfg, metrics=[dict(epoch=1, train_loss=.5, valid_loss=.25, acc=.875)], **kwargs)

def test_run():
    "What it is, how it ended, its last epoch and its cost"
    page = shown(ended(RunConfig('digits', 'small', bs=8, lr=1e-3, wd=.1), cost=dict(seconds=1.23456), name='one'))
    got = pairs(page)
    assert page.texts[0] == 'one' and (got['lr'], got['wd'], got['acc'], got['seconds']) == ('1e-3', '0.1', '0.875', '1.235')
    assert got['status'] == 'ok' and 'message' not in got and 'mom' not in got # as usual
    assert EVIL in shown(Run(RunConfig('digits', 'small', 8, .1), status='failed', message=EVIL)).texts

def test_study(study):
    "What it spans and how much is done"
    first = study.cfgs[0]
    study.store.append(ended(first))
    got = pairs(shown(study))
    assert (got['bs'], got['lr'], got['seed'], got['runs'], got['done']) == ('8, 64', '1e-3, 1e-2', '0, 1', '8', '1')

def test_board(study): assert Board(study)._repr_html_() == board_html(Board(study))

def test_findings():
    "Every sentence with its certainty, and still a frame"
    df = load_runs().query('model == "xresnet18"')
    found = findings(df)
    text = ''.join(shown(found).texts)
    for o in found.itertuples(): assert o.sentence in text
    assert isinstance(found, pd.DataFrame) and list(found[found.certainty == 'clear'].columns) == list(found)
    assert findings_text(found).count('\n') == len(found) - 1 and found.attrs['metric'].name == 'acc'
    named = findings(df.assign(model=EVIL))
    assert EVIL in ''.join(shown(named).texts)

def test_a_run_made_anew_shows_itself_as_well(study):
    assert pairs(shown(replace(ended(study.cfgs[0]), attempt=2)))['status'] == 'ok'
