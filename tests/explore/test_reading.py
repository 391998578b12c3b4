"""The page reads a table as `load_runs` does: the same runs of a good one, the same words for a bad one."""
import base64, os, warnings

import numpy as np, pandas as pd

from bs_lr_study.analysis import load_runs, metric_of, records
from bs_lr_study.analysis.settings import comparable
from bs_lr_study.explore.rules import rules
from bs_lr_study.readers.ask import for_shell
from explore.node import run_module

N = int(os.environ.get('BSLR_FUZZ', 300))//5 # tables of each kind
READ = """const {loadRuns} = await at("load");
function read(o) {
  try { return loadRuns(new Uint8Array(Buffer.from(o.bytes, "base64")), o.name, data.rules, o.metric ?? null); }
  catch (e) {
    if (e.constructor.name !== "Refusal") throw e;
    return {message: e.message, line: e.line, elsewhere: e.elsewhere ?? false, choices: e.choices};
  }
}
console.log(JSON.stringify(data.files.map(read)));"""

def in_page(files):
    "What the page makes of files, given as a name and bytes"
    sent = [dict(name=name, bytes=base64.b64encode(raw).decode()) for name,raw in files]
    return run_module(READ, dict(rules=rules(), files=sent))

def in_python(folder, name, raw):
    "Runs as `load_runs` reads them, or the words in which it refuses; and what it says aloud"
    path = folder/name
    path.write_bytes(raw)
    with warnings.catch_warnings(record=True) as aloud:
        warnings.simplefilter('always')
        try: found = comparable(load_runs(path))
        except ValueError as e: found = for_shell(e).replace(str(path), name)
    return found, [for_shell(o.message).replace(str(path), name) for o in aloud]

def assert_same_runs(df, page):
    m = metric_of(df)
    ours = page['metrics'][0]
    assert (ours['name'], ours['lower'], ours['unit'], ours['label']) == (m.name, m.lower, m.unit, m.title)
    t = pd.DataFrame(page['runs'])
    assert len(t) == len(df) and t.run.tolist() == df.run.astype(str).tolist() and t.model.tolist() == df.model.astype(str).tolist()
    for c in ('bs', 'lr', m.name, *(['seed'] if 'seed' in df else [])):
        mine = t[c].astype(float) if c in t else np.full(len(t), np.nan)
        np.testing.assert_allclose(mine, df[c].astype(float), rtol=1e-12, err_msg=c)
    def told(s): return [None if pd.isna(o) else o for o in s]
    if 'status' in df: assert told(df.status) == told(t.get('status', [None]*len(t)))

def compare(tmp_path, files):
    "Every file read or refused alike; gives how many were read, refused, and left to Python"
    kinds = []
    for (name,raw),page in zip(files, in_page(files), strict=True):
        ours,aloud = in_python(tmp_path, name, raw)
        told = f'\n{name}: {raw[:600]!r}\nPython: {ours if isinstance(ours, str) else "read"}\npage:   {page.get("message", "read")}'
        if page.get('elsewhere'): kinds.append('elsewhere')
        elif isinstance(ours, str):
            assert page.get('message') == ours, told
            kinds.append('refused')
        else:
            assert 'runs' in page, told
            assert page['warnings'] == aloud, told
            try: assert_same_runs(ours, page)
            except AssertionError as e: raise AssertionError(f'{e}{told}') from e
            kinds.append('read')
    return kinds

NAMES = dict(model=['model', 'arch', 'net'], bs=['bs', 'batch_size', 'batch', 'params.bs', 'effective_batch_size', 'config/batch_size'],
             lr=['lr', 'learning_rate', 'max_lr', 'lr0', 'hparams/lr'], seed=['seed', 'random_seed', 'Seed'],
             y=['acc', 'accuracy', 'val_acc', 'val_loss', 'f1', 'error_rate', 'valid/top-1 accuracy', 'ppl', 'r2', 'val_accuracy (%)'])
EXTRA = dict(train_seconds=lambda r, n: r.random(n).round(3)*100, host=lambda r, n: r.choice(['a', 'b'], n),
             notes=lambda r, n: [f'run {i}: ok' for i in range(n)], train_loss=lambda r, n: r.random(n),
             date=lambda r, n: [f'2026-01-{i % 28 + 1:02d}' for i in range(n)], wd=lambda r, n: np.full(n, .01),
             status=lambda r, n: np.full(n, 'finished'), top5=lambda r, n: r.random(n))

def good(rng, lines=False):
    "A table in usual names: a frame"
    pick = {k: str(rng.choice(v)) for k,v in NAMES.items()}
    lrs = rng.choice([1e-4, 3e-4, 1e-3, .01, .1], rng.integers(1, 4), replace=False)
    bss = rng.choice(2**np.arange(2, 9), rng.integers(1, 5), replace=False)
    rows = [(k, b, l, s) for k in ['r18', 'vit'][:rng.integers(1, 3)] for b in bss for l in lrs for s in range(rng.integers(1, 3))]
    df = pd.DataFrame(rows, columns=[pick[k] for k in ('model', 'bs', 'lr', 'seed')])
    y = rng.random(len(df))
    if '%' in pick['y'] or rng.random() < .15: y = 3 + 90*y
    df[pick['y']] = y.round(4)
    for k in rng.choice(list(EXTRA), rng.integers(0, 3), replace=False): df[k] = EXTRA[k](rng, len(df))
    return df[rng.permutation(df.columns)], pick

def as_csv(df, sep=','): return df.to_csv(index=False, sep=sep).encode()

def test_shipped_tables(tmp_path):
    "Those with names of this project's, and the runs of each store in plain columns"
    files = [(p.name, p.read_bytes()) for p in records().values() if p.suffix == '.csv']
    for name in ('digits', 'small-batches-imagenette', 'optimizers', 'noise'):
        df = load_runs(name)
        some = [c for c in ('model', 'bs', 'lr', 'seed', 'acc', 'status', 'opt', 'norm', 'seconds') if c in df]
        files.append((f'{name}.csv', as_csv(df[some])))
    kinds = compare(tmp_path, files)
    assert kinds.count('read') >= 3 and 'elsewhere' not in kinds

def test_equal_updates(tmp_path):
    "Lengths that follow the batch size share a table where the updates prove it, and else do not"
    df = load_runs('digits-updates')[['model', 'bs', 'lr', 'seed', 'acc', 'status', 'epochs', 'steps']]
    early = df.index % 3 == 0
    frames = dict(same=df, more=df.assign(steps=df.steps + (df.bs == 64)), none=df.drop(columns='steps'),
                  blank=df.assign(steps=np.nan),
                  broke=df.assign(status=df.status.mask(early, 'diverged'), steps=df.steps.mask(early, 7)),
                  lost=df.assign(status=df.status.where(df.bs > 64, 'diverged')))
    kinds = compare(tmp_path, [(f'{k}.csv', as_csv(o)) for k,o in frames.items()])
    assert kinds == ['read', 'refused', 'refused', 'refused', 'read', 'refused']

def test_good_tables(tmp_path):
    rng = np.random.default_rng(0)
    files = [(f't{i}.csv', as_csv(good(rng)[0], str(rng.choice([',', ',', ';', '\t'])))) for i in range(N)]
    kinds = compare(tmp_path, files)
    assert kinds.count('read') > .6*N and kinds.count('elsewhere') < .1*N

def set_one(df, column, value, rng):
    df = df.astype(object)
    df.iloc[rng.integers(len(df)), df.columns.get_loc(column)] = value
    return df

def worse(rng):
    "A good table with one thing wrong with it"
    df,pick = good(rng)
    value = lambda k, *o: lambda: as_csv(set_one(df, pick[k], o[rng.integers(len(o))], rng))
    raw = as_csv(df)
    lines = raw.splitlines(True)
    cut = lambda new: lambda: b''.join(lines[:1] + [new(lines[1])] + lines[2:])
    ways = [
        value('lr', 0, -1, 'abc', '0,1', 'inf', '', '1e-3x', True),
        value('bs', 0, -8, 1.5, 'big', '', 'nan', 2**60),
        value('y', 'abc', -5, 1e9, 'inf', '-', 1.5),
        value('seed', -1, .5, 'x'),
        value('model', '', ' r18', 'r18 ', ''),
        lambda: as_csv(df.assign(status=['dunno'] + ['ok']*(len(df) - 1))),
        lambda: as_csv(df.drop(columns=pick['bs'])),
        lambda: as_csv(df.drop(columns=pick['lr'])),
        lambda: as_csv(df.drop(columns=pick['y'])),
        lambda: as_csv(df.rename(columns={pick['bs']: 'batch_of', pick['lr']: 'rate_of'})),
        lambda: as_csv(df.assign(auc=.5, val_f1=.3)),
        lambda: as_csv(df.assign(optimizer=['adam', *['sgd']*(len(df) - 1)])),
        lambda: as_csv(df.assign(dropout=np.arange(len(df)) % 2/2)),
        lambda: as_csv(pd.concat([df, df.iloc[:1].assign(**{pick['y']: .123})])),
        lambda: as_csv(pd.concat([df, df.iloc[:1]])),
        lambda: as_csv(df.assign(**{'train_batch_size': 1, 'batch': 2})),
        lambda: as_csv(df.assign(init_lr=7, peak_lr=5)),
        lambda: as_csv(df.assign(max_lr=.5, initial_lr=.5/np.arange(1, len(df) + 1))),
        lambda: as_csv(df.assign(gradient_accumulation_steps=4)),
        lambda: as_csv(df.assign(**{pick['lr']: df[pick['lr']]*rng.choice([1, 1.001], len(df))})),
        lambda: as_csv(df.assign(updates=rng.choice([100, 500], len(df)))),
        lambda: raw.replace(b'\n', b',\n', 2),
        lambda: raw[:len(raw) - 5],
        cut(lambda o: o.replace(b',', b'', 1)),
        cut(lambda o: b'"' + o),
        cut(lambda o: b'"a"b,' + o),
        lambda: raw[:20] + b'\xff' + raw[20:],
        lambda: raw[:20] + b'\0' + raw[20:],
        lambda: b'[' + raw,
        lambda: b'{"a": 1}',
        lambda: b'',
        lambda: lines[0],
        lambda: b'\xef\xbb\xbf' + raw,
        lambda: raw.replace(b'\n', b'\r\n'),
        lambda: b'PK\x03\x04' + raw,
        lambda: lines[0].strip() + b',' + lines[0] + raw[len(lines[0]):],
        lambda: as_csv(df.assign(**{pick['y']: np.where(np.arange(len(df)) % 2, .5, 50.)})),
        lambda: as_csv(df.rename(columns={pick['y']: 'train_acc'})),
        lambda: b'step,a - acc,b - acc\n1,2,3\n',
        lambda: as_csv(df.assign(val_accuracy=.5, accuracy=.25)),
        lambda: as_csv(df.assign(run=[' x', *'abcdefghijklmnopqrstuvwxyz'*9][:len(df)])),
    ]
    return ways[rng.integers(len(ways))]()

def test_malformed_tables(tmp_path):
    rng = np.random.default_rng(1)
    kinds = compare(tmp_path, [(f'm{i}.csv', worse(rng)) for i in range(N)])
    assert kinds.count('refused') > .4*N and kinds.count('elsewhere') < .1*N

HARD = { # tables as others write them, and some that are none
    'commas': 'bs;lr;seed;val_loss\n8;0,1;0;1,5\n16;0,1;0;1,25\n8;0,01;1;"1,75"\n',
    'commas and points': 'bs;lr;acc\n8;0,1;0.5\n16;0,1;0.25\n', 'commas by tabs': 'bs\tlr\tacc\n8\t1e-1\t0,5\n16\t1E-1\t,25\n',
    'a comma and a point': 'bs;lr;acc\n8;0,1;0,5\n16;0,1;1.0,5\n', 'commas, widths': 'bs;lr;acc\n8;0,1;0,5\n16;0,1\n',
    'commas, text': 'model;bs;lr;acc\n1,5b;8;0,1;0,5\nr18;8;0,1;0,6\n', 'commas, blank': 'bs;lr;acc\n8;0,1;0,5\n16;0,1;\n',
    'signs': 'bs,lr,acc\n8,.1,82.0%\n16,.1, 81.5 %\n', 'signs, blank': 'bs,lr,val_loss\n8,.1,82.0%\n16,.1,\n',
    'one sign': 'bs,lr,acc\n8,.1,82.0%\n16,.1,81\n', 'signs of too much': 'bs,lr,acc\n8,.1,82.0%\n16,.1,181%\n',
    'signs of none': 'bs,lr,acc\n8,.1,a%\n16,.1,b%\n',
    'remarks': '# of today\n# by me\nbs,lr,acc\n8,.1,.5\n', 'remark as header': '# of today\n# bs,lr,acc\n8,.1,.5\n16,.1,.6\n',
    'remarks only': '# of today\n', 'remark in the table': 'bs,lr,acc\n8,.1,.5\n# 16,.1,.6\n', 'remarks, widths': '# a\nbs,lr,acc\n8,.1\n',
    'an index': ',bs,lr,acc\n0,8,.1,.5\n1,16,.1,.6\n', 'a number sign': '#,bs,lr,acc\n1,8,.1,.5\n2,16,.1,.6\n',
    'markdown': '| bs | lr | acc |\n|---|---|---|\n| 8 | .1 | .5 |\n', 'crosstab': 'lr,8,16,32\n.1,.5,.6,.7\n.01,.4,.5,.6\n',
    'crosstab of words': 'lr,bs=8,bs=16\n.1,.5,.6\n', 'objective': 'bs,lr,value\n8,.1,.5\n16,.1,.6\n', 'one column': 'bs\n8\n',
    'objectives': 'bs,lr,values_0,values_1\n8,.1,.5,.6\n16,.1,.6,.7\n'}

def test_tables_as_others_write_them(tmp_path):
    kinds = compare(tmp_path, [(f'{k}.csv', v.encode()) for k,v in HARD.items()])
    assert 'elsewhere' not in kinds and kinds.count('read') > 10 and kinds.count('refused') > 9

LONG = """const {loadRuns} = await at("load"), {makeStudy} = await at("study");
const line = i => `${2 ** (i % 4)},.1,${i >> 2},${(i * 7919 % 1000) / 1000}`;
const text = ["bs,lr,seed,acc", ...Array.from({length: data.rows}, (_, i) => line(i))].join("\\n");
const {runs, metrics} = loadRuns(new TextEncoder().encode(text), "long.csv", data.rules);
console.log(JSON.stringify(makeStudy("long", runs, metrics, data.rules.assumed).metrics[0].models[0].cells.map(o => o.n)));"""

def test_a_long_table():
    "More rows than a call takes arguments"
    assert run_module(LONG, dict(rules=rules(), rows=160000)) == [40000]*4

def test_what_only_python_reads_says_the_line(tmp_path):
    "Files of tools, and names that say more: the command that reads them stands in the answer"
    files = [('my runs.csv', b'Name,State,User,acc,bs,lr\na,finished,u,.5,8,.1\n'),
             ('t.csv', b'number,state,params_lr,params_bs,value\n0,COMPLETE,.1,8,.5\n'), ('x.parquet', b'PAR1'),
             ('e.csv', b'bs,lr,epoch,acc\n8,.1,1,.5\n8,.1,2,.6\n'), ('n.csv', b'run,acc\ndigits-small-bs-8-lr-0.1-norm-group,.5\n'),
             ('j.csv', b'[{"bs": 8}]')]
    for (name,_),page in zip(files, in_page(files)):
        assert page['elsewhere'] and page['line'] == f"bslr explore {chr(39) + name + chr(39) if ' ' in name else name}"

def test_a_choice_of_metrics(tmp_path):
    raw = b'bs,lr,val_f1,val_auc\n8,.1,.5,.6\n'
    page, = in_page([('t.csv', raw)])
    assert page['choices'] == ['val_f1', 'val_auc']
    chosen, = run_module(READ, dict(rules=rules(), files=[dict(name='t.csv', bytes=base64.b64encode(raw).decode(), metric='val_auc')]))
    assert [m['name'] for m in chosen['metrics']] == ['val_auc', 'val_f1'] and chosen['runs'][0]['val_auc'] == .6

def test_the_same_run_twice_and_what_follows_the_batch_size(tmp_path):
    grid = [dict(lr=lr, seed=s, val_loss=round(.5 + lr + .01*s + 1/bs, 4), bs=bs) for bs in (8, 16) for lr in (.1, .2) for s in (0, 1)]
    df = pd.DataFrame(grid)
    part = df.rename(columns=dict(bs='global_batch_size')).assign(micro_batch_size=df.bs//4, eval_batch_size=df.bs*2)
    length = df.drop(columns='seed').assign(step=df.bs*10)
    histories = pd.concat([df.assign(step=i) for i in (1, 2)]).drop(columns='seed')
    tables = [part, part.assign(micro_batch_size=df.seed + 1), length, pd.concat([df, df]), pd.concat([length, length]), histories]
    files = [(f'{i}.csv', o.to_csv(index=False).encode()) for i,o in enumerate(tables)]
    assert compare(tmp_path, files) == ['read', 'refused', 'read', *['elsewhere']*3]
