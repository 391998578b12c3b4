"""Write the repository's address wherever it has to stand, from the one line that has it: Repository in pyproject.toml. A fork changes that line and calls `make fix`."""
import re, tomllib
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
repo = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']['urls']['Repository'].rstrip('/')
owner,name = urlsplit(repo).path.strip('/').split('/')

def write(path, pattern, new):
    old = path.read_text(encoding='utf-8')
    text = re.sub(pattern, lambda m: m[1] + new, old, flags=re.M)
    if text != old: path.write_text(text, encoding='utf-8')

write(ROOT/'pyproject.toml', r'^(Documentation = ").*(?=")', f'https://{owner.lower()}.github.io/{name}/')
write(ROOT/'CITATION.cff', r'^(repository-code: ").*(?=")', repo)
for nb in (ROOT/'nbs').rglob('*.ipynb'): write(nb, r'(pip install [^"\n]*git\+|git clone )https://[^\s"\\`\']+', repo)
