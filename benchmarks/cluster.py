"""What a cluster costs: no-op runs by worker processes here, by Ray, and through to the store

    .venv/bin/python benchmarks/cluster.py --to runs/bench

Ray has as many workers as there are worker processes that it is compared with, in turns. The time of a
run is that between the first and the last; what comes before the first is the start. The driver's own CPU seconds are
counted apart, since on a cluster only these are spent on its machine. `--quick` sees that it works.
"""
import argparse, tempfile, time
from pathlib import Path

import noop # here, so that it is among the modules that travel
from bs_lr_study.register import ENGINES
from bs_lr_study.sweep.cluster import on_cluster
from bs_lr_study.sweep.connect import connected
from bs_lr_study.runs import grid
from bs_lr_study.store import Store
from bs_lr_study.sweep.workers import in_batches
from results import record, write

ENGINES['noop'] = 'noop:train_many'

START = 'Seconds until the first run is there'
RUN = 'Milliseconds a run, workers on this machine'
CPU = 'CPU milliseconds a run of the driver alone'
WRITER = 'Milliseconds a run of the writer'
NODES = 'Milliseconds to ask who is on the cluster'

def groups_of(n, size):
    "`n` runs in groups"
    cfgs = grid(data='digits', model='small', bs=1, lr=1e-3, seed=list(range(n)))
    return [cfgs[i:i+size] for i in range(0, n, size)]

def timed(batches, take=lambda *runs: None):
    "Seconds until the first run, and wall and CPU seconds of this process for each run after it"
    start = time.perf_counter()
    take(*next(batches))
    first,cpu,n = time.perf_counter(),time.process_time(),0
    for runs in batches:
        take(*runs)
        n += len(runs)
    return dict(start=first - start, wall=(time.perf_counter() - first)/n, cpu=(time.process_time() - cpu)/n)

def ways(n, size, n_workers):
    "Each way once: worker processes, Ray, and Ray through to the store"
    with tempfile.TemporaryDirectory() as d:
        store = Store(Path(d)/'runs.jsonl')
        return {'worker processes': timed(in_batches(groups_of(n, size), n_workers, 'noop', {})),
                'Ray': timed(on_cluster(groups_of(n, size), 'noop', {}, workers=n_workers)),
                'Ray and the store': timed(on_cluster(groups_of(n, size), 'noop', {}, workers=n_workers), store.append)}

def writing(n, turns):
    "Milliseconds of `Store.append`, wall and CPU: a list of each, a number a turn"
    runs,wall,cpu = list(noop.train_many([c for g in groups_of(n, 1) for c in g])),[],[]
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as d:
            store = Store(Path(d)/'runs.jsonl')
            t,c = time.perf_counter(),time.process_time()
            for r in runs: store.append(r)
            wall.append(1e3*(time.perf_counter() - t)/n)
            cpu.append(1e3*(time.process_time() - c)/n)
    return dict(wall=wall, cpu=cpu)

def measure(quick=False, address='local', n_workers=1, turns=3):
    "The records"
    n,out = 20 if quick else 320,[]
    with connected(address) as ray:
        got = {size: [ways(n, size, n_workers) for _ in range(1 if quick else turns)] for size in (1, 16)}
        asked,n_nodes = [1e3*min(timeit(ray.nodes) for _ in range(20)) for _ in got[1]],len(ray.nodes())
    for size,turned in got.items():
        def of(what, scale=1e3): return {k: [scale*o[k][what] for o in turned] for k in turned[0]}
        grouped = 'each by itself' if size == 1 else f'{size} to a group'
        case = f'{n} runs, {grouped}, {n_workers} worker{"s" if n_workers > 1 else ""}'
        out.append(record(START, case, of('start', 1), 's'))
        out += [record(what, case, of(key), 'ms a run') for what,key in ((RUN, 'wall'), (CPU, 'cpu'))]
    out.append(record(WRITER, f'{n} runs', writing(n, len(asked)), 'ms a run'))
    return out + [record(NODES, f'{n_nodes} nodes', dict(nodes=asked), 'ms')]

def timeit(f):
    t = time.perf_counter()
    f()
    return time.perf_counter() - t

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='see that it works; its numbers mean nothing')
    parser.add_argument('--to', default='runs/bench', help='folder for cluster.json and cluster.md')
    parser.add_argument('--address', default='local', help='of a cluster, HOST:PORT; by default Ray runs on this machine alone')
    parser.add_argument('--workers', type=int, default=1, help='of each way; the machine should have as many cores to spare')
    args = parser.parse_args()
    records = measure(args.quick, args.address, args.workers)
    intro = 'Several ways to have the same runs done, in turns.'
    print(write(args.to, 'cluster', 'What a cluster costs', records, intro, quick=args.quick))
