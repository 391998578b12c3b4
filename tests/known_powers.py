"Grids of runs whose truth is known"
import numpy as np, pandas as pd

def follows(power, n=2, seed=0, noise=.01, step=10**.5, n_lrs=9, bss=2**np.arange(3, 10), lr=1e-2):
    "Runs whose best learning rate goes as a power of the batch size, about `lr` in the middle"
    rng,lrs,mid = np.random.default_rng(seed),1e-4*step**np.arange(n_lrs),np.exp(np.log(bss).mean())
    d = pd.DataFrame([(b, lr, s) for b in bss for lr in lrs for s in range(n)], columns=['bs', 'lr', 'seed'])
    acc = .9 - np.minimum(.01*np.log(d.lr/(lr*(d.bs/mid)**power))**2, .6) + noise*rng.standard_normal(len(d))
    return d.assign(acc=acc, model='m', run=[f'run-{i}' for i in range(len(d))])
