"""What was measured, as records and as tables: each ratio can be worked out again from the times beside it"""
import json, os, platform, subprocess, sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

TARGETS,WITH_WANDB = 'Times as fast as the published loop, W&B off in both','The same with W&B on in both'

def ratios(
    measured, # Case -> list of numbers, one a turn; the first case is what the others are compared with
    units,    # Case -> how many units (runs, updates…) one number stands for
): # dict: case -> median, lowest and highest ratio of the first case to it, turn by turn
    "How many times as fast as the first case, or as small, each other one is"
    base,*others = measured
    def one(k):
        rs = pd.Series([(a/units[base])/(b/units[k]) for a,b in zip(measured[base], measured[k])])
        return [rs.median(), rs.min(), rs.max()]
    return {k: one(k) for k in others}

def record(
    group,    # Heading of its table
    case,     # Its row there
    measured, # DataFrame as `turns` gives it, or a dict of lists
    unit,     # What one number is of, such as 's a run'
    units=None, # As in `ratios`; 1 by default
    note='',  # What a reader has to know
    at_least=None, # The ratio to be reached
    aim=None, # The ratio aimed at
): # dict
    "One comparison"
    measured = {k: list(map(float, v)) for k,v in measured.items()}
    units = {k: (units or {}).get(k, 1) for k in measured}
    said = dict(group=group, case=case, unit=unit, note=note, at_least=at_least, aim=aim)
    return said | dict(measured=measured, units=units, ratios=ratios(measured, units))

def skipped(
    group, # Heading of its table
    case,  # Its row there
    note,  # Why
): # dict
    "A comparison that could not be made"
    return record(group, case, {'–': []}, '', note=note)

def _num(o): return '' if o is None else o if isinstance(o, str) else f'{o:.3g}' if abs(o) < 1000 else f'{o:.0f}'

def _row(r):
    medians = {k: pd.Series(v).median()/r['units'][k] if v else None for k,v in r['measured'].items()}
    row = {'': r['case'], 'unit': r['unit']} | {k: _num(v) for k,v in medians.items() if k != '–'}
    row |= {f'{k}, ratio' if len(r['ratios']) > 1 else 'ratio': f'{m:.2f} ({lo:.2f}–{hi:.2f})' for k,(m,lo,hi) in r['ratios'].items()}
    return row | {k: _num(r[v]) for k,v in (('at least', 'at_least'), ('aim', 'aim')) if r[v]}

def markdown(
    rows, # List of dicts
): # str
    "A table in Markdown"
    df = pd.DataFrame(rows).fillna('')
    last = [o for o in ('at least', 'aim', 'note') if o in df]
    df = df[[o for o in df if o not in last] + last]
    lines = [list(df.columns), ['---']*len(df.columns), *df.astype(str).values.tolist()]
    return '\n'.join('| ' + ' | '.join(o) + ' |' for o in lines)

def _table(group, records):
    notes = list(dict.fromkeys(r['note'] for r in records if r['note']))
    rows = [_row(r) | ({'note': str(notes.index(r['note']) + 1)} if r['note'] and len(notes) > 1 else {}) for r in records]
    said = [f'{i}. {o}' if len(notes) > 1 else o for i,o in enumerate(notes, 1)]
    return '\n\n'.join([f'## {group}', markdown(rows), *(['\n'.join(said)] if said else [])])

def tables(
    records, # As `record` makes them
): # str
    "Records as tables, one a group"
    groups = dict.fromkeys(r['group'] for r in records)
    return '\n\n'.join(_table(g, [r for r in records if r['group'] == g]) for g in groups)

def _cpu():
    if not Path('/proc/cpuinfo').exists(): return platform.processor()
    names = [o.split(':')[1].strip() for o in Path('/proc/cpuinfo').read_text().splitlines() if o.startswith('model name')]
    return names[0] if names else platform.machine()

def _version(name):
    try: return version(name)
    except PackageNotFoundError: return None

def _commit():
    git = lambda *o: subprocess.run(['git', '-C', Path(__file__).parent, *o], capture_output=True, text=True).stdout.strip()
    commit,changes = git('rev-parse', '--short', 'HEAD'),git('status', '--porcelain', '--untracked-files=no')
    return commit + (', with changes that are not committed' if changes else '')

def machine(): # dict
    "Where and with what this is measured"
    torch = sys.modules.get('torch') # slow to import, and there already if anything was measured with it
    gpu = {f'gpu {i}': torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())} if torch else {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    memory = f"{os.sysconf('SC_PAGE_SIZE')*os.sysconf('SC_PHYS_PAGES')/2**30:.1f} GiB" if hasattr(os, 'sysconf') else ''
    names = 'torch', 'torchvision', 'fastai', 'fastcore', 'numpy', 'pillow', 'ray', 'wandb', 'bs_lr_study'
    return dict(cpu=_cpu(), cores=cores, memory=memory, system=platform.platform(), **gpu, python=platform.python_version(),
                **{o: _version(o) for o in names}, commit=_commit(), date=datetime.now(timezone.utc).isoformat(timespec='minutes'))

def write(
    folder,  # Where to
    name,    # Of the two files
    title,   # Of the page
    records, # As `record` makes them
    intro='', # What the page says first
    **more,  # Further values for the JSON file
): # str: the page
    "Write records as NAME.json and NAME.md"
    (folder := Path(folder)).mkdir(parents=True, exist_ok=True)
    m = machine()
    listed = '\n'.join(f'- {k}: {v}' for k,v in m.items())
    parts = [f'# {title}', *([intro] if intro else []), tables(records), '## Machine and versions', listed]
    page = '\n\n'.join(parts) + '\n'
    (folder/f'{name}.json').write_text(json.dumps(dict(machine=m, records=records) | more, indent=1))
    (folder/f'{name}.md').write_text(page)
    return page
