"""`make faults` at a small scale: nothing that had ended well is lost, done twice or wrong. BSLR_FAULTS=1 is all of it.

That the harm is seen where there is some is tested first, on stores that are made wrong on purpose.
"""
import json, os, random, subprocess, sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[1]/'faults'
sys.path.insert(0, str(FAULTS))
import inputs, sweeps
from bed import Bed, Row
sys.path.remove(str(FAULTS))
import stub

from bs_lr_study.runs import Run
from bs_lr_study.sweep import load_study

SCALE = os.environ.get('BSLR_FAULTS')
HOW_MUCH = ['--scale', SCALE] if SCALE else ['--quick'] # without Ray, of which test_cluster.py has a cluster of its own

@pytest.fixture
def bed(tmp_path):
    bed = Bed(tmp_path/'bed', bss=(8, 16))
    bed.truth = sweeps.truth_of(bed)
    return bed

def record(bed, n=4, **kw):
    for c in bed.study.cfgs[:n]: bed.store.append(Run(c, **dict(metrics=stub.metrics(c)) | kw))

def verdict(bed): return bed.complete(), bed.gone(), bed.twice(), bed.wrong(bed.truth)

def test_a_sound_store_is_found_sound(bed):
    record(bed)
    assert verdict(bed) == (True, 0, 0, 0) and Row('', '', tried=3, survived=3).sound

def test_what_is_lost_is_seen(bed):
    record(bed)
    assert bed.gone() == 0
    bed.store.path.write_bytes(b''.join(bed.store.path.read_bytes().splitlines(True)[:3]))
    assert verdict(bed) == (False, 1, 0, 0)

def test_what_was_altered_is_lost_and_wrong(bed):
    record(bed)
    bed.gone()
    record(bed, 1, metrics=[dict(epoch=1, train_loss=1., valid_loss=1., acc=.123)])
    assert verdict(bed) == (True, 1, 1, 1)

def test_what_was_done_twice_is_seen(bed):
    record(bed), record(bed, 2)
    assert verdict(bed)[2] == 2
    bed.log.write_text(f'begun {bed.study.cfgs[0].id}\ntwice {bed.study.cfgs[0].id}\n')
    assert bed.twice() == 3

def test_what_has_failed_is_not_complete(bed):
    record(bed, 3), bed.store.append(Run(bed.study.cfgs[3], 'failed'))
    assert verdict(bed) == (False, 0, 0, 0)
    for o in (dict(survived=2), dict(lost=1), dict(twice=1), dict(wrong=1)): assert not Row('', '', **dict(tried=3, survived=3) | o).sound

def test_plain_readers_see_what_is_otherwise(tmp_path):
    "The settings, table and store that are read are compared with a second reading; here the second is given another text"
    text = '[a]\ndata = digits\nmodels = small # not tiny\nbatch_sizes = 8\n  16\nlrs = 1e-3 .5\n'
    (tmp_path/'s.ini').write_text(text)
    study = load_study('a', tmp_path/'s.ini')
    assert inputs.same_runs(study, inputs.plain_study(inputs.plain_settings(text), 'a'))
    for other in (text.replace('16', '32'), text.replace(' .5', ''), text + 'epochs = 4\n'):
        assert not inputs.same_runs(study, inputs.plain_study(inputs.plain_settings(other), 'a'))
    assert inputs.plain_table(b'run;acc\na-m-bs-8-lr-1e-3;0.5\n') == [('a-m-bs-8-lr-1e-3', .5, 8., .001)]

@pytest.fixture(scope='module')
def tried(tmp_path_factory):
    "The whole table, in a process that sweeps are forked from"
    to,seed = tmp_path_factory.mktemp('faults')/'table.json',random.SystemRandom().randrange(10**6)
    r = subprocess.run([sys.executable, str(FAULTS), *HOW_MUCH, '--seed', str(seed), '--save', str(to)],
                       capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1'))
    assert to.exists(), r.stdout + r.stderr
    return {o['name']: o | dict(seed=seed) for o in json.loads(to.read_text())['rows']}

@pytest.mark.parametrize('name', [f.__name__ for f in sweeps.ROWS | inputs.ROWS])
def test_harm(tried, name):
    if name not in tried: pytest.skip('only where all of it is asked for')
    row = tried[name]
    if not row['tried']: pytest.skip(row['note'])
    again = f'python faults {" ".join(HOW_MUCH)} --only {name} --seed {row["seed"]}\n{row["note"]}'
    assert row['survived'] == row['tried'] and not (row['lost'] or row['twice'] or row['wrong']), again
