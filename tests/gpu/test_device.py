"""What both engines do on a device: the one that `BSLR_DEVICE` names, a GPU by default; `BSLR_DEVICE=cpu` tries the tests themselves."""
import os
from functools import partial

import numpy as np, pytest, torch
from torch import nn

from bs_lr_study.runs import RunConfig, grid
from bs_lr_study.training import learner
from bs_lr_study.training.checkpoint import Checkpoints
from bs_lr_study.training.fast import train_many
from bs_lr_study.training.gpt import gpt
from bs_lr_study.training.images import load_images
from bs_lr_study.training.row import Digits, batches, train_row
from bs_lr_study.training.text import TextBlocks, TextData

DEVICE = os.environ.get('BSLR_DEVICE', 'cuda' if torch.cuda.is_available() else '')
pytestmark = [pytest.mark.skipif(not DEVICE, reason='no GPU here'), pytest.mark.usefixtures('one_thread')]
gpu_only = pytest.mark.skipif(not DEVICE.startswith('cuda'), reason='asks for CUDA')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

def weights(row): return torch.cat([p.detach().flatten().cpu() for p in row.members.parameters()])

def digits_row(device, dtype=torch.float64, **opts):
    "Two epochs of four members, 44 updates"
    cfgs = grid(data='digits', model='narrow', bs=64, epochs=2, seed=[0, 1], lr=[1e-3, 1e-2])
    ends,row = train_row(cfgs, Digits(device, dtype), device=device, dtype=dtype, **opts)
    return ends,weights(row)

def text_row(device, **opts):
    tokens = np.random.default_rng(0).integers(0, 11, 20*8 + 1)
    source = TextBlocks(TextData(tokens, tokens[:41], 11), 8, device)
    cfgs = grid(data='text', model='tiny', bs=4, epochs=4, seed=[0, 1], lr=[1e-3, 1e-2])
    ends,row = train_row(cfgs, source, device=device, models=dict(tiny=partial(gpt, width=8, heads=2)), dtype=torch.float64, **opts)
    return ends,weights(row)

@pytest.mark.parametrize('row', [digits_row, text_row])
def test_the_device_computes_what_the_cpu_computes(row):
    "In float64, from the same weights: twenty or more updates to 1e-8"
    (ends,here),(cpu_ends,cpu) = row(DEVICE),row('cpu')
    assert (here - cpu).abs().max() < 1e-8
    for a,b in zip(ends, cpu_ends): assert a['metrics'][-1]['valid_loss'] == pytest.approx(b['metrics'][-1]['valid_loss'], rel=1e-7)

@gpu_only
@pytest.mark.parametrize('row', [partial(digits_row, dtype=torch.float32), text_row])
def test_graphs_replay_the_same_updates(row):
    plain,graphed = (row(DEVICE, graph=o)[1] for o in (False, True))
    assert torch.allclose(plain, graphed, rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('engine', [train_many, learner.train_many])
def test_half_precision_learns_as_much(engine):
    "bf16 by both engines, fp16 by fastai: within three points of fp32 on 500 images"
    cfgs = grid(data='digits', model='narrow', bs=16, epochs=2, lr=[1e-2])
    def acc(amp): return next(iter(engine(cfgs, device=DEVICE, amp=amp))).metrics[-1]['acc']
    for amp in ('bf16', 'fp16') if DEVICE.startswith('cuda') else ('bf16',): assert acc(amp) == pytest.approx(acc(None), abs=.03)

def test_crops_do_not_depend_on_the_block(colours):
    "Augmentation on the device draws by seed alone"
    source,cfg = load_images(colours, 24, device=DEVICE),RunConfig('colours', 'small', 4, 1e-3, size=24)
    xs = [torch.cat([x for x,_ in next(batches(cfg, [0], source, block))]) for block in (1, 8, 256)]
    assert xs[0].device.type == torch.device(DEVICE).type
    assert torch.equal(xs[0], xs[1]) and torch.equal(xs[0], xs[2])

def dropping(n_out, n_in): return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(.5), nn.Linear(32, n_out))

def test_dropout_is_what_each_would_have_alone():
    cfgs = grid(data='digits', model='dropping', bs=64, lr=[1e-3, 1e-2], epochs=1)
    opts = dict(models=dict(dropping=dropping), dtype=torch.float64, device=DEVICE)
    source = Digits(DEVICE, torch.float64)
    ends,_ = train_row(cfgs, source, **opts)
    alone = [train_row([c], source, **opts)[0][0] for c in cfgs]
    assert [e['metrics'][0]['valid_loss'] for e in ends] == pytest.approx([e['metrics'][0]['valid_loss'] for e in alone], rel=1e-9)

class Killed(BaseException): "What ends a run between two epochs"

def test_a_run_resumes_where_it_was(tmp_path, monkeypatch):
    "Ended after its first epoch, it ends as if it had not been"
    cfgs = grid(data='digits', model='narrow', bs=64, epochs=3, lr=[1e-3, 1e-2])
    def losses(folder=None):
        kept = folder and Checkpoints(str(folder), every=0)
        return [[m['valid_loss'] for m in r.metrics] for r in train_many(cfgs, device=DEVICE, checkpoints=kept)]
    whole = losses()
    from bs_lr_study.training.checkpoint import Checkpoint
    save = Checkpoint.save
    def save_and_end(self, *args): save(self, *args); raise Killed
    with monkeypatch.context() as m:
        m.setattr(Checkpoint, 'save', save_and_end)
        with pytest.raises(Killed): losses(tmp_path)
    assert any(tmp_path.iterdir())
    assert losses(tmp_path) == whole

def hungry(n_out, n_in):
    "A network whose activations take some 200 MB an image"
    return nn.Sequential(nn.Upsample(scale_factor=100), nn.Conv2d(n_in, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(64, n_out))

@gpu_only
def test_lack_of_memory_is_answered_by_smaller_parts(tmp_path):
    "A sweep records the run that does not fit, and the same in micro-batches"
    from bs_lr_study.sweep import make_study, run
    torch.cuda.set_per_process_memory_fraction(2*2**30/torch.cuda.get_device_properties(0).total_memory)
    try:
        study = make_study('mem', tmp_path/'mem.jsonl', data='digits', models='hungry', batch_sizes=256, lrs=1e-3, epochs=1)
        ended = run(study, workers=0, device=DEVICE, models=dict(hungry=hungry), on_oom='accumulate', show=False)
        df = study.store.to_df()
    finally: torch.cuda.set_per_process_memory_fraction(1.)
    assert ended['oom'] >= 1 and (df.status == 'ok').sum() == 1
    assert df[df.status == 'ok'].micro_bs.item() < 256

def test_memory_that_lacks_is_a_record(monkeypatch):
    "Whatever raises it, the run is one of status oom, and the next is trained"
    from bs_lr_study.training.row import Row
    update = Row.update
    def lacking(self, *args):
        if self.cfg.bs == 128: raise torch.OutOfMemoryError('CUDA out of memory')
        return update(self, *args)
    monkeypatch.setattr(Row, 'update', lacking)
    cfgs = grid(data='digits', model='narrow', bs=[128, 256], lr=[1e-2], epochs=1)
    assert [(r.cfg.bs, r.status) for r in train_many(cfgs, device=DEVICE)] == [(128, 'oom'), (256, 'ok')]
