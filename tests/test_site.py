"""The site: its posts are what their code makes, run where only the package is, and all its pages work in a browser."""
import ast, json, os, re, runpy, shutil, subprocess, sys, threading, tomllib
from datetime import datetime
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions, requires
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree as ET

import pytest, yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'tools'))
pytest.importorskip('smalldocs', reason='smalldocs renders the preview: pip install .[site]')
import accessible, notebooks, pages # noqa: E402

POSTS = notebooks.posts()
FRONT = {o: notebooks.front_matter(notebooks.read_nb(o)) for o in POSTS}
POST_PAGES = [f'nbs/posts/{o.stem}.html' for o in POSTS]
SHOWN = ('index.html', 'nbs/posts/index.html', POST_PAGES[0], 'nbs/analysis/tables.html', 'nbs/lab/verdicts.html', 'nbs/glossary.html')
LIKE_THEM = (*POST_PAGES[1:], 'nbs/notebooks.html', 'nbs/analysis/index.html', 'nbs/lab/records.html', 'nbs/guides/commands.html')

def code_cell(source, *outputs): return dict(cell_type='code', metadata={}, execution_count=None, source=source, outputs=[*outputs])

def notebook(*cells): return dict(cells=[*cells], metadata={}, nbformat=4, nbformat_minor=5)

def built(folder, *args):
    "The whole site as `make site` builds it, typed as there"
    r = subprocess.run([sys.executable, 'tools/pages.py', *args, '--out', folder/'_docs'], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    assert re.search(r'\d+ pages in _docs; 0 things to mend', r.stdout)
    return folder/'_docs'

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, but for what it runs again, which other tests here run and compare"
    return built(tmp_path_factory.mktemp('site'), '--no-run')

@pytest.mark.slow
def test_the_site_runs_posts_and_summaries_again(tmp_path): built(tmp_path)

def test_a_page_shows_what_its_code_gives_now(tmp_path):
    "Where a cell asks to be run, unless nothing is to be run again; the functions of the program stay those that a worker can be sent"
    old = dict(output_type='stream', name='stdout', text='old\n')
    path,main = tmp_path/'t.ipynb',sys.modules['__main__']
    path.write_text(json.dumps(notebook(code_cell('a = 6'), code_cell('#| exec_doc\nprint(7*a)', old))))
    def shown(run): return [''.join(o['text']) for c in pages.process(path, run)[0].cells for o in c.get('outputs', [])]
    assert shown(run=True) == ['42\n'] and shown(run=False) == ['old\n'] and sys.modules['__main__'] is main
    path.write_text(json.dumps(notebook(code_cell('#| exec_doc\n1/0', old))))
    with pytest.raises(ZeroDivisionError): pages.process(path, run=True)

def test_what_was_run_leaves_nothing_behind(tmp_path):
    "After a notebook has run, functions of the program can still be sent to other processes"
    main,path = sys.modules['__main__'],tmp_path/'t.ipynb'
    path.write_text(json.dumps(notebook()))
    notebooks.run_again(path)
    assert sys.modules['__main__'] is main

def test_a_page_has_an_address_of_its_own():
    address = lambda o: pages.address(o).as_posix()
    assert address('nbs/index.ipynb') == 'index.ipynb'
    assert address('nbs/00_runs.ipynb') == 'nbs/runs.ipynb'
    assert address('nbs/lab/00_lab.ipynb') == 'nbs/lab/index.ipynb'
    assert address('nbs/lab/16_sharpness.ipynb') != address('nbs/probe/04_sharpness.ipynb')
    with pytest.raises(ValueError, match='nbs/a/01_x.ipynb and nbs/a/02_x.ipynb would both be the page nbs/a/x.ipynb'):
        pages.clashes(['nbs/a/01_x.ipynb', 'nbs/b/01_x.ipynb', 'nbs/a/02_x.ipynb'])

# Posts

@pytest.mark.parametrize('post', POSTS, ids=lambda o: o.stem)
def test_posts_are_in_form(post):
    assert list(notebooks.post_faults(post, run=False)) == []

def test_faults_of_a_post_are_named(tmp_path):
    "A post without a description, of another day, with an old output"
    nb = notebook(dict(cell_type='raw', metadata={}, source='---\ntitle: T\ndate: 2026-01-02\n---'), code_cell('1 + 1'))
    path = tmp_path/'2026-01-01-t.ipynb'
    path.write_text(json.dumps(nb))
    faults = '\n'.join(notebooks.post_faults(path))
    assert 'lacks description' in faults and 'lacks categories' in faults and 'its date is 2026-01-02' in faults
    assert 'does not install the package' in faults and 'its outputs are not those of its code' in faults
    nb['cells'][1]['source'] = '1/0'
    path.write_text(json.dumps(nb))
    with pytest.raises(RuntimeError, match='2026-01-01-t.ipynb: ZeroDivisionError in the cell\n1/0'): list(notebooks.post_faults(path))
    del nb['cells'][1]
    path.write_text(json.dumps(nb))
    assert any('does not install the package' in o for o in notebooks.post_faults(path, run=False))

def test_posts_can_be_read_in_minutes(tmp_path):
    "An answer to look at early, few words, code that fits; what is hidden may be wide"
    text = lambda source: dict(cell_type='markdown', metadata={}, source=source)
    picture = '![The answer.](a.png)'
    def faults(*cells):
        path = tmp_path/'t.ipynb'
        path.write_text(json.dumps(notebook(*cells)))
        return list(notebooks.form_faults(notebooks.read_nb(path)))
    assert faults(text('word '*80), text(picture + ' word'*1120), code_cell(f'#| hide\n{"x"*99}')) == []
    assert faults(text('word '*81), text(picture), code_cell('y'*91)) == [
        '81 words before the first picture', 'a line of 91 columns: ' + 'y'*91]
    drawn = code_cell('plot()', dict(output_type='display_data', metadata={}, data={'image/png': ''}))
    assert faults(drawn, text('word '*1201)) == ['1201 words']

def test_a_run_ends_where_it_began(tmp_path):
    "Also one that fails in a folder of its own"
    code = f'import os; os.chdir({str(tmp_path)!r}); 1/0'
    path = tmp_path/'t.ipynb'
    path.write_text(json.dumps(notebook(code_cell(code))))
    here = os.getcwd()
    with pytest.raises(RuntimeError, match='ZeroDivisionError'): notebooks.run_again(path)
    assert os.getcwd() == here

def test_summaries_show_what_their_code_makes():
    "The home page, the ledger, the records and the commands: their saved outputs are those of today's records"
    paths = notebooks.summaries()
    again = notebooks.apart(notebooks.outputs_anew, paths)
    old = [o.name for o,outs in zip(paths, again) if outs != notebooks.outputs(notebooks.read_nb(o))]
    assert len(paths) == 4 and old == [], '`make posts` saves them anew'

FRESH = """import sys
sys.path.append(sys.argv[1])
import notebooks
nb = notebooks.run_again('post.ipynb', install=True)
import bs_lr_study
assert bs_lr_study.__file__.startswith(sys.prefix), bs_lr_study.__file__
notebooks.write_nb(nb, 'again.ipynb')
"""

# one of them here; test_notebooks runs them all in this environment, `make test-all` each in one of its own
APART = [pytest.param(o, id=o.stem, marks=[pytest.mark.slow]*('effective-batch-size' not in o.stem)) for o in POSTS]

@pytest.mark.parametrize('post', APART)
def test_posts_run_where_only_their_first_cell_installs(post, wheel, tmp_path):
    "In an environment without the package the first cell installs it, here from a wheel; the rest gives what the post shows, to the pixel"
    env = {k: v for k,v in os.environ.items() if k != 'PYTHONPATH'} # which would bring the package along
    run = lambda *args: subprocess.run(args, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert run(sys.executable, '-m', 'venv', '--without-pip', 'fresh').returncode == 0
    python,there = tmp_path/'fresh'/'bin'/'python',next((tmp_path/'fresh'/'lib').glob('python*'))/'site-packages'
    # its libraries, but not what they link to: the package is not among them
    (there/'others.pth').write_text(f'{Path(pytest.__file__).parents[1]}\n')
    assert run(python, '-c', 'import bs_lr_study').returncode == 1
    text = post.read_text(encoding='utf-8')
    there = f"'bs_lr_study[train] @ git+{notebooks.addresses()[0]}'"
    assert there in text
    (tmp_path/'post.ipynb').write_text(text.replace(there, f'--no-deps --no-index --ignore-installed {wheel}'), encoding='utf-8')
    r = run(python, '-c', FRESH, str(ROOT/'tools'))
    assert r.returncode == 0, r.stdout + r.stderr
    shown,again = (notebooks.outputs(notebooks.read_nb(o)) for o in (post, tmp_path/'again.ipynb'))
    assert shown[0] == [] and shown[1:] == again[1:], 'its outputs are not those of its code: `make posts` saves them anew'

KERNEL = {'IPython', 'matplotlib_inline'} # what runs a notebook is there wherever one runs

def imported(body):
    "Top-level names that statements import, themselves or within"
    for o in (n for b in body for n in ast.walk(b)):
        if isinstance(o, ast.Import): yield from (a.name.split('.')[0] for a in o.names)
        elif isinstance(o, ast.ImportFrom) and not o.level: yield o.module.split('.')[0]

def code(path):
    "A notebook's Python, without the lines that are IPython's"
    cells = [c.source for c in notebooks.read_nb(path).cells if c.cell_type == 'code']
    return ast.parse(re.sub(r'^\s*[%!].*', '', '\n'.join(cells), flags=re.M)).body

def brought(*extras):
    "What can be imported once the package is installed with extras: its requirements, theirs, and so on"
    project = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']
    todo = [Requirement(r) for o in (project['dependencies'], *map(project['optional-dependencies'].get, extras)) for r in o]
    seen = set()
    while todo:
        req = todo.pop()
        if (me := (canonicalize_name(req.name), frozenset(req.extras))) in seen: continue
        seen.add(me)
        asked = lambda o: not o.marker or any(o.marker.evaluate({'extra': e}) for e in ('', *req.extras))
        todo += filter(asked, map(Requirement, requires(req.name) or []))
    names = {o for o,_ in seen}
    modules = {k for k,v in packages_distributions().items() if names & set(map(canonicalize_name, v))}
    return modules | set(sys.stdlib_module_names) | {'bs_lr_study'}

@pytest.fixture(scope='module')
def base(): return brought()

@pytest.fixture(scope='module')
def with_train(): return brought('train')

@pytest.mark.parametrize('post', POSTS, ids=lambda o: o.stem)
def test_posts_import_only_what_an_installation_brings(post, with_train):
    "No library that is here for the tests alone"
    names = set(imported(code(post)))
    assert {'bs_lr_study', 'pandas'} <= names and names - with_train - KERNEL == set()

TRAINS = 'training','probe','tracking','suggest' # rooms of which some modules cannot do without a framework

def test_modules_import_only_what_an_installation_brings(base, with_train):
    "Libraries of the extras are imported by the functions that need them, when they need them; training takes its own for granted"
    heavy = {'torch', 'torchvision', 'fastai', 'sklearn', 'PIL'}
    assert not {'ray', 'wandb', 'playwright', 'nbdev'} & with_train and heavy <= with_train
    assert not heavy - {'PIL'} & base # which matplotlib brings
    top = lambda path: [o for o in ast.parse(path.read_text(encoding='utf-8')).body if isinstance(o, (ast.Import, ast.ImportFrom))]
    def has(p): return with_train if p.relative_to(ROOT/'bs_lr_study').parts[0] in TRAINS else base
    lost = {str(p): set(imported(top(p))) - has(p) for p in (ROOT/'bs_lr_study').rglob('*.py')}
    assert len(lost) > 40 and {k: v for k,v in lost.items() if v} == {}

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The package as a wheel, built of a copy"
    from test_package import copy
    tmp = tmp_path_factory.mktemp('wheel')
    make = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir']
    subprocess.run([*make, tmp, copy(tmp/'src')], check=True)
    return next(tmp.glob('*.whl'))

# The address

@pytest.mark.parametrize('ending', ['', '.git', '/'])
def test_a_fork_changes_one_line(tmp_path, ending):
    "The address of the repository, written once, is everywhere after `make fix`, however it ends; addresses of others stay"
    for o in ('tools', 'nbs', 'CITATION.cff', 'pyproject.toml'): (shutil.copytree if (ROOT/o).is_dir() else shutil.copy)(ROOT/o, tmp_path/o)
    old = notebooks.addresses()[0]
    text = (tmp_path/'pyproject.toml').read_text()
    (tmp_path/'pyproject.toml').write_text(text.replace(f'Repository = "{old}"', f'Repository = "https://github.com/Somebody/a-fork{ending}"'))
    others = 'git clone https://github.com/fastai/fastai, or pip install git+https://github.com/elsewhere/thing.git. '
    (tmp_path/'nbs'/'other.ipynb').write_text(f'{others}git clone https://github.com/once/a-fork.git. pip install git+{old}@main')
    subprocess.run([sys.executable, tmp_path/'tools'/'address.py'], check=True)
    new = 'https://github.com/Somebody/a-fork'
    assert (tmp_path/'nbs'/'other.ipynb').read_text() == f'{others}git clone {new}. pip install git+{new}@main'
    assert f'repository-code: "{new}"' in (tmp_path/'CITATION.cff').read_text()
    texts = [p for p in tmp_path.rglob('*') if p.suffix in ('.ipynb', '.toml', '.cff', '.md', '.yml', '.qmd')]
    assert [str(p) for p in texts if old in p.read_text(encoding='utf-8')] == []
    assert 'Documentation = "https://somebody.github.io/a-fork/"' in (tmp_path/'pyproject.toml').read_text()
    for o in POSTS: assert 'git+https://github.com/Somebody/a-fork' in (tmp_path/'nbs'/'posts'/o.name).read_text(encoding='utf-8')

def test_addresses_agree():
    "What has to hold the address has that of pyproject.toml"
    repo,_ = notebooks.addresses()
    pattern = r'(?:repository-code: "|git\+|git clone )(https://[^\s"\\`\']+)'
    texts = [p.read_text(encoding='utf-8') for p in [ROOT/'CITATION.cff', *(ROOT/'nbs').rglob('*.ipynb')]]
    ours = [o for text in texts for o in re.findall(pattern, text) if o.rstrip('/').removesuffix('.git').endswith(repo[repo.rindex('/'):])]
    assert len(ours) > len(POSTS) and set(ours) == {repo}

# The workflow, which runs on GitHub only: checked as configuration

def test_deployment_is_configured():
    "Everything pinned, nothing allowed but what it takes, checks before it publishes"
    text = (ROOT/'.github/workflows/deploy.yaml').read_text(encoding='utf-8')
    cfg = yaml.safe_load(text)
    used = re.findall(r'uses: (\S+)', text)
    assert used and all(re.fullmatch(r'[\w./-]+@[0-9a-f]{40}', o) for o in used)
    assert cfg['permissions'] == {'contents': 'read'} and 'permissions' not in cfg['jobs']['build']
    assert cfg['jobs']['deploy']['permissions'] == {'pages': 'write', 'id-token': 'write'} and cfg['jobs']['deploy']['needs'] == 'build'
    assert re.fullmatch(r'\d+\.\d+\.\d+', cfg['env']['QUARTO']) and re.fullmatch('[0-9a-f]{64}', cfg['env']['QUARTO_SHA256'])
    steps = cfg['jobs']['build']['steps']
    runs = [o['run'] for o in steps if 'run' in o]
    assert 'sha256sum --check' in runs[0] and [o.split('#')[0].strip() for o in runs[1:]] == ['make site', 'make site RENDER=quarto']
    assert steps[-1]['with']['path'] == pages.config()['project']['output-dir']
    assert steps[0]['with']['fetch-depth'] == 0 # pages are dated by the commits that changed them

def test_quarto_begins_with_an_empty_folder(tmp_path, monkeypatch):
    "What the preview wrote is not published"
    quarto,out = tmp_path/'bin'/'quarto',tmp_path/'site'
    for o in (quarto.parent, out, tmp_path/'pages'): o.mkdir()
    (tmp_path/'pages'/pages.EXPLORER).touch()
    quarto.write_text('#!/bin/sh\nmkdir -p "$2/../site" && echo "# page" > "$2/../site/page.llms.md"\n')
    quarto.chmod(0o755)
    (out/'stale.html').write_text('of the preview')
    monkeypatch.setenv('PATH', str(quarto.parent), prepend=os.pathsep)
    pages.render_quarto(tmp_path/'pages', out)
    assert {o.name for o in out.iterdir()} == {'page.llms.md', 'page.html.md', pages.EXPLORER}

def test_continuous_integration_needs_a_browser(monkeypatch):
    "There the tests in a browser fail where none is, and are not skipped"
    assert re.search('^export BSLR_NEED_BROWSER=1', (ROOT/'.ci/run').read_text(encoding='utf-8'), flags=re.M)
    tests = partial(runpy.run_path, str(ROOT/'tests'/'report'/'test_browser.py'))
    monkeypatch.setenv('PATH', '/nowhere')
    for o in ('BSLR_CHROME', 'BSLR_NEED_BROWSER'): monkeypatch.delenv(o, raising=False)
    with pytest.raises(pytest.skip.Exception, match='no Chromium or Chrome here'): tests()
    monkeypatch.setenv('BSLR_NEED_BROWSER', '1')
    with pytest.raises(RuntimeError, match='BSLR_NEED_BROWSER is set: no Chromium or Chrome here'): tests()

# Structure

class Page(HTMLParser):
    "What a page refers to and what can be referred to in it"
    def __init__(self, text):
        super().__init__()
        self.ids,self.links,self.pictures = set(),[],[]
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if 'id' in a: self.ids.add(a['id'])
        if tag in ('a', 'link') and a.get('href'): self.links.append(a['href'])
        if tag in ('script', 'img') and a.get('src'): self.links.append(a['src'])
        if tag == 'img': self.pictures.append(a.get('alt'))

@pytest.fixture(scope='module')
def parsed(site): return {o.relative_to(site).as_posix(): Page(o.read_text(encoding='utf-8')) for o in rendered(site)}

def rendered(site):
    "The pages that are made of notebooks and texts; the explorer has tests of its own"
    return [o for o in sorted(site.rglob('*.html')) if o.name != pages.EXPLORER or o.parent != site]

def test_links_lead_somewhere(site, parsed):
    "Each link to a page or a file finds it, and each to a place in a page finds that"
    lost = []
    for name,page in parsed.items():
        for link in page.links:
            to = urlsplit(urljoin(name, link))
            if to.scheme or to.netloc or link.startswith('data:'): continue
            path = unquote(to.path) + 'index.html'*(to.path.endswith('/') or to.path == '')
            if not (site/path).is_file(): lost.append((name, link))
            elif not to.fragment or to.fragment.startswith('category=') or path not in parsed: continue
            elif unquote(to.fragment) not in parsed[path].ids: lost.append((name, link))
    assert lost == []

def test_no_address_in_memory_is_shown(site):
    "What reads an option is shown by its name"
    assert [o.name for o in rendered(site) if re.search(' at 0x[0-9a-f]{6}', o.read_text(encoding='utf-8'))] == []

def test_no_link_to_the_site_itself_goes_around(parsed):
    "Pages are linked from where they are, so that a preview stays in the preview"
    site = notebooks.addresses()[1]
    assert [(n, o) for n,p in parsed.items() for o in p.links if o.startswith(site) and not o.endswith('.xml')] == []

def test_each_notebook_has_a_page(site):
    for o in (ROOT/'nbs').rglob('[0-9]*.ipynb'):
        assert (site/pages.address(o.relative_to(ROOT).as_posix()).with_suffix('.html')).is_file(), o

def documented(module):
    "Names of functions and classes, and of methods that stand apart; nbdev passes over those with a decorator beside `@patch`"
    for o in ast.parse(module).body:
        if not isinstance(o, (ast.FunctionDef, ast.ClassDef)) or o.name.startswith('_'): continue
        marks = [ast.unparse(d) for d in o.decorator_list]
        owner = ast.unparse(o.args.args[0].annotation) if 'patch' in marks else ''
        if not owner: yield o.name
        elif len(marks) == 1 and not owner.startswith('_'): yield f'{owner}.{o.name}'

def test_modules_are_documented(site):
    "Where the docstrings of the modules say: the page, its places, and its Markdown"
    paths = [o for o in sorted((ROOT/'bs_lr_study').rglob('*.py')) if o.name not in ('__init__.py', '_modidx.py')]
    assert len(paths) > 40
    n_public = 0
    for path in paths:
        module = path.read_text(encoding='utf-8')
        where = re.search(r'Docs: ([^\s"]+)', module)[1].removeprefix(notebooks.addresses()[1])
        assert (site/where).read_text(encoding='utf-8').startswith('# ')
        ids = Page((site/where.removesuffix('.md')).read_text(encoding='utf-8')).ids
        public = {o.lower() for o in documented(module)}
        assert public - ids == set(), path.name
        n_public += len(public)
    assert n_public > 400

def test_links_to_the_source_lead_to_its_lines(site):
    "Each names a file of the repository and, where it names a line, the one at which the name beside it is defined"
    repo,seen = notebooks.addresses()[0],0
    for o in site.rglob('*.html'):
        html = o.read_text(encoding='utf-8')
        for link in re.findall(rf'href="{re.escape(repo)}/blob/main/([^"]+)"', html):
            path,_,line = link.partition('#')
            assert (ROOT/path).is_file(), (o.name, link)
            last = len((ROOT/path).read_text(encoding='utf-8').splitlines()) if line else None
            assert not line or re.fullmatch(r'L\d+', line) and int(line[1:]) <= last, (o.name, link)
        source = rf'href="{re.escape(repo)}/blob/main/([^"#]+)#L(\d+)"[^>]*>source</a></p>\s*<h3[^>]* id="([^"]+)"'
        for path,line,name in re.findall(source, html):
            lines = (ROOT/path).read_text(encoding='utf-8').splitlines()[int(line) - 1:]
            first = next(o for o in lines if re.match(r'\s*(async def|def|class) ', o)) # behind its decorators
            assert '' not in lines[:lines.index(first)], (o.name, path, line, name)
            name = re.sub(r'-\d+$', '', name).split('.')[-1] # the second of a page with one id is numbered
            assert re.match(rf'\s*(async def|def|class) {name}\b', first, flags=re.I), (o.name, path, line, name, first)
            seen += 1
    assert seen > 400

def test_posts_can_be_run_on_colab(parsed):
    at = notebooks.addresses()[0].removeprefix('https://github.com/')
    colab = f'https://colab.research.google.com/github/{at}/blob/main/nbs/posts/'
    for post,page in zip(POSTS, POST_PAGES): assert colab + post.name in parsed[page].links, page

@pytest.mark.parametrize('old,new', [
    ('<nav class="page-navigation">', '<nav class="page-navigation" aria-label="Page before and page after">'),
    ('<nav id="TOC" role="doc-toc" class="x">', '<nav id="TOC" role="doc-toc" class="x" aria-label="Sections of this page">'),
    ('<nav class="of-somebody">', '<nav class="of-somebody">'),
    ('<nav class="navbar" aria-label="n">', '<nav class="navbar" aria-label="n">'),
    ('<a data-bs-toggle="collapse" role="navigation">', '<a data-bs-toggle="collapse" role="button" href="#">'),
    ('<a role="navigation" href="x.html">', '<a role="button" href="x.html">'),
    ('<tr><th></th><th class="a"> &nbsp;</th><th>bs</th></tr>', '<tr><td></td><td class="a"></td><th>bs</th></tr>'),
    ('<h3 class="no-anchor listing-title">A <b>t</b></h3><h3>B</h3>', '<h2 class="no-anchor listing-title">A <b>t</b></h2><h3>B</h3>')])
def test_what_renderers_leave_out(old, new):
    "Names of landmarks, menus within reach, heads of tables, levels of headings; what is mended stays as it is"
    assert accessible.accessible(old) == new == accessible.accessible(new)

def test_posts_say_how_long_they_take(site):
    for post,page in zip(POSTS, POST_PAGES):
        n = notebooks.minutes(notebooks.read_nb(post))
        said = (site/page).read_text(encoding='utf-8').replace('&nbsp;', ' ').replace('\xa0', ' ')
        assert 2 < n < 7 and f'{n} minutes to read' in said, page

def test_pictures_have_alternative_texts(parsed):
    bare = [(n, o) for n,p in parsed.items() for o in p.pictures if o is None or (not o.strip() and 'posts/index' not in n)]
    assert bare == [] and sum(len(p.pictures) for p in parsed.values()) > 50

def test_pictures_without_a_text_are_refused(tmp_path):
    "In any notebook; an empty text is none, and each is one that Quarto can read"
    paths = list((ROOT/'nbs').rglob('*.ipynb'))
    assert [o for p in paths for o in notebooks.undescribed(p)] == []
    sources = [c.source for p in paths for c in notebooks.read_nb(p).cells]
    texts = [o for source in sources for o in re.findall(r'^#[|] (fig-alt: .*)', source, flags=re.M)]
    assert len(texts) > 40 and all(isinstance(yaml.safe_load(o)['fig-alt'], str) for o in texts)
    pic = dict(output_type='display_data', metadata={}, data={'image/png': ''})
    cells = [code_cell(o, pic) for o in ('#| fig-alt: A line that rises.\nplot(a)', 'plot(b)', '#| fig-alt: \nplot(c)')]
    (tmp_path/'t.ipynb').write_text(json.dumps(notebook(*cells)))
    bare = 't.ipynb: a picture has no fig-alt: '
    assert list(notebooks.undescribed(tmp_path/'t.ipynb')) == [f'{bare}plot(b)', f'{bare}#| fig-alt: ']

def test_missing_files_of_pages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, 'sources', lambda cfg: [])
    cfg = dict(format=dict(html=dict(css='nbs/no.css')), website=dict(favicon='nbs/images/favicon.svg'))
    monkeypatch.setattr(pages, 'config', lambda: cfg)
    with pytest.raises(FileNotFoundError, match='names nbs/no.css'): pages.stage(tmp_path)

def test_feed_and_sitemap(site, parsed):
    "Each post is in the feed and each page in the sitemap, at its public address"
    base = notebooks.addresses()[1]
    feed = ET.parse(site/'nbs/posts/index.xml').getroot()
    assert {o.findtext('link') for o in feed.iter('item')} == {f'{base}nbs/posts/{o.stem}.html' for o in POSTS}
    assert all(o.findtext('title') and o.findtext('description') and o.findtext('pubDate') for o in feed.iter('item'))
    ns = '{http://www.sitemaps.org/schemas/sitemap/0.9}'
    found = {o.findtext(f'{ns}loc'): o.findtext(f'{ns}lastmod') for o in ET.parse(site/'sitemap.xml').getroot().iter(f'{ns}url')}
    assert set(found) == {base + o for o in parsed}
    when = pages.committed().get('nbs/glossary.md', (ROOT/'nbs/glossary.md').stat().st_mtime)
    assert datetime.fromisoformat(found[f'{base}nbs/glossary.html']).timestamp() == pytest.approx(when, abs=1)

def test_pages_are_dated_by_their_commits(tmp_path, monkeypatch):
    "The last one that changed the notebook; without git nothing is known"
    me = '-c', 'user.name=a', '-c', 'user.email=a@b'
    git = lambda *args: subprocess.run(['git', *me, *args], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path/'nbs').mkdir()
    monkeypatch.setattr(pages, 'ROOT', tmp_path)
    git('init', '-q')
    for day,names in (('01', 'ab'), ('02', 'b')):
        for o in names: (tmp_path/'nbs'/f'{o} é.ipynb').write_text(day)
        monkeypatch.setenv('GIT_COMMITTER_DATE', f'2026-01-{day}T00:00:00Z')
        git('add', '.')
        git('commit', '-qm', day)
    assert pages.committed() == {'nbs/a é.ipynb': 1767225600, 'nbs/b é.ipynb': 1767312000}
    shutil.rmtree(tmp_path/'.git')
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert pages.committed() == {}
    monkeypatch.setenv('PATH', '/nowhere')
    assert pages.committed() == {}

RECORDS = ROOT/'bs_lr_study'/'records'

@pytest.mark.parametrize('name', sorted(o.relative_to(RECORDS).as_posix() for o in RECORDS.rglob('*') if o.is_file() and o.suffix != '.md'))
def test_records_can_be_downloaded(site, parsed, name):
    "Each file that the package has, from the page of records, byte for byte"
    assert f'../../bs_lr_study/records/{name}' in parsed['nbs/lab/records.html'].links, '`make posts` puts new records on their page'
    assert (site/'bs_lr_study'/'records'/name).read_bytes() == (RECORDS/name).read_bytes()

# In a browser

@pytest.fixture(scope='module')
def browsing(site):
    "The site behind a server, a browser, and the tests of the report, whose tools serve here too; skips where there is no browser"
    from report import test_browser as t
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with t.sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=t.CHROME, chromium_sandbox=False, args=t.ARGS)
        yield browser,f'http://127.0.0.1:{server.server_port}/'
        browser.close()
    server.shutdown()

@pytest.fixture
def visit(browsing):
    "Open a page of the site; what goes wrong there, and what is asked of others, must come to nothing"
    browser,base = browsing
    wrong,asked,context = [],[],browser.new_context(viewport=dict(width=1400, height=900), reduced_motion='reduce')
    page = context.new_page()
    page.on('console', lambda m: wrong.append((page.url, m.text)) if m.type in ('error', 'warning') else None)
    page.on('pageerror', lambda e: wrong.append((page.url, str(e))))
    page.on('requestfailed', lambda r: wrong.append((page.url, r.url)) if 'ERR_ABORTED' not in (r.failure or '') else None)
    page.on('request', lambda r: asked.append(r.url))
    def open_(name, theme='light', width=1400):
        page.set_viewport_size(dict(width=width, height=900))
        page.emulate_media(color_scheme=theme)
        page.goto(base + name)
        return page
    yield open_
    context.close()
    assert wrong == []
    assert [o for o in asked if not o.startswith((base, 'data:', 'blob:'))] == []

@pytest.mark.parametrize('every', [5, pytest.param(1, marks=pytest.mark.slow)])
def test_each_page_loads(visit, site, every):
    "Without an error, without asking anything of anyone else, and all of it is to be seen on a phone"
    for o in rendered(site)[::every]:
        page = visit(o.relative_to(site).as_posix(), width=390)
        assert page.title() and page.evaluate(CUT) == [] and page.evaluate(LOW) == [], o.name

def test_what_cannot_be_read_is_found(visit):
    "What the tests here look for: a box that is too wide, and a text that is too pale"
    page = visit('nbs/glossary.html')
    assert page.evaluate(CUT) == page.evaluate(LOW) == []
    page.evaluate("""() => document.querySelector('main').insertAdjacentHTML('beforeend',
        '<div style="overflow-x: auto"><p style="width: 3000px">scrolls</p></div>' +
        '<p style="width: 2000px">wide</p><dl><dd style="color: #ccc">pale</dd></dl>')""")
    found = [[o.split()[:2] for o in page.evaluate(what)] for what in (CUT, LOW)]
    assert found == [[['P', 'wide']], [['DD', 'pale']]]

@pytest.mark.parametrize('name', [*SHOWN, *(pytest.param(o, marks=pytest.mark.slow) for o in LIKE_THEM)])
def test_fits_and_can_be_read(visit, name):
    "On a phone and a desk, light and dark: nothing is cut off at the side, and texts have the contrast that WCAG AA asks for"
    page = visit(name)
    for theme,width in product(('light', 'dark'), (390, 1400)):
        page.set_viewport_size(dict(width=width, height=900))
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(IN_THEME, arg=theme)
        assert page.evaluate('document.documentElement.scrollWidth') <= width, (width, theme)
        assert page.evaluate(CUT) == [], (width, theme)
        assert page.evaluate(LOW) == [], (width, theme)
        file = f'{Path(name).parent.name}-{Path(name).stem}-{width}-{theme}.png'
        if folder := os.environ.get('BSLR_SHOTS'): page.screenshot(path=f'{folder}/{file}', full_page=True)

# What reaches beyond the window, but for what lies in a box that scrolls
CUT = """() => {
  const scrolls = el => {
    for (; el && el.id != 'quarto-content'; el = el.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(el).overflowX)) return true
    return false
  }
  const right = o => o.getBoundingClientRect().right
  const text = o => `${o.tagName} ${o.className} ${o.textContent.trim().slice(0, 40)} ${right(o).toFixed()}`
  const cut = o => o.checkVisibility() && right(o) > innerWidth + 1 && !scrolls(o.parentElement)
  return [...document.querySelectorAll('main *')].filter(cut).map(text).slice(0, 5)
}"""

LOW = """() => {
  const rgb = s => {
    const [r, g, b, a = 1] = s.match(/[0-9.]+/g).map(Number)
    const k = s.startsWith('color(') ? 255 : 1
    return [k*r, k*g, k*b, a]
  }
  const linear = v => v <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4
  const lum = c => c.slice(0, 3).map(v => linear(v/255)).reduce((s, v, i) => s + v*[.2126, .7152, .0722][i], 0)
  const ground = el => {
    for (; el; el = el.parentElement) { const c = rgb(getComputedStyle(el).backgroundColor); if (c[3] > .5) return c }
    return [255, 255, 255, 1]
  }
  const ratio = el => {
    const [a, b] = [lum(rgb(getComputedStyle(el).color)), lum(ground(el))].sort((a, b) => b - a)
    return (a + .05)/(b + .05)
  }
  const inside = ['h1', 'h2', 'h3', 'p', 'li', 'a', 'td', 'th', 'dt', 'dd', 'pre', 'summary', 'code span'].map(o => `main ${o}`)
  const texts = [...document.querySelectorAll([...inside, '.description', 'footer *', 'nav a'].join(', '))]
  const pale = o => o.checkVisibility() && o.textContent.trim() && ratio(o) < 4.5
  return texts.filter(pale).map(o => `${o.tagName} ${o.className} ${o.textContent.trim().slice(0, 40)} ${ratio(o).toFixed(2)}`).slice(0, 5)
}"""

IN_THEME = "theme => document.documentElement.classList.contains('quarto-dark') == (theme == 'dark')"
COLOURS = ['color-contrast', 'link-in-text-block'] # rules that a colour scheme may change
BARRIERS = """async only => {
  const found = await axe.run({resultTypes: ['violations'], ...(only.length && {runOnly: only})})
  return found.violations.map(o => [o.id, o.nodes.map(n => n.html.slice(0, 200))])
}"""

@pytest.mark.parametrize('names', [SHOWN, pytest.param((), marks=pytest.mark.slow)], ids=['some', 'all'])
def test_axe_finds_no_barrier(visit, site, names):
    "On a page of each kind, and on all; all rules in the light, and in the dark those about colours"
    axe = pytest.importorskip('axe_playwright_python.base', reason='axe looks for barriers: pip install .[dev]')
    found = {}
    for name in names or [o.relative_to(site).as_posix() for o in sorted(site.rglob('*.html'))]:
        page = visit(name)
        page.evaluate(axe.AXE_SCRIPT)
        for theme,only in (('light', []), ('dark', COLOURS)):
            page.emulate_media(color_scheme=theme)
            if name != pages.EXPLORER: page.wait_for_function(IN_THEME, arg=theme)
            if wrong := page.evaluate(BARRIERS, only): found[name, theme] = wrong
    assert found == {}

def test_the_keyboard_reaches_what_scrolls(visit):
    "And stops nowhere else; a section of the menu folds by Enter"
    page = visit('nbs/analysis/tables.html')
    groups = page.locator('main [role=group]')
    wide,all_ = lambda: groups.count(), page.locator('main pre').count()
    desk = wide()
    assert desk < all_ and all(groups.evaluate_all('os => os.map(o => o.scrollWidth > o.clientWidth && o.tabIndex === 0)'))
    page.set_viewport_size(dict(width=390, height=900))
    page.wait_for_function(f"document.querySelectorAll('main [role=group]').length > {desk}")
    scrolled = 'document.activeElement.scrollLeft'
    groups.first.focus()
    page.keyboard.press('ArrowRight')
    page.wait_for_function(f'{scrolled} > 0')
    page.set_viewport_size(dict(width=1400, height=900))
    fold = page.locator('#quarto-sidebar [role=button]').first
    inside = page.locator(fold.get_attribute('data-bs-target'))
    assert inside.is_visible()
    fold.focus()
    page.keyboard.press('Enter')
    inside.wait_for(state='hidden')

def test_navigation(visit):
    "From the home page to a post, and by the menu to the commands"
    page = visit('index.html')
    page.get_by_role('link', name='Read your own sweep').first.click()
    assert page.locator('h1').inner_text() == 'Read your own sweep'
    page.locator('nav').get_by_text('Use it').first.click()
    page.locator('nav').get_by_role('link', name='Commands').first.click()
    assert page.locator('h1').inner_text() == 'Commands' and 'bslr lr-find' in page.locator('main').inner_text()

def test_search(visit):
    "A word of a page finds it"
    page = visit('index.html')
    page.locator('input[type=search]').first.fill('winners_curse')
    hit = page.locator('.smalldocs-search-results a').first
    hit.wait_for()
    hit.click()
    page.wait_for_url('**/*.html*')
    assert 'winners_curse' in page.content() and 'index.html' not in page.url

def test_listing_and_categories(visit):
    "All posts, newest first; a category leaves those that have it"
    page = visit('nbs/posts/index.html')
    shown = lambda: [o.locator('.listing-title').inner_text() for o in page.locator('.quarto-post').all() if o.is_visible()]
    fronts = sorted(FRONT.values(), key=lambda o: (-o['date'].toordinal(), o['order']))
    assert shown() == [o['title'] for o in fronts]
    for kind in {k for o in fronts for k in o['categories']}:
        page.locator(f'.quarto-listing-category [data-category="{kind}"]').click()
        assert shown() == [o['title'] for o in fronts if kind in o['categories']]
    for img in page.locator('.quarto-post img').all(): assert img.get_attribute('alt')

def test_claims_are_picked_by_keyboard(visit):
    "By verdict and by source; the address holds what was picked, and a link to a claim shows it all the same"
    page = visit('nbs/lab/verdicts.html')
    rows = page.locator('tr:has(td a[id])')
    shown = lambda: [o for o in rows.all() if o.is_visible()]
    everything = len(shown())
    page.get_by_label('Verdict').focus()
    page.keyboard.type('holds')
    assert 0 < len(shown()) < everything and all(o.locator('td').nth(1).inner_text() == 'holds' for o in shown())
    assert page.locator('output').inner_text() == f'{len(shown())} of {everything} claims' and page.url.endswith('?verdict=holds')
    page.reload()
    assert 0 < len(shown()) < everything
    page.get_by_label('Source').select_option(label='A reader of that article')
    assert len(shown()) <= 1 and not page.locator('main h2', has_text='V. Bakshi').first.is_visible()
    page.evaluate("location.hash = 'lr_find-for-xresnet34'")
    page.wait_for_function("document.querySelector('output').textContent.startsWith('%d of')" % everything)
    assert page.locator('#lr_find-for-xresnet34').locator('xpath=ancestor::tr').is_visible()

def test_theme(visit):
    "The switch turns the page dark and back"
    page = visit('index.html')
    ground = lambda: page.evaluate('getComputedStyle(document.body).backgroundColor')
    light = ground()
    switch = page.locator('.quarto-color-scheme-toggle').first
    switch.click()
    page.wait_for_function(f"getComputedStyle(document.body).backgroundColor != '{light}'")
    switch.click()
    page.wait_for_function(f"getComputedStyle(document.body).backgroundColor == '{light}'")

def test_works_without_script(browsing):
    "Text, tables and pictures are there for those who run no scripts"
    browser,base = browsing
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(base + SHOWN[2])
    assert page.locator('main table').count() > 2 and page.locator('main img').first.is_visible()
    context.close()
