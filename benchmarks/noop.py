"""An engine that trains nothing: what is left is the cost of having runs done elsewhere"""
from bs_lr_study.runs import Run

def train_many(cfgs, **opts):
    for c in cfgs:
        metrics = [dict(epoch=i, train_loss=1., valid_loss=1., acc=.5) for i in range(1, 6)]
        yield Run(c, metrics=metrics, cost=dict(seconds=0.), env=dict(engine='noop'))
