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
    assert [m['error_rate'] for m in own.metrics] == pytest.approx([1 - m['acc'] for m in ours.metrics])
    assert [{k: v for k,v in m.items() if k != 'error_rate'} for m in own.metrics] == ours.metrics
    assert own.status == 'ok' and own.cost['steps'] == ours.cost['steps'] == 40
    assert own.env['n_train'] == 1297 and own.env['learner'].endswith('like_ours') and own.env['data_fingerprint'] is None

def test_same_config_same_run_whatever_was_drawn_before():
    a = train(cfg, learner=like_ours)
    torch.rand(3)
    assert train(cfg, learner=like_ours).metrics == a.metrics != train(replace(cfg, seed=4), learner=like_ours).metrics

def test_a_sweep_goes_on_and_lr_and_bs_are_the_configs(tmp_path):
    made = []
    def learner(cfg):
        made.append((cfg.bs, cfg.lr))
        return like_ours(cfg)
    s = study(tmp_path, learner=learner)
    assert run(s, workers=0, show=False) == {'ok': 4}
    assert made[0] == made[1] == made[2] # twice to see whether it fits
    assert sorted(made[2:]) == [(64, 1e-3), (64, 1e-2), (256, 1e-3), (256, 1e-2)]
    assert set(s.store.to_df().engine) == {'fastai'} and s.store.to_df().acc.nunique() == 4
    assert run(s, workers=0, show=False) == run(s, learner=learner, workers=0, show=False) == {} and len(made) == 6

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

@pytest.mark.parametrize('factor', [100, -1])
def test_what_is_called_accuracy_is_a_share(factor):
    "Per cent and negative scores would be read by an accuracy's rules"
    def scaled(pred, y): return factor*accuracy(pred, y)
    scaled.__name__ = 'accuracy'
    made = train(replace(cfg, epochs=1), learner=changed(metrics=[scaled]))
    assert made.status == 'failed' and 'share from 0 to 1' in made.message
    scaled.__name__ = 'score'
    made = train(replace(cfg, epochs=1), learner=changed(metrics=[scaled]))
    assert made.status == 'ok' and made.acc is None and made.metrics[0]['score']*factor > 0

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
    (changed(dls=loaders(1)), 'validation'),
    (lambda cfg: nn.Linear(3, 3), 'a Linear.*expected a fastai Learner'),
    (lambda cfg: None, 'NoneType.*expected a fastai Learner'),
    (lambda: None, 'positional argument'),
    (lambda cfg: 1/0, 'ZeroDivisionError'),
    ('no.such:learner', "no.such:learner.*No module named 'no'"),
    ('bs_lr_study.training.models:learner', 'bs_lr_study.training.models:learner.*no attribute'),
    ('learner', 'package.module:function'),
], ids=['bs', 'no validation', 'model', 'nothing', 'no argument', 'fault',
        'no module', 'no function', 'no colon'])
def test_what_does_not_fit_is_told_before_the_first_run(tmp_path, learner, said):
    s = study(tmp_path)
    with pytest.raises(SweepError, match=f'(?s){said}'): run(s, learner=learner, workers=0, show=False)
    assert not s.store.path.exists()

def test_what_does_not_fit_later_is_a_failed_run(tmp_path):
    "A function that forgets cfg.bs is right by chance for one batch size"
    s = study(tmp_path)
    def forgets(cfg): return like_ours(replace(cfg, bs=64))
    assert run(s, learner=forgets, workers=0, show=False) == {'ok': 2, 'failed': 2}
    df = s.store.to_df()
    assert set(df.bs[df.status == 'failed']) == {256} and all('bs 256' in o for o in df.message[df.status == 'failed'])
    assert s.store.path.exists() and len(todo(s)) == 4 # those of no Learner are other runs

def test_seeds_that_begin_alike_are_told(tmp_path):
    "As after RandomSplitter(seed=0), which sets the seed of torch"
    s = study(tmp_path, batch_sizes=256, lrs=1e-3, seeds=[0, 1])
    with pytest.warns(UserWarning, match='seeds 0 and 1 begin with the same weights'):
        run(s, learner=lambda cfg: like_ours(replace(cfg, seed=0)), workers=0, show=False)
    assert s.store.to_df().acc.nunique() == 2 # the order of the images is still the seed's

def test_more_images_a_batch_than_there_are_is_a_result(tmp_path):
    s = study(tmp_path, batch_sizes=[2048], lrs=1e-3)
    assert run(s, learner=like_ours, workers=0, show=False) == {'untrainable': 1}
    assert 'more than the 1297 training examples' in s.store.to_df().message[0]

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

# Silently wrong once, each a kind of fault

def test_one_model_for_all_runs_is_refused(tmp_path):
    "Run after run would train on from the weights of the last one"
    model,whole = small(10, 1),like_ours(cfg)
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model
        def forward(self, x): return self.inner(x)
    def same_model(cfg): return Learner(get_dls(replace(cfg, data='digits')), model, CrossEntropyLossFlat(), metrics=accuracy)
    def wrapped(cfg): return Learner(get_dls(replace(cfg, data='digits')), Wrapped(), CrossEntropyLossFlat(), metrics=accuracy)
    for f in (same_model, wrapped, lambda cfg: whole):
        s = study(tmp_path, batch_sizes=64, lrs=1e-2)
        with pytest.raises(SweepError, match='the same model each time.*within the function'): run(s, learner=f, workers=0, show=False)
        assert not s.store.path.exists()
    with pytest.raises(SweepError, match="model 'kept'.*the same model each time"):
        run(study(tmp_path, models='kept'), models=dict(kept=lambda n_out, n_in: model), workers=0, show=False)

def test_one_model_for_two_runs_is_no_second_run():
    "Without a sweep nobody looks beforehand; a copy of trained weights is no beginning either"
    import copy
    model = small(10, 1)
    def learner(cfg): return Learner(get_dls(replace(cfg, data='digits')), model, CrossEntropyLossFlat(), metrics=accuracy)
    def copied(cfg): return Learner(get_dls(replace(cfg, data='digits')), copy.deepcopy(model), CrossEntropyLossFlat(), metrics=accuracy)
    assert [train(replace(cfg, epochs=1), learner=learner).status for _ in range(2)] == ['ok', 'failed']
    assert 'trained already' in train(replace(cfg, epochs=1), learner=copied).message

def test_who_made_the_learner_is_part_of_the_run(tmp_path):
    "Runs with and without a Learner, and of two functions, are other runs"
    def other(cfg): return like_ours(cfg)
    s = study(tmp_path, models='small', batch_sizes=256, lrs=1e-2)
    assert [run(s, workers=0, show=False, **kw) for kw in ({}, dict(learner=like_ours), dict(learner=other), {})] == [{'ok': 1}]*3 + [{}]
    df = s.store.to_df()
    assert df.id.nunique() == 3 and df.learner.isna().tolist() == [True, False, False]
    from bs_lr_study.analysis.tables import comparable
    with pytest.raises(ValueError, match='differ in.*learner'): comparable(df)

def test_a_function_that_has_changed_shares_no_store(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = ('from test_own import like_ours\n\ndef decay(): return {wd}\n\n'
            'def make(cfg):\n    learn = like_ours(cfg)\n    learn.wd = decay()\n    return learn\n')
    monkeypatch.syspath_prepend(__file__.rpartition('/')[0])
    def sweep(wd, **kw):
        import importlib, linecache, sys
        (tmp_path/'changing.py').write_text(text.format(wd=wd))
        linecache.clearcache()
        importlib.invalidate_caches()
        sys.modules.pop('changing', None)
        s = study(tmp_path, batch_sizes=256, learner='changing:make', **dict(lrs=[1e-2]) | kw)
        return run(s, workers=0, show=False, **{k: v for k,v in kw.items() if k == 'retry'})
    sys_flag = pytest.MonkeyPatch()
    sys_flag.setattr('sys.dont_write_bytecode', True)
    assert sweep(.01) == {'ok': 1}
    with pytest.raises(SweepError, match='another version of changing:make.*--retry ok'): sweep(.02, lrs=[1e-2, 1e-3])
    sys_flag.undo()

def test_what_the_config_says_and_the_learner_ignores_is_refused(tmp_path):
    def deaf(cfg): return Learner(get_dls(RunConfig('digits', 'small', bs=cfg.bs, lr=1.)), small(10, 1),
        CrossEntropyLossFlat(), metrics=accuracy)
    for k,v in dict(opt='sgd', wd=.5, aug='none', size=32, x={'dropout': .1}).items():
        s = study(tmp_path, batch_sizes=64, lrs=1e-2, **({f'x.{n}': o for n,o in v.items()} if k == 'x' else {k: v}))
        with pytest.raises(SweepError, match=rf'{k}.* which it never looks at.*leave'): run(s, learner=deaf, workers=0, show=False)
    s = study(tmp_path, batch_sizes=256, lrs=1e-2, **{'x.tag': 'first'})
    assert run(s, learner=deaf, workers=0, show=False) == {'ok': 1}
    row = s.store.to_df().iloc[0]
    assert row[['opt', 'wd', 'aug', 'size']].isna().all() and (row.bs, row['x.tag'], row.schedule) == (256, 'first', 'one_cycle')

def test_what_the_learner_reads_is_claimed():
    def reads(cfg): return Learner(get_dls(RunConfig('digits', 'small', bs=cfg.bs, lr=1.)), small(10, 1), CrossEntropyLossFlat(), wd=cfg.wd)
    assert train(replace(cfg, epochs=1), learner=reads).env['obeys'] == ['wd']

@pytest.mark.parametrize('of_torch', [True, False])
def test_examples_are_those_that_were_trained(of_torch):
    "The last batch of an epoch may be smaller; a batch size beyond the data is none"
    x,y = torch.randn(50, 4),torch.randint(3, (50,))
    data = list(zip(x, y))
    def learner(cfg):
        if of_torch:
            load = torch.utils.data.DataLoader
            dls = DataLoaders(load(data, cfg.bs, shuffle=True), load(data, cfg.bs))
        else: dls = DataLoaders.from_dsets(data, data, bs=cfg.bs, drop_last=False, device='cpu')
        return Learner(dls, nn.Linear(4, 3), CrossEntropyLossFlat())
    made = train(replace(cfg, bs=20), learner=learner)
    assert (made.status, made.cost['steps'], made.cost['examples']) == ('ok', 6, 100)
    made = train(replace(cfg, bs=64), learner=learner)
    assert (made.status, made.metrics) == ('untrainable', []) and 'bs 64 is more than the 50 training examples' in made.message

def test_a_fault_in_a_batch_is_told_before_the_first_run(tmp_path):
    "A metric that cannot be, a model that does not fit its data: in their own words"
    def wrong(pred, y): raise KeyError('no such class')
    for learner,said in [(changed(metrics=[wrong]), 'no such class'), (changed(model=lambda _: nn.Linear(3, 3)), 'mat1 and mat2')]:
        s = study(tmp_path)
        with pytest.raises(SweepError, match=said): run(s, learner=learner, workers=0, show=False)
        assert not s.store.path.exists()
    with pytest.raises(SweepError, match="model 'odd'.*mat1 and mat2"):
        run(study(tmp_path, models='odd'), models=dict(odd=lambda n_out, n_in: nn.Linear(3, n_out)), workers=0, show=False)

def of_losses(cfg):
    "A regression without any metric of its own but one"
    from fastai.data.load import DataLoader
    from fastai.metrics import mae
    g = torch.Generator().manual_seed(0)
    x = torch.randn(120, 3, generator=g)
    rows = list(zip(x, x.sum(1, keepdim=True)))
    torch.manual_seed(cfg.seed)
    dls = DataLoaders(DataLoader(rows[20:], bs=cfg.bs, shuffle=True), DataLoader(rows[:20], bs=20))
    return Learner(dls, nn.Linear(3, 1), nn.MSELoss(), metrics=mae)

@pytest.mark.parametrize('metric,want', [(None, ('valid_loss', True)), ('mae lower', ('mae', True)), ('mae', ('mae', True)),
                                         (['train_loss', 'lower'], ('train_loss', True))])
def test_the_tables_are_about_what_the_study_names(metric, want, tmp_path, monkeypatch, capsys):
    "By the shell too: the metric that is named, else the loss where nothing is an accuracy"
    from bs_lr_study.cli import run as bslr_run
    s = make_study('reg', data='numbers', models='own', batch_sizes=[8, 32], lrs=.1, epochs=1, metric=metric, learner=of_losses)
    assert run(s, workers=0, show=False) == {'ok': 2}
    m = s.to_df().attrs['metric']
    assert (m.name, m.lower) == want and len(s.to_df()) == 2
    keys = dict(data='numbers', models='own', batch_sizes='8 32', lrs='.1', epochs=1) | (dict(
        metric=metric if isinstance(metric, str) else ' '.join(metric)) if metric else {})
    with open('settings.ini', 'w') as f: f.write('\n'.join(['[reg]', *(f'{k} = {v}' for k,v in keys.items())]))
    bslr_run('reg', learner=of_losses, workers=0)
    out = capsys.readouterr().out
    assert 'reg: 2 of 2 runs are done' in out and m.label in out

def test_a_metric_that_nobody_records_is_told_before_the_first_run(tmp_path):
    s = study(tmp_path, metric='rmse', learner=like_ours)
    with pytest.raises(SweepError, match="no run would record 'rmse'; choose from valid_loss, error_rate, acc"): run(s,
        workers=0, show=False)
    s = make_study('small', data='digits', models='small', batch_sizes=64, lrs=.01, metric='rmse')
    with pytest.raises(SweepError, match="no run would record 'rmse'; choose from valid_loss, acc"): run(s, workers=0, show=False)
