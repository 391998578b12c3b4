"""Photograph the report that the post *Read your own sweep* makes; it needs Chromium. A test tells when the picture is old."""
from fastcore.nbio import read_nb
from fastcore.script import call_parse

from bs_lr_study.report.compose import report, tables

from notebooks import ROOT, kept_main
from pictures import photograph

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

@call_parse
def main():
    "Write the picture of the post"
    df = sweep()
    photograph(report(df, 'My sweep'), tables(df), PICTURE, WINDOW, 1.5)
