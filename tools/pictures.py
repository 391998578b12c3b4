"""Draw what README and the home page show of `bslr report`: the terminal as SVG, the page as a photograph by a browser.

Each picture says what it was drawn from, so that a test can tell when it is old: the terminal holds its text, the photograph a
fingerprint of what the report says."""
import hashlib, html, io, os, re, shutil, tempfile
from pathlib import Path

from fastcore.script import call_parse
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from bs_lr_study.analysis import load_runs
from bs_lr_study.report.compose import report
from bs_lr_study.report.terminal import print_tables

IMAGES = Path(__file__).parents[1]/'nbs'/'images'
WIDE,COMMAND = 80,'$ bslr report 2025-06-04'
PAGE = dict(width=900, height=820) # of the browser's window

def shown(df):
    "What a terminal shows of a report, down to the end of its first table, as rich's text"
    out = io.StringIO()
    os.environ.pop('NO_COLOR', None)
    print_tables(df, console=Console(file=out, width=WIDE, force_terminal=True, color_system='truecolor'))
    lines = out.getvalue().split('\n')
    end = next(i for i,o in enumerate(lines) if '* best of its row' in o)
    return Text.from_ansi('\n'.join([COMMAND, *lines[:end + 1]]))

def terminal(text):
    "A terminal with the beginning of a report, as `shown` gives it, as SVG; it asks nobody for fonts"
    console = Console(file=io.StringIO(), width=WIDE, record=True, force_terminal=True, color_system='truecolor')
    console.print(text)
    form = re.sub(r'@font-face \{\{.*?\}\}\s*', '', CONSOLE_SVG_FORMAT, flags=re.S)
    return console.export_svg(title='bslr report', theme=DIMMED_MONOKAI, code_format=form, unique_id='report')

def svg_text(svg):
    "The words of a terminal drawn as SVG"
    return ' '.join(html.unescape(' '.join(re.findall(r'<text[^>]*>([^<]*)</text>', svg))).split())

def fingerprint(text):
    "Of what a report says first"
    return hashlib.sha256(str(text).encode()).hexdigest()[:16]

def browser():
    "The program that takes photographs"
    names = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
    return os.environ.get('BSLR_CHROME') or next(filter(None, map(shutil.which, names)))

def photograph(made, text, path, window=PAGE, scale=1):
    "The top of a report's page, as a browser shows it, small; what it was drawn from is written into it"
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo
    from playwright.sync_api import sync_playwright
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        page,shot = made.save(f'{tmp}/report.html')[0],f'{tmp}/shot.png'
        chrome = p.chromium.launch(executable_path=browser(), chromium_sandbox=False)
        view = chrome.new_page(viewport=window, color_scheme='light', device_scale_factor=scale)
        view.goto(Path(page).resolve().as_uri())
        view.screenshot(path=shot)
        chrome.close()
        info = PngInfo()
        info.add_text('source', fingerprint(text))
        Image.open(shot).convert('RGB').quantize(64, dither=Image.Dither.NONE).save(path, optimize=True, pnginfo=info)

@call_parse
def main():
    "Draw the terminal and photograph the report; the second needs Chromium"
    df = load_runs('2025-06-04')
    text = shown(df)
    (IMAGES/'terminal.svg').write_text(terminal(text), encoding='utf-8')
    photograph(report(df, 'Batch size and learning rate: 2025-06-04'), text, IMAGES/'report.png')
