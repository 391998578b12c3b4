"A reader's own Learners in a sweep: trained like the study's own, and refused with a reason where they do not fit"
from dataclasses import replace

import pytest, torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy, error_rate
from torch import nn

from bs_lr_study.training.data import digits, get_dls
from bs_lr_study.training.models import small
from bs_lr_study.runs import RunConfig
from bs_lr_study.sweep import make_study, run, todo
from bs_lr_study.sweep.checks import SweepError
from bs_lr_study.training.learner import train

pytestmark = pytest.mark.usefixtures('one_thread')
cfg = RunConfig('digits', 'own', bs=64, lr=1e-2, epochs=2, seed=3)

def like_ours(cfg):
    "The study's Learner for the digits, made by hand"
    dls = get_dls(replace(cfg, data='digits'))
    torch.manual_seed(cfg.seed) # the DataLoaders have drawn from Python's random numbers only
    return Learner(dls, small(10, 1), CrossEntropyLossFlat(), wd=cfg.wd, metrics=[error_rate, accuracy])

def study(tmp_path, **kw):
    base = dict(data='digits', models='own', batch_sizes=[64, 256], lrs=[1e-3, 1e-2], epochs=1)
    return make_study('own', tmp_path/'own.jsonl', **base | kw)

def test_the_same_learner_is_the_same_run():
    ours,own = train(replace(cfg, model='small')),train(cfg, learner=like_ours)
    assert own.metrics == ours.metrics and own.status == 'ok' and own.cost['steps'] == ours.cost['steps'] == 40
    assert own.env['n_train'] == 1297 and own.env['learner'].endswith('like_ours') and own.env['data_fingerprint'] is None

def test_same_config_same_run_whatever_was_drawn_before():
    a = train(cfg, learner=like_ours)
    torch.rand(3)
    assert train(cfg, learner=like_ours).metrics == a.metrics != train(replace(cfg, seed=4), learner=like_ours).metrics

def test_a_sweep_goes_on_and_lr_and_bs_are_the_configs(tmp_path):
    s,made = study(tmp_path),[]
    def learner(cfg):
        made.append((cfg.bs, cfg.lr))
        return like_ours(cfg)
    assert run(s, learner=learner, workers=0, show=False) == {'ok': 4}
    assert made[0] == made[1] and sorted(made[1:]) == [(64, 1e-3), (64, 1e-2), (256, 1e-3), (256, 1e-2)] # once to see whether it fits
    assert set(s.store.to_df().engine) == {'fastai'} and s.store.to_df().acc.nunique() == 4
    assert run(s, learner=learner, workers=0, show=False) == {} and len(made) == 5

def test_loaders_of_torch(tmp_path):
    xt,yt,xv,yv = map(torch.from_numpy, digits())
    def learner(cfg):
        load = lambda x, y, **kw: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=cfg.bs, **kw)
        dls = DataLoaders(load(xt, yt, shuffle=True, drop_last=True), load(xv, yv))
        return Learner(dls, small(10, 1), CrossEntropyLossFlat(), metrics=accuracy)
    a = train(cfg, learner=learner)
    assert a.status == 'ok' and a.acc > .8 and a.env['n_valid'] == 500 and a.metrics == train(cfg, learner=learner).metrics

def test_a_score_that_is_no_share_of_images_stays_as_it_is():
    def half(pred, y): return accuracy(pred, y)*.123
    half.__name__ = 'accuracy'
    def learner(cfg):
        learn = like_ours(cfg)
        learn.metrics = half
        return learn
    assert train(cfg, learner=learner).acc == pytest.approx(train(cfg, learner=like_ours).acc*.123, rel=1e-4)

def changed(**kw):
    "`like_ours` with something else about it"
    def learner(cfg):
        learn = like_ours(cfg)
        for k,v in kw.items(): setattr(learn, k, v(learn) if callable(v) else v)
        return learn
    return learner

def loaders(n): return lambda learn: DataLoaders(*learn.dls.loaders[:n])

@pytest.mark.parametrize('learner,said', [
    (lambda cfg: like_ours(replace(cfg, bs=32)), r'batches of 32.*bs 64.*bs=cfg.bs'),
    (changed(metrics=[error_rate]), 'metrics are error_rate.*accuracy'),
    (changed(metrics=[]), 'metrics are none.*accuracy'),
    (changed(dls=loaders(1)), 'validation'),
    (lambda cfg: nn.Linear(3, 3), 'a Linear.*expected a fastai Learner'),
    (lambda cfg: None, 'NoneType.*expected a fastai Learner'),
    (lambda: None, 'positional argument'),
    (lambda cfg: 1/0, 'ZeroDivisionError'),
    ('no.such:learner', "no.such:learner.*No module named 'no'"),
    ('bs_lr_study.training.models:learner', 'bs_lr_study.training.models:learner.*no attribute'),
    ('learner', 'package.module:function'),
], ids=['bs', 'error_rate', 'no metric', 'no validation', 'model', 'nothing', 'no argument', 'fault',
        'no module', 'no function', 'no colon'])
def test_what_does_not_fit_is_told_before_the_first_run(tmp_path, learner, said):
    s = study(tmp_path)
    with pytest.raises(SweepError, match=f'(?s){said}'): run(s, learner=learner, workers=0, show=False)
    assert not s.store.path.exists()

def test_what_does_not_fit_later_is_a_failed_run(tmp_path):
    "A function that forgets cfg.bs is right by chance for one batch size"
    s = study(tmp_path)
    assert run(s, learner=lambda cfg: like_ours(replace(cfg, bs=64)), workers=0, show=False) == {'ok': 2, 'failed': 2}
    df = s.store.to_df()
    assert set(df.bs[df.status == 'failed']) == {256} and all('bs 256' in o for o in df.message[df.status == 'failed'])
    assert run(s, learner=like_ours, workers=0, retry=['failed'], show=False) == {'ok': 2} and not todo(s)

def test_seeds_that_begin_alike_are_told(tmp_path):
    "As after RandomSplitter(seed=0), which sets the seed of torch"
    s = study(tmp_path, batch_sizes=256, lrs=1e-3, seeds=[0, 1])
    with pytest.warns(UserWarning, match='seeds 0 and 1 begin with the same weights'):
        run(s, learner=lambda cfg: like_ours(replace(cfg, seed=0)), workers=0, show=False)
    assert s.store.to_df().acc.nunique() == 2 # the order of the images is still the seed's

def test_more_images_a_batch_than_there_are_is_a_result(tmp_path):
    s = study(tmp_path, batch_sizes=[2048], lrs=1e-3)
    assert run(s, learner=like_ours, workers=0, show=False) == {'untrainable': 1}
    assert 'more than the 1297 training images' in s.store.to_df().message[0]

def test_a_folder_that_is_named_is_watched(tmp_path, colours):
    "With data= the record keeps a fingerprint, and other images are refused"
    s = study(tmp_path, data='colours', lrs=1e-3, batch_sizes=64)
    assert run(s, data=colours, learner=like_ours, workers=0, show=False) == {'ok': 1}
    assert len(s.store.to_df().data_fingerprint[0]) == 16
    (colours/'train/red/0.png').unlink()
    with pytest.raises(SweepError, match='other images'):
        more = study(tmp_path, data='colours', lrs=[1e-3, 1e-2], batch_sizes=64)
        run(more, data=colours, learner=like_ours, workers=0, show=False)

def test_in_worker_processes(tmp_path):
    "A function that exists in this process alone travels whole"
    s = study(tmp_path, batch_sizes=256, lrs=[1e-3, 1e-2])
    here = dict(wd=.01)
    def learner(cfg): return like_ours(replace(cfg, wd=here['wd']))
    assert run(s, learner=learner, workers=1, show=False) == {'ok': 2}
    assert s.store.to_df().acc.tolist() == [train(c, learner=like_ours).acc for c in (r.cfg for r in s.store.runs().values())]
