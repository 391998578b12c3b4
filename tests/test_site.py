"""The site: its posts are what their code makes, run where only the package is, and all its pages work in a browser."""
import json, os, re, shutil, subprocess, sys, threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree as ET

import pytest, yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'tools'))
pytest.importorskip('smalldocs', reason='smalldocs renders the preview: pip install .[site]')
import pages # noqa: E402

POSTS = pages.posts()
SHOWN = 'index.html', 'nbs/posts/index.html', f'nbs/posts/{POSTS[0].stem}.html', 'nbs/analysis.html', 'nbs/ledger.html', 'nbs/commands.html', 'nbs/glossary.html'

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The whole site as `make site` builds it, with summaries as they were saved"
    tmp,here = tmp_path_factory.mktemp('site'),Path.cwd()
    os.chdir(ROOT)
    try: pages.stage(tmp/'pages', run=False)
    finally: os.chdir(here)
    assert pages.render(tmp/'pages', tmp/'site') == []
    return tmp/'site'

# Posts

@pytest.mark.parametrize('post', POSTS, ids=lambda o: o.stem)
def test_posts_are_in_form(post):
    assert list(pages.post_faults(post, run=False)) == []

def test_faults_of_a_post_are_named(tmp_path):
    "A post without a description, of another day, with an old output"
    nb = yaml.safe_load('{cells: [{cell_type: raw, metadata: {}, source: "---\\ntitle: T\\ndate: 2026-01-02\\n---"}, {cell_type: code, metadata: {}, execution_count: null, source: "1 + 1", outputs: []}], metadata: {}, nbformat: 4, nbformat_minor: 5}')
    path = tmp_path/'2026-01-01-t.ipynb'
    path.write_text(json.dumps(nb))
    said = '\n'.join(pages.post_faults(path))
    for o in ('lacks description', 'lacks categories', 'its date is 2026-01-02', 'does not install the package', 'its outputs are not those of its code'): assert o in said
    nb['cells'][1]['source'] = '1/0'
    path.write_text(json.dumps(nb))
    with pytest.raises(RuntimeError, match='2026-01-01-t.ipynb: ZeroDivisionError in the cell\n1/0'): list(pages.post_faults(path))

FRESH = """import sys
sys.path.append(sys.argv[1])
import pages
nb = pages.run_again('post.ipynb', install=True)
import bs_lr_study
assert bs_lr_study.__file__.startswith(sys.prefix), bs_lr_study.__file__
pages.write_nb(nb, 'again.ipynb')
"""

@pytest.mark.parametrize('post', POSTS, ids=lambda o: o.stem)
def test_posts_run_where_only_their_first_cell_installs(post, wheel, tmp_path):
    "In an environment without the package: the first cell installs it, here from a wheel, and the rest gives what the post shows, to the last character and pixel"
    run = lambda *args: subprocess.run(args, capture_output=True, text=True, cwd=tmp_path)
    assert run(sys.executable, '-m', 'venv', '--without-pip', 'fresh').returncode == 0
    python,there = tmp_path/'fresh'/'bin'/'python',next((tmp_path/'fresh'/'lib').glob('python*'))/'site-packages'
    (there/'others.pth').write_text(f'{Path(pytest.__file__).parents[1]}\n') # its libraries, but not what they link to: the package is not among them
    assert run(python, '-c', 'import bs_lr_study').returncode == 1
    text = post.read_text(encoding='utf-8')
    there = f'git+{pages.addresses()[0]}'
    assert there in text
    (tmp_path/'post.ipynb').write_text(text.replace(there, f'--no-deps --no-index --ignore-installed {wheel}'), encoding='utf-8')
    r = run(python, '-c', FRESH, str(ROOT/'tools'))
    assert r.returncode == 0, r.stdout + r.stderr
    shown,again = (pages.outputs(pages.read_nb(o)) for o in (post, tmp_path/'again.ipynb'))
    assert shown[0] == [] and shown[1:] == again[1:], 'its outputs are not those of its code: `make posts` saves them anew'

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The package as a wheel, built of a copy"
    from test_package import copy
    tmp = tmp_path_factory.mktemp('wheel')
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', tmp, copy(tmp/'src')], check=True)
    return next(tmp.glob('*.whl'))

# The address

def test_a_fork_changes_one_line(tmp_path):
    "The address of the repository, written once, is everywhere after `make fix`"
    for o in ('tools', 'nbs', 'CITATION.cff', 'pyproject.toml'): (shutil.copytree if (ROOT/o).is_dir() else shutil.copy)(ROOT/o, tmp_path/o)
    old = pages.addresses()[0]
    text = (tmp_path/'pyproject.toml').read_text()
    (tmp_path/'pyproject.toml').write_text(text.replace(f'Repository = "{old}"', 'Repository = "https://github.com/Somebody/a-fork"'))
    subprocess.run([sys.executable, tmp_path/'tools'/'address.py'], check=True)
    left = [str(p) for p in tmp_path.rglob('*') if p.suffix in ('.ipynb', '.toml', '.cff', '.md', '.yml', '.qmd') and old in p.read_text(encoding='utf-8')]
    assert left == []
    assert 'Documentation = "https://somebody.github.io/a-fork/"' in (tmp_path/'pyproject.toml').read_text()
    for o in POSTS: assert 'git+https://github.com/Somebody/a-fork' in (tmp_path/'nbs'/'posts'/o.name).read_text(encoding='utf-8')

def test_addresses_agree():
    "What has to hold the address has that of pyproject.toml"
    repo,_ = pages.addresses()
    said = {m for p in [ROOT/'CITATION.cff', *(ROOT/'nbs').rglob('*.ipynb')] for m in re.findall(r'(?:repository-code: "|pip install [^"\n]*git\+|git clone )(https://[^\s"\\`\']+)', p.read_text(encoding='utf-8'))}
    assert said == {repo}

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
def parsed(site): return {p.relative_to(site).as_posix(): Page(p.read_text(encoding='utf-8')) for p in site.rglob('*.html')}

def test_links_lead_somewhere(site, parsed):
    "Each link to a page or a file finds it, and each to a place in a page finds that"
    lost = []
    for name,page in parsed.items():
        for link in page.links:
            to = urlsplit(urljoin(name, link))
            if to.scheme or to.netloc or link.startswith('data:'): continue
            path = unquote(to.path) + 'index.html'*(to.path.endswith('/') or to.path == '')
            if not (site/path).is_file(): lost.append((name, link))
            elif to.fragment and not to.fragment.startswith('category=') and path in parsed and unquote(to.fragment) not in parsed[path].ids: lost.append((name, link))
    assert lost == []

def test_no_link_to_the_site_itself_goes_around(parsed):
    "Pages are linked from where they are, so that a preview stays in the preview"
    site = pages.addresses()[1]
    assert [(n, o) for n,p in parsed.items() for o in p.links if o.startswith(site) and not o.endswith('.xml')] == []

def test_each_notebook_has_a_page(site):
    for o in (ROOT/'nbs').glob('[0-9]*.ipynb'): assert (site/pages.address(o.relative_to(ROOT).as_posix()).with_suffix('.html')).is_file(), o

def test_modules_are_documented(site):
    "Where the docstrings of the modules say: the page, its places, and its Markdown"
    for name in ('analysis', 'stats', 'sweep'):
        module = (ROOT/'bs_lr_study'/f'{name}.py').read_text(encoding='utf-8')
        where = re.search(r'Docs: ([^\s"]+)', module)[1].removeprefix(pages.addresses()[1])
        assert (site/where).read_text(encoding='utf-8').startswith('# ')
        ids = Page((site/where.removesuffix('.md')).read_text(encoding='utf-8')).ids
        public = re.findall(r'^def ([a-z]\w*)', module, flags=re.M)
        assert public and set(public) <= ids

def test_pictures_have_alternative_texts(parsed):
    bare = [(n, o) for n,p in parsed.items() for o in p.pictures if o is None or (not o.strip() and 'posts/index' not in n)]
    assert bare == [] and sum(len(p.pictures) for p in parsed.values()) > 30

def test_feed_and_sitemap(site, parsed):
    "Each post is in the feed and each page in the sitemap, at its public address"
    base = pages.addresses()[1]
    feed = ET.parse(site/'nbs/posts/index.xml').getroot()
    assert {o.findtext('link') for o in feed.iter('item')} == {f'{base}nbs/posts/{o.stem}.html' for o in POSTS}
    assert all(o.findtext('title') and o.findtext('description') and o.findtext('pubDate') for o in feed.iter('item'))
    found = {o.text for o in ET.parse(site/'sitemap.xml').getroot().iter('{http://www.sitemaps.org/schemas/sitemap/0.9}loc')}
    assert found == {base + o for o in parsed}

def test_records_can_be_downloaded(site, parsed):
    "Each record that the package has, byte for byte"
    from bs_lr_study.analysis import records
    for path in records().values():
        copy = site/'bs_lr_study'/'records'/Path(path).name
        assert copy.is_file() and copy.read_bytes() == Path(path).read_bytes(), f'{copy.name}: run `make posts`, which puts new records on their page'

# In a browser

@pytest.fixture(scope='module')
def browsing(site):
    "The site behind a server, a browser, and the tests of the report, whose tools serve here too; skips where there is no browser"
    import test_browser as t
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

def test_each_page_loads(visit, site):
    "Without an error, and without asking anything of anyone else"
    for o in sorted(site.rglob('*.html')): assert visit(o.relative_to(site).as_posix()).title()

@pytest.mark.parametrize('name', SHOWN)
def test_fits_and_can_be_read(visit, name):
    "No sideways scrolling on a phone or a desk, contrast of text as WCAG AA asks for, light and dark"
    for width,theme in product((390, 1400), ('light', 'dark')):
        page = visit(name, theme, width)
        assert page.evaluate('document.documentElement.scrollWidth') <= width, (width, theme)
        low = page.evaluate(LOW)
        assert low == [], (width, theme)
        if folder := os.environ.get('BSLR_SHOTS'): page.screenshot(path=f'{folder}/{Path(name).parent.name}-{Path(name).stem}-{width}-{theme}.png', full_page=True)

LOW = """() => {
  const rgb = s => { const [r, g, b, a = 1] = s.match(/[0-9.]+/g).map(Number); const k = s.startsWith('color(') ? 255 : 1; return [k*r, k*g, k*b, a] }
  const lum = c => c.slice(0, 3).map(v => v/255).map(v => v <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4).reduce((s, v, i) => s + v*[.2126, .7152, .0722][i], 0)
  const ground = el => { for (; el; el = el.parentElement) { const c = rgb(getComputedStyle(el).backgroundColor); if (c[3] > .5) return c } return [255, 255, 255, 1] }
  const ratio = el => { const [a, b] = [lum(rgb(getComputedStyle(el).color)), lum(ground(el))].sort((a, b) => b - a); return (a + .05)/(b + .05) }
  return [...document.querySelectorAll('main h1, main h2, main h3, main p, main li, main a, main td, main th, main code span, nav a')]
    .filter(o => o.checkVisibility() && o.textContent.trim() && ratio(o) < 4.5).map(o => `${o.tagName} ${o.className} ${o.textContent.trim().slice(0, 40)} ${ratio(o).toFixed(2)}`).slice(0, 5)
}"""

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
    shown = lambda: [o for o in page.locator('.quarto-post').all() if o.is_visible()]
    assert len(shown()) == len(POSTS)
    page.locator('.quarto-listing-category .category', has_text='speed').click()
    assert len(shown()) == sum('speed' in o.read_text(encoding='utf-8').split('categories: ')[1].split('\\n')[0] for o in POSTS)
    for img in page.locator('.quarto-post img').all(): assert img.get_attribute('alt')

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
