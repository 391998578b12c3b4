"""Gradients of twelve small networks: one after another, with `torch.func.vmap`, and as one network with grouped convolutions.
CPU seconds an update, taken in turns. Writes bs_lr_study/records/speed/beside.csv."""
import copy
from pathlib import Path
from time import process_time

import pandas as pd, torch
from fastai.torch_core import no_random
from fastcore.script import call_parse
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from bs_lr_study.runs import RunConfig
from bs_lr_study.training.members import Members
from bs_lr_study.training.models import build_model
from bs_lr_study.training.row import Digits, member_losses

RECORD = Path(__file__).parents[1]/'bs_lr_study'/'records'/'speed'/'beside.csv'

def networks(n):
    "Networks of the digits study, each with weights of its own"
    with no_random(0): return [build_model(RunConfig('digits', 'small', 1, 1e-2), 10, 1) for _ in range(n)]

def apart(nets, x, y):
    "A loop over networks"
    def update():
        for o in nets:
            o.zero_grad()
            cross_entropy(o(x), y).backward()
    return update

def mapped(nets, x, y):
    "`vmap` over their stacked weights; BatchNorm keeps no running statistics, which `vmap` cannot change"
    nets = [replace_all_batch_norm_modules_(copy.deepcopy(o)) for o in nets]
    params,buffers = stack_module_state(nets)
    base = copy.deepcopy(nets[0]).to('meta')
    def loss(p, b, x, y): return cross_entropy(functional_call(base, (p, b), (x,)), y)
    each = vmap(grad(loss), in_dims=(0, 0, None, None))
    return lambda: each(params, buffers, x, y)

def grouped(nets, x, y):
    "One network whose convolutions keep their groups apart"
    one = Members([copy.deepcopy(o) for o in nets], x).train()
    def update():
        one.zero_grad()
        member_losses(one(x), y).sum().backward()
    return update

def cpu(update, n):
    start = process_time()
    for _ in range(n): update()
    return (process_time() - start)/n

@call_parse
def main(
    members:int=12, # Networks
    repeats:int=7,  # Times each way is taken, in turns
    out:str=RECORD, # Where to write
):
    "CPU seconds of an update of all networks, three ways"
    torch.set_num_threads(1)
    source,rows = Digits(),[]
    for bs in (1, 8, 64):
        x,y = source.xt[:bs],source.yt[:bs]
        ways = {f.__name__: f(networks(members), x, y) for f in (apart, mapped, grouped)}
        for f in ways.values(): cpu(f, 3)
        for i in range(repeats):
            for name,f in ways.items(): rows.append((bs, i, name, cpu(f, 20)))
    df = pd.DataFrame(rows, columns=['bs', 'repeat', 'way', 'seconds'])
    df.round(7).to_csv(out, index=False)
    wide = df.pivot(index=['bs', 'repeat'], columns='way', values='seconds')
    print(wide.div(wide.grouped, axis=0).groupby('bs').describe().loc[:, (slice(None), ['min', '50%', 'max'])].round(2))
