"The front door: pictures, gallery and the numbers that texts state are those of today's package"
import ast, json, re, sys
from pathlib import Path

import pytest

from bs_lr_study.analysis import load_runs
from bs_lr_study.lab.verdicts import CLAIMS
from bs_lr_study.sweep import load_study

ROOT = Path(__file__).parents[1]
NBS = ROOT/'nbs'
WORDS = 'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen'.split()

def sources(path): return [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells']]

@pytest.fixture(scope='module')
def pictures():
    sys.path.insert(0, str(ROOT/'tools'))
    import pictures
    yield pictures
    sys.path.remove(str(ROOT/'tools'))

@pytest.fixture(scope='module')
def now(pictures): return pictures.shown(load_runs('2025-06-04'))

def test_the_terminal_shows_what_the_command_prints_now(pictures, now):
    old = (NBS/'images'/'terminal.svg').read_text(encoding='utf-8')
    assert pictures.svg_text(old) == pictures.svg_text(pictures.terminal(now)), '`make pictures` draws it again'
    assert '$ bslr report 2025-06-04 Best: xresnet34 at bs 16' in pictures.svg_text(old)
    assert 'http' not in re.sub(r'xmlns="[^"]*"', '', old).split('-->')[-1] # it asks nobody for fonts

def test_the_photograph_of_a_report_is_of_what_it_says_now(pictures, now):
    from PIL import Image
    path = NBS/'images'/'report.png'
    with Image.open(path) as picture: source = picture.info['source']
    assert source == pictures.fingerprint(now), '`make pictures` takes it again'
    assert path.stat().st_size < 100 << 10

def test_the_gallery_shows_every_plot():
    "Each public function that draws, called in a cell that has a picture"
    rooms = [ROOT/'bs_lr_study'/'report'/f'{o}.py' for o in ('plots', 'charts', 'search', 'pairs')]
    names = {f.name for room in rooms for f in ast.parse(room.read_text(encoding='utf-8')).body
             if isinstance(f, ast.FunctionDef) and f.name.startswith('plot_')}
    cells = json.loads((NBS/'guides'/'08_gallery.ipynb').read_text(encoding='utf-8'))['cells']
    drawn = [''.join(c['source']) for c in cells if any('image/png' in o.get('data', {}) for o in c.get('outputs', []))]
    assert len(names) > 8 and {o for o in names if any(f'{o}(' in s for s in drawn)} == names

def test_home_page_says_what_to_type_at_once():
    "Question, picture, answer and the line to type come before anything else"
    first = next(o for o in sources(NBS/'index.ipynb')[1:] if o.startswith('**'))
    assert 'bslr suggest path/to/images' in first and 'explorer.html' in first and 'pip install' in first
    readme = (ROOT/'README.md').read_text(encoding='utf-8')
    order = ['which should I use?', 'images/index-', 'bslr suggest path', 'images/terminal.svg', 'images/report.png', '## What was found']
    places = [readme.index(o) for o in order]
    assert places == sorted(places) and '```python' not in readme[:places[-1]]

def links(path):
    "Relative links of a text, and what they lead to"
    text = path.read_text(encoding='utf-8')
    for to in re.findall(r'\]\(([^)\s]+)\)', text):
        if not re.match(r'[a-z]+:|#', to): yield to,(path.parent/to.partition('#')[0])

def test_questions_lead_somewhere():
    found = list(links(NBS/'questions.md'))
    assert len(found) > 25 and [to for to,file in found if not file.is_file()] == []
    asked = (NBS/'questions.md').read_text(encoding='utf-8')
    for o in ('My GPU is too small', 'NaN', 'small batches', 'How many seeds'): assert o in asked

def stated(path, pattern):
    "Numbers that a text states, in figures or words"
    found = re.findall(pattern, path.read_text(encoding='utf-8'), flags=re.I)
    return [int(o) if o.isdigit() else WORDS.index(o.lower()) for o in found]

NUMBER = r'\b(\d+|' + '|'.join(WORDS) + r')\b'

def test_numbers_that_texts_state_are_current():
    posts,experiments = list((NBS/'posts').glob('*.ipynb')),list((NBS/'lab').glob('[1-8][0-9]_*.ipynb'))
    home,readme,changes = NBS/'index.ipynb',ROOT/'README.md',ROOT/'CHANGELOG.md'
    published,photographs = len(load_runs()),len(load_runs('photographs'))
    asked = [o for o in CLAIMS.values() if o.experiment.startswith('21_')]
    assert stated(changes, NUMBER + r' posts, ') == [len(posts)]
    assert stated(changes, r'posts, ' + NUMBER + ' experiments') == [len(experiments)]
    assert stated(changes, NUMBER + ' claims about them') == [len(asked)]
    assert stated(changes, r'at last: (\d+) runs') == [photographs]
    assert set(stated(home, r'published (\d+) runs')) == set(stated(readme, r'the (\d+) runs\b')) == {published}
    assert stated(home, r'of its own, (\d+) runs') == [len(load_study('digits').cfgs)]

def test_each_experiment_is_in_the_table_of_its_room():
    "With its section and its record, which are there"
    door = '\n'.join(sources(NBS/'lab'/'00_lab.ipynb'))
    for o in (NBS/'lab').glob('[1-8][0-9]_*.ipynb'):
        if o.stem != '19_calibration': assert f']({o.name})' in door, o.name
    rows = [r.split('|')[1:-1] for r in door.splitlines() if r.startswith('|') and '](' in r]
    for *_,sections,records in rows:
        for name in re.findall(r'`(\w+)`', sections): assert load_study(name).cfgs, name
        for name in re.findall(r'`([\w-]+)`', records): assert len(load_runs(name)), name
