"""What renderers leave out of pages for those who come by keyboard or have pages read to them: names of landmarks, levels of headings,
what folds and can be reached, cells of a table that head nothing."""
import re
from pathlib import Path

NAVS = {'navbar': 'Site', 'quarto-secondary-nav': 'This page', 'sidebar': 'All pages', 'page-navigation': 'Page before and page after',
        'quarto-margin-sidebar': 'On this page', 'TOC': 'Sections of this page'}

def _named(tag):
    "A landmark's opening tag with a name, by its id or the first of its classes"
    if 'aria-label' in tag: return tag
    names = re.findall(r'[\w-]+', ' '.join(re.findall(r'(?:id|class)="([^"]*)"', tag)))
    name = next((NAVS[o] for o in names if o in NAVS), None)
    return f'{tag[:-1]} aria-label="{name}">' if name else tag

def _folding(tag):
    "What folds a section of the menu is a button that Tab reaches, not a place to navigate"
    href = '' if 'href=' in tag else ' href="#"'
    return tag[:-1].replace('role="navigation"', 'role="button"') + f'{href}>'

MENDS = [ # what is looked for, and what is put in its place
    (re.compile(r'<nav\b[^>]*>'), lambda m: _named(m[0])),
    (re.compile(r'<div id="quarto-margin-sidebar"[^>]*>'), lambda m: _named(f'{m[0][:-1]} role="complementary">')),
    (re.compile(r'<a\b[^>]* role="navigation"[^>]*>'), lambda m: _folding(m[0])),
    (re.compile(r'<th\b([^>]*)>(?:\s|&nbsp;)*</th>'), r'<td\1></td>'),
    (re.compile(r'<h[35]( class="[^"]*\blisting-title\b[^"]*")>(.*?)</h[35]>', re.S), r'<h2\1>\2</h2>'),
]

def accessible(
    text, # A page
): # str
    "The page with its landmarks named, its headings in order, its menu within reach, and heads of tables that say something"
    for what,instead in MENDS: text = what.sub(instead, text)
    return text

def without_barriers(
    out, # The folder of the site
    but=(), # Pages that are left as they are
):
    "Mend all pages of a site"
    for page in Path(out).rglob('*.html'):
        if page.name in but: continue
        text = page.read_text(encoding='utf-8')
        if (mine := accessible(text)) != text: page.write_text(mine, encoding='utf-8')
