"""All that a CPU can measure: `make bench`, or `python benchmarks/bench.py`

Each row is a ratio to the published loop (`published.py`) measured in the same run, in turns, a median of three or more.
Write runs/bench/bench.json and bench.md, with the machine and all versions, and print the table. It takes the better part
of an hour on two cores; `--quick` checks in two minutes that all of it works, with numbers that mean nothing. Each part is
also a script of its own.
"""
import argparse
from importlib import import_module

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
    more = (dict(whole=args.whole) if part == 'study' else {}) | (dict(repeats=1) if args.quick else {})
    return import_module(part).measure(quick=args.quick, **more)

INTRO = ('The first case of a row is what the others are compared with. In brackets the lowest and the highest ratio of all turns: '
         'of six turns or more, an interval of 97 % or more for the median.')
QUICK = 'A quick run, to see that all works: its numbers mean nothing.'

def options(part=None):
    "Of all parts, or of one"
    doc = import_module(part).__doc__ if part else __doc__
    epilog = None if part else 'Parts: ' + '; '.join(f'{k}, {v}' for k,v in PARTS.items())
    parser = argparse.ArgumentParser(description=doc, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    if not part: parser.add_argument('parts', nargs='*', choices=[[], *PARTS], help='all by default', metavar='PART')
    parser.add_argument('--quick', action='store_true', help='see that it works, on tiny sizes')
    parser.add_argument('--whole', action='store_true', help='run the whole study with the published loop, too')
    parser.add_argument('--to', default='runs/bench', help=f'folder for {part or "bench"}.json and {part or "bench"}.md')
    return parser.parse_args()

def main(part=None):
    "Measure all parts, or one that is run as a script"
    args = options(part)
    from results import write
    records = []
    for name in [part] if part else args.parts or PARTS:
        print(f'measuring {PARTS[name]} …', flush=True)
        for r in measured(name, args):
            records.append(r)
            print(f"  {r['group']}: {r['case']}", flush=True)
    print(write(args.to, part or 'bench', 'Benchmarks', records, QUICK if args.quick else INTRO, quick=args.quick))

if __name__ == '__main__': main()
