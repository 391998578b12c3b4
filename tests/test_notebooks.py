"""Every notebook runs from its top, as `nbdev-test` runs it. tests/test_site.py runs those whose
outputs it compares, and posts where only the package is."""
import atexit, gc, io, multiprocessing as mp, os, sys, tomllib, warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT/'tools'))
from notebooks import SUMMARIES # noqa: E402

NOTEBOOKS = sorted({o.relative_to(ROOT).as_posix() for o in (ROOT/'nbs').rglob('*.ipynb')} - {*SUMMARIES})
NBDEV = tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['tool']['nbdev']

def run_notebook(path, force=()):
    "Run the cells of a notebook in this process; the traceback of the one that fails, or an empty text"
    from nbdev.test import test_nb
    sys.__stderr__ = io.StringIO() # where nbdev writes a traceback
    passed,_ = test_nb(path, skip_flags=NBDEV['tst_flags'].split(), force_flags=force, cell_timeout=NBDEV['cell_timeout'])
    forget_shell()
    return '' if passed else sys.__stderr__.getvalue() or 'failed without a traceback'

def forget_shell():
    "Let go of all that a notebook has made: IPython keeps its shell until the process ends"
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance()
    atexit.unregister(shell.atexit_operations)
    shell.close()
    shell.user_ns.clear()
    InteractiveShell.clear_instance()

def begin():
    "Import what most notebooks need; a garbage collector that visits it again and again would take a tenth of the time"
    gc.disable()
    with warnings.catch_warnings(action='ignore'): import fastai.vision.all # noqa: F401
    gc.freeze()
    gc.enable()

class Kernel:
    "A process that runs notebooks one after another, so that torch is imported once for all of them"
    def __init__(self): self.pool = None

    def run(self, *args):
        if self.pool is None: self.pool = ProcessPoolExecutor(1, mp.get_context('spawn'), begin)
        try: return self.pool.submit(run_notebook, *args).result()
        except BrokenProcessPool:
            self.close()
            raise

    def close(self):
        if self.pool:
            self.pool.submit(os._exit, 0) # taking apart what all notebooks have left takes a minute
            self.pool.shutdown()
        self.pool = None

@pytest.fixture(scope='session')
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.close()

# A cluster that tests/sweep/test_cluster.py tries as well, and four models that train for most of a minute
LONG = {'nbs/sweep/08_cluster.ipynb', 'nbs/guides/06_four_learners.ipynb'}

@pytest.mark.parametrize('path', [pytest.param(o, marks=pytest.mark.slow) if o in LONG else o for o in NOTEBOOKS])
def test_notebook(kernel, path):
    if failure := kernel.run(ROOT/path): pytest.fail(failure, pytrace=False)

@pytest.mark.slow
@pytest.mark.parametrize('path', [o for o in NOTEBOOKS if '#| slow' in (ROOT/o).read_text(encoding='utf-8')])
def test_slow_cells(kernel, path):
    if failure := kernel.run(ROOT/path, ('slow',)): pytest.fail(failure, pytrace=False)
