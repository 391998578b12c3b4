"""Write README.md from nbs/index.ipynb, its text, its code and what the code printed or drew, and the pictures by which lists show the posts."""
import base64, json, re
from pathlib import Path

ROOT = Path(__file__).parents[1]

def text(o): return ''.join(o) if isinstance(o, list) else o

def output(o, name, alt):
    "One output of a cell as Markdown; pictures go into a file"
    data = o.get('data', {})
    if 'image/png' in data:
        path = ROOT/'nbs'/'images'/f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(base64.b64decode(text(data['image/png'])))
        return f'![{alt}]({path.relative_to(ROOT).as_posix()})'
    return '```\n' + text(o.get('text') or data.get('text/plain', '')).rstrip() + '\n```'

def cell(i, c):
    src = text(c['source']).rstrip()
    if c['cell_type'] == 'markdown': return [re.sub(r'\]\((?![a-z]+:|#)', '](nbs/', src)] # README.md stands one folder up
    if c['cell_type'] != 'code' or re.match(r'#\|\s*(hide|default_exp)', src): return []
    code = re.sub(r'^#[|].*\n', '', src, flags=re.M)
    alt = re.search(r'^#[|] fig-alt: (.*)', src, flags=re.M)
    return [f'```python\n{code}\n```'] + [output(o, f'index-{i}', alt[1] if alt else '') for o in c['outputs']]

nb = json.loads((ROOT/'nbs/index.ipynb').read_text(encoding='utf-8'))
blocks = [b for i,c in enumerate(nb['cells']) for b in cell(i, c)]
(ROOT/'README.md').write_text('\n\n'.join(blocks) + '\n', encoding='utf-8')

for post in sorted(ROOT.glob('nbs/posts/*.ipynb')): # each is shown by the first picture in it
    drawn = (o['data']['image/png'] for c in json.loads(post.read_text(encoding='utf-8'))['cells'] for o in c.get('outputs', []) if 'image/png' in o.get('data', {}))
    path = post.parent/'images'/f'{post.stem}.png'
    path.parent.mkdir(exist_ok=True)
    if first := next(drawn, None): path.write_bytes(base64.b64decode(text(first)))
