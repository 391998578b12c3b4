"""All that a CPU can measure: `make bench`, or `python benchmarks/bench.py`

Each row is a ratio to the published loop (`published.py`) measured in the same run, in turns, a median of three or more.
Writes runs/bench/bench.json and bench.md, with the machine and all versions, and prints the table. It takes the better part
of an hour on two cores; `--quick` sees in a minute that all of it works, with numbers that mean nothing.
"""
import argparse

PARTS = {
    'study': 'the embedded study: one process, two cores, three seeds',
    'phases': 'where an update spends its time',
    'xresnet': 'xresnet18 at 128 pixels',
    'loader': 'the loader alone',
    'others': 'what a user would otherwise pick',
    'growth': 'growth with members, batch size, image size and cores; memory',
}

def measured(part, args):
    "The records of one part"
    from importlib import import_module
    more = (dict(whole=args.whole) if part == 'study' else {}) | (dict(repeats=1) if args.quick else {})
    return import_module(part).measure(quick=args.quick, **more)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog='Parts: ' + '; '.join(f'{k}, {v}' for k,v in PARTS.items()))
    parser.add_argument('parts', nargs='*', choices=[[], *PARTS], help='all by default', metavar='PART')
    parser.add_argument('--quick', action='store_true', help='see that it works, on tiny sizes')
    parser.add_argument('--whole', action='store_true', help='run the whole study with the published loop, too')
    parser.add_argument('--to', default='runs/bench', help='folder for bench.json and bench.md')
    args = parser.parse_args()
    from results import write
    records = []
    for part in args.parts or PARTS:
        print(f'measuring {PARTS[part]} …', flush=True)
        for r in measured(part, args):
            records.append(r)
            print(f"  {r['group']}: {r['case']}", flush=True)
    intro = 'The first case of a row is what the others are compared with. In brackets the lowest and the highest ratio of all turns: of six turns or more, an interval of 97 % or more for the median.'
    if args.quick: intro = 'A quick run, to see that all works: its numbers mean nothing.'
    print(write(args.to, 'bench', 'Benchmarks', records, intro, quick=args.quick))

if __name__ == '__main__': main()
