"""Optuna's own files: python optuna_study.py FOLDER (optuna 5.0, pandas)"""
import sqlite3, sys, warnings
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from truth import CELLS, curve

warnings.simplefilter('ignore')
optuna.logging.set_verbosity(optuna.logging.ERROR)

def objective(trial):
    bs = trial.suggest_categorical('batch_size', [64, 32, 16])
    lr = trial.suggest_float('lr', 1e-4, 1, log=True)
    trial.suggest_categorical('optimizer', ['adam', 'sgd'])
    trial.set_user_attr('epochs', 3)
    if trial.number == 7: raise RuntimeError('out of luck')
    losses = curve(bs, lr)
    for epoch,loss in enumerate(losses):
        trial.report(loss, epoch)
        if trial.number == 6 and epoch == 1: raise optuna.TrialPruned
    return losses[-1]

def sweep(storage):
    study = optuna.create_study(study_name='grid', storage=storage, direction='minimize')
    for bs,lr in [*CELLS, (16, .5), (32, .5)]: study.enqueue_trial(dict(batch_size=bs, lr=lr, optimizer='sgd'))
    study.optimize(objective, n_trials=8, catch=RuntimeError)
    study.enqueue_trial(dict(batch_size=16, lr=.02, optimizer='sgd'))
    trial = study.ask() # goes on running
    trial.suggest_categorical('batch_size', [64, 32, 16])
    trial.suggest_float('lr', 1e-4, 1, log=True)
    study.enqueue_trial(dict(batch_size=32, lr=.02, optimizer='sgd')) # waits
    return study

out = Path(sys.argv[1])
db = out/'optuna.db'
study = sweep(f'sqlite:///{db}')
study.trials_dataframe().to_csv(out/'optuna_trials.csv', index=False)
with sqlite3.connect(db) as con: (out/'optuna.sql').write_text('\n'.join(con.iterdump()) + '\n')
db.unlink()
sweep(JournalStorage(JournalFileBackend(str(out/'optuna_journal.log'))))
