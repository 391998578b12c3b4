"""MLflow's folder, database and table: python mlflow_runs.py FOLDER (mlflow-skinny 3.17, pandas, sqlalchemy, alembic)"""
import os, sqlite3, sys
from pathlib import Path

os.environ['MLFLOW_ALLOW_FILE_STORE'] = 'true'
os.environ['USER'] = os.environ['LOGNAME'] = 'somebody'
import mlflow

from truth import CELLS, curve, scheduled

def log(name, bs, lr):
    losses = curve(bs, lr)
    mlflow.log_params(dict(batch_size=bs, lr=lr, model='cnn', optimizer='sgd'))
    for epoch,loss in enumerate(losses):
        mlflow.log_metrics({'val_loss': loss, 'train/loss': .7*loss, 'lr_now': scheduled(lr, epoch)}, step=epoch)

def sweep(uri, places):
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment('grid', artifact_location=places)
    mlflow.set_experiment('grid')
    for i,(bs,lr) in enumerate(CELLS):
        with mlflow.start_run(run_name=f'enc_{i}'): log(f'enc_{i}', bs, lr)
    try:
        with mlflow.start_run(run_name='lost'):
            mlflow.log_params(dict(batch_size=16, lr=.5, model='cnn', optimizer='sgd'))
            raise RuntimeError
    except RuntimeError: pass

out = Path(sys.argv[1])
sweep((out/'mlruns').resolve().as_uri(), 'artifacts')
mlflow.search_runs().to_csv(out/'mlflow_runs.csv', index=False)
db = out/'mlflow.db'
sweep(f'sqlite:///{db}', 'artifacts')
with sqlite3.connect(db) as con: (out/'mlflow.sql').write_text('\n'.join(con.iterdump()) + '\n')
db.unlink()
