"The ledger of all claims: what is decided, where each is worked out, and how it reads"
import json
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd, pytest

from bs_lr_study.lab.ledger import SOURCES, VERDICTS, ledger_markdown, ledger_text
from bs_lr_study.lab.verdicts import CLAIMS, ledger

NBS = Path(__file__).parents[2]/'nbs'/'lab'

def headings(nb):
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    lines = [l for c in cells if c['cell_type'] == 'markdown' for l in ''.join(c['source']).splitlines()]
    return [l[4:].strip() for l in lines if l.startswith('### ')]

def test_every_claim_has_one_of_four_verdicts(verdicts):
    t = verdicts
    assert len(t) == len(CLAIMS) > 40 and t.verdict.isin(VERDICTS).all() and set(t.source) == set(SOURCES)
    need = t.verdict == 'needs an experiment'
    assert (t.needs != '').equals(need) and (t.found[~need] != '').all() and t.numbers[~need].map(len).all()
    assert not t.found.str.contains('nan').any()

def test_what_the_published_data_decide_is_decided(verdicts):
    published = verdicts[verdicts.source.isin(['grid', 'first', 'lr_find'])]
    assert set(published.name[published.verdict == 'needs an experiment']) == {'untrainable at bs 1', 'thousand outputs', 'epoch times'}

def test_cells_exist(verdicts):
    "Each claim has a heading of its name in the notebook that its row names, and each heading a claim"
    found = [(nb.name, o) for nb in sorted(NBS.glob('*_claims_*.ipynb')) for o in headings(nb)]
    assert [o for _,o in found] == verdicts.name.tolist() and all(o == o.lower() for _,o in found)
    assert verdicts.cell.tolist() == [f'{nb}#{o.replace(" ", "-")}' for nb,o in found]

def test_texts(verdicts):
    md,txt = ledger_markdown(verdicts, 'nbs/lab/'),ledger_text(verdicts)
    assert all(f'](nbs/lab/{o})' in md for o in verdicts.cell) and all(o.count('|') == 4 for o in md.splitlines())
    assert all(o in txt for o in verdicts.claim)
    assert [o[:-1] for o in txt.splitlines() if not o.startswith(' ')] == [o for o in VERDICTS if o in set(verdicts.verdict)]

def test_one_source(ev):
    assert set(ledger(ev, 'lr_find').source) == {'lr_find'}
    with pytest.raises(ValueError, match="source is 'blog': choose one of grid"): ledger(ev, 'blog')

def test_without_data_every_claim_asks_for_some(ev):
    tables = {o.name: getattr(ev, o.name)[:0] for o in fields(ev) if isinstance(getattr(ev, o.name), pd.DataFrame)}
    none = replace(ev, papers={}, **tables)
    none.__dict__['err'] = ev.err
    t = ledger(none)
    assert t.verdict.eq('needs an experiment').all() and t.needs.ne('').all()

ONE_SEED = ('fixed lr', 'lr doubled with bs', 'lr adjusted', 'lower validation loss', 'grow bs instead of decaying lr',
            'uses the hardware better', 'lower cost', 'small for quick', 'what does it save')

def test_an_error_that_is_not_of_these_runs_is_not_used(ev):
    "One seed: losses and times have no error"
    once = {k: o[o.seed == 0] for k in ('own', 'scaled', 'grown', 'remedied', 'costs') for o in [getattr(ev, k)]}
    for name in ONE_SEED:
        v = CLAIMS[name].test(replace(ev, **once))
        assert (v.verdict, v.needs) == ('needs an experiment', 'a second seed'), name
