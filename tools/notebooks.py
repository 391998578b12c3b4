"""Run notebooks again, compare what comes out with what they show, and find what posts lack."""
import os, re, sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import yaml
from execnb.shell import CaptureShell
from fastcore.nbio import read_nb, write_nb
from nbdev.clean import clean_nb

from address import ROOT, addresses

POST = 'title', 'author', 'date', 'description', 'categories', 'image', 'image-alt' # what each post says of itself
SIZE = 1 << 20 # bytes that a post may have
WORDS,BEFORE,COLUMNS = 1200,80,90 # of prose, of prose before the first picture, of a line of code that is shown

def found(pattern): return sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob(pattern))

def posts(): return [ROOT/o for o in found('nbs/posts/*.ipynb')]

SUMMARIES = 'nbs/index.ipynb', 'nbs/lab/90_verdicts.ipynb', 'nbs/lab/91_records.ipynb', 'nbs/guides/04_commands.ipynb'

def summaries(): return [ROOT/o for o in SUMMARIES]

def front_matter(nb):
    "What a notebook says of itself in its first cell"
    first = nb.cells[0].source if nb.cells[0].cell_type == 'raw' else ''
    return yaml.safe_load(first.strip().strip('-')) if first.startswith('---') else {}

def has_picture(cell): return any(k.startswith('image/') for o in cell.get('outputs', []) for k in o.get('data', {}))

# Run

@contextmanager
def kept_main():
    "A shell takes the place of `__main__`, whose functions could then not be sent to another process: restore it"
    main,here = sys.modules['__main__'],os.getcwd()
    try: yield
    finally:
        sys.modules['__main__'] = main
        os.chdir(here) # a notebook may work in a folder of its own

def outputs(nb):
    "What cells printed, showed and drew"
    joined = lambda o: ''.join(o) if isinstance(o, list) else o
    one = lambda o: {k: joined(v) for k,v in o['data'].items()} if 'data' in o else joined(o.get('text', o.get('traceback', '')))
    return [[one(o) for o in c.get('outputs', [])] for c in nb.cells if c.cell_type == 'code']

def run_again(path, install=False):
    "A notebook as it is when all its cells run anew; those that are for a machine without the package only with `install`"
    nb = read_nb(path)
    with kept_main():
        shell = CaptureShell(mpl_format='png')
        for c in nb.cells:
            if c.cell_type != 'code' or 'eval: false' in c.source and not install: continue
            shell.cell(c)
            if e := shell.exc: raise RuntimeError(f'{Path(path).name}: {type(e).__name__} in the cell\n{c.source}\n{e}') from e
    clean_nb(nb)
    return nb

def outputs_anew(path): return outputs(run_again(path))

def save(path):
    "Run a notebook again and keep what comes out"
    write_nb(run_again(path), path)
    return path

def apart(f, paths):
    "`f` of each path, each in a process of its own: in one that has drawn before, a picture comes out a hair different"
    with ProcessPoolExecutor(2, get_context('spawn'), max_tasks_per_child=1) as pool: yield from pool.map(f, paths)

# Check

def undescribed(path):
    "Pictures of a notebook that lack an alternative text, as sentences"
    for c in read_nb(path).cells:
        if c.cell_type != 'code' or not has_picture(c) or re.search(r'^#[|] fig-alt: *\S', c.source, re.M): continue
        yield f'{path.name}: a picture has no fig-alt: {c.source.splitlines()[0]}'

def words(cell): return len(re.sub(r'!\[[^\]]*\]\([^)]*\)', '', cell.source).split()) if cell.cell_type == 'markdown' else 0

def minutes(nb): return -(-sum(map(words, nb.cells))//200) # at 200 words each; folded code costs none

def words_before_a_picture(nb):
    "How much one reads before there is something to look at"
    read = 0
    for c in nb.cells:
        if has_picture(c): return read
        if '![' in c.source: return read + len(c.source.partition('![')[0].split())
        read += words(c)
    return read

def long_lines(nb):
    "Lines of code that the page has to scroll for"
    cells = [c for c in nb.cells if c.cell_type == 'code' and not re.match(r'#[|] (hide|eval: false)', c.source)]
    return [o for c in cells for o in c.source.splitlines() if len(o) > COLUMNS and not o.startswith('#|')]

def form_faults(nb):
    "What makes a post long to read, as sentences"
    if (n := sum(map(words, nb.cells))) > WORDS: yield f'{n} words'
    if (n := words_before_a_picture(nb)) > BEFORE: yield f'{n} words before the first picture'
    yield from (f'a line of {len(o)} columns: {o.strip()}' for o in long_lines(nb))

def post_faults(path, run=True):
    "What is wrong with a post, as sentences"
    nb,repo = read_nb(path),addresses()[0]
    front = front_matter(nb)
    first = next((c.source for c in nb.cells if c.cell_type == 'code'), '')
    yield from (f'{path.name}: the front matter lacks {o}' for o in POST if not front.get(o))
    if str(front.get('date')) != path.name[:10]: yield f'{path.name}: its date is {front.get("date")}'
    if front.get('image') and not (path.parent/front['image']).is_file():
        yield f'{path.name}: there is no picture {front["image"]}: `make fix` writes it'
    if f'git+{repo}' not in first: yield f'{path.name}: the first cell does not install the package from {repo}'
    if path.stat().st_size > SIZE: yield f'{path.name}: {path.stat().st_size >> 10} kB'
    yield from (f'{path.name}: {o}' for o in form_faults(nb))
    yield from undescribed(path)
    if run and next(apart(outputs_anew, [path])) != outputs(nb):
        yield f'{path.name}: its outputs are not those of its code: run it again and save it'
