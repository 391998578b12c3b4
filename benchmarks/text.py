"""Twelve runs of a small transformer by one core: the reference, a bare fused loop, the fast engine one by one and as a row

Seconds that an update of all twelve takes, in turns; ratios say how many times as fast as the bare loop. Writes
bs_lr_study/records/speed/text.csv.
"""
from pathlib import Path

import pandas as pd, torch
from fastcore.script import call_parse
from torch.utils.data import TensorDataset

from bs_lr_study.runs import config
from bs_lr_study.training.learner import make_learner
from bs_lr_study.training.models import build_model
from bs_lr_study.training.text import text_source
from steps import Fast, Loop, Published, in_turn, members

RECORD = Path(__file__).parents[1]/'bs_lr_study'/'records'/'speed'/'text.csv'
K = 12 # Runs of a row

def ways_of(cfg):
    "Each way to make an update, with how many runs one of its updates is for"
    source = text_source(cfg)
    model = build_model(cfg, source.n_classes, source.n_in)
    return {'bare fused loop': (Loop(model, TensorDataset(source.xt, source.yt), cfg.bs), 1),
            'reference': (Published(make_learner(cfg)), 1),
            'one by one': (Fast([cfg], source), 1),
            'a row': (Fast(members(cfg, K), source), K)}

def table_of(cfg, turns, sequences):
    "Median milliseconds of an update of all runs, and how many times as fast as the bare loop: median and range of turns"
    ways = ways_of(cfg)
    ts = in_turn(turns, max(2, sequences//cfg.bs), **{k: way for k,(way,_) in ways.items()})
    ts = ts*[K/n for _,n in ways.values()]
    ratios = ts.rdiv(ts['bare fused loop'], axis=0)
    table = pd.DataFrame(dict(ms=1000*ts.median(), times=ratios.median(), lowest=ratios.min(), highest=ratios.max()))
    return table.rename_axis('way').reset_index().assign(bs=cfg.bs)

# The model of the embedded study, and the smaller one of the studies of critical batch sizes
SIZES = {'120,000 weights': dict(width=64, depth=2, context=64), '8,000 weights': dict(width=16, depth=1, context=32)}

def configs(bss):
    "A config for each model and batch size"
    for name,size in SIZES.items():
        for bs in bss: yield name,config(data='python', model='gpt', bs=bs, lr=1e-3, **{f'x.{k}': v for k,v in size.items()})

@call_parse
def main(
    bs:str='1,4,16,64',  # Batch sizes, in sequences
    turns:int=5,         # How many times each way is taken
    sequences:int=64,    # At least so many sequences a turn and way
    quick:bool=False,    # Two small turns, which prove nothing
    out:Path=RECORD,     # Where to write
):
    "Rows of transformers beside other ways to train them"
    torch.set_num_threads(1)
    if quick: turns,sequences = 2,4
    t = pd.concat([table_of(cfg, turns, sequences).assign(model=name) for name,cfg in configs([*map(int, bs.split(','))])])
    out.parent.mkdir(parents=True, exist_ok=True)
    t[['model', 'bs', 'way', 'ms', 'times', 'lowest', 'highest']].to_csv(out, index=False, float_format='%.4g')
    print(t.set_index(['model', 'bs', 'way']).round(2).to_string())
