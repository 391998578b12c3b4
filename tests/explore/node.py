"""The scripts of the explorer in Node, without a browser: text in, text out."""
import json, os, shutil, subprocess
from pathlib import Path

import pytest

TEMPLATES = Path(__file__).parents[2]/'bs_lr_study'/'explore'/'templates'

def find_node():
    "Node of the machine, else the one that playwright brings"
    if found := shutil.which('node'): return found
    try: import playwright
    except ImportError: playwright = None
    own = playwright and Path(playwright.__file__).parent/'driver'/'node'
    if own and own.is_file(): return str(own)
    if os.environ.get('BSLR_NEED_BROWSER'): raise RuntimeError('BSLR_NEED_BROWSER is set: neither node nor playwright is here')
    pytest.skip('neither node nor playwright is here', allow_module_level=True)

def run_module(code, data):
    "What a few lines make of `data`; they find the modules at `at`"
    head = f"""import {{readFileSync}} from "node:fs";
const at = name => import({json.dumps(TEMPLATES.as_uri())} + "/" + name + ".mjs");
const data = JSON.parse(readFileSync(0, "utf8"));
"""
    args = [find_node(), '--input-type=module', '-e', head + code]
    r = subprocess.run(args, input=json.dumps(data), capture_output=True, text=True, timeout=300)
    assert r.returncode == 0, r.stderr[-3000:]
    return json.loads(r.stdout)
