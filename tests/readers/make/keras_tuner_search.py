"""Keras Tuner's folder: python keras_tuner_search.py FOLDER (keras-tuner 1.4, keras 3, torch)"""
import os, sys

os.environ['KERAS_BACKEND'] = 'torch'
import keras_tuner as kt

from truth import CELLS, curve

class Told(kt.Tuner):
    "A trial's losses are those that the formula says"
    def run_trial(self, trial, *args, **kw):
        bs,lr = CELLS[int(trial.trial_id) % len(CELLS)]
        hp = trial.hyperparameters
        hp.values |= dict(batch_size=bs, learning_rate=lr, optimizer='sgd')
        if int(trial.trial_id) == len(CELLS): raise kt.errors.FailedTrialError('out of luck')
        for epoch,loss in enumerate(curve(bs, lr)): self.oracle.update_trial(trial.trial_id, dict(val_loss=loss, loss=.7*loss), step=epoch)

hp = kt.HyperParameters()
hp.Int('batch_size', 16, 64, step=16)
hp.Float('learning_rate', 1e-4, 1, sampling='log')
hp.Choice('optimizer', ['adam', 'sgd'])
oracle = kt.oracles.RandomSearchOracle(kt.Objective('val_loss', 'min'), max_trials=len(CELLS) + 1, hyperparameters=hp, seed=0)
Told(oracle=oracle, hypermodel=None, directory=sys.argv[1], project_name='keras_tuner').search()
