"""What is shown while a sweep goes on: the right cells, on any terminal, and never in the sweep's way."""
import io, re
from types import SimpleNamespace

import pytest
from rich.console import Console

from bs_lr_study.sweep.live import board_html, board_lines, live
from bs_lr_study.sweep.board import Board
from bs_lr_study.runs import Run, grid, run_name
from bs_lr_study.store import Store
from bs_lr_study.sweep import load_study, make_study, run

def study_of(path, **axes):
    cfgs = grid(**dict(data='digits', model='small', bs=[8, 16], lr=[1e-3, 1e-2], seed=[0, 1]) | axes)
    return SimpleNamespace(name='tiny', cfgs=cfgs, runs={run_name(c): c for c in cfgs}, store=Store(path))

def ok(cfg, acc): return Run(cfg, metrics=[dict(epoch=1, acc=acc)])

def screen(written, height=24):
    "What a terminal shows in the end: carriage returns, lines up, lines erased; the rest is colour"
    lines,at = [''],0
    for part in re.findall(r'\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+', written):
        if part == '\n':
            at += 1
            if at == len(lines): lines.append('')
        elif part == '\r': pass # what follows is erased first, or written over a line of the same length
        elif m := re.fullmatch(r'\x1b\[(\d+)A', part):
            at -= int(m[1])
            assert at >= max(0, len(lines) - height), 'the cursor would leave the screen: what scrolled away is not repainted'
        elif part == '\x1b[2K': lines[at] = ''
        elif part[0] != '\x1b': lines[at] += part
    return lines

@pytest.mark.parametrize('height', [12, 24])
def test_a_large_sweep_on_a_small_terminal(tmp_path, height):
    "120 runs of ten batch sizes: each frame takes the place of the one before, and no line is broken"
    s = study_of(tmp_path/'s.jsonl', bs=[2**i for i in range(10)], lr=[1e-4, 1e-3, 1e-2, 1e-1], seed=[0, 1, 2])
    out = io.StringIO()
    with live(Board(s), console=Console(file=out, force_terminal=True, width=80, height=height)) as see:
        for c in s.cfgs:
            see.begun([c])
            see(ok(c, .5) if c.lr < .1 else Run(c, 'diverged'))
    last = [o.rstrip() for o in screen(out.getvalue(), height)]
    assert max(map(len, last)) <= 80 and len(last) <= height
    assert last.count('small') == 1 and sum('120 of 120 runs, 30 diverged' in o for o in last) == 1
    assert last[2].split() == ['1e-4', '50.0*', *['50.0*']*9] and last[5].split() == ['1e-1', *'×'*10]

def test_cells_by_hand(tmp_path):
    "Mean so far, what is to come, what was lost, in text and in HTML"
    s = study_of(tmp_path/'s.jsonl')
    b = Board(s) # seeds vary fastest, then lr, then bs
    for r in (ok(s.cfgs[0], .25), ok(s.cfgs[1], .75), ok(s.cfgs[2], .4), Run(s.cfgs[3], 'oom'), ok(s.cfgs[4], .6)): b(r)
    b.begun(s.cfgs[6:7])
    rows = [o.plain.split() for o in board_lines(b)]
    assert rows[:4] == [['bs', '8', '16'], ['small'], ['1e-3', '50.0', '60.0*'], ['1e-2', '40.0!', '…']]
    assert re.findall('<td[^>]*>([^<]*)', board_html(b)) == ['50.0', '60.0*', '40.0!', '…']
    for word in ('failed', 'in training', 'best of its row', 'more seeds to come'): assert word in board_html(b)
    assert 'waiting' not in board_html(b)

def test_ties_and_single_cells(tmp_path):
    "Equal bests are both marked; a row of one cell has no best"
    s = study_of(tmp_path/'s.jsonl', seed=0, lr=1e-3, bs=[1, 2, 4])
    b = Board(s)
    b(ok(s.cfgs[0], .5))
    for c in s.cfgs[1:]: b(ok(c, .5))
    assert board_lines(b)[2].plain.split() == ['1e-3', '50.0*', '50.0*', '50.0*']
    one = study_of(tmp_path/'t.jsonl', seed=0, lr=1e-3, bs=4)
    b = Board(one)
    b(ok(one.cfgs[0], .5))
    assert board_lines(b)[2].plain.split() == ['1e-3', '50.0']

@pytest.mark.parametrize('wide', range(8, 120, 7))
@pytest.mark.parametrize('tall', [4, 9, 22])
def test_any_terminal(tmp_path, wide, tall):
    "No line of the crosstabs is wider than there is room, and not more lines than asked for"
    s = study_of(tmp_path/'s.jsonl', model=['small', 'linear'], bs=[2**i for i in range(13)], lr=[3.5e-5, 1.], seed=0)
    b = Board(s)
    for c in s.cfgs: b(ok(c, 1.))
    *lines,legend = board_lines(b, wide, tall)
    assert len(lines) <= max(tall - 2, 1) and max(len(o.plain) for o in lines if ' ' in o.plain) <= max(wide, 14)
    n = int(m[1]) if (m := re.search(r'(\d+) larger batch sizes', legend.plain)) else 0
    assert len(lines[0].plain.split()) - 1 == 13 - n

@pytest.mark.parametrize('show,n', [(True, 8), ('lines', 8), ('bar', 1)])
def test_in_a_pipe_there_is_a_line_a_run(tmp_path, show, n):
    "Under nohup, SLURM or `!bslr` there is something to see before the end; of the bar only how it ended"
    out = io.StringIO()
    s = study_of(tmp_path/'s.jsonl')
    with live(Board(s), show, Console(file=out, width=80)) as see:
        for i,c in enumerate(s.cfgs, 1):
            see(ok(c, .5))
            assert n == 1 or out.getvalue().count('\n') == i
    text = out.getvalue()
    assert text.count('\n') == n and ('8 of 8 runs' if n == 1 else '8/8') in text and '\x1b' not in text

def test_updates_in_a_notebook_are_few(tmp_path, monkeypatch):
    "One display, updated at most twice a second, and once more at the end, also of a sweep that breaks off"
    import IPython.display as ipd
    shown = []
    class Handle:
        def update(self, o): shown.append(o.data)
    def display(o, display_id): shown.append(o.data); return Handle()
    monkeypatch.setattr(ipd, 'display', display)
    s = study_of(tmp_path/'s.jsonl', seed=range(100))
    with pytest.raises(KeyboardInterrupt), live(Board(s), console=Console(file=io.StringIO(), force_jupyter=True)) as see:
        for c in s.cfgs[:-1]: see(ok(c, .5))
        raise KeyboardInterrupt
    assert 2 <= len(shown) < 20 and 'value="0"' in shown[0] and 'value="399"' in shown[-1]

def test_titles_are_escaped(tmp_path):
    b = Board(study_of(tmp_path/'s.jsonl'))
    b.name,b.tabs = '<b>', {'<script>': b.tabs['small']}
    assert '<b>' not in board_html(b) and '<script>' not in board_html(b)

def tiny(tmp_path): return make_study('tiny', tmp_path/'s.jsonl', data='digits', models='small', batch_sizes=[256, 512], lrs=1e-3, epochs=1)

@pytest.mark.parametrize('workers', [0, 1])
def test_hearers(tmp_path, workers, one_thread):
    "Each run is on the disk when it is told of; who cannot hear does not end the sweep"
    s,heard = tiny(tmp_path),[]
    def hear(r): heard.append((r.name, s.store.read()[0][-1]['id'] == r.id))
    def deaf(r): raise OSError('no network')
    with pytest.warns(UserWarning, match='deaf could not take digits-small-bs-.*: OSError: no network; the run is kept'):
        ended = run(s, workers=workers, show=False, on_run=[deaf, hear])
    assert ended == {'ok': 2} and sorted(heard) == sorted((k, True) for k in s.runs)

def test_workers_say_what_they_begin(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Board, 'begun', lambda self, cfgs: seen.extend(c.bs for c in cfgs))
    run(tiny(tmp_path), workers=2, show=False)
    assert sorted(seen) == [256, 512]

def test_studies_of_the_package_fit(tmp_path):
    "Both large ones, whole, on 80 columns and 24 lines"
    for name in ('digits', 'imagenette'):
        s = load_study(name, store=tmp_path/'none.jsonl')
        lines = board_lines(Board(s), 80, 22)
        assert len(lines) < 22 and 'no room' not in lines[-1].plain and max(len(o.plain) for o in lines[:-1]) <= 80
