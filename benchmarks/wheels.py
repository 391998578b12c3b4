"""Wheels for a machine without a network: `python benchmarks/wheels.py wheels --python 3.12`

Resolves what this project and its benchmarks need, as constraints.txt pins it, for Linux on x86_64 and the Python asked for,
downloads it into a folder with pip, adds a wheel of the project itself, and prints the commands for the offline machine. uv resolves,
since pip would judge by the machine it runs on. torch comes with its CUDA libraries, several GB; `--dry-run` only resolves.
"""
import argparse, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = 'dev','wandb' # what trains, what `make gpu` tests with, what is compared with
# pip takes them one by one
TAGS = [*(f'manylinux_2_{i}_{{}}' for i in range(5, 29)), *(f'manylinux{o}_{{}}' for o in (1, 2010, 2014)), 'linux_{}']

def call(*args): subprocess.run([str(o) for o in args], check=True, cwd=ROOT)

def resolve(to, python, arch, extras):
    "Write requirements.txt: every distribution and its version; some ask for more than the first patch of a Python"
    how = '--quiet', '--no-header', '--no-annotate', '--only-binary', ':all:'
    machine = '--python-version', f'{python}.9', '--python-platform', f'{arch}-manylinux_2_28'
    what = '--constraint', 'constraints.txt', *(f'--extra={o}' for o in extras)
    call(sys.executable, '-m', 'uv', 'pip', 'compile', *how, *machine, *what, '--output-file', to/'requirements.txt', 'pyproject.toml')

def download(to, python, arch):
    "Fetch the wheels, and make one of this project"
    tags = [o for tag in TAGS for o in ('--platform', tag.format(arch))]
    machine = '--only-binary=:all:', '--python-version', python, *tags
    what = '--requirement', to/'requirements.txt'
    call(sys.executable, '-m', 'pip', 'download', '--no-deps', *machine, '--dest', to, *what)
    call(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--wheel-dir', to, '.')

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('to', type=Path, help='folder for the wheels')
    p.add_argument('--python', default=f'{sys.version_info.major}.{sys.version_info.minor}', help="the offline machine's Python")
    p.add_argument('--arch', default='x86_64', choices=['x86_64', 'aarch64'], help='its processor')
    p.add_argument('--extra', nargs='*', default=EXTRAS, help="extras of this project's")
    p.add_argument('--dry-run', action='store_true', help='resolve, but download nothing')
    args = p.parse_args()
    to = args.to.resolve()
    to.mkdir(parents=True, exist_ok=True)
    resolve(to, args.python, args.arch, args.extra)
    print(f"{to/'requirements.txt'}: {len((to/'requirements.txt').read_text().splitlines())} distributions")
    if args.dry_run: return
    download(to, args.python, args.arch)
    print(f'''Copy this repository with {args.to} to the offline machine, and there, in the repository:
    python{args.python} -m venv .venv && .venv/bin/pip install --no-index --find-links {args.to} -r {args.to}/requirements.txt bs_lr_study
    touch .venv/.ready && make gpu DATA=imagenette2-160.tgz''')

if __name__ == '__main__': main()
