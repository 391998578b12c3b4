"""The explorer in a browser: each task by the keyboard, nothing asked of anyone, in any light and on any screen."""
import re
from itertools import product

import pandas as pd, pytest

pytest.importorskip('report.test_browser', reason='no browser here')
from report import test_browser as t # noqa: E402

from bs_lr_study.analysis import load_runs # noqa: E402
from bs_lr_study.explore import explorer # noqa: E402

# Colours may be mixed in any space, which a canvas makes red, green and blue of
PAINT = """const rgb = s => {
    const c = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true})
    c.fillStyle = s
    c.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = c.getImageData(0, 0, 1, 1).data
    return [r, g, b, a/255]
  }"""
CONTRASTS = re.sub(r'const rgb = .*', lambda m: PAINT, t.CONTRASTS, count=1)
assert CONTRASTS != t.CONTRASTS

@pytest.fixture(scope='module')
def file(tmp_path_factory): return explorer(path=tmp_path_factory.mktemp('explorer')/'explorer.html')

@pytest.fixture(scope='module')
def browser():
    with t.sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=t.CHROME, chromium_sandbox=False, args=t.ARGS)
        yield b
        b.close()

@pytest.fixture
def visit(browser, file):
    "Open the explorer; every request is caught, and none may be made but for the file itself"
    wrong,asked = [],[]
    context = browser.new_context()
    def open_(hash='', width=1400, theme='light'):
        page = context.new_page()
        page.set_viewport_size(dict(width=width, height=900))
        page.emulate_media(color_scheme=theme)
        page.on('console', lambda m: wrong.append(m.text))
        page.on('pageerror', lambda e: wrong.append(str(e)))
        page.route('**/*', lambda route: (asked.append(route.request.url), route.continue_()))
        page.goto(file.as_uri() + hash)
        return page
    yield open_
    context.close()
    assert wrong == []
    assert [o for o in asked if not o.startswith((file.as_uri(), 'data:'))] == []

def focused(page, what='aria-label'): return page.evaluate(f'document.activeElement.getAttribute("{what}")')

def tab_to(page, id, most=15):
    "Press Tab until an element has the focus"
    for _ in range(most):
        page.keyboard.press('Tab')
        if focused(page, 'id') == id: return
    raise AssertionError(f'Tab does not reach {id}')

def to_grid(page):
    for _ in range(15):
        page.keyboard.press('Tab')
        if page.evaluate('document.activeElement.tagName') == 'TD': return
    raise AssertionError('Tab does not reach the crosstab')

# By the keyboard alone

def test_walk_through_the_crosstab(visit):
    page = visit()
    to_grid(page)
    assert focused(page) == 'batch size 32, learning rate 0.01, 80.0 %, 1 run, the best'
    page.keyboard.press('ArrowLeft')
    assert focused(page) == 'batch size 16, learning rate 0.01, 79.6 %, 1 run, may be the best'
    page.keyboard.press('ArrowUp')
    assert focused(page).startswith('batch size 16, learning rate 0.001,')
    page.keyboard.press('Home')
    assert focused(page).startswith('batch size 1, learning rate 0.001,')
    page.keyboard.press('ArrowLeft') # there is no further
    assert focused(page).startswith('batch size 1, learning rate 0.001,')
    page.keyboard.press('Control+End')
    assert focused(page).startswith('batch size 2048, learning rate 0.01,')
    assert page.locator('td[tabindex="0"]').count() == 1

def test_the_mean_of_seeds_and_their_curves(visit):
    "Enter opens the runs of a cell, with a curve each; Escape leads back"
    page = visit('#study=digits')
    to_grid(page)
    assert re.fullmatch(r'batch size 16, learning rate 0.01, 99.1 ± 0.2 %, 3 runs, the best', focused(page))
    page.keyboard.press('Enter')
    assert focused(page, 'id') == 'cell-title' and page.locator('#cell-title').inner_text() == 'Batch size 16, learning rate 1e-2'
    assert page.locator('#cell-body tbody tr').count() == 3 and page.locator('#cell-body svg .stroke').count() == 3
    assert 'lr=0.01&bs=16' in page.url
    page.keyboard.press('Escape')
    assert focused(page).startswith('batch size 16, learning rate 0.01') and page.locator('#cell').is_hidden()

def test_choices_are_kept_in_the_address(visit):
    "Study, model, best of the runs, level: by Tab and arrows; the address brings all of it back"
    page = visit()
    tab_to(page, 'study')
    page.keyboard.press('ArrowDown')
    tab_to(page, 'model')
    page.keyboard.press('ArrowDown')
    tab_to(page, 'level')
    page.keyboard.press('ArrowUp')
    assert 'study=2025-06-01' in page.url and 'level=80' in page.url
    texts = lambda o: [o.locator(k).inner_text() for k in ('#best', '#rest', '#grid')]
    assert texts(visit(page.url.partition('#')[1] + page.url.partition('#')[2])) == texts(page)

def choose(page, id, key):
    tab_to(page, id)
    page.keyboard.press(key)

@pytest.mark.parametrize('width', [320, 390, 1400])
def test_each_task_without_a_mouse(visit, width):
    "All that can be chosen, the walk through the cells, their runs, a file, a dark page: in sight where it has the focus, on any screen"
    page = visit('#study=2025-06-01', width)
    in_sight = """() => {
      const {left, right, top, bottom} = document.activeElement.getBoundingClientRect()
      return left >= -1 && right <= innerWidth + 1 && bottom > 0 && top < innerHeight
    }"""
    tab_to(page, 'theme')
    page.keyboard.press('Enter')
    assert page.locator('html').get_attribute('data-theme') == 'dark'
    choose(page, 'study', 'd') # digits
    choose(page, 'metric', 'ArrowDown')
    page.keyboard.press('Tab')
    page.keyboard.press('ArrowRight') # best of the runs of a cell
    page.keyboard.press('Tab')
    page.keyboard.press('ArrowRight') # best of each row
    assert all(o in page.url for o in ('study=digits', 'metric=valid_loss', 'agg=best', 'among=row')) and page.evaluate(in_sight)
    page.keyboard.press('Shift+Tab')
    page.keyboard.press('ArrowLeft') # the mean, which has a level
    choose(page, 'level', 'ArrowDown')
    assert 'level=95' in page.url and page.evaluate(in_sight)
    to_grid(page)
    for key in ('Control+End', 'ArrowUp', 'ArrowLeft'):
        page.keyboard.press(key)
        assert page.evaluate(in_sight), key
    name = focused(page)
    assert name.startswith('batch size 256, learning rate 0.01') and page.locator('.point.on').count() == 1
    page.keyboard.press('Enter')
    assert focused(page, 'id') == 'cell-title' and page.evaluate(in_sight)
    page.keyboard.press('Tab')
    page.keyboard.press('Enter') # Close
    assert focused(page) == name and page.locator('#cell').is_hidden()
    for _ in range(15):
        page.keyboard.press('Shift+Tab')
        if focused(page, 'id') == 'file': break
    assert focused(page, 'id') == 'file' and page.evaluate(in_sight)
    give(page, GRID)
    page.wait_for_selector('option[value="mine.csv"]', state='attached')
    told = 'The best batch size of each of 2 learning rates, and no other cell may be the best of its row at 95 per cent.'
    assert page.locator('#best').inner_text() == told

def test_best_and_rows(visit):
    page = visit('#study=digits&agg=best')
    assert 'choose Mean' in page.locator('#rest').inner_text() and page.locator('td.may').count() == 0
    page = visit('#study=digits&among=row')
    assert page.locator('td.best').count() == 4 and 'best batch size of each of 4 learning rates' in page.locator('#best').inner_text()

def test_an_address_of_nonsense_shows_the_first_study(visit):
    page = visit('#study=none&metric=x&level=7&lr=a&bs=2')
    assert page.locator('#best').inner_text().startswith('Best: batch size 32') and page.locator('#level').input_value() == '90'

# Highlights, marks

def test_cell_point_and_row_stand_out_together(visit):
    page = visit()
    page.locator('td[data-key="0.01|64"]').hover()
    assert page.locator('.point.on').get_attribute('data-key') == '0.01|64' and page.locator('g.line.on').get_attribute('data-lr') == '0.01'
    page.locator('.point[data-key="0.0001|512"] path').hover()
    assert page.locator('td.on').get_attribute('data-key') == '0.0001|512' and page.locator('tr.on').get_attribute('data-lr') == '0.0001'

def test_candidates_are_marked_by_more_than_colour(visit):
    page = visit()
    may = page.locator('td.may')
    assert may.count() == 10 == page.locator('.point.may .ring').count()
    assert {o.strip() for o in page.locator('td.may .mark').all_inner_texts()} == {'●', '★'}

# In any light, on any screen

@pytest.mark.parametrize('width', [320, 390, 1400])
def test_fits_and_can_be_read(visit, width):
    page = visit('#study=digits&lr=0.01&bs=16', width)
    for theme,study in product(('light', 'dark'), ('2025-06-04', 'digits')):
        page.emulate_media(color_scheme=theme)
        page.locator('#study').select_option(study)
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        assert min(page.evaluate(CONTRASTS)) >= 4.5, (width, theme)
        sizes = page.evaluate("[...document.querySelectorAll('svg text')].map(o => parseFloat(getComputedStyle(o).fontSize)*o.getCTM().a)")
        assert sizes and min(sizes) >= 11

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_axe_finds_nothing(visit, theme):
    why = 'axe-playwright-python looks for barriers: pip install .[dev]'
    axe = pytest.importorskip('axe_playwright_python.sync_playwright', reason=why)
    page = visit('#study=digits&lr=0.01&bs=16', theme=theme)
    found = axe.Axe().run(page)
    assert [(o['id'], [n['html'] for n in o['nodes']][:3]) for o in found.response['violations']] == []

# A file of one's own

GRID = 'batch_size,learning_rate,seed,val_acc,val_loss,host\n' + ''.join(
    f'{bs},{lr},{s},{50 + bs/8 + 7*s*lr:.2f},{1 + lr:.3f},h{s}\n' for bs in (8, 16, 32) for lr in (.01, .1) for s in (0, 1, 2))

def give(page, text, name='mine.csv'): page.set_input_files('#file', dict(name=name, mimeType='text/csv', buffer=text.encode()))

def test_open_a_csv(visit):
    "The button is reached by Tab; the file becomes a study, what was guessed is said, Python agrees on the answer"
    page = visit()
    tab_to(page, 'file')
    give(page, GRID)
    page.wait_for_selector('option[value="mine.csv"]', state='attached')
    assert page.locator('#study').input_value() == 'mine.csv' and 'study=mine.csv' in page.url
    assert 'mine.csv: acc was read as per cent, since it runs from 51 to 55.4' in page.locator('#problem').inner_text()
    best = 'Best: batch size 32, learning rate 1e-1, the highest accuracy of model: 54.7 %, the mean of 3 runs'
    assert page.locator('#best').inner_text().startswith(best)
    assert page.locator('#metric option').all_inner_texts() == ['Accuracy', 'Validation loss'] and page.locator('td.ran').count() == 6

def test_drop_a_csv(visit):
    page = visit()
    page.evaluate("""text => {
        const dataTransfer = new DataTransfer()
        dataTransfer.items.add(new File([text], 'mine.csv'))
        const how = {dataTransfer, bubbles: true, cancelable: true}
        for (const kind of ['dragover', 'drop']) document.body.dispatchEvent(new DragEvent(kind, how))
    }""", GRID)
    page.wait_for_selector('option[value="mine.csv"]', state='attached')
    assert page.locator('td.ran').count() == 6 and not page.locator('body.dropping').count()

@pytest.mark.parametrize('text,words,line', [
    ('bs,lr,acc\n8,-.1,.5\n', 'row 0 (row 0): lr is -0.1, but must be a number above 0, with a point', ''),
    ('bs,lr,acc,optimizer\n8,.1,.5,adam\n8,.1,.6,sgd\n', 'these runs cannot share a table: they differ in optimizer (adam, sgd).',
     'bslr explore mine.csv --where optimizer=adam'),
    ('batchy,lr,acc\n8,.1,.5\n', 'no column with values is called bs, batch_size', 'bslr explore mine.csv --columns bs=COLUMN'),
    ('Name,State,User,acc,bs,lr\na,finished,u,.5,8,.1\n', 'This page does not read the exports of W&B.', 'bslr explore mine.csv'),
    ('bs,lr,acc\n8,.1,<img src=x onerror=alert(1)>\n', "acc is '<img src=x onerror=alert(1)>'", '')])
def test_a_file_is_refused_in_words(visit, text, words, line):
    "And what was shown stays"
    page = visit()
    before = page.locator('#best').inner_text()
    give(page, text)
    page.wait_for_selector('#problem p')
    said = page.locator('#problem').inner_text()
    assert words in said and line in said and page.locator('#best').inner_text() == before and not page.locator('img').count()

def test_choose_one_of_several_metrics(visit):
    page = visit()
    give(page, 'bs,lr,val_f1,val_auc\n8,.1,.5,.6\n16,.1,.4,.7\n')
    page.wait_for_selector('.choices button')
    page.locator('.choices button', has_text='val_auc').focus()
    page.keyboard.press('Enter')
    page.wait_for_selector('option[value="mine.csv"]', state='attached')
    assert 'validation AUC of model: 70.0 %' in page.locator('#best').inner_text()

# Runs of any kind

EVIL = '<img src=x onerror=alert(1)>'

@pytest.fixture(scope='module')
def lost_runs(tmp_path_factory):
    "A loss, runs that diverged, failed or go on, a cell that was not run, a model without any value, a name that means no good"
    rows = [(EVIL, 8, .1, 0, .5, 'ok'), (EVIL, 8, .1, 1, None, 'diverged'), (EVIL, 16, .1, 0, None, 'failed'),
            (EVIL, 16, .01, 0, .7, 'ok'), (EVIL, 32, .01, 0, None, 'running'), ('none', 8, .1, 0, None, 'diverged')]
    df = pd.DataFrame(rows, columns=['model', 'bs', 'lr', 'seed', 'val_loss', 'status']).assign(run=list('abcdef'), message=EVIL)
    return explorer(load_runs(df), tmp_path_factory.mktemp('lost')/'explorer.html')

def test_lost_runs_are_shown(browser, lost_runs):
    page = browser.new_page()
    page.goto(lost_runs.as_uri())
    names = page.locator('td').evaluate_all('os => os.map(o => o.getAttribute("aria-label"))')
    assert names == [
        'batch size 8, learning rate 0.01, not run', 'batch size 16, learning rate 0.01, 0.700, 1 run',
        'batch size 32, learning rate 0.01, not trained to the end',
        'batch size 8, learning rate 0.1, 0.500, 1 run, 1 of 2 diverged, the best',
        'batch size 16, learning rate 0.1, failed', 'batch size 32, learning rate 0.1, not run']
    key = page.locator('#key').inner_text()
    assert all(o in key for o in ('diverged', 'failed', 'not trained to the end', 'not run')) and 'may be' not in key
    assert 'nothing says how far a run moves' in page.locator('#rest').inner_text()
    assert 'lowest validation loss' in page.locator('#best').inner_text()
    page.locator('#model').select_option('none')
    assert page.locator('#best').inner_text() == 'No run of this model has a value.' and page.locator('#lines svg').count() == 0
    page.locator('td').first.click()
    assert page.locator('#cell-body tbody tr').inner_text().split()[0] == 'f' and page.locator('img').count() == 0
    page.close()
