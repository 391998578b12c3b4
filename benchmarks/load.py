"""Seconds to load a million runs, compared with an earlier state of this repository

Print a table of ratios; exit with status 1 if a file takes longer than it did then, by more than a tenth. Both states load the files
of `analysis.py`, in turns, each in a process of its own, and count seconds of CPU. The earlier code is taken from the repository's
history, so this runs in a clone only; it needs pandera besides, which the package no longer does (`uv pip install pandera`).
"""
import argparse, io, os, subprocess, sys, tarfile, tempfile
from pathlib import Path

from analysis import make
from timing import medians

HERE = Path(__file__).resolve().parents[1]
THEN = '7206c7e' # the last commit before any tool's files were read
LIMIT = 1.1

CODE = '''
import sys, time
from bs_lr_study.analysis import load_runs
load_runs() # imports are not what is timed here
t = time.process_time()
df = load_runs(sys.argv[1])
print(len(df), time.process_time() - t)
'''

def unpack(commit, folder):
    "The package as it was at a commit"
    done = subprocess.run(['git', '-C', HERE, 'archive', commit, 'bs_lr_study'], capture_output=True)
    if done.returncode: sys.exit(f'{commit} is not in the history of {HERE}: {done.stderr.decode().strip()}')
    tarfile.open(fileobj=io.BytesIO(done.stdout)).extractall(folder, filter='data')
    return folder

def seconds(package, csv, n):
    "What one load takes with a state of the package"
    env = os.environ | dict(PYTHONPATH=str(package), OMP_NUM_THREADS='1')
    done = subprocess.run([sys.executable, '-c', CODE, csv], capture_output=True, text=True, env=env, cwd=package)
    if done.returncode: sys.exit(f'{package} does not load {csv}: {done.stderr[-2000:]}')
    loaded,took = done.stdout.split()
    assert int(loaded) == n, f'{package} loads {loaded} of {n} runs'
    return float(took)

def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('n', nargs='?', type=int, help='runs; a million by default')
    p.add_argument('repeats', nargs='?', type=int, default=3, help='turns of each comparison; 3 by default')
    p.add_argument('--against', default=THEN, help=f'a commit; {THEN} by default')
    p.add_argument('--quick', action='store_true', help='see that it works, with 20,000 runs and no limit')
    return p.parse_args()

def main():
    args = options()
    n,slow = args.n or (20_000 if args.quick else 1_000_000),False
    with tempfile.TemporaryDirectory() as d:
        then = unpack(args.against, Path(d)/'then')
        make(n, Path(d))
        print(f'{n:,} runs, medians of {args.repeats}, seconds of CPU; the ratio is to {args.against}')
        for form in ('short', 'long'):
            csv = Path(d)/f'{form}.csv'
            t = medians(args.repeats, None, then=lambda: seconds(then, csv, n), now=lambda: seconds(HERE, csv, n)).round(3)
            print(f'{form} form\n{t.to_string()}')
            slow |= t.ratio.now > LIMIT
    return not args.quick and slow

if __name__ == '__main__': sys.exit(main())
