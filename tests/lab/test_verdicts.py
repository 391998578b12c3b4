"The ledger of all claims: what is decided, where each is worked out, and how it reads"
import json
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd, pytest

from bs_lr_study.lab.ledger import PAPERS, SOURCES, VERDICTS, ledger_markdown, ledger_page, ledger_text
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
    published = verdicts[verdicts.source.isin(['grid', 'first', 'lr_find']) & ~verdicts.name.str.endswith('on photographs')]
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

# addresses that others may have linked to: they stay
QUOTED = 'best-run', 'far-from-bs-16', 'lr_find-for-xresnet34', 'group-normalization', 'accumulation', 'fixed-lr', 'plain-sgd'

def test_each_claim_has_an_address(verdicts):
    "One each on the page of all claims, with its verdict, its code and its experiment, under the source it is from"
    page = ledger_page(verdicts)
    rows = [o for o in page.splitlines() if o.startswith('| <a id="')]
    ids = [o.split('"')[1] for o in rows]
    assert sorted(ids) == sorted(verdicts.name.str.replace(' ', '-')) and len(set(ids)) == len(ids) and set(QUOTED) <= set(ids)
    assert all(o.count('|') == 5 and f'](#{i})' in o for i,o in zip(ids, rows))
    sections = dict(o.split('\n', 1) for o in page.removeprefix('## ').split('\n\n## '))
    for o in verdicts.itertuples():
        row, = [l for l in sections[SOURCES[o.source]].splitlines() if f'[{o.claim}]' in l]
        assert f'| {o.verdict} |' in row and f'[code]({o.cell}), [experiment]({o.experiment})' in row
    assert set(PAPERS) <= set(SOURCES) and page.count('](https://') == sum(map(len, PAPERS.values()))

# which notebook tells of the runs in a table of the evidence
TELLS = dict(noise='11_noise', scaled='12_scaling', grown='13_growing', remedied='14_generalization', sharp='16_sharpness',
             costs='17_cost', texts='20_language_models', budgets='20_language_models', decays='20_language_models',
             gradients='20_language_models', seesaws='20_language_models',
             **dict.fromkeys(('updates', 'warmed', 'muons'), '20_language_models'),
             photos='21_photographs', parts='12_accumulate', first='imagenette')

class Watched:
    "Evidence that notes which of its tables are read"
    def __init__(self, ev): self.__dict__.update(ev=ev, read=set())
    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self.ev, name)

def test_each_claim_leads_to_its_experiment(ev):
    "To a notebook that is there, and that tells of a table the test has read"
    for name,claim in CLAIMS.items():
        assert (NBS/claim.experiment).is_file() and claim.experiment, name
        watched = Watched(ev)
        claim.test(watched)
        own = {TELLS[o] for o in watched.read & set(TELLS)}
        assert not own or any(o in claim.experiment for o in own), (name, own, claim.experiment)

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
