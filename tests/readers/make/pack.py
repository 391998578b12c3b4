"""python pack.py FOLDER DATA: what the tools left in FOLDER, one file of texts a tool, with nothing of the machine it was made on

Each tool runs in an environment of its own, into the same FOLDER: python optuna_study.py FOLDER, python mlflow_runs.py FOLDER, …"""
import json, re, socket, sys
from pathlib import Path

folder,data = Path(sys.argv[1]).resolve(),Path(sys.argv[2])
KEEP = dict(optuna=['optuna_trials.csv', 'optuna.sql', 'optuna_journal.log'], lightning=['lightning_logs/**/*'],
            mlflow=['mlflow_runs.csv', 'mlflow.sql', 'mlruns/**/*'], trainer=['trainer/run[0-2]/*'], keras_tuner=['keras_tuner/**/*.json'],
            tensorboard=['hparams.*'], ray=['ray/*/*.json', 'ray/*/*.csv', 'ray/*/error.txt', 'ray/experiment_state*.json'])
PLACES = [(r'[/\w.-]*/site-packages', '/site-packages'), (re.escape(str(folder)), '/runs'),
    (re.escape(str(Path(__file__).parent)), '/code'), (rf'\b{re.escape(socket.gethostname())}\b', 'host'),
          (r'("?node_ip"?: )"[0-9.]+"', r'\1"127.0.0.1"'), (r'\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b', '127.0.0.1'),
          (r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}-[0-9]+', 'worker'), (r'[0-9a-f]{40}', '0'*40),
              (r'\bw-\w+\b', 'main')]
TABLES = ('experiments|runs|params|metrics|latest_metrics|tags|studies|study_directions|trials|trial_params|trial_values'
          '|trial_intermediate_values|trial_user_attributes')

def wanted(sql):
    "Only the tables of a dump that hold runs"
    parts = re.split(r';\n', sql)
    return ';\n'.join(o for o in parts if re.match(rf'(CREATE TABLE|INSERT INTO) "?({TABLES})"?[ (]', o)) + ';\n'

def without_pickles(state):
    "A state of Ray's without what is pickled in it, which names places"
    d = json.loads(state)
    kept = 'trial_id', 'trainable_name', 'config', 'evaluated_params', 'status', 'relative_logdir'
    trials = [[json.dumps({k: v for k,v in json.loads(o).items() if k in kept}), '{}'] for o,_ in d['trial_data']]
    return json.dumps(dict(trial_data=trials, runner_data={}, stats=d['stats']))

def scrub(path):
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.sql': text = wanted(text)
    if path.name.startswith('experiment_state'): text = without_pickles(text)
    for old,new in PLACES: text = re.sub(old, new, text)
    bad = re.search('/(work|tmp|root|home)/|@', text)
    if bad and path.suffix != '.md': raise SystemExit(f'{path}: {text[max(bad.start() - 60, 0):bad.end() + 60]!r} names a place')
    return text

for name,patterns in KEEP.items():
    paths = sorted({p for o in patterns for p in folder.glob(o) if p.is_file() and 'artifacts' not in p.parts})
    if paths: (data/f'{name}.json').write_text(json.dumps({str(p.relative_to(folder)): scrub(p) for p in paths},
        indent=0) + '\n', encoding='utf-8')
    print(name, len(paths), (data/f'{name}.json').stat().st_size if paths else 'nothing')
