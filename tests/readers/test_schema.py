"What `load_runs` makes of malformed and odd tables: a right answer, by a second and plain way to read them, or a clear error"
import csv, io, math, os, re, warnings

import pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from bs_lr_study.analysis import load_runs
from bs_lr_study.runs import parse_run
from bs_lr_study.readers.schema import parse_names

ROW = 'imagenette-xresnet18-bs-8-lr-0.001'

def put(path, txt, enc='utf-8'):
    path.write_bytes(txt if isinstance(txt, bytes) else txt.encode(enc))
    return path


class TestCases:
    "Each case has its error, with the row, the column, the value and what is valid; or its warning"
    @pytest.mark.parametrize('txt,msg', [
        ('run,accuracy\nx,1\n', "no column with values is called bs, batch_size.*there are run, accuracy"),
        ('run,result\nx,1\n', "no column names a metric .*such as metric='result', lower=True; there are run, result"),
        (f'run,acc\n{ROW},78.4\n{ROW}-seed-1,0.5\n', r"row 0 \(imagenette.*acc is 78.4, and 1 .*0.5.*0…1, or per cent .*unit='per cent'"),
        (f'run,acc\n{ROW},784\n', r'row 0 \(imagenette.*acc is 784, but must be a share in 0…1'),
        (f'run,acc\n{ROW},0.5\n{ROW},0.6\n', r'row 1: imagenette.*twice, with acc 0.5; 0.6; keep one'),
        (f'run,acc\n{ROW},0.5\n{ROW.replace("0.001", "1e-3")},0.6\n', 'row 1.*twice'),
        ('run,acc,model,bs,lr\nx,0.5,m,0,0.1\n', r'row 0 \(x\): bs is .*0.*whole number from 1 up'),
        ('run,acc,model,bs,lr\nx,0.5,m,2.5,0.1\n', r'row 0 \(x\): bs is .*2.5.*whole number from 1 up'),
        ('run,acc,model,bs,lr\nx,0.5,m,8,"0,01"\n', r"row 0 \(x\): lr is '0,01'.*above 0, with a point"),
        ('run,acc,model,bs,lr\nx,0.5,m,8,0,01\n', 'line 2 has 6 fields, but the header has 5.*decimal comma'),
        (f'run,acc\n{ROW},0,784\n', 'line 2 has 3 fields, but the header has 2'),
        (f'run,acc\n{ROW},0,784\n{ROW}\n', 'line 2 has 3 fields, but the header has 2'),
        (f'run,acc\n{ROW},0.5\n{ROW}-seed-1\n{ROW}-seed-2,0.5,1\n', 'line 3 has 1 fields'),
        (f'run,acc\n{ROW},0.5\n{ROW}-seed-1\n', 'line 3 has 1 fields'),
        (f'run,acc\n{ROW},0.5\n{ROW[:-4]}', 'line 3 has 1 fields'),
        ('', 'holds no runs'), ('\n \n', 'holds no runs'), ('run,acc\n', 'holds no runs'),
        ('run,acc,model,bs,lr,status\nx,,m,8,0.1,resting\n', "status is 'resting', but must be one of ok, diverged"),
        ('run,acc,model,bs,lr\nx,True,m,8,0.1\n', 'acc is True'),
        (f'run,acc,bs\n{ROW},0.5,16\n', r'row 0 .*bs is 16, but the name says 8'),
        (f'run,acc\n{ROW}-bs-16,0.5\n', r'row 0.*-bs-16'),
        ('run,acc,acc\nx,1,1\n', "column 'acc' twice"),
        ('run,acc,model,bs,lr\nx,0.5, m,8,0.1\n', "model is ' m'.*without space"),
        (b'run,acc\ncaf\xe9-m-bs-8-lr-0.1,0.5\n', 'line 2 holds the byte 0xe9, which is not UTF-8'),
        ('run,acc\n'.encode('utf-16-le'), 'zero byte'),
        (b'PK\x03\x04...', 'is a zip: unpack it'),
    ])
    def test_error(self, tmp_path, txt, msg):
        with pytest.raises(ValueError, match=re.compile(msg, re.S)): load_runs(put(tmp_path/'a.csv', txt))

    @pytest.mark.parametrize('enc', ['utf-8-sig', 'utf-16', 'utf-32'])
    @pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
    def test_encoding(self, tmp_path, enc, end):
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter('always')
            d = load_runs(put(tmp_path/'a.csv', end.join(['run,acc', f'{ROW},0.5', '']), enc))
        assert d[['acc', 'bs', 'lr']].values.tolist() == [[.5, 8, .001]]
        assert bool(w) == (enc != 'utf-8-sig')

    @pytest.mark.parametrize('sep', ';\t|')
    def test_separator_is_said_aloud(self, tmp_path, sep):
        with pytest.warns(UserWarning, match='between its fields'): d = load_runs(put(tmp_path/'a.csv', f'run{sep}acc\n{ROW}{sep}0.5\n'))
        assert d.acc.tolist() == [.5]

    def test_excel_with_decimal_commas(self, tmp_path):
        with pytest.warns(UserWarning, match="with ';' between its fields and a comma in its numbers"):
            assert load_runs(put(tmp_path/'a.csv', f'run;acc\n{ROW};0,784\n')).acc.tolist() == [.784]

    def test_learning_rates_of_names_and_columns_are_one(self, tmp_path):
        texts = ['0.003', '3e-3', '.003', '0.0030']
        txt = 'run,acc,model,bs,lr,seed\n' + ''.join(f'r{i},0.5,m,8,{o},{i}\n' for i,o in enumerate(texts))
        assert load_runs(put(tmp_path/'a.csv', txt)).lr.unique().tolist() == [.003]


ODD_ENDS = ['-seed-1', '-seed-3', '-seed-2', '-epochs-10', '-colour-red', '-bs-8', '-seed-1-seed-2', ' ', '-']
ODD = dict(run=['run1', 'run2', '', 'nan', ' x', '"q"', 'a,b', 'é', '7'] + [f'a-m-bs-{o}-lr-0.1' for o in ('0', '2.5', '007')] +
               [f'a-m-bs-8-lr-{o}' for o in ('0,1', '0', '1e999', '-1')] + [f'a-m-bs-8-lr-0.1{o}' for o in ODD_ENDS],
    acc=['0', '1', 'nan', '78.4', '-0.1', '0,5', 'inf', 'n/a', ' 0.5', '5e-1', 'True', '1_0', '0x1', '1.0000001', '0.5%'],
    bs=['8.0', '1e1', '0', '-8', '2.5', '', 'x', '8 ', '1e300', 'True', '1_6', '9007199254740993'],
    lr=['.1', '1e-1', '0,01', '0', '-1', '', 'inf', 'nan', '1e-400', '1d-3'], model=[' m', ''], status=['resting'])
SOUND = dict(acc=['0.5', '0.25', '0.125', ''], bs=['8', '16'], lr=['0.1', '1e-05'], model=['m', 'x-y'], status=['ok', 'diverged', ''])
GOOD = st.builds(
    'imagenette-{}-bs-{}-lr-{}'.format,
    st.sampled_from(['m', 'x-y']),
    st.sampled_from(['8', '16', '32', '64']),
    st.sampled_from(['0.1', '.5', '1e-05']))
PARTS = st.builds(
    '{}-{}-bs-{}-lr-{}{}'.format,
    st.sampled_from(['imagenette', 'a']),
    st.sampled_from(['m', 'x-y', 'bs-net', 'm-bs-4']),
    st.sampled_from(['8', '16', '32', '4']*4 + ['0', '2.5', '007']),
    st.sampled_from(['0.1', '1e-05', '.5']*6 + ['0,1', '0', '1e999', '-1']),
    st.sampled_from(['']*20 + ODD_ENDS))
CELLS = dict(run=st.one_of(*[GOOD]*4, PARTS, st.sampled_from(ODD['run']))) | {c: st.sampled_from(SOUND[c]*10 + ODD[c]) for c in SOUND}
HEADERS = [
    *[('run', 'acc'), ('acc', 'run')]*6,
    *[('run', 'acc', 'model', 'bs', 'lr'), ('bs', 'lr', 'model', 'acc', 'run', 'status')]*2,
    ('run', 'accuracy'),
    ('run', 'acc', 'acc')]
TABLES = st.tuples(st.sampled_from(HEADERS), st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=4),
    st.sampled_from([',', ',', ',', ';', '\t']), st.sampled_from(['utf-8']*12 + ['utf-8-sig', 'utf-16', 'latin-1', 'utf-16-le']),
    st.sampled_from(['\n', '\n', '\r\n']), st.sampled_from(['']*12 + ['short', 'long', 'cut']))

NUM = r'\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*'
RUN = r'([^-\s]+)-(\S+)-bs-([0-9]+)-lr-([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)((?:-(?:seed|epochs)-[0-9]+)*)'
NA = {'', 'nan', 'NaN', 'n/a'}

def number(o): return float(o) if re.fullmatch(NUM, o) else None

def in_shares(accs):
    "Numbers as shares; None where it is in doubt whether they are per cent"
    if not any(o > 1 for o in accs): return {o: o for o in accs}
    if max(accs) > 100 or max(accs) < 2 or min(accs) < 0 or any(0 < o <= 1 for o in accs): return None
    return {o: round(o/100, 12) for o in accs}

def without_signs(rows):
    "Accuracies that all bear a sign of per cent as shares"
    said = [r['acc'] for r in rows if r['acc'] not in NA]
    if not said or not all(o.endswith('%') and number(o[:-1]) is not None for o in said): return rows
    return [r if r['acc'] in NA else r | dict(acc=str(float(r['acc'][:-1])/100)) for r in rows]

def oracle(header, rows):
    "What the table says, row by row in plain Python; None if anything is wrong with it"
    if not rows or len(set(header)) < len(header) or not {'run', 'acc'} <= set(header): return None
    out,rows = {},without_signs([dict(zip(header, o)) for o in rows])
    good = [number(r['acc']) for r in rows if r.get('status') != 'diverged']
    shares = in_shares([o for o in good if o is not None and math.isfinite(o)])
    if shares is None: return None
    no_model = all(r.get('model') in NA for r in rows)
    for r in rows:
        m,acc,status = re.fullmatch(RUN, r['run']),r['acc'],r.get('status') or None
        said = re.findall('-(seed|epochs)-([0-9]+)', m[5]) if m else []
        if m and len(dict(said)) < len(said): m = None
        f = dict(data=m[1], model=m[2], bs=float(m[3]), lr=float(m[4]), **{k: int(v) for k,v in said}) if m else {}
        if not m and ('bs' not in header or r['run'] in NA): return None
        if f and not (f['bs'] >= 1 and 0 < f['lr'] < math.inf): return None if 'bs' not in header else 'unsure'
        if r['run'].strip() != r['run']: return None
        for k in ('bs', 'lr', 'model'):
            if k not in header: continue
            v = r[k] if k == 'model' else None if r[k] in NA else number(r[k])
            if k == 'model' and v in NA: v = f.get(k, 'model' if no_model else None)
            elif k != 'model' and r[k] in NA: v = f.get(k)
            if v is None or k in f and v != f[k]: return None
            f[k] = v
        if f['model'].strip() != f['model'] or not (1 <= f['bs'] <= 2**53 and f['bs'] % 1 == 0 and 0 < f['lr'] < math.inf): return None
        if status not in (None, 'ok', 'diverged'): return None
        a = None if acc in NA else number(acc)
        if acc not in NA and (a is None or not math.isfinite(a)) or a is None and status == 'ok': return None
        a = None if a is None or status == 'diverged' else shares[a]
        if a is not None and not 0 <= a <= 1: return None
        key = (m is None and r['run'], *(f.get(k) for k in ('data', 'model', 'bs', 'lr', 'seed', 'epochs')))
        if out.setdefault(key, (r['run'], a, f['model'], int(f['bs']), f['lr'], status))[1::4] != (a, status): return None
    return list(out.values())

COMMA = r'[-+]?[0-9]+,[0-9]+([eE][-+]?[0-9]+)?'

def with_points(rows, sep):
    "Numbers with a comma, as they are written where something else stands between fields, with a point; but no mixtures"
    def column(cells):
        mixed = any('.' in o for o in cells)
        return [o.replace(',', '.') if re.fullmatch(COMMA, o) and not mixed else o for o in cells]
    same = len({len(o) for o in rows}) == 1
    return [list(o) for o in zip(*map(column, zip(*rows)))] if same and sep != ',' else rows

def written(table):
    "The table as bytes, and what a plain reader finds in them; None where it cannot be read"
    header,rows,sep,enc,end,harm = table
    lines = [list(header), *([r[c] if c in r else 'x' for c in header] for r in rows)]
    if harm == 'long' and rows: lines[-1].append('1')
    if harm == 'short' and rows: lines[-1].pop()
    buf = io.StringIO()
    csv.writer(buf, delimiter=sep, lineterminator=end).writerows(lines)
    raw = buf.getvalue().encode(enc)
    if harm == 'cut' and rows and enc[:5] != 'utf-1': raw = raw[:-len(end)]
    bad = enc == 'utf-16-le' or enc == 'latin-1' and max(raw, default=0) > 127 or any(len(o) != len(header) for o in lines[1:])
    return raw,None if bad else oracle(header, with_points(lines[1:], sep))

SEEN = dict(right=0, error=0)

def check(path, table):
    "Load `table` and compare it with what a plain reader finds"
    raw,want = written(table)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try: d = load_runs(put(path, raw))
        except ValueError as e:
            SEEN['error'] += 1
            assert want is None or want == 'unsure', f'refused, though it is right: {e}'
            assert len(str(e)) > 20 and re.search(r'row \d|line \d|column|holds no runs|zip', str(e)), f'says too little: {e}'
            return
    SEEN['right'] += 1
    assert want is not None, 'taken, though it is wrong'
    if want == 'unsure': return
    status = d.status if 'status' in d else pd.Series(None, d.index, object)
    got = [(str(r), None if a != a else a, m, b, l, None if pd.isna(s) else s)
           for r,a,m,b,l,s in zip(d.run, d.acc, d.model, d.bs, d.lr, status)]
    assert got == want

@pytest.mark.parametrize('run', ['run1', 'a-m-bs-16-lr-0.1', None])
def test_each_odd_value_alone(tmp_path, run):
    "With a name that says nothing, one that says what the columns do, and names alone"
    header = ('bs', 'lr', 'model', 'acc', 'run', 'status') if run else ('run', 'acc')
    first,sound = [dict(run=o, acc='0.5', bs=bs, lr='0.1', model='m', status='')
                   for o,bs in (('a-m-bs-8-lr-0.1', '8'), (run or 'a-m-bs-16-lr-0.1', '16'))]
    for col in header:
        for val in ODD[col] if col != 'run' or run != 'run1' else []:
            check(tmp_path/'odd.csv', (header, [first, sound | {col: val}], ',', 'utf-8', '\n', ''))

# As many as a few seconds allow; BSLR_FUZZ=20000 throws more tables and names
N = int(os.environ.get('BSLR_FUZZ', 250))

@given(TABLES)
@settings(max_examples=N, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_table_ends_in_a_right_answer_or_a_clear_error(tmp_path_factory, table):
    check(tmp_path_factory.getbasetemp()/'fuzz.csv', table)

def test_both_ends_were_met(): assert not SEEN['right'] + SEEN['error'] or min(SEEN.values()) > 20

SEEDS = ['-seed-0', '-seed-3', '-seed-12', '-seed-007', '-seed-999999999']
NO_SEEDS = ['-seed-4294967296', '-seed-', '-seed-x', '-seed-1e1', '-seed--1', '-seed-1-seed-2']
SEEDED = st.tuples(
    GOOD,
    st.sampled_from(['']*3 + ['-opt-sgd', ' ', '-seed-4']),
    st.sampled_from(SEEDS*3 + ['']*3 + NO_SEEDS))
ENDS = st.sampled_from(['']*4 + ['-epochs-10', '-epochs-10', '-epochs-0', '-seed-1', '.0', 'e1', '5', '-bs-8-lr-0.1'])

NAMES = st.one_of(SEEDED.map(''.join), SEEDED.map(lambda o: o[0] + o[2]), st.just('run 7'))

@given(st.lists(NAMES, min_size=1, max_size=6), ENDS, st.integers(0, 5))
@settings(max_examples=N, deadline=None)
def test_many_names_are_read_as_each_alone(names, end, start):
    names = pd.Series([o + end for o in names])[min(start, len(names) - 1):] # a part of a longer column
    got = parse_names(names)
    for name,(_,row) in zip(names, got.iterrows()):
        try: want = parse_run(name) if name.strip() == name else {}
        except ValueError: want = {}
        assert row.named == bool(want) or name.strip() != name
        assert {k: v for k,v in row.items() if k != 'named' and not pd.isna(v)} == want or name.strip() != name

def test_a_compressed_table_has_a_limit(tmp_path, monkeypatch):
    "And says what to do about it; up to there it is read"
    import gzip
    from bs_lr_study.readers import csv_file
    rows = 'run,acc\n' + ''.join(f'digits-small-bs-{i + 1}-lr-0.1,0.5\n' for i in range(1000))
    path = tmp_path/'runs.csv.gz'
    path.write_bytes(gzip.compress(rows.encode()))
    assert len(load_runs(path)) == 1000
    monkeypatch.setattr(csv_file, '_MOST', 2**14)
    with pytest.raises(ValueError, match='unpacks to more than 0 MB: if you trust it, use gunzip'): load_runs(path)
