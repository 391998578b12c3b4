"""Several ways to do one thing, timed in turn in one process, so that what slows the machine slows them all"""
import time

import pandas as pd

def turns(
    n,       # How many times each
    # `time.process_time` for the seconds of this process's own CPU, which a busy machine changes little;
    # None where a case returns its seconds itself
    clock=time.perf_counter,
    **cases, # Name = function to call
): # DataFrame: a row a turn, a column a case
    "Seconds of each of `cases`, turn by turn"
    def timed(f):
        if not clock: return f()
        t = clock()
        f()
        return clock() - t
    return pd.DataFrame([{k: timed(f) for k,f in cases.items()} for _ in range(n)])

def medians(
    n,       # How many times each
    clock=time.perf_counter, # As for `turns`
    **cases, # Name = function to call; ratios are to the first
): # DataFrame: a row a case, its median `seconds`, and median, `lowest` and `highest` `ratio` within a turn
    "Median seconds of each of `cases`, and of its ratio to the first"
    ts = turns(n, clock, **cases)
    rs = ts.div(ts.iloc[:, 0], axis=0)
    return pd.DataFrame(dict(seconds=ts.median(), ratio=rs.median(), lowest=rs.min(), highest=rs.max()))
