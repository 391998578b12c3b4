"""Several ways to do one thing, timed in turn in one process, so that what slows the machine slows them all"""
import time

import pandas as pd

def medians(
    n,       # How many times each
    clock=time.perf_counter, # `time.process_time` for the seconds of this process's own CPU, which a busy machine changes little
    **cases, # Name = function to call; ratios are to the first
): # DataFrame: a row a case, its median `seconds`, and median, `lowest` and `highest` `ratio` within a turn
    "Median seconds of each of `cases`, and of its ratio to the first"
    def timed(f):
        t = clock()
        f()
        return clock() - t
    ts = pd.DataFrame([{k: timed(f) for k,f in cases.items()} for _ in range(n)])
    rs = ts.div(ts.iloc[:, 0], axis=0)
    return pd.DataFrame(dict(seconds=ts.median(), ratio=rs.median(), lowest=rs.min(), highest=rs.max()))
