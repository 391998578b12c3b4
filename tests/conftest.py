"""What several test modules need."""
import signal

import numpy as np, pytest

def pytest_configure(config):
    "Ctrl-C is ignored by what was started in the background; the programs that tests start and stop must heed it"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

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
    from bs_lr_study.lab.claims import report_parts
    from bs_lr_study.report import report
    runs = {k: load_runs(v) for k,v in dict(published='2025-06-04', digits='digits-fast').items()}
    return {k: report(df, k, parts=report_parts(df)) for k,df in runs.items()}
