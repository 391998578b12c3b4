"The diagrams: each says in words what it shows, can be read on a telephone, and stands where it explains something."
import json, re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

NBS = Path(__file__).parents[1]/'nbs'
DIAGRAMS = sorted(o for o in (NBS/'images').glob('*.svg') if o.stem not in ('favicon', 'terminal')) # these are no explanations
SVG = '{http://www.w3.org/2000/svg}'

def texts(notebook):
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    return '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')

def test_there_are_some(): assert {o.stem for o in DIAGRAMS} >= {'micro-batches', 'members', 'way-of-the-data', 'batchnorm'}

@pytest.mark.parametrize('path', DIAGRAMS, ids=lambda o: o.stem)
def test_says_what_it_shows(path):
    root = ET.parse(path).getroot()
    named = [root.find(SVG + o) for o in ('title', 'desc')]
    assert root.get('role') == 'img' and root.get('aria-labelledby').split() == [o.get('id') for o in named]
    assert len(named[0].text) > 15 and len(named[1].text) > 100

@pytest.mark.parametrize('path', DIAGRAMS, ids=lambda o: o.stem)
def test_can_be_read_on_a_telephone(path):
    "Nine pixels and more where it is 330 wide, on a ground of its own, with nothing beyond its edge"
    root = ET.parse(path).getroot()
    width,height = map(float, root.get('viewBox').split()[2:])
    sizes = [float(o.get('font-size', root.get('font-size'))) for o in root.iter(f'{SVG}text')]
    assert min(sizes)*330/width >= 9
    ground = root.find(f'{SVG}rect')
    assert ground.get('fill') == '#ffffff'
    assert float(ground.get('width')) > width - 5 and float(ground.get('height')) > height - 5
    for o in root.iter(f'{SVG}text'):
        half = .6*20*len(o.text)*{None: 1, 'middle': .5, 'end': 0}[o.get('text-anchor')]
        assert 0 < float(o.get('x')) + .85*half < width + 12 and 0 < float(o.get('y')) < height, o.text

@pytest.mark.parametrize('path', DIAGRAMS, ids=lambda o: o.stem)
def test_stands_where_it_explains(path):
    "At least one notebook shows it, and each says in words what is to be seen"
    one = rf'!\[([^\]]*)\]\((?:\.\./)?images/{path.name}\)'
    shown = [o for nb in NBS.rglob('*.ipynb') for o in re.findall(one, texts(nb))]
    assert shown and min(map(len, shown)) > 80
