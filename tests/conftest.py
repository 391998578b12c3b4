"""What several test modules need, and the care that none leaves something behind for the next."""
import gc, os, signal, sys
from pathlib import Path

import numpy as np, psutil, pytest

# These start processes that they wait for: first in line, so that the rest fills the gaps
PROCESSES = ('sweep/test_cluster', 'test_faults', 'test_site', 'test_benchmarks', 'tracking/test_send', 'training/test_devices',
             'test_rerun', 'sweep/test_runner', 'test_cli', 'sweep/test_workers', 'report/test_browser', 'explore/test_explorer',
             'training/test_checkpoint', 'test_package', 'test_safety', 'test_needs', 'test_own', 'test_commands')
TESTS = Path(__file__).parent

def pytest_configure(config):
    "Ctrl-C is ignored by what was started in the background; the programs that tests start and stop must heed it"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

@pytest.hookimpl(wrapper=True)
def pytest_collection():
    "What all tests import stays: no search for garbage visits it, neither now, which takes twice as long, nor later or at the end"
    gc.disable()
    try: return (yield)
    finally:
        gc.freeze()
        gc.enable()

def file_of(item): return item.path.relative_to(TESTS).with_suffix('').as_posix()

def pytest_addoption(parser):
    parser.addoption('--one-of-each', action='store_true', help='with its first parameters only, each test that has several')

def one_of_each(items):
    first = {}
    for item in items: first.setdefault(item.nodeid.partition('[')[0], item)
    return list(first.values())

@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config, items):
    "Mark what `make quick` leaves out, and put first what waits longest"
    for item in items:
        if file_of(item) == 'test_notebooks': item.add_marker('notebook')
        if file_of(item) in PROCESSES: item.add_marker('processes')
    yield # others select, such as those of a mark
    if config.getoption('one_of_each'): items[:] = one_of_each(items)
    # The plugin marks a value that nobody asked for
    shuffled = not config.getoption('random_order_bucket', 'default:').startswith('default:')
    if not shuffled: items.sort(key=turn)

@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    "What shares what was dear to make stays with one worker: a file, and all files of the ledger or of reports; a notebook is a unit"
    from xdist.scheduler import LoadScopeScheduling
    class ByFileAndNotebook(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split('::')[0]
            if file.endswith('test_notebooks.py'): return nodeid
            return next((o for o in ('tests/lab/', 'tests/report/') if file.startswith(o)), file)
    return ByFileAndNotebook(config, log)

def turn(item):
    "What waits for processes begins first, notebooks follow, the many short tests fill up"
    name = file_of(item)
    if name in PROCESSES: return PROCESSES.index(name)
    return len(PROCESSES) + (name != 'test_notebooks')

# Set by libraries as they are imported, and harmless
OWN_TO_LIBRARIES = ('PYTEST_', 'KMP_', 'TORCH', 'TRITON_', 'MPLBACKEND', 'CUDA_MODULE_LOADING', 'NCCL_', 'XLA_',
                    'WANDB_SERVICE', 'PYARROW_', 'SPARK_')

def surroundings():
    "What a test could change for the others without being seen"
    env = {k: v for k,v in os.environ.items() if not k.startswith(OWN_TO_LIBRARIES)}
    return env | {'the current folder': os.getcwd(), 'the main module': id(sys.modules.get('__main__'))}

@pytest.fixture(autouse=True)
def nothing_left_behind():
    "The environment, the current folder and the main module are afterwards what they were"
    before = surroundings()
    main = sys.modules['__main__']
    yield
    after = surroundings()
    sys.modules['__main__'] = main
    os.chdir(before['the current folder'])
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    for k in changed: # the next test is spared
        if k in before and k in os.environ: os.environ[k] = before[k]
        elif k in os.environ: del os.environ[k]
    assert changed == [], 'the test has changed these for all that follow'

@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    "Each test works in an empty folder of its own"
    monkeypatch.chdir(tmp_path)

def children():
    "Processes that this one has started, less the helpers of multiprocessing, which live as long as it does"
    found = {}
    for p in psutil.Process().children(recursive=True):
        try: command = ' '.join(p.cmdline())
        except psutil.Error: continue
        lasting = 'resource_tracker' in command or 'forkserver' in command or 'spawn_main' in command
        if command and not lasting: found[p.pid] = command[:200]
    return found

@pytest.fixture(scope='module', autouse=True)
def no_process_left(request):
    "Whatever a file of tests has started has ended with it"
    before = children()
    yield
    if request.node.name == 'test_notebooks.py': return # a kernel and what its notebooks wait for last as long as it does
    if 'wandb' in sys.modules: sys.modules['wandb'].teardown() # its service waits for more
    psutil.wait_procs([psutil.Process(o) for o in children().keys() - before.keys() if psutil.pid_exists(o)], timeout=5)
    left = {k: v for k,v in children().items() if k not in before}
    assert left == {}, f'{request.node.name} has left these processes behind'

@pytest.fixture
def one_thread():
    "Torch on one thread: tests of small networks run side by side with others"
    import torch
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)

@pytest.fixture
def colours(tmp_path):
    "A folder of 24 red and 24 green pictures of noise to train on, and half as many to validate"
    from PIL import Image
    rng = np.random.default_rng(0)
    for split,n in (('train', 24), ('val', 12)):
        for i,c in enumerate(('red', 'green')):
            (tmp_path/'colours'/split/c).mkdir(parents=True)
            for j in range(n):
                img = rng.integers(0, 128, (40, 48, 3), np.uint8)
                img[...,i] += 100
                Image.fromarray(img).save(tmp_path/'colours'/split/c/f'{j}.png')
    return tmp_path/'colours'

@pytest.fixture(scope='session')
def reports():
    "The reports of the published runs and of the digits, which take seconds to make"
    from bs_lr_study.analysis import load_runs
    from bs_lr_study.lab.verdicts import report_parts
    from bs_lr_study.report import report
    runs = {k: load_runs(v) for k,v in dict(published='2025-06-04', digits='digits-fast').items()}
    return {k: report(df, k, parts=report_parts(df)) for k,df in runs.items()}
