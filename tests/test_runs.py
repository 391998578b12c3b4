"""Contracts of runs: identities that never change, names that read back."""
from dataclasses import fields, replace

import pytest
from hypothesis import given, strategies as st

from bs_lr_study.runs import Run, RunConfig, fmt_lr, parse_run, run_from_dict, run_name, run_to_dict

# Ids of committed records. If one of these changes, every store in the world is orphaned.
GOLDEN = [
    (dict(data='digits', model='small', bs=8, lr=1e-3), '61f2fede7966f75b'),
    (dict(data='imagenette', model='xresnet18', bs=64, lr=1e-5, size=128, n_out=1000), 'da9b139aaea1d9a2'),
    (dict(data='imagenette', model='xse_resnext50', bs=2, lr=1e-7, size=128), '45da6eaee53277f1'),
    (dict(data='pics', model='nets:mine', bs=512, lr=.3, seed=7, epochs=20, size=64, opt='sgd', wd=0,
          schedule='constant', valid_pct=.1, split_seed=3), '685bbc2592c811f8'),
]

@pytest.mark.parametrize('fields,id_', GOLDEN)
def test_golden_ids(fields, id_): assert RunConfig(**fields).id == id_

def test_defaults_are_what_they_were():
    "A default enters no hash, so to change one would give old ids to new runs"
    defaults = {f.name: f.default for f in fields(RunConfig)}
    was = dict(seed=0, epochs=5, size=None, n_out=None, schedule='one_cycle', opt='adam', wd=.01,
               norm='batch', regime='none', valid_pct=.2, split_seed=0)
    assert {k: defaults[k] for k in was} == was

def test_every_field_is_identity():
    cfg = RunConfig('digits', 'small', 8, 1e-3)
    other = dict(data='pics', model='xresnet18', bs=9, lr=1e-2, seed=1, epochs=6, size=64, n_out=11,
                 schedule='constant', opt='sgd', wd=.1, valid_pct=.3, split_seed=1)
    ids = {replace(cfg, **{k: v}).id for k,v in other.items()} | {cfg.id}
    assert len(ids) == len(other) + 1

@pytest.mark.parametrize('bad', [
    dict(bs=0), dict(bs=-1), dict(bs=2.5),
    dict(lr=0), dict(lr=float('inf')), dict(lr='fast'),
    dict(epochs=0), dict(wd=-1), dict(seed=-1), dict(norm='weight'),
    dict(data='a-b'), dict(data=''), dict(model='a b'),
    dict(valid_pct=1), dict(size=0), dict(nothing=1)])
def test_bad_configs_are_refused(bad):
    with pytest.raises((ValueError, TypeError), match=list(bad)[0]): RunConfig(**dict(data='digits', model='small', bs=8, lr=1e-3) | bad)

word = st.from_regex(r'[A-Za-z][A-Za-z0-9_.]{0,8}', fullmatch=True).filter(lambda o: o != 'None')
model = st.from_regex(r'[A-Za-z][A-Za-z0-9_.:-]{0,20}', fullmatch=True)
pos = st.floats(min_value=1e-12, max_value=1e6, allow_nan=False)
cfgs = st.builds(
    RunConfig, data=word, model=model, bs=st.integers(1, 10**6), lr=pos,
    seed=st.integers(0, 99), epochs=st.integers(1, 500),
    size=st.none() | st.integers(1, 999), n_out=st.none() | st.integers(1, 2000),
    schedule=st.sampled_from(['one_cycle', 'constant', 'flat_cos']),
    opt=st.sampled_from(['adam', 'sgd']), wd=st.floats(0, 1))

@given(cfgs)
def test_names_read_back(cfg):
    "All that a name holds comes back; what it does not hold is the default"
    assert RunConfig(**parse_run(run_name(cfg))) == cfg

@given(cfgs)
def test_records_read_back(cfg):
    run = Run(cfg, metrics=[dict(epoch=1, train_loss=1., valid_loss=2., acc=.5)], name=run_name(cfg))
    assert run_from_dict(run_to_dict(run)) == run

@given(st.text(max_size=60))
def test_anything_is_a_run_name_or_an_error(name):
    try: got = parse_run(name)
    except ValueError as e: assert 'is no run name' in str(e)
    else: assert {'data', 'model', 'bs', 'lr'} <= set(got)

@given(st.floats(min_value=1e-300, max_value=1e300))
def test_fmt_lr_loses_nothing_that_it_should_keep(lr):
    assert float(fmt_lr(lr, digits=None)) == lr
    assert float(fmt_lr(lr)) == pytest.approx(lr, rel=.00501)

def test_a_config_shows_what_is_its_own():
    "What every config must have, and what is not at its default; the text makes the same config"
    cfg = RunConfig('digits', 'small', 8, .1)
    assert repr(cfg) == "RunConfig(data='digits', model='small', bs=8, lr=0.1)"
    other = replace(cfg, seed=3, micro_bs=4, opt='sgd')
    assert repr(other) == "RunConfig(data='digits', model='small', bs=8, lr=0.1, seed=3, opt='sgd', micro_bs=4)"
    assert eval(repr(other)) == other
