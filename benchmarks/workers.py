"""Wall time of one small sweep with different numbers of worker processes

The same eight digits runs: in this process with all its threads (the baseline), in one worker with one thread, and in
one worker a core. Each is done three times, in turn, so that a machine whose speed drifts is fair to all; the medians
and their ratios to the baseline are printed. Starting the workers is part of the time.
"""
import argparse, os, tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from bs_lr_study.sweep import make_study, run

def seconds(workers):
    with tempfile.TemporaryDirectory() as d:
        keys = dict(data='digits', models='small', batch_sizes=[4, 16], lrs=[1e-4, 1e-3, 1e-2, 1e-1], epochs=2)
        study = make_study('bench', Path(d)/'runs.jsonl', **keys)
        start = perf_counter()
        run(study, workers=workers, show=False, engine='fastai')
        return perf_counter() - start

if __name__ == '__main__':
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    ways = {'this process, all threads': 0, 'one worker': 1, f'{os.cpu_count()} workers': os.cpu_count()}
    for w in ways.values(): seconds(w) # imports, caches
    times = {k: [] for k in ways}
    for _ in range(3):
        for k,w in ways.items(): times[k].append(seconds(w))
    base = median(next(iter(times.values())))
    print(f'{"":28} {"seconds":>8} {"min–max":>14} {"speed-up":>9}')
    for k,ts in times.items(): print(f'{k:28} {median(ts):8.1f} {f"{min(ts):.1f}–{max(ts):.1f}":>14} {base/median(ts):8.2f}×')
