"""Write README.md from nbs/index.ipynb, its text, its code and what the code printed or drew, and the pictures by which lists show
the posts."""
import base64, json, re
from pathlib import Path

from fastcore.script import call_parse

from address import addresses

ROOT = Path(__file__).parents[1]

def text(o): return ''.join(o) if isinstance(o, list) else o

def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']

def write_picture(path, png):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(base64.b64decode(text(png)))

def output(o, name, alt):
    "One output of a cell as Markdown; pictures go into a file"
    data = o.get('data', {})
    if 'image/png' in data:
        path = ROOT/'nbs'/'images'/f'{name}.png'
        write_picture(path, data['image/png'])
        return f'![{alt}]({path.relative_to(ROOT).as_posix()})'
    return '```\n' + text(o.get('text') or data.get('text/plain', '')).rstrip() + '\n```'

def blocks(i, c):
    "A cell as blocks of Markdown"
    src = text(c['source']).rstrip()
    if c['cell_type'] == 'markdown': # README.md stands one folder up
        src = src.replace('](explorer.html)', f']({addresses()[1]}explorer.html)') # which only the site has
        return [re.sub(r'\]\((?![a-z]+:|#)', '](nbs/', src).replace('](nbs/../', '](')]
    if c['cell_type'] != 'code' or re.match(r'#\|\s*(hide|default_exp)', src): return []
    code = re.sub(r'^#[|].*\n', '', src, flags=re.M)
    alt = re.search(r'^#[|] fig-alt: (.*)', src, flags=re.M)
    shown = [] if 'code-fold: true' in src else [f'```python\n{code}\n```'] # what the page folds
    return shown + [output(o, f'index-{i}', alt[1].strip('"') if alt else '') for o in c['outputs']]

def write_first_picture(post):
    "Lists show a post by the first picture in it"
    drawn = [o['data']['image/png'] for c in cells(post) for o in c.get('outputs', []) if 'image/png' in o.get('data', {})]
    if drawn: write_picture(post.parent/'images'/f'{post.stem}.png', drawn[0])

@call_parse
def main():
    "Write README.md from nbs/index.ipynb, and the pictures by which lists show the posts"
    whole = [b for i,c in enumerate(cells(ROOT/'nbs/index.ipynb')) for b in blocks(i, c)]
    (ROOT/'README.md').write_text('\n\n'.join(whole) + '\n', encoding='utf-8')
    for post in sorted(ROOT.glob('nbs/posts/*.ipynb')): write_first_picture(post)
