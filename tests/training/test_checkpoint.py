"""A run that is killed in the middle goes on from its last epoch, and ends as if nothing had been, to the last bit."""
import multiprocessing as mp, os, signal, warnings
from pathlib import Path

import pytest, torch

from bs_lr_study.training import checkpoint, fast
from bs_lr_study.training import learner as train
from bs_lr_study.training.checkpoint import Checkpoint, Checkpoints
from bs_lr_study.training.options import TrainOptions
from bs_lr_study.runs import grid

def dropping(n_out, n_in):
    "A small network with all that has a state: norms, dropout, random numbers of its own"
    from torch import nn
    class Shaken(nn.Module):
        def forward(self, x): return x + .01*torch.randn_like(x) if self.training else x
    return nn.Sequential(nn.Conv2d(n_in, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(.3), Shaken(),
                         nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, n_out))

def stackable(n_out, n_in):
    "The same but for the random numbers of its own, so that a row of it can be trained as one"
    net = dropping(n_out, n_in)
    del net[4]
    return net

MINE = dict(dropping=dropping, stackable=stackable)

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, one_thread): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

def weights_of(monkeypatch):
    "Where the final weights of what is trained from now on are found"
    seen,fit,row = [],train.fit,fast.train_row
    def fitted(learn, cfg):
        fit(learn, cfg)
        seen.append([o.clone() for o in learn.model.state_dict().values()])
    def trained(*args, **kw):
        ends,r = row(*args, **kw)
        seen.append([o.clone() for o in r.members.state_dict().values()])
        return ends,r
    monkeypatch.setattr(train, 'fit', fitted)
    monkeypatch.setattr(fast, 'train_row', trained)
    return seen

def killed(work, after):
    "Do some work in a process that is killed while it saves for the `after`th time, half of the file written, or right after"
    def die():
        from bs_lr_study.training import checkpoint
        torch.set_num_threads(1)
        n,save = 0,checkpoint.Checkpoint.save
        def saved(self, state):
            nonlocal n
            n += 1
            if n == abs(after) and after < 0: Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL) # all but in its place
            save(self, state)
            if n == abs(after): os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.Checkpoint.save = saved
        work()
    p = mp.get_context('fork').Process(target=die)
    p.start()
    p.join()
    return p.exitcode

def told(runs): return [(r.id, r.status, r.metrics, r.updates, r.cost['steps'], r.cost['examples']) for r in runs]

CASES = dict(one_cycle=dict(),
             warm_sgd=dict(schedule='flat_cos', opt='sgd', warmup=.6, micro_bs=100),
             grows=dict(schedule='step', regime='grow', drops=2, factor=2., norm='batch'),
             ranger=dict(opt='ranger', schedule='constant'))

@pytest.mark.parametrize('case', [pytest.param(o, marks=[] if o in ('one_cycle', 'grows') else pytest.mark.slow) for o in CASES])
@pytest.mark.parametrize('engine', ['fastai', 'fast'])
def test_killed_at_every_epoch(engine, case, tmp_path, monkeypatch):
    "Whichever epoch it was, and even while the checkpoint was being written: the same metrics, weights, place in the schedule"
    if engine == 'fast' and case == 'ranger': pytest.skip('the fast engine leaves it to the reference')
    one = engine == 'fastai' # or a row
    varied = dict(model='dropping', lr=1e-2, seed=0) if one else dict(model='stackable', lr=[1e-3, 1e-2], seed=[0, 1])
    cfgs = grid(data='digits', bs=256, epochs=4, **varied, **CASES[case])
    many = dict(fastai=train.train_many, fast=fast.train_many)[engine]
    weights,epochs,load = weights_of(monkeypatch),[],Checkpoint.load
    monkeypatch.setattr(Checkpoint, 'load', lambda self: (state := load(self)) and (epochs.append(state['epoch']), state)[1])
    how = TrainOptions(models=MINE, device='cpu', log_every=2)
    def runs(folder=None): return list(many(cfgs, how, checkpoints=folder and Checkpoints(str(folder), every=0)))
    whole = told(runs())
    assert {o[1] for o in whole} == {'ok'}
    for after in (1, -2, 3):
        folder = tmp_path/f'{after}'
        assert killed(lambda: runs(folder), after) == -signal.SIGKILL
        before = {o.name for o in folder.glob('*.pt')}
        assert len(before) == 1
        epochs.clear()
        with warnings.catch_warnings():
            warnings.filterwarnings('error', 'begins anew')
            assert told(runs(folder)) == whole
        assert epochs == [after if after > 0 else -after - 1]
        assert all(torch.equal(a, b) for a,b in zip(weights[-1], weights[0])) and len(weights[-1]) == len(weights[0])

def test_a_sweep_goes_on_within_a_run(tmp_path):
    "Killed in the middle of a row: the next sweep takes up what was kept, records it, and clears it away"
    from bs_lr_study.sweep import make_study, run
    keys = dict(data='digits', models='stackable', batch_sizes=[256, 512], lrs=[1e-3, 1e-2], epochs=3)
    def study(name): return make_study(name, tmp_path/f'{name}.jsonl', **keys)
    def swept(s): return run(s, workers=0, device='cpu', models=MINE, show=False, checkpoint=0)
    def metrics(s): return {k: d['metrics'] for k,d in s.store.records().items()}
    s,unfinished = study('killed'),tmp_path/'killed.jsonl.unfinished'
    assert killed(lambda: swept(s), 4) == -signal.SIGKILL # two a row: in the middle of the second
    assert len(metrics(s)) == 2 and len(list(unfinished.iterdir())) == 1
    assert swept(s) == {'ok': 2} and not unfinished.exists()
    assert swept(study('whole')) == {'ok': 4} and metrics(s) == metrics(study('whole'))

def test_a_whole_run_of_muon(tmp_path):
    "Of a transformer, left to the reference: its record, read back, is the run; killed on the way it ends the same"
    from bs_lr_study.sweep import make_study, run
    axes = {f'x.{k}': v for k,v in dict(width=8, depth=1, heads=2, context=16, tokens=512).items()}
    def study(name, opt='muon'):
        return make_study(name, tmp_path/f'{name}.jsonl', data='python', models='gpt', batch_sizes=8, lrs=1e-2, epochs=3, opt=opt, **axes)
    def swept(s): return run(s, workers=0, device='cpu', show=False, checkpoint=0)
    def told(s): return [(o.id, o.metrics, o.cost['steps'], o.cost['tokens']) for o in s.store.runs().values()]
    whole,cut,adam = study('whole'),study('cut'),study('adam', 'adam')
    assert killed(lambda: swept(cut), 2) == -signal.SIGKILL and not told(cut)
    assert swept(whole) == swept(cut) == swept(adam) == {'ok': 1}
    assert told(whole) == told(cut) and told(whole)[0][2:] == (12, 3*512)
    record, = whole.store.records().values()
    assert record['env']['engine'] == 'fastai' and record['env']['why'] == 'opt muon is left to the reference'
    (_,metrics,*_), = told(whole)
    losses = [o['valid_loss'] for o in metrics]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 5.4 # as many tokens cost 5.55 at chance
    assert adam.cfgs[0].id != whole.cfgs[0].id and told(adam)[0][1] != metrics

def test_what_is_tried_again_begins_anew(tmp_path):
    "A checkpoint of a run that has a record is of no use; one of a run that waits for another sweep is kept"
    kept = Checkpoints(str(tmp_path/'u'))
    for ids in (['a'], ['b'], ['a', 'c']): kept.of(ids, {}, 'net').save(dict(epoch=1))
    kept.tidy({'a', 'b'}, left={'b'})
    assert sorted(len(kept.of(ids, {}, 'net').load() or {}) for ids in (['a'], ['b'], ['a', 'c'])) == [0, 1, 1]

def test_a_folder_that_cannot_be_written_costs_no_run(tmp_path, monkeypatch):
    (tmp_path/'file').write_text('')
    cfgs = grid(data='digits', model='stackable', bs=512, lr=1e-2, epochs=2)
    how = TrainOptions(models=MINE, device='cpu', checkpoints=Checkpoints(str(tmp_path/'file'), every=0))
    with pytest.warns(UserWarning, match='could not be written'): runs = list(fast.train_many(cfgs, how))
    assert [r.status for r in runs] == ['ok']

def test_a_model_that_has_changed_begins_anew(tmp_path):
    "Another width under the same name: what was kept does not fit, and is no error"
    cfg,folder = grid(data='digits', model='net', bs=512, lr=1e-2, epochs=2)[0],Checkpoints(str(tmp_path/'u'), every=0)
    chosen = [0]
    def make(n_out, n_in): # of the same code, whatever was chosen
        layers = torch.nn.Linear(64*n_in, chosen[0]), torch.nn.ReLU(), torch.nn.Linear(chosen[0], n_out)
        return torch.nn.Sequential(torch.nn.Flatten(), *layers)
    for width,warned in ((8, False), (16, True)):
        chosen[0] = width
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter('always')
            assert train.train(cfg, models=dict(net=make), device='cpu', checkpoints=folder).status == 'ok'
        assert any('is of another model: the run begins anew' in str(o.message) for o in w) == warned

@pytest.mark.parametrize('engine', [train.train_many, fast.train_many])
def test_a_checkpoint_of_another_version_begins_anew(engine, tmp_path, monkeypatch):
    "Its state has another form, which only a newer or older version could take up: the run is trained whole, with a warning"
    cfgs = grid(data='digits', model='stackable', bs=512, lr=1e-2, epochs=2)
    how = TrainOptions(models=MINE, device='cpu')
    kept = Checkpoints(str(tmp_path/'u'), every=0)
    with monkeypatch.context() as m:
        m.setattr(checkpoint, 'FORM', 1)
        assert killed(lambda: list(engine(cfgs, how, checkpoints=kept)), 1) == -signal.SIGKILL
    with pytest.warns(UserWarning, match='is of another form: the run begins anew'):
        assert told(engine(cfgs, how, checkpoints=kept)) == told(engine(cfgs, how))

def test_fine_tuning_goes_on_in_either_of_its_fits(tmp_path, monkeypatch):
    "With the head alone, between the two, and after: to the last bit, and no epoch is made twice"
    cfg, = grid(data='digits', model='dropping', bs=256, lr=1e-2, epochs=4, schedule='fine_tune', freeze_epochs=2)
    weights,how = weights_of(monkeypatch),TrainOptions(models=MINE, device='cpu', log_every=2)
    def runs(folder=None): return [train.train(cfg, how, checkpoints=folder and Checkpoints(str(folder), every=0))]
    whole = told(runs())
    assert whole[0][1] == 'ok' and [m['epoch'] for m in whole[0][2]] == [1, 2, 3, 4]
    for after in (1, 2, 3): # epoch 1 of the head, the end of the head, epoch 1 of all
        folder = tmp_path/f'{after}'
        assert killed(lambda: runs(folder), after) == -signal.SIGKILL
        made = []
        do = train.Learner._do_epoch
        with monkeypatch.context() as m, warnings.catch_warnings():
            m.setattr(train.Learner, '_do_epoch', lambda self: (made.append(self.epoch), do(self))[1])
            warnings.filterwarnings('error', 'begins anew')
            assert told(runs(folder)) == whole
        assert len(made) == 4 - after
        assert all(torch.equal(a, b) for a,b in zip(weights[-1], weights[0])) and len(weights[-1]) == len(weights[0])
