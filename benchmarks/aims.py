"""What the engine was to reach, and what it reaches: one table, in a quarter of an hour on two idle cores

`python benchmarks/aims.py` measures in three parts, each a median of three turns, and prints the table. A part that is done is
kept in the folder `--to`: called again, it goes on with the next, and says so. `--save` writes aims.csv, walls.csv and
machine.csv into a folder, such as bs_lr_study/records/speed, which the notebook on speed shows. `--busy` notes that other
work ran beside. `--quick` sees that it works, with numbers that mean nothing.
"""
import argparse, json
from importlib import import_module
from pathlib import Path

import pandas as pd

import results

PARTS = {'study': 'the embedded study', 'walls': 'updates beside what the machine allows', 'xresnet': 'xresnet18 at 128 pixels'}
SHARE = .3 # Of the speed of a product of matrices, from this batch size on:
LARGE = 16

def ratio_row(r):
    "A line of the table from a comparison with the published loop"
    (base,theirs),(mine,ours) = list(r['measured'].items())[:2]
    of = lambda k, seconds: pd.Series(seconds).median()/r['units'][k]
    times,lowest,highest = r['ratios'][mine]
    return dict(case=r['case'], unit=r['unit'], published=of(base, theirs), engine=of(mine, ours), reached=times, lowest=lowest,
                highest=highest, at_least=r['at_least'], hoped=r['aim'], note=r['note'])

def share_row(w):
    "A line of the table from a line of the walls"
    return dict(case=f"digits, {w['members']} runs at once, bs {w['bs']}: share of the machine's matrix speed", unit='ms an update',
                engine=w['update'], reached=w['matrix_share'], lowest=w['lowest'], highest=w['highest'], at_least=SHARE)

def measured(part, quick, turns):
    "What a part says: lines of the aims, lines of the walls, speeds of the machine"
    if part == 'walls':
        walls,can = import_module('phases').walls(quick, turns)
        walls = walls.to_dict('records')
        return dict(aims=[share_row(w) for w in walls if w['bs'] >= LARGE], walls=walls, machine=can)
    records = import_module(part).measure(quick=quick, aims=True, repeats=turns)
    return dict(aims=[ratio_row(r) for r in records])

def kept(part, args):
    "What a part says, measured now or before"
    file = Path(args.to)/f'aims_{part}{"_quick"*args.quick}.json'
    if file.exists():
        print(f'{PARTS[part]}: measured before, in {file}', flush=True)
        return json.loads(file.read_text())
    print(f'measuring {PARTS[part]} …', flush=True)
    said = measured(part, args.quick, args.turns)
    how = dict(turns=args.turns, beside='other work' if args.busy else 'nothing else')
    said['machine'] = results.machine() | said.get('machine', {}) | how
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(said, indent=1))
    return said

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parts', nargs='*', choices=[[], *PARTS], metavar='PART', help=f'{", ".join(PARTS)}; all by default')
    parser.add_argument('--to', default='runs/bench', help='folder in which parts that are done are kept')
    parser.add_argument('--save', help='folder for the tables')
    parser.add_argument('--busy', action='store_true', help='note that other work runs beside')
    parser.add_argument('--turns', type=int, default=3, help='each number is the median of so many')
    parser.add_argument('--quick', action='store_true', help='see that it works')
    args = parser.parse_args()
    said = {p: kept(p, args) for p in args.parts or PARTS}
    aims = pd.DataFrame([o for s in said.values() for o in s['aims']])
    tables = dict(aims=aims, walls=pd.DataFrame([o for s in said.values() for o in s.get('walls', [])]),
                  machine=pd.DataFrame([dict(part=p, what=k, value=v) for p,s in said.items() for k,v in s['machine'].items()]))
    print(results.markdown(aims.drop(columns='note', errors='ignore').round(3).to_dict('records')))
    if not args.save: return
    Path(args.save).mkdir(parents=True, exist_ok=True)
    for name,table in tables.items(): table.to_csv(Path(args.save)/f'{name}.csv', index=False, float_format='%.5g')

if __name__ == '__main__': main()
