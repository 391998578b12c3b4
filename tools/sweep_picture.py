"""Photograph the report that the post *Read your own sweep* makes, small; a fingerprint of what the report says is written into the
picture, so that a test can tell when it is old. Needs Chromium."""
import hashlib, os, shutil, tempfile
from pathlib import Path

from fastcore.nbio import read_nb
from fastcore.script import call_parse

from notebooks import ROOT, kept_main

POST = ROOT/'nbs/posts/2026-11-22-read-your-own-sweep.ipynb'
PICTURE = POST.parent/'images'/'read-your-own-sweep-page.png'
WINDOW = dict(width=760, height=800)

def sweep():
    "The runs that the post reads, made and loaded by its own cells"
    cells = [c.source for c in read_nb(POST).cells if c.cell_type == 'code']
    make = next(o for o in cells if 'to_csv' in o)
    line = next(o for cell in cells for o in cell.splitlines() if o.startswith('df = load_runs('))
    names = {}
    with kept_main(): exec('\n'.join(o for o in make.splitlines() if 'matplotlib' not in o) + f'\n{line}', names)
    return names['df']

def fingerprint(df):
    "Of what a report says"
    from bs_lr_study.report.compose import tables
    return hashlib.sha256(tables(df).encode()).hexdigest()[:16]

def photograph(page, path, says):
    "The top of a page as a browser shows it, in few colours"
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo
    from playwright.sync_api import sync_playwright
    names = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
    browser = os.environ.get('BSLR_CHROME') or next(filter(None, map(shutil.which, names)))
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        shot = f'{tmp}/shot.png'
        chrome = p.chromium.launch(executable_path=browser, chromium_sandbox=False, args=['--disable-gpu'])
        view = chrome.new_page(viewport=WINDOW, color_scheme='light', device_scale_factor=1.5)
        view.goto(Path(page).resolve().as_uri())
        view.screenshot(path=shot)
        chrome.close()
        info = PngInfo()
        info.add_text('source', says)
        few = Image.open(shot).convert('RGB').quantize(48, dither=Image.Dither.NONE)
        few.save(path, optimize=True, pnginfo=info)

@call_parse
def main():
    "Write the picture of the post"
    from bs_lr_study.report import report
    df = sweep()
    with tempfile.TemporaryDirectory() as tmp: photograph(report(df, 'My sweep').save(f'{tmp}/report.html')[0], PICTURE, fingerprint(df))
