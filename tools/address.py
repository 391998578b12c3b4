"""Write the repository's address wherever it has to stand, from the one line that has it: Repository in pyproject.toml.
A fork changes that line and calls `make fix`."""
import re, tomllib
from pathlib import Path
from urllib.parse import urlsplit

from fastcore.script import call_parse

ROOT = Path(__file__).parents[1]

def addresses():
    "Addresses of the repository and of the site, from the one place that has them"
    urls = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']['urls']
    return urls['Repository'].rstrip('/').removesuffix('.git'), urls['Documentation'].rstrip('/') + '/'

def write(path, pattern, new):
    "Replace what follows the first group of `pattern`; leave a file alone that has it already"
    before = path.read_text(encoding='utf-8')
    text = re.sub(pattern, lambda m: m[1] + new, before, flags=re.M)
    if text != before: path.write_text(text, encoding='utf-8')

@call_parse
def main():
    "Write the repository's address, Repository in pyproject.toml, wherever else it has to stand"
    repo,_ = addresses()
    owner,name = urlsplit(repo).path.strip('/').split('/')
    citation = ROOT/'CITATION.cff' # written last: it holds the address before
    old = re.search(r'^repository-code: "(.*)"', citation.read_text(encoding='utf-8'), flags=re.M)[1]
    ours = '|'.join(re.escape(o) for o in (name, old.rsplit('/', 1)[1]))
    write(ROOT/'pyproject.toml', r'^(Documentation = ").*(?=")', f'https://{owner.lower()}.github.io/{name}/')
    # this repository's address, whoever had it; what else is cloned or installed stays
    cloned = rf'(git\+|git clone )https://[^\s"\\`\']+/(?:{ours})(?:\.git)?(?![\w-]|\.\w|/)'
    for nb in (ROOT/'nbs').rglob('*.ipynb'): write(nb, cloned, repo)
    write(citation, r'^(repository-code: ").*(?=")', repo)
