"""Each script says what it does: `--help` works, and runs nothing."""
import json, re, subprocess, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = re.compile("^(if __name__ == '__main__'|@call_parse)", re.M)
FILES = [*(ROOT/'benchmarks').glob('*.py'), *(ROOT/'tools').glob('*.py'), ROOT/'faults'/'__main__.py']
SCRIPTS = sorted(o.relative_to(ROOT).as_posix() for o in FILES if RUN.search(o.read_text(encoding='utf-8')))

# All in one process, since each would import torch anew; each as if it were alone with its folder
ALL = """
import contextlib, io, json, runpy, sys
from pathlib import Path
before = sys.path[:]
def helped(path):
    out,code,folder = io.StringIO(),'no exit',str(Path(path).parent)
    sys.argv,sys.path[:] = [path, '--help'],[folder, *before]
    with contextlib.redirect_stdout(out):
        try: runpy.run_path(path, run_name='__main__')
        except SystemExit as e: code = e.code or 0
        except Exception as e: code = repr(e)
    mine = [k for k,m in sys.modules.items() if str(getattr(m, '__file__', '')).startswith(folder)]
    for k in mine: del sys.modules[k]
    return code,out.getvalue()
print(json.dumps({o: helped(o) for o in sys.argv[1:]}))
"""

@pytest.fixture(scope='module')
def helped():
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', ALL, *SCRIPTS], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)

def test_there_are_scripts(): assert len(SCRIPTS) > 12 and {'tools/pages.py', 'benchmarks/loader.py', 'faults/__main__.py'} <= {*SCRIPTS}

@pytest.mark.parametrize('script', SCRIPTS)
def test_help_runs_nothing(helped, script):
    "It ends at once with status 0, and says how the script is called and what it does"
    code,out = helped[script]
    assert code == 0, code
    assert out.startswith('usage: ') and '--help' in out and len(out.splitlines()) > 4, out
