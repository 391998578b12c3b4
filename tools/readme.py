"""Write README.md from nbs/index.ipynb: its text, its code and what the code printed or drew."""
import base64, json, re
from pathlib import Path

ROOT = Path(__file__).parents[1]

def text(o): return ''.join(o) if isinstance(o, list) else o

def output(o, name):
    "One output of a cell as Markdown; pictures go into a file"
    data = o.get('data', {})
    if 'image/png' in data:
        path = ROOT/'nbs'/'images'/f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(base64.b64decode(text(data['image/png'])))
        return f'![]({path.relative_to(ROOT).as_posix()})'
    return '```\n' + text(o.get('text') or data.get('text/plain', '')).rstrip() + '\n```'

def cell(i, c):
    src = text(c['source']).rstrip()
    if c['cell_type'] == 'markdown': return [src]
    if c['cell_type'] != 'code' or re.match(r'#\|\s*(hide|default_exp)', src): return []
    code = re.sub(r'^#[|].*\n', '', src, flags=re.M)
    return [f'```python\n{code}\n```'] + [output(o, f'index-{i}') for o in c['outputs']]

nb = json.loads((ROOT/'nbs/index.ipynb').read_text(encoding='utf-8'))
blocks = [b for i,c in enumerate(nb['cells']) for b in cell(i, c)]
(ROOT/'README.md').write_text('\n\n'.join(blocks) + '\n', encoding='utf-8')
