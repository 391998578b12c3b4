"The report in a terminal: what is best stands out, whatever the width, and plain text goes to programs."
import re
from io import StringIO

import pytest
from rich.console import Console

from bs_lr_study.analysis import load_runs
from bs_lr_study.analysis.findings import findings
from bs_lr_study.analysis.tables import crosstab_text
from bs_lr_study.report import tables
from bs_lr_study.report.terminal import _pieces, print_tables

def few(): return load_runs().query('model == "xresnet18"').reset_index(drop=True)

def printed(df, width=80, **kwargs):
    console = Console(file=StringIO(), force_terminal=True, color_system='truecolor', width=width, **kwargs)
    print_tables(df, console=console)
    return console.file.getvalue()

def plain(text): return re.sub(r'\x1b\[[0-9;]*m', '', text)

@pytest.fixture(scope='module')
def digits(): return printed(load_runs('digits-fast'))

@pytest.mark.parametrize('width', [40, 80, 200])
def test_fits(width):
    assert max(map(len, plain(printed(few(), width)).splitlines())) <= width

def test_every_cell_is_there_once(digits):
    "In however many pieces the crosstab stands, its numbers are those of the table"
    table = crosstab_text(load_runs('digits-fast'))
    text = plain(digits)
    crosstab = text[text.index('rows'):text.index('What is best')]
    for lr,row in zip(('1e-4', '1e-3', '1e-2', '1e-1'), table.to_numpy()):
        got = ' '.join(o.removeprefix(lr) for o in crosstab.splitlines() if o.strip().startswith(lr))
        assert got.split() == ' '.join(o.replace(' (3)', '') for o in row).split()

@pytest.mark.parametrize('widths,wide,pieces', [
    ([4, 5, 5, 5], 80, [[0, 1, 2, 3]]), ([4, 5, 5, 5], 18, [[0, 1, 2], [0, 3]]), ([4, 50, 5], 20, [[0, 1], [0, 2]])])
def test_pieces(widths, wide, pieces):
    "A column that is too wide by itself stands alone"
    assert _pieces(widths, wide) == pieces

def test_the_best_and_its_rivals_have_colours_of_their_own(digits):
    best = re.findall(r'\x1b\[1;30;48;2;143;209;158m\s*([^\x1b]*)\x1b', digits)
    maybe = re.findall(r'\x1b\[30;48;2;207;227;247m\s*([^\x1b]*)\x1b', digits)
    found = findings(load_runs('digits-fast'))
    e = found[found.kind == 'best cell'].evidence.iloc[0]
    assert len(best) == 1 and best[0].startswith(f"{100*e['acc']:.1f}") and len(maybe) == len(e['rival_cells']) > 1
    assert 'shaded: cannot be told from the best' in ' '.join(plain(digits).split())

def test_programs_get_plain_text(capsys, monkeypatch):
    "Behind a pipe, with NO_COLOR, and on a terminal that knows no colours"
    want = tables(few()) + '\n'
    print_tables(few(), console=Console(file=StringIO()))
    assert capsys.readouterr().out == want
    print_tables(few())
    assert capsys.readouterr().out == want
    monkeypatch.setenv('NO_COLOR', '1')
    print_tables(few(), console=Console(file=StringIO(), force_terminal=True))
    assert capsys.readouterr().out == want
    monkeypatch.delenv('NO_COLOR')
    monkeypatch.setenv('TERM', 'dumb')
    print_tables(few(), console=Console(file=StringIO(), force_terminal=True))
    assert capsys.readouterr().out == want

def test_data_cannot_command_the_terminal():
    "Escape sequences and rich's markup in names and messages are shown, not obeyed"
    evil = '\x1b[2J\x1b]0;owned\x07[bold red]x[/]'
    df = few().assign(model=evil, run=[f'{evil}-{i}' for i in range(36)], status='ok', message='')
    df.loc[0, ['status', 'message', 'acc']] = ['failed', evil, None]
    text = printed(df)
    assert '\x1b[2J' not in text and '\x07' not in text and '\x1b]' not in text
    assert '[bold red]x[/]' in plain(text).replace('\n', '')
