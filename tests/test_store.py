"""A store loses nothing: several writers, killed writers, full disks, file systems without locks."""
import errno, multiprocessing as mp, os, random, resource, signal, time, tracemalloc, warnings
from dataclasses import replace

import pytest

from bs_lr_study.runs import CONFIG_DEFAULTS, Run, RunConfig, fields_id, grid, run_to_dict
from bs_lr_study.store import Store, StoreError, decode, encode

def runs_of(seed, n): return [Run(c, metrics=[dict(epoch=1, train_loss=1., valid_loss=.5, acc=.25)], message='x'*200)
                              for c in grid(data='digits', model='small', lr=1e-3, seed=seed, bs=list(range(1, n+1)))]

def write(path, seed, n):
    for o in runs_of(seed, n): Store(path).append(o)

def write_for_ever(path, seed):
    for i in range(10**6): Store(path).append(replace(runs_of(seed, 1)[0], cfg=RunConfig('digits', 'small', i+1, 1e-3, seed=seed)))

@pytest.fixture
def store(tmp_path): return Store(tmp_path/'runs.jsonl')

def test_four_writers_at_once(store):
    ps = [mp.get_context('spawn').Process(target=write, args=(store.path, s, 25)) for s in range(4)]
    for p in ps: p.start()
    for p in ps: p.join()
    good,bad = store.read()
    assert (len(good), len({d['id'] for d in good}), bad) == (100, 100, [])

def test_killed_writers_lose_at_most_the_line_they_were_at(store):
    "kill -9 at random moments; every record that was there before is there after"
    rng,ctx,seen = random.Random(0),mp.get_context('fork'),set()
    for i in range(10):
        p = ctx.Process(target=write_for_ever, args=(store.path, i))
        p.start()
        time.sleep(.05 + rng.random()*.2)
        os.kill(p.pid, signal.SIGKILL)
        p.join()
        ids = {d['id'] for d in store.read()[0]}
        assert seen <= ids
        seen = ids
    assert len(seen) > 10
    write(store.path, 99, 1) # and it can still be written
    assert len(store.read()[0]) == len(seen) + 1

def test_any_cut_costs_the_last_record_only(store):
    write(store.path, 0, 3)
    whole = store.path.read_bytes()
    ends = [i+1 for i,c in enumerate(whole) if c == 10]
    for cut in range(len(whole)):
        store.path.write_bytes(whole[:cut])
        n = sum(e-1 <= cut for e in ends) # a record is whole without its newline
        assert len(store.read()[0]) == n

def test_any_garbled_range_costs_what_it_touches(store):
    write(store.path, 0, 5)
    whole,rng = store.path.read_bytes(),random.Random(0)
    bounds = [0] + [i+1 for i,c in enumerate(whole) if c == 10]
    before = {d['id']: d for d in store.read()[0]}
    for _ in range(300):
        a = rng.randrange(len(whole)); b = min(len(whole), a + rng.randrange(1, 400))
        store.path.write_bytes(whole[:a] + rng.randbytes(b-a) + whole[b:])
        good = store.read()[0]
        touched = sum(lo < b and a < hi for lo,hi in zip(bounds, bounds[1:]))
        assert len(good) >= 5 - touched
        assert all(before[d['id']] == d for d in good) # nothing that is read is wrong

def test_a_full_disk_leaves_the_file_as_it_was(store):
    write(store.path, 0, 2)
    before = store.path.read_bytes()
    soft,hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        with pytest.raises(StoreError, match='could not write'): store.append(runs_of(1, 1)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert store.path.read_bytes() == before
    write(store.path, 1, 1)
    assert len(store.read()[0]) == 3

def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    "For a sweep and for a single run alike"
    (tmp_path/'taken').write_text('a file')
    store = Store(tmp_path/'taken'/'deep'/'runs.jsonl')
    for use in (lambda: store.append(runs_of(0, 1)[0]), lambda: store.owned().__enter__()):
        with pytest.raises(StoreError, match='taken/deep cannot be made .*--store FILE'): use()
    assert (tmp_path/'taken').read_text() == 'a file'

@pytest.mark.parametrize('code', [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_the_lock_file_does(store, monkeypatch, code):
    "Drives mounted over a network often cannot lock"
    def no_flock(*_): raise OSError(code, os.strerror(code))
    monkeypatch.setattr('fcntl.flock', no_flock)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        store.append(runs_of(0, 1)[0])
        with store.owned():
            with pytest.raises(StoreError, match='another sweep'):
                with Store(store.path).owned(): pass
        with store.owned(): pass
    assert len(store.read()[0]) == 1

def test_the_last_attempt_counts_and_the_first_stays(store):
    first = Run(RunConfig('digits', 'small', 8, 1e-3), status='failed', message='no luck')
    store.append(first)
    store.append(replace(first, status='oom', attempt=2))
    assert [r.status for r in store.runs().values()] == ['oom']
    assert [d['status'] for d in store.read()[0]] == ['failed', 'oom']

def test_reading_changes_nothing(store):
    write(store.path, 0, 2)
    with store.path.open('ab') as f: f.write(b'{"schema":1,"id":"torn')
    before = store.path.read_bytes()
    with pytest.warns(UserWarning, match='line 3, not a whole record'): store.to_df()
    assert store.path.read_bytes() == before

def test_a_folder_in_place_of_the_file_is_an_error(tmp_path):
    with pytest.raises((StoreError, OSError)): Store(tmp_path).append(runs_of(0, 1)[0])

def merged(a, b, order):
    for name in order: a.merge(b[name])
    return a

def test_merging_is_idempotent_whatever_is_merged_twice(tmp_path):
    "Three machines with overlapping shares of a grid, merged in any order and again: each run once"
    all_runs,rng = runs_of(0, 30),random.Random(0)
    parts = {n: Store(tmp_path/f'{n}.jsonl') for n in 'abc'}
    for s in parts.values():
        for o in rng.sample(all_runs, 20): s.append(o)
    known = {k for s in parts.values() for k in s.records()}
    for i,order in enumerate(('abc', 'cba', 'abcabc', 'aabbcc')):
        whole = merged(Store(tmp_path/f'whole{i}.jsonl'), parts, order)
        good,bad = whole.read()
        assert (sorted(d['id'] for d in good), bad) == (sorted(known), [])

def test_merging_keeps_a_good_run_over_any_other(tmp_path):
    a,b = Store(tmp_path/'a.jsonl'),Store(tmp_path/'b.jsonl')
    good = runs_of(0, 3)
    bad = [Run(o.cfg, status, 'why') for o,status in zip(good, ('failed', 'diverged', 'oom'))]
    for o in good[:1] + bad[1:]: a.append(o)
    for o in bad[:1] + good[1:2] + bad[2:]: b.append(o)
    for x,y in ((a, b), (b, a)): assert x.merge(y).conflicts == []
    for s in (a, b): assert [s.runs()[o.id].status for o in good] == ['ok', 'ok', 'oom']

def test_two_results_of_one_run_are_shown_and_neither_is_lost(tmp_path):
    a,b = Store(tmp_path/'a.jsonl'),Store(tmp_path/'b.jsonl')
    ours = runs_of(0, 1)[0]
    theirs = replace(ours, metrics=[dict(epoch=1, train_loss=1., valid_loss=.5, acc=.75)])
    a.append(ours), b.append(theirs)
    before = a.path.read_bytes()
    (x,y), = a.merge(b).conflicts
    assert (x['metrics'][-1]['acc'], y['metrics'][-1]['acc']) == (.25, .75)
    assert a.path.read_bytes() == before

def test_merging_a_damaged_store_takes_what_is_whole(tmp_path, store):
    write(tmp_path/'b.jsonl', 0, 3)
    b = Store(tmp_path/'b.jsonl')
    b.path.write_bytes(b.path.read_bytes()[:-50])
    with pytest.warns(UserWarning, match='1 of 3 lines set aside'): assert len(store.merge(b).added) == 2
    b.path.write_text('my notes\n')
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match='is not a store'): store.merge(b)
    assert store.path.read_bytes() == before

def test_curves_are_no_runs(store, tmp_path):
    "A store of lr_find's curves is refused as such, wherever runs are wanted, and whichever side of a merge it is"
    curves = Store(tmp_path/'s.lrfind.jsonl')
    curves.add(dict(schema=1, id='a', kind='lr_find', config={}, status='ok', losses=[1.]))
    write(store.path, 0, 1)
    before = store.path.read_bytes(),curves.path.read_bytes()
    for f in (lambda: store.merge(curves), lambda: curves.merge(store), curves.runs, curves.to_df, curves.epochs_df):
        with pytest.raises(StoreError, match=r's\.lrfind\.jsonl holds no runs but records of lr_find'): f()
    assert (store.path.read_bytes(), curves.path.read_bytes()) == before

def test_a_merge_that_cannot_be_written_changes_nothing(store, tmp_path, monkeypatch):
    write(store.path, 0, 2), write(tmp_path/'b.jsonl', 1, 40)
    before = store.path.read_bytes()
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr('bs_lr_study.files.os.fsync', full)
    with pytest.raises(StoreError, match='what it held is as it was'): store.merge(Store(tmp_path/'b.jsonl'))
    assert store.path.read_bytes() == before

def line_of(d): return encode(run_to_dict(runs_of(0, 1)[0]) | d)

@pytest.mark.parametrize('change', [dict(bs=9), dict(lr=.5), dict(seed=3), dict(model='other'), dict(opt='sgd')])
def test_an_id_is_that_of_its_config(store, tmp_path, change):
    "Else it would count as done, and merging would bring it elsewhere"
    ours = run_to_dict(runs_of(0, 1)[0])
    store.add(ours | dict(config=ours['config'] | change))
    with pytest.warns(UserWarning, match=f"its id {ours['id']} is not that of its config"): assert store.known() == {}
    with pytest.warns(UserWarning): assert Store(tmp_path/'b.jsonl').merge(store).added == []

def test_records_of_older_and_newer_versions_are_read(store):
    "One that lacks fields, one that has a field whose default is not known here"
    d = run_to_dict(runs_of(0, 1)[0])
    store.add(d | dict(config={k: d['config'][k] for k in ('data', 'model', 'bs', 'lr', 'seed', 'epochs')}))
    assert len(store.known()) == 1
    newer = d | dict(id='f'*16, config=d['config'] | dict(context=256))
    store.add(newer)
    assert 'f'*16 in store.known()

@pytest.mark.parametrize('change', [dict(bs=0), dict(bs=-8), dict(epochs=0), dict(lr=0.), dict(lr=-1.)])
def test_numbers_that_divide_by_zero_are_no_record(store, change):
    "Even with an id and a checksum that fit"
    d = run_to_dict(runs_of(0, 1)[0])
    config = d['config'] | change
    told = {k: v for k,v in config.items() if k not in CONFIG_DEFAULTS or v != CONFIG_DEFAULTS[k]}
    store.add(d | dict(config=config, id=fields_id(told)))
    with pytest.warns(UserWarning, match='it is not a record'): assert store.known() == {}

def memory_of(f):
    "How many bytes more than before were in use at the worst moment"
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()

@pytest.mark.parametrize('junk', [b'{"schema":', b'{"schema":1}', b'[', b'\n', b'{"schema":\n', b'{"schema":1,"id":"a"}\n'])
def test_what_is_no_record_costs_little_memory(store, junk):
    "A few times the longest line, however often something begins there"
    store.append(runs_of(0, 1)[0])
    with store.path.open('ab') as f: f.write(junk*(10**6//len(junk)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        assert memory_of(store.known) < 6e6
        assert len(store.known()) == 1

@pytest.mark.parametrize('nest', [lambda n: [[] for _ in range(n)], lambda n: [{} for _ in range(n)], lambda n: [[1]]*n])
def test_a_record_of_nothing_but_brackets_is_none(nest):
    "Each of them would take thirty times its place in memory"
    with pytest.raises(ValueError, match='more brackets than a record has'): decode(line_of(dict(updates=nest(10**5))))
    assert decode(line_of(dict(updates=[dict(step=i, train_loss=1., lr=.1) for i in range(10**4)])))

def test_what_a_sweep_knows_of_a_machine_is_clean(store):
    store.append(replace(runs_of(0, 1)[0], env=dict(engine='fast\x1b[2J', device_name='H100\x9b31m', data_fingerprint='0')))
    known, = store.known().values()
    assert known.env == dict(engine='fast\ufffd[2J', device_name='H100\ufffd31m', data_fingerprint='0')
