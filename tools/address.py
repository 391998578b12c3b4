"""Write the repository's address wherever it has to stand, from the one line that has it: Repository in pyproject.toml. A fork changes that line and calls `make fix`."""
import re, tomllib
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
repo = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']['urls']['Repository'].rstrip('/').removesuffix('.git')
owner,name = urlsplit(repo).path.strip('/').split('/')
old = re.search(r'^repository-code: "(.*)"', (ROOT/'CITATION.cff').read_text(encoding='utf-8'), flags=re.M)[1] # written last, so that it is the one before
ours = '|'.join(re.escape(o) for o in (name, old.rsplit('/', 1)[1]))

def write(path, pattern, new):
    before = path.read_text(encoding='utf-8')
    text = re.sub(pattern, lambda m: m[1] + new, before, flags=re.M)
    if text != before: path.write_text(text, encoding='utf-8')

write(ROOT/'pyproject.toml', r'^(Documentation = ").*(?=")', f'https://{owner.lower()}.github.io/{name}/')
for nb in (ROOT/'nbs').rglob('*.ipynb'): # of this repository, whoever had it; what else is cloned or installed is no business of ours
    write(nb, rf'(git\+|git clone )https://[^\s"\\`\']+/(?:{ours})(?:\.git)?(?![\w-]|\.\w|/)', repo)
write(ROOT/'CITATION.cff', r'^(repository-code: ").*(?=")', repo)
