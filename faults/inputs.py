"Settings, tables and stores that somebody has broken: each is refused in words, or read as a second and plain reader reads it"
import csv, io, json, math, random, re, warnings, zlib
from contextlib import redirect_stderr, redirect_stdout
from importlib.resources import files
from itertools import product

from bs_lr_study import cli
from bs_lr_study.analysis import find_record, load_runs
from bs_lr_study.runs import CONFIG_DEFAULTS, flat
from bs_lr_study.store import Store, StoreError
from bs_lr_study.sweep import load_study
from bs_lr_study.sweep.study import SettingsError, read_settings
from sweeps import damaged

ODD = ['', '0', '-1', '1e999', 'nan', 'inf', '1_000', '0x10', '2.5', '8.0', '007', '١٢', '9'*400, 'True', 'None', '1,2', '0,01',
       '[1]', '{}', '"', "'", '=1+1', '@x', '-', '--', '#', ';', '%(x)s', '${HOME}', '[x', ']', '__import__("os").system("false")',
       '../../x', '\x00', '\x1b[31m', '\u202e', 'é', '日本', '\ufeff', 'x'*5000, 'NaN', '1e-400', '1d3', ' ', '\t']

def mutated(raw, rng, sep=r'[^\s,=]+'):
    "A file with one to three things wrong with it"
    for _ in range(rng.choice((1, 1, 2, 3))):
        how,text = rng.randrange(8),raw.decode('utf-8', 'surrogateescape')
        if how == 0: raw = damaged(raw, rng)[0] if raw else raw
        elif how in (1, 2, 3):
            if words := list(re.finditer(sep, text)):
                w = rng.choice(words)
                raw = (text[:w.start()] + rng.choice(ODD + [rng.choice(words)[0]]*10) + text[w.end():]).encode('utf-8', 'surrogateescape')
        elif how in (4, 5):
            lines = raw.splitlines(True)
            i,j = rng.randrange(len(lines) or 1),rng.randrange(len(lines) or 1)
            if not lines: continue
            what = rng.randrange(4)
            if what == 0: del lines[i]
            elif what == 1: lines.insert(j, lines[i])
            elif what == 2: lines[i],lines[j] = lines[j],lines[i]
            else: lines[i] = b' ' + lines[i]
            raw = b''.join(lines)
        elif how == 6: raw = raw.replace(b'\n', rng.choice((b'\r\n', b'\r', b'\n\n', b'\x0b')), rng.choice((-1, 1)))
        else: raw = text.encode(rng.choice(('utf-8-sig', 'utf-16', 'utf-16-le', 'latin-1')), 'replace')
    return raw

# settings

WHOLE,DECIMAL = re.compile(r'[+-]?[0-9]+(\.0*)?'),re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')

def plain_settings(text):
    "Sections as dicts of key and words, read line by line"
    out,section,key = {},None,None
    for line in text.split('\n'):
        code = re.split(r'(?:^|(?<=\s))#', line)[0]
        if line.strip()[:1] in ('#', ';') or not code.strip(): continue
        if code[0] in ' \t' and section is not None and key: section[key] += code.split(); continue
        if m := re.fullmatch(r'\[(.+)\]', code.strip()): section,key = out.setdefault(m[1], {}),None; continue
        k,_,v = re.sub('[=:]', '=', code.strip(), count=1).partition('=')
        key = k.strip().lower()
        section[key] = v.split()
    return out

DECIMALS = {'lr', 'mom', 'warmup', *(k for k,v in CONFIG_DEFAULTS.items() if isinstance(v, float))}

def value(word, field=None):
    "What a word says: a number if it is one, for a field of decimals the nearest of these"
    word = re.sub(r'(?<=[0-9])_(?=[0-9])', '', word) # as Python writes large numbers
    if field in DECIMALS and WHOLE.fullmatch(word): return float(word)
    if WHOLE.fullmatch(word): return int(float(word)) if '.' in word else int(word)
    return float(word) if DECIMAL.fullmatch(word) else None if word == 'None' else word

AXES = dict(models='model', batch_sizes='bs', lrs='lr', seeds='seed')

def plain_study(sections, name):
    "The runs of a study, as sets of field and value"
    runs = set()
    for part in [o for o in sections if o.startswith(f'{name}.')] or [name]:
        above = part.split('.')
        order = ['DEFAULT', *('.'.join(above[:i+1]) for i in range(len(above)))]
        keys = {k: v for o in order for k,v in sections.get(o, {}).items()}
        keys.pop('measure', None)
        runs |= {plain_run(dict(zip(keys, words))) for words in product(*keys.values())}
    return runs

def plain_run(words):
    "A run as a set of field and value"
    return frozenset((AXES.get(k, k), w if k in ('data', 'models') else value(w, AXES.get(k, k))) for k,w in words.items())

def same_runs(study, want):
    "Whether a study has these runs and no others"
    said = {frozenset((CONFIG_DEFAULTS | dict(o)).items()) for o in want}
    return said == {frozenset(flat(c).items()) for c in study.cfgs}

OTHER_FORMS = re.compile(r'[,;]|\.\.|\*\*|\^') # lists, ranges and powers

def has_other_forms(key, words):
    "Whether values are said in a way that the plain reader does not know, a path to data among them"
    paths = key == 'data' and not all(re.fullmatch(r'[A-Za-z][\w.]*', w) for w in words)
    return paths or any(map(OTHER_FORMS.search, words))

def settings_case(raw, path, rng):
    "Whether settings were refused in words or read rightly; what was wrong, if not"
    path.write_bytes(raw)
    try:
        name = rng.choice([o for o in read_settings(path) if o != 'DEFAULT'] or ['digits'])
        study = load_study(name, path)
    except SettingsError as e: return None if len(str(e)) > 15 and str(path) in str(e) else f'says too little: {e}'
    with open(path, encoding='utf-8-sig') as f: sections = plain_settings(f.read())
    if any(has_other_forms(k, words) for keys in sections.values() for k,words in keys.items()): return None
    return None if same_runs(study, plain_study(sections, name)) else f'read otherwise: {name}'

# tables

NAME = re.compile(r'([^-\s]+)-(\S+)-bs-([0-9]+)-lr-([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)((?:-[a-z_]+-[\w.]+)*)')
BLANK = {'', 'nan', 'NaN', 'None', 'n/a', 'N/A', 'NA', 'NULL', 'null', 'None', '#N/A', '#N/A N/A', '#NA',
         '-1.#IND', '-1.#QNAN', '-NaN', '-nan', '1.#IND', '1.#QNAN', '<NA>'}

def plain_table(raw):
    "The rows of a table as (run, accuracy, bs, lr)"
    enc = 'utf-16' if raw[:2] in (b'\xff\xfe', b'\xfe\xff') else 'utf-8-sig'
    text = raw.decode(enc).replace('\r\n', '\n').replace('\r', '\n')
    head = next(o for o in text.split('\n') if o.strip())
    sep = max(',;\t|', key=head.count)
    lines = [o for o in csv.reader(io.StringIO(text, newline=''), delimiter=sep) if o and (len(o) > 1 or o[0].strip())]
    if 'run' not in lines[0]: return None # runs without names are numbered, which is another way to read
    out = []
    for o in (dict(zip(lines[0], l)) for l in lines[1:]):
        m = NAME.fullmatch(o['run'].strip())
        bs,lr = (float(o[k]) if o.get(k, '') not in BLANK else float(m[i]) for k,i in (('bs', 3), ('lr', 4)))
        out.append((o['run'], math.nan if o['acc'] in BLANK else float(o['acc']), bs, lr))
    return out

def table_case(raw, path, rng):
    path.write_bytes(raw)
    try: df = load_runs(path)
    except ValueError as e: return None if len(str(e)) > 15 else f'says too little: {e}'
    rows = plain_table(raw)
    if rows is None: return None
    want = list(dict.fromkeys(map(repr, rows))) # copies are dropped aloud
    got = [repr((str(o.run), float(o.acc), float(o.bs), float(o.lr))) for o in df.itertuples()]
    return None if set(got) == set(want) else f'read otherwise: {set(got) ^ set(want)}'

# stores

VALUES = [None, True, '', 'x', -1, 0, 1e300, 10**400, [], {}, [[]], [{}], {'a': 1}, [1], 'ok', 'no such status', '\x1b[31m',
          '../../x', {'acc': 'x'}, [{'acc': 'half'}], [{'epoch': 1}], [{'acc': 2}], [{'acc': None}]]

def forged(line, rng):
    "A record with one thing in it changed, and a checksum that fits"
    d = json.loads(line)
    d.pop('crc32')
    where = d
    if rng.random() < .5: where = rng.choice([o for o in (d['config'], d['env'], d['cost'], *d['metrics']) if o])
    k = rng.choice(list(where))
    how = rng.randrange(4)
    if how == 0: del where[k]
    elif how == 1: where[f'{k}_'] = where.pop(k)
    else: where[k] = rng.choice(VALUES)
    body = json.dumps(d, separators=(',', ':')).encode()
    if rng.random() < .02: body = body[:-1] + b',"deep":' + b'['*30000 + b']'*30000 + b'}'
    return body[:-1] + b',"crc32":"%08x"}\n' % zlib.crc32(body)

def plain_store(raw):
    "Accuracy and status of the last record of each run whose checksum fits"
    out = {}
    for line in raw.replace(b'{"schema":', b'\n{"schema":').splitlines():
        m = re.match(rb'(.*),"crc32":"([0-9a-f]{8})"\}', line, re.DOTALL)
        if not m or zlib.crc32(m[1] + b'}') != int(m[2], 16): continue
        try: d = json.loads(m[1] + b'}')
        except (ValueError, RecursionError): continue
        out[repr(d.get('id'))] = d
    return out

def store_case(raw, path, rng):
    lines = raw.splitlines(True)
    if rng.random() < .5:
        i = rng.randrange(len(lines))
        raw = b''.join([*lines[:i], forged(lines[i], rng), *lines[i+1:]])
    else: raw = mutated(raw, rng, r'[^\s,:{}"]+')
    path.write_bytes(raw)
    store = Store(path)
    try:
        recs,df,_ = store.run_records(),store.to_df(),store.epochs_df()
    except StoreError as e: return None if len(str(e)) > 15 else f'says too little: {e}'
    want = plain_store(raw)
    for k,d in recs.items():
        if want.get(repr(k)) != d: return f'a record that is none: {k}'
    for o in df.itertuples():
        d = want[repr(o.id)]
        acc = d['metrics'][-1].get('acc') if d['status'] == 'ok' else math.nan # another metric may be all it has
        if repr(float(o.acc)) != repr(math.nan if acc is None else float(acc)): return f'accuracy {o.acc}, not {acc}'
    try:
        if len(df) and rng.random() < .1: load_runs(path)
    except ValueError as e: return None if len(str(e)) > 15 else f'says too little: {e}'

# all of them

def _some_settings():
    "The project's own, as far as they hold no rules that follow the batch size"
    text = (files('bs_lr_study')/'settings.ini').read_text()
    return text[:text.index('[small_batches.decay]')].encode()

def _some_tables():
    csv_ = find_record('2025-06-04').read_bytes().splitlines(True)
    rows = [b'r%d,0.%d,m,%d,1e-%d,%d,ok\n' % (i, 50 + i, 2**(i % 4), 2 + i//4, i % 2) for i in range(12)]
    cols = b'run,acc,model,bs,lr,seed,status\n' + b''.join(rows)
    return [b''.join(csv_[:20]), cols]

def _some_store():
    lines = find_record('digits-fast').read_bytes().splitlines(True)
    return b''.join(lines[:12])

def cli_case(argv):
    "Whether the command ends without a traceback; what came instead, if not"
    import sys
    was,sys.argv = sys.argv,['bslr', *map(str, argv)]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()): cli.main()
    except SystemExit: pass
    except Exception as e: return f'{type(e).__name__}: {e}'
    finally: sys.argv = was

def many(row, beds, rng, n, case, sources, argv):
    "Break a file `n` times; one in a hundred goes through the command line, too"
    path = beds.folder/f'broken.{dict(settings="ini", table="csv", store="jsonl")[case.__name__.split("_")[0]]}'
    shown,log = warnings.showwarning,[]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for i in range(n):
            seed = rng.randrange(1 << 30)
            one = random.Random(seed)
            raw = one.choice(sources)
            if case is not store_case: raw = mutated(raw, one)
            try: bad = case(raw, path, one) or (cli_case(argv(path)) if i % 100 == 0 else None)
            except Exception as e: bad = f'{type(e).__name__}: {e}'
            row.tried += 1
            row.survived += not bad
            row.wrong += bool(bad and bad.startswith(('read otherwise', 'accuracy', 'a record that')))
            if bad: log.append(f'seed {seed}: {bad[:200]}')
    warnings.showwarning = shown
    row.lost = row.twice = None
    row.note = '; '.join(log[:5])

def settings(row, beds, rng, n):
    many(row, beds, rng, n, settings_case, [_some_settings()], lambda p: ['studies', '--settings', p])

def tables(row, beds, rng, n):
    many(row, beds, rng, n, table_case, _some_tables(), lambda p: ['report', p, '--out', beds.folder/'plots'])

def stores(row, beds, rng, n):
    many(row, beds, rng, n, store_case, [_some_store()], lambda p: ['merge', beds.folder/'whole.jsonl', p])

ROWS = {settings: (7000, 'malformed settings'), tables: (2000, 'malformed tables'), stores: (1000, 'malformed stores')}
