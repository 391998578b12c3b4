"""What a sweep costs besides its training: `python benchmarks/sweeps.py`

A no-op stands for the engine. Each figure is a median of several turns, beside a baseline that is measured in the same turns:
the disk alone, json alone. Half a minute to two minutes; `--quick` sees that all of it works.
"""
import argparse, json, os, resource, subprocess, sys, tempfile, time
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from bs_lr_study.sweep import workers
from bs_lr_study.runs import Run, grid, run_to_dict
from bs_lr_study.store import Store, encode
from bs_lr_study.files import append_bytes
from bs_lr_study.sweep import make_study, run, todo

AIMS = dict(overhead='under 5 ms a run', open='3 s, 500 MB', append='constant', writer='1,000 records a second')

ENV = dict(engine='fast', device='cpu', device_name='x86_64', threads=1, bs_lr_study='0', python='3.11', torch='2', fastai='2',
           amp=None, graph=False, data_fingerprint='0'*16, n_train=1437, n_valid=360, members=12, onednn=True, n_params=6000)

def result(cfg):
    "A run of five epochs, as long as those of the digits"
    def epoch(n): return dict(epoch=n, train_loss=1.2345678901234567/n, valid_loss=1.3456789012345678/n, acc=.5 + (n - 1)/12)
    cost = dict(seconds=1.23456, train_seconds=1.2, steps=225, examples=7200)
    return Run(cfg, metrics=[epoch(n) for n in range(1, 6)], cost=cost, env=ENV)

def study_of(n, folder, name):
    "A study of `n` runs"
    keys = dict(data='digits', models='small', batch_sizes=[64], lrs=[1e-3, 1e-2], seeds=range(n//2), epochs=5)
    return make_study(name, Path(folder)/f'{name}.jsonl', **keys)

def no_op(groups, engine, opts, begun):
    for g in groups:
        begun(g)
        for c in g: yield result(c)

def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

def disk(path, n, line):
    "Seconds of a line, written and synced, without a lock"
    return timed(lambda: [append_bytes(path, line) for _ in range(n)])/n

def overhead(n=200, turns=5):
    "Milliseconds a run of a sweep in this process, and of the disk alone"
    ours,theirs = [],[]
    for i in range(turns):
        with tempfile.TemporaryDirectory() as tmp:
            study = study_of(n, tmp, f's{i}')
            theirs.append(disk(Path(tmp)/'disk', n, encode(run_to_dict(result(study.cfgs[0])))))
            ours.append(timed(lambda: run(study, on=no_op, show=False))/n)
    return 1e3*median(ours),1e3*median(theirs)

def filled(path, n):
    "A store of `n` runs"
    d = run_to_dict(result(grid(data='digits', model='small', bs=64, lr=1e-3)[0]))
    def line(i): return encode(d | dict(id=f'{i:016x}', config=d['config'] | dict(seed=i)))
    for i in range(0, n, 10_000): append_bytes(path, b''.join(map(line, range(i, min(i + 10_000, n)))))
    return Store(path)

def opened(path):
    "In a process of its own: seconds and MB to know what is to be done, and seconds of json alone"
    study = make_study('big', path, data='digits', models='small', batch_sizes=[64], lrs=[1e-3], seeds=range(1000))
    seconds = timed(lambda: todo(study))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e3
    with open(path, 'rb') as f: theirs = timed(lambda: [json.loads(o) and None for o in f])
    print(json.dumps([seconds, peak, theirs]))

def opening(store, turns=3):
    open_it = [sys.executable, __file__, '--opened', str(store.path)]
    took = [json.loads(subprocess.run(open_it, capture_output=True, text=True, check=True).stdout) for _ in range(turns)]
    return [median(o) for o in zip(*took)]

def appending(stores, n=40):
    "Milliseconds of an append to each store, in turns"
    runs = [result(c) for c in grid(data='other', model='small', bs=64, lr=1e-3, seed=list(range(n)))]
    return [1e3*median(o) for o in zip(*([timed(lambda: s.append(r)) for s in stores] for r in runs))]

def worker(conn, engine, opts):
    "A worker that does nothing, at once"
    conn.send('ready')
    while group := conn.recv():
        conn.send('begun')
        for c in group: conn.send(result(c))
        conn.send('done')

def writing(n=4000, n_workers=8, turns=3):
    "Records a second of workers that do nothing, through one writer; and as many if each were written by itself"
    workers._work,workers._context = worker,lambda engine: get_context('fork')
    ours,theirs = [],[]
    for i in range(turns):
        with tempfile.TemporaryDirectory() as tmp:
            study = study_of(n, tmp, f'w{i}')
            times = []
            run(study, workers=n_workers, show=False, on_run=lambda r: times.append(time.perf_counter()))
            ours.append((len(times) - 1)/(times[-1] - times[0]))
            theirs.append(1/disk(Path(tmp)/'disk', 100, encode(run_to_dict(result(study.cfgs[0])))))
    return median(ours),median(theirs)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='see that it works, on tiny sizes')
    parser.add_argument('--opened', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.opened: return opened(args.opened)
    n = 2000 if args.quick else 100_000
    kw = dict(turns=1) if args.quick else {}
    def row(what, ours, baseline, aim=''):
        print(f'{what:58} {ours:>24}   {baseline:40} {aim}', flush=True)
    print(f'{"":58} {"measured":>24}   {"beside":40} aim\nload {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores')
    a,b = overhead(20 if args.quick else 200, **kw)
    row('a run of no time in one process', f'{a:.2f} ms', f'{b:.2f} ms: the disk alone', AIMS['overhead'])
    with tempfile.TemporaryDirectory() as tmp:
        big,small = filled(Path(tmp)/'big.jsonl', n),filled(Path(tmp)/'small.jsonl', n//100)
        s,mb,js = opening(big, **kw)
        row(f'{n:,} runs: what is to be done', f'{s:.2f} s, {mb:.0f} MB', f'{js:.2f} s: json alone', AIMS['open'])
        few,many = appending([small, big], 5 if args.quick else 40)
        row(f'appending to {n:,} runs', f'{many:.2f} ms', f'{few:.2f} ms: to {n//100:,} runs', AIMS['append'])
    a,b = writing(200 if args.quick else 4000, **kw)
    row('eight workers through one writer', f'{a:,.0f} records a second', f'{b:,.0f}: the disk, each by itself', AIMS['writer'])

if __name__ == '__main__': main()
