"""The report in a browser: no error, nothing loaded, sorted by mouse and keyboard, in any light and on any screen."""
import os, re, shutil
from itertools import product

import pytest

from bs_lr_study.analysis import load_runs
from bs_lr_study.report import report

NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
CHROME = os.environ.get('BSLR_CHROME') or next(filter(None, map(shutil.which, NAMES)), None)

def no_browser(why):
    "A reason to skip, but where a browser is called for: there its tests must not vanish"
    if os.environ.get('BSLR_NEED_BROWSER'): raise RuntimeError(f'BSLR_NEED_BROWSER is set: {why}')
    pytest.skip(why, allow_module_level=True)

if not CHROME: no_browser('no Chromium or Chrome here (BSLR_CHROME names one)')
try: from playwright import sync_api
except ImportError: no_browser('playwright drives the browser: pip install playwright')
ARGS = ['--disable-gpu', '--disable-quic', '--disable-component-update', '--disable-sync']

EVIL = '<script>window.hit=1</script><img src="http://example.com/x.png" onerror="window.hit=2">'

def hostile():
    "Runs whose names, models and messages are written by somebody who means no good"
    df = load_runs().query('model == "xresnet18"').reset_index(drop=True)
    df = df.assign(model=EVIL, run=[f'{EVIL}-{i}' for i in range(len(df))], data='digits', status='ok', message='')
    df.loc[:1, ['status', 'acc', 'message']] = ['failed', None, '</style></title><a href="javascript:window.hit=3">x</a>']
    return df.assign(status=df.status.where(df.index != 2, 'diverged'), acc=df.acc.where(df.index != 2))

SETS = 'published', 'digits', 'hostile'

@pytest.fixture(scope='module')
def files(reports, tmp_path_factory):
    "The reports, written once"
    folder = tmp_path_factory.mktemp('reports')
    return {k: r.save(folder/f'{k}.html')[0] for k,r in (reports | dict(hostile=report(hostile()))).items()}

@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROME, chromium_sandbox=False, args=ARGS)
        yield b
        b.close()

@pytest.fixture
def visit(browser, files):
    "Open a report; what goes wrong on the page, and what it asks for, is written down and must come to nothing"
    wrong,asked,pages = [],[],[]
    def open_(name='published', width=1400, theme='light'):
        page = browser.new_page(viewport=dict(width=width, height=900), color_scheme=theme)
        page.on('console', lambda m: wrong.append(m.text))
        page.on('pageerror', lambda e: wrong.append(str(e)))
        page.on('request', lambda r: asked.append(r.url))
        page.goto(files[name].as_uri())
        pages.append(page)
        return page
    yield open_
    own = {o.as_uri() for o in files.values()}
    assert wrong == [] and [u for u in asked if u.split('#')[0] not in own and not u.startswith('data:')] == []
    for page in pages: page.close()

def column(page, i, n): return page.locator('table').nth(i).locator(f'tbody tr > :nth-child({n + 1})').all_inner_texts()

def last_table(page): return page.locator('table').count() - 1

@pytest.mark.parametrize('name', SETS)
def test_fits_and_can_be_read(visit, name):
    "No sideways scrolling of the page, one theme's plots, contrast of text as WCAG AA asks for"
    page = visit(name)
    for width,theme in product((390, 1400), ('light', 'dark')):
        page.set_viewport_size(dict(width=width, height=900))
        page.emulate_media(color_scheme=theme)
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        seen = page.evaluate("[...document.querySelectorAll('svg[role=img]')].map(o => o.checkVisibility())")
        assert seen and seen == [(theme == 'light') == (i % 2 == 0) for i in range(len(seen))]
        assert min(page.evaluate(CONTRASTS)) >= 4.5, (width, theme)

CONTRASTS = """() => {
  const rgb = s => { const [r, g, b, a = 1] = s.match(/[0-9.]+/g).map(Number); return [r, g, b, a] }
  const linear = v => v <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4
  const lum = c => c.slice(0, 3).map(v => linear(v/255)).reduce((s, v, i) => s + v*[.2126, .7152, .0722][i], 0)
  const ground = el => {
    for (; el; el = el.parentElement) { const c = rgb(getComputedStyle(el).backgroundColor); if (c[3] > 0) return c }
    return [255, 255, 255, 1]
  }
  const ratio = el => {
    const [a, b] = [lum(rgb(getComputedStyle(el).color)), lum(ground(el))].sort((a, b) => b - a)
    return (a + .05)/(b + .05)
  }
  const texts = 'h1, h2, h3, p, li, a, td, th, caption, figcaption, button, .tag'
  return [...document.querySelectorAll(texts)].filter(o => o.checkVisibility()).map(ratio)
}"""

def test_sorts_by_mouse(visit):
    "Numbers as numbers, up and down; what is missing stays last"
    page = visit('hostile')
    runs = page.locator('table').last
    acc = runs.get_by_role('button', name='accuracy')
    for up in (True, False):
        acc.click()
        got = column(page, last_table(page), 1)
        vals = [float(o) for o in got if o != '–']
        assert len(vals) == 33 and got[-3:] == ['–']*3 and vals == sorted(vals, reverse=not up)
        assert runs.locator('th[aria-sort]').count() == 1
        assert runs.locator('th').nth(1).get_attribute('aria-sort') == ('ascending' if up else 'descending')

def test_sorts_by_keyboard(visit):
    "Tab to a heading, press Enter or the space bar: 2048 comes after 512, and 1e-4 before 1e-2"
    page = visit()
    heads = page.locator('table').last.locator('thead button')
    names = [o.lower() for o in heads.all_inner_texts()]
    heads.first.focus()
    for _ in range(names.index('bs')): page.keyboard.press('Tab')
    page.keyboard.press('Enter')
    got = [int(o) for o in column(page, last_table(page), names.index('bs'))]
    assert got == sorted(got) and got[-1] == 2048
    for _ in range(names.index('lr') - names.index('bs')): page.keyboard.press('Tab')
    page.keyboard.press('Space')
    got = [float(o) for o in column(page, last_table(page), names.index('lr'))]
    assert got == sorted(got) and got[0] == 1e-7
    assert 'lr, ascending' in page.locator('[role=status]').inner_text()

def test_theme_by_keyboard(visit):
    "The first keys lead to the skip link and to the theme; it turns the page and its plots, and back"
    page = visit()
    ground = lambda: page.evaluate('getComputedStyle(document.body).backgroundColor')
    light = ground()
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.textContent') == 'Skip to the report'
    page.keyboard.press('Tab')
    for pressed in ('true', 'false'):
        page.keyboard.press('Enter')
        assert page.locator('#theme').get_attribute('aria-pressed') == pressed
        assert (ground() != light) == (pressed == 'true') == page.locator('svg[role=img]').nth(1).is_visible()

def test_skip_link(visit):
    page = visit()
    page.keyboard.press('Tab')
    page.keyboard.press('Enter')
    assert page.evaluate('document.activeElement.id') == 'main'

def test_strangers_stay_text(visit):
    "No script of theirs runs, nothing of theirs is loaded, and their text is there to read"
    page = visit('hostile')
    assert page.evaluate('window.hit') is None and page.locator('img').count() == 0
    assert EVIL in page.locator('table').last.inner_text()
    assert EVIL[:20] in page.locator('svg[role=img]').first.text_content()

def test_only_its_own_script_may_run(visit, files, browser, tmp_path):
    "A script that somebody puts into the file does not run: the policy knows the one by its hash"
    changed = tmp_path/'changed.html'
    theirs = '<script>window.hit=1</script><p onclick="window.hit=2" id="p">x</p>'
    changed.write_text(files['published'].read_text().replace('</main>', f'{theirs}</main>'))
    page = browser.new_page()
    page.goto(changed.as_uri())
    page.locator('#p').click()
    assert page.evaluate('window.hit') is None and page.locator('th button').count() > 10
    page.close()

def test_works_without_script(browser, files):
    "No dead buttons, and the system's theme"
    ctx = browser.new_context(java_script_enabled=False, color_scheme='dark')
    page = ctx.new_page()
    page.goto(files['digits'].as_uri())
    assert page.locator('button').filter(visible=True).count() == 0 and page.locator('svg[role=img]').nth(1).is_visible()
    ctx.close()

def test_ids_and_targets(visit):
    "Each id is there once, and what refers to one finds it"
    page = visit()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(o => o.id)")
    assert len(ids) == len(set(ids))
    refs = page.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map(o => o.getAttribute('href').slice(1))")
    html = page.content()
    refs += re.findall(r'url\((?:&quot;)?#([^)&]+)', html) + re.findall(r'xlink:href="#([^"]+)', html)
    refs += ' '.join(re.findall(r'aria-labelledby="([^"]+)', html)).split()
    assert len(refs) > 20 and set(refs) <= set(ids)

def test_prints(visit):
    "On paper nothing is cut off by a box that cannot scroll there"
    page = visit('digits')
    page.emulate_media(media='print')
    assert page.locator('nav').is_hidden() and page.locator('#theme').is_hidden()
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == 'visible'

def test_prints_on_white(visit):
    "Whatever page is on the screen, and each table within the sheet"
    page = visit('published', width=718, theme='dark') # A4 less its margins
    page.locator('#theme').click()
    page.locator('#theme').click()
    page.emulate_media(media='print', color_scheme='dark')
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
    seen = page.evaluate("[...document.querySelectorAll('svg[role=img]')].map(o => o.checkVisibility())")
    assert seen == [i % 2 == 0 for i in range(len(seen))] and min(page.evaluate(CONTRASTS)) >= 4.5
    assert page.evaluate('document.documentElement.scrollWidth') <= 718

def test_pictures_can_be_read_on_a_telephone(visit):
    "No text of a plot is smaller than 9 pixels"
    page = visit('published', width=390)
    sizes = page.evaluate("""[...document.querySelectorAll('svg[role=img]')].filter(o => o.checkVisibility()).flatMap(o => {
      const scale = o.getScreenCTM().a
      return [...o.querySelectorAll('text')].map(t => parseFloat(getComputedStyle(t).fontSize)*scale) })""")
    assert len(sizes) > 100 and min(sizes) >= 9

@pytest.mark.parametrize('width,theme', [(390, 'dark'), (1400, 'light'), *(pytest.param(*o, marks=pytest.mark.slow)
                                                                            for o in ((390, 'light'), (1400, 'dark')))])
def test_axe_finds_no_barrier(visit, width, theme):
    axe = pytest.importorskip('axe_playwright_python.sync_playwright', reason='axe looks for barriers: pip install .[dev]')
    found = axe.Axe().run(visit('digits', width=width, theme=theme))
    assert [(o['id'], [n['html'] for n in o['nodes']][:3]) for o in found.response['violations']] == []
