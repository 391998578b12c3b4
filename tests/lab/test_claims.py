"The ledger: each number worked out again by other means, each verdict seen to flip when the data do"
import json, re
from dataclasses import replace
from pathlib import Path

import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.analysis import find_record
from bs_lr_study.lab.claims import CLAIMS, SOURCES, VERDICTS, evidence, in_pairs, judge, ledger, ledger_markdown, ledger_text
from bs_lr_study.analysis.laws import paper_table
from bs_lr_study.analysis.replicates import RunSd

NB = Path(__file__).parents[2]/'nbs'/'lab'/'02_claims.ipynb'
EXACT = RunSd(1e-9, np.inf, 'exact')

@pytest.fixture(scope='module')
def ev(): return evidence()

@pytest.fixture(scope='module')
def t(ev): return ledger(ev)

@pytest.fixture(scope='module')
def raw(): return load('2025-06-04')

def load(name):
    "A record's rows, read with nothing of this package"
    path = find_record(name)
    if path.suffix == '.csv':
        df = pd.read_csv(path)
        parts = df.run.str.extract(r'^imagenette-(?P<model>\w+)-bs-(?P<bs>\d+)-lr-(?P<lr>.+)$').astype(dict(bs=int, lr=float))
        return pd.concat([parts, df.acc], axis=1)
    rows = [json.loads(o) for o in path.read_text().splitlines()]
    return pd.DataFrame([o['config'] | o['cost'] | o['metrics'][-1] | dict(epoch_metrics=o['metrics']) for o in rows])

def run(name, ev): return CLAIMS[name][2](ev)
def numbers(s): return [float(o.replace('−', '-')) for o in re.findall(r'(?<![\w.])[−-]?\d+\.?\d*(?![\w])', s)]

def change(ev, err=None, **where):
    "Evidence with some cells of the published grid changed by `by` or set `to`"
    by,to = where.pop('by', None),where.pop('to', None)
    hit = np.all([ev.grid[k].isin(v if isinstance(v, list) else [v]) for k,v in where.items()], axis=0)
    assert hit.any()
    new = replace(ev, grid=ev.grid.assign(acc=ev.grid.acc.where(~hit, to if to is not None else ev.grid.acc + (by or 0))))
    new.__dict__['err'] = err or ev.err # the error is not what is to change
    return new

def own(ev, **cols):
    "Evidence with own runs beside the recorded ones: a column = a value or a list"
    n = max(len(v) for v in cols.values() if isinstance(v, list))
    base = dict(run=[f'new-{i}' for i in range(n)], data='new', model='m', lr=1e-3, bs=8, epochs=5, acc=.5, status='ok', schedule='one_cycle', norm='batch', opt='adam', wd=.01, device='cpu', regime='none', seed=0)
    return replace(ev, own=pd.concat([ev.own, pd.DataFrame(base | cols, index=range(n))], ignore_index=True))

def at_8(ev, early, inside=True):
    "Evidence with rows whose best batch size is 8 for sure, and these noise scales, each to a tenth"
    e = np.array(early)
    return replace(ev, noise=pd.DataFrame(dict(model='m', lr=1e-3, bs=8, bs_lo=8, bs_hi=8, inside=inside, early=e, early_lo=e*.9, early_hi=e*1.1, late=e, late_lo=e, late_hi=e)))



class TestLedger:
    def test_every_claim_has_one_of_four_verdicts(self, t):
        assert len(t) == len(CLAIMS) > 40 and t.verdict.isin(VERDICTS).all() and set(t.source) == set(SOURCES)
        need = t.verdict == 'needs an experiment'
        assert (t.needs != '').equals(need) and (t.number[~need] != '').all()
        assert not t.number.str.contains('nan').any()

    def test_what_the_published_data_decide_is_decided(self, t):
        assert set(t.name[t.source.isin(['grid', 'first', 'lr_find']) & (t.verdict == 'needs an experiment')]) == {'untrainable at bs 1', 'thousand outputs', 'epoch times'}

    def test_cells_exist(self, t):
        heads = [l[4:].strip() for c in json.loads(NB.read_text())['cells'] if c['cell_type'] == 'markdown' for l in ''.join(c['source']).splitlines() if l.startswith('### ')]
        assert heads == t.name.tolist() and all(o == o.lower() for o in heads)
        assert t.cell.tolist() == [f'07b_claims.ipynb#{o.replace(" ", "-")}' for o in heads]

    def test_texts(self, t):
        md,txt = ledger_markdown(t, 'nbs/'),ledger_text(t)
        assert md.count('](nbs/lab/02_claims.ipynb#') == len(t) and all(o.count('|') == 4 for o in md.splitlines())
        assert all(o in txt for o in t.claim) and [o[:-1] for o in txt.splitlines() if not o.startswith(' ')] == [o for o in VERDICTS if o in set(t.verdict)]

    def test_one_source(self, ev):
        assert set(ledger(ev, 'lr_find').source) == {'lr_find'}
        with pytest.raises(ValueError, match="source is 'blog': choose one of grid"): ledger(ev, 'blog')

    def test_without_data_every_claim_asks_for_some(self, ev):
        none = replace(ev, grid=ev.grid[:0], first=ev.first[:0], own=ev.own[:0], epochs=ev.epochs[:0], papers={}, parts=ev.parts[:0], noise=None, scaled=ev.scaled[:0], grown=ev.grown[:0], remedied=ev.remedied[:0], sharp=ev.sharp[:0], costs=ev.costs[:0])
        none.__dict__['err'] = ev.err
        assert ledger(none).verdict.eq('needs an experiment').all() and ledger(none).needs.ne('').all()


class TestNumbers:
    "From the CSV and JSON lines, by hand"
    def test_error(self, ev, raw):
        both = load('2025-06-01').merge(raw, on=['model', 'bs', 'lr'])
        assert ev.err.sd == pytest.approx(np.sqrt(((both.acc_x - both.acc_y)**2).sum()/18))

    def test_top_ten(self, t, raw):
        gap = 100*(raw.acc.nlargest(10).iloc[-1] - raw.acc[raw.lr < 1e-3].max())
        half = 100*ss.studentized_range.ppf(.9, 123, 9)*.00778
        assert raw[raw.acc >= raw.acc.nlargest(10).iloc[-1]].lr.isin([1e-3, 1e-2]).all()
        assert numbers(self.of(t, 'top ten'))[1:] == pytest.approx([gap, gap - half, gap + half], abs=.12)

    def of(self, t, name): return t.number[t.name == name].item()

    def test_models_and_batch_sizes(self, t, raw):
        best = 100*raw.groupby('model').acc.max()
        assert numbers(self.of(t, 'models alike'))[0] == round(best.max() - best.min(), 2)
        by = 100*raw.groupby('bs').acc.max()
        near = by[16] - by[[8, 32, 64, 128]]
        assert numbers(self.of(t, 'near bs 16'))[:2] == [round(near.min(), 1), round(near.max(), 1)]
        assert numbers(self.of(t, 'far from bs 16'))[:3] == (by[16] - by[[1, 1024, 2048]]).round(1).tolist()
        for name,bss in (('near bs 16', [8, 16, 32, 64, 128]), ('far from bs 16', [1, 16, 1024, 2048])): # the margin runs over the cells picked from
            assert numbers(self.of(t, name))[-1] == pytest.approx(100*ss.studentized_range.ppf(.9, raw.bs.isin(bss).sum(), 9)*.00778, abs=.06)

    def test_inflection_table(self, t): assert self.of(t, 'inflection points').startswith('the rule gives 15 of 15 entries')

    def test_hierarchy(self, t, raw):
        d = pd.concat([raw, load('2025-06-01')]).query('bs == 64 and .00009 < lr < .02')
        m = 100*d.pivot_table(index='model', columns='lr', values='acc')
        steps = np.r_[m[.01] - m[.001], m[.001] - m[.0001]]
        half = lambda sd, dof: ss.studentized_range.ppf(.9, 9, dof)*sd/2**.5
        said = self.of(t, 'hierarchy')
        assert said.startswith(f'clear in {(steps > half(.778, 9)).sum()} of 6 steps, the smallest {steps.min():.1f} points')
        both = load('2025-06-01').merge(raw, on=['model', 'bs', 'lr'])
        moved = 100*(both.acc_x - both.acc_y)
        shift = moved - moved.groupby(both.model).transform('mean')
        within = np.sqrt((shift**2).sum()/2/6) # nine differences of two runs, less three shifts
        low = steps.min() - half(within, 6)
        assert low > 0 and (steps > half(within, 6)).all()
        assert f"without it ({within:.2f} points) the verdict would be 'holds', clear in 6 of 6 steps, the smallest {steps.min():.1f} points ({low:.1f} to" in said

    @pytest.mark.parametrize('model,name', [('xresnet34', 'lr_find for xresnet34'), ('xse_resnext50', 'lr_find for xse_resnext50')])
    def test_lr_find(self, t, raw, model, name):
        d = raw[(raw.model == model) & raw.bs.between(2, 16)]
        want = [100*d[low].groupby('bs').acc.max() for low in (d.lr < 5e-5, d.lr > 5e-5)]
        assert [int(o) for o in re.findall(r'\d+', self.of(t, name).split('best')[1])] == [round(o) for w in want for o in w]

    def test_lr_find_18_accounts_for_every_cell(self, t, raw):
        over = 100*raw[raw.model == 'xresnet18'].acc - 10
        half = 100*ss.studentized_range.ppf(.9, 36, 9)*.00778
        said = self.of(t, 'lr_find for xresnet18')
        assert said.startswith(f'{(over > half).sum()} of 36') and (over > half).sum() + (over < -half).sum() + said.split('too near')[1].count('bs ') == 36

    def test_robust_to_lr(self, t, raw):
        half = 100*ss.studentized_range.ppf(.9**(1/33), 3, 9)*.00778
        for model,o in raw[raw.lr > 5e-5].groupby('model'):
            s = 100*(o.groupby('bs').acc.max() - o.groupby('bs').acc.min())
            d = np.subtract.outer(s[s.index >= 64].to_numpy(), s[[2, 4, 8, 16]].to_numpy())
            assert f'{model} clear in {(d > 2*half).sum()} of {d.size} pairs, the reverse in {(d < -2*half).sum()}' in self.of(t, 'robust to lr')

    def test_weaker(self, t, raw):
        h = paper_table('hoffer2017_gap')
        net = (h.SB - h.LB).groupby(h.network.str[:7]).mean()
        best = 100*raw[raw.bs.isin([32, 512])].groupby(['model', 'bs']).acc.max().unstack()
        said = self.of(t, 'weaker generalization')
        assert numbers(said)[:4] == [7] + [round(o, 1) for o in (net.mean(), *ss.t.interval(.9, 6, net.mean(), ss.sem(net)))]
        assert f'is {(best[32] - best[512]).min():.1f} to {(best[32] - best[512]).max():.1f} points below bs 32' in said

    def test_digits(self, t):
        d = load('digits')
        at = lambda o: o.groupby(['lr', 'bs']).acc.mean().groupby('bs').max()
        u = load('digits-updates')
        shared = d[(d.bs == 32) & (d.lr >= 1e-3)]
        gap = 100*(at(u[u.bs == 512])[512] - at(shared)[32])
        assert f'is {gap:.1f} points at 200 updates' in self.of(t, 'gap can be closed')
        assert f'−{100*(at(d)[32] - at(d)[512]):.1f} at 5 epochs' in self.of(t, 'gap can be closed')

    def test_time_to_97(self, t):
        d = pd.concat([load('digits'), load('digits-updates')], ignore_index=True).query('lr > 5e-4')
        d = d[(d.bs <= 32) | (d.epochs == 100)].reset_index(drop=True) # nine tries each
        assert d[d.bs.isin([8, 32, 512])].groupby('bs').size().tolist() == [9, 9, 9]
        hit = d.epoch_metrics.map(lambda o: next((m['epoch'] for m in o if m['acc'] >= .97), np.nan))
        one = load('cost')
        update = np.log(one.epoch_metrics.map(lambda o: o[-1]['cpu_seconds'])/(1297//one.bs)).groupby(one.bs).mean()
        updates = hit*(1297//d.bs)
        least = {k: v.groupby([d.bs, d.seed]).min().dropna().groupby('bs').mean() for k,v in dict(seconds=np.log(updates) + d.bs.map(update), examples=np.log(updates*d.bs)).items()}
        assert f"bs 512 takes {np.exp(least['seconds'][512] - least['seconds'][32]):.1f} times" in self.of(t, 'lower cost')
        assert f"bs 512 takes {np.exp(least['examples'][512] - least['examples'][32]):.0f} times the examples" in self.of(t, 'what does it save')
        assert f"bs 8 takes {np.exp(least['seconds'][8] - least['seconds'][512]):.1f} times" in self.of(t, 'small for quick')

    def test_scaled_growing_and_remedied(self, t):
        "From the records' lines alone: means of the last epochs"
        d = load('scaling')
        one = d[(d.opt == 'sgd') & d.mom.isna() & d.lr.isin([.3, 4.8])].groupby(['bs', 'lr']).valid_loss.apply(lambda o: np.log(o).mean())
        assert f'{np.exp(one[512, 4.8] - one[32, .3]):.3g}' in self.of(t, 'lower validation loss')
        g = load('grow')
        acc = g.groupby([g.opt, g.mom.fillna(9), g.lr, g.schedule, g.regime]).acc.mean()
        more = [100*(acc[*k, 'step', 'grow'] - acc[*k, 'step', 'none']) for k in {i[:3] for i in acc.index}]
        lo,hi = numbers(self.of(t, 'grow bs instead of decaying lr'))[:2]
        assert lo <= round(min(more), 1) and round(max(more), 1) <= hi
        h = load('hoffer')
        of = h.groupby(['bs', 'lr', 'norm', 'epochs']).acc.mean()
        first = h[(h.bs == 32) & (h.lr == .1) & h.seed.isin(h.seed[h.bs == 256])].acc.mean()
        assert f"here on digits {100*(of[256, .282843, 'ghost', 72] - first):.1f} (".replace('-', '−') in self.of(t, 'large surpasses small')
        assert f"here on digits {100*(first - of[256, .1, 'batch', 9]):.1f} (".replace('-', '−') in self.of(t, 'weaker generalization')

    def test_papers(self, t):
        h = paper_table('hoffer2017_gap')
        net = (h.RA - h.SB).groupby(h.network.str[:7]).mean()
        assert (h.RA > h.SB).sum() == 7 and numbers(self.of(t, 'large surpasses small'))[2:5] == [round(o, 1) for o in (net.mean(), *ss.t.interval(.9, 6, net.mean(), ss.sem(net)))]
        left = 100*((h.SB - h.GBN)/(h.SB - h.LB)).groupby(h.network.str[:7]).mean().mean()
        assert f'{left:.0f} % of the gap is left' in self.of(t, 'ghost batch norm')
        g = paper_table('goyal2017_lr_rules').top1_err_mean
        assert numbers(self.of(t, 'scaled lr at bs 8192'))[0] == round(g[4] - g[1], 2) and '18.1 more' in self.of(t, 'scaled lr at bs 8192')
        z = paper_table('zhang2024_steps').groupby('model').steps.agg(['max', 'min'])
        r = z['max']/z['min']
        assert self.of(t, 'fewer updates').startswith(f'{r.min():.0f} to {r.max():.0f} times fewer')

    def test_accumulation_by_counting(self, t): assert self.of(t, 'over-weighted gradient').endswith('1.50, 1.25, 1.28')

    def test_accumulation_in_pairs(self, ev, t):
        "scipy's paired t test, for all cells at once, on the record read anew"
        d = load('accumulation').fillna(dict(micro_bs=0))
        w = d.pivot_table(index=['norm', 'bs', 'seed'], columns='micro_bs', values='acc')
        m = w.drop(columns=0.).notna().groupby(['norm', 'bs']).any().sum().sum()
        for o in in_pairs(ev.parts).itertuples():
            pair = w.loc[o.norm, o.bs][[o.micro_bs, 0.]].dropna()
            ci = ss.ttest_rel(pair[o.micro_bs], pair[0.]).confidence_interval(1 - .1/m)
            assert (o.n, o.diff) == (len(pair), pytest.approx((pair[o.micro_bs] - pair[0.]).mean()))
            if (pair[o.micro_bs] - pair[0.]).std() > 1e-12: assert (o.lo, o.hi) == pytest.approx((ci.low, ci.high))
        assert len(in_pairs(ev.parts)) == m


def test_judge():
    assert [judge([0], [1], least=o) for o in (0, .5, 1.5)] == ['holds', 'within noise', 'does not hold']
    assert judge([], []) == judge([np.nan], [1]) == 'needs an experiment'
    assert judge([1, -1], [2, 1], least=0) == 'within noise' and judge([1, -2], [2, -1], least=0) == 'does not hold'


FLIPS = [ # claim, change of the published grid, verdict
    ('best run', dict(model='xresnet34', bs=16, lr=1e-3, by=.1), 'holds'),
    ('best run', dict(model='xresnet34', bs=16, lr=1e-3, by=-.2), 'does not hold'),
    ('top ten', dict(model='xresnet18', bs=8, lr=1e-4, by=.05), 'within noise'),
    ('top ten', dict(model='xresnet18', bs=8, lr=1e-4, by=.2), 'does not hold'),
    ('models alike', dict(model='xse_resnext50', bs=32, lr=1e-2, by=.1), 'does not hold'),
    ('models alike', dict(model='xse_resnext50', bs=32, lr=1e-2, by=.005, err=EXACT), 'holds'),
    ('near bs 16', dict(bs=128, by=-.2), 'does not hold'),
    ('near bs 16', dict(bs=64, by=0, err=EXACT), 'holds'),
    ('far from bs 16', dict(model='xresnet34', bs=1024, lr=1e-2, by=.05), 'within noise'),
    ('far from bs 16', dict(model='xresnet34', bs=1024, lr=1e-2, by=.2), 'does not hold'),
    ('too small', dict(model='xresnet18', bs=1, lr=1e-4, by=.33), 'within noise'),
    ('too small', dict(model='xresnet18', bs=1, lr=1e-4, by=.5), 'does not hold'),
    ('too large', dict(model='xse_resnext50', bs=512, lr=1e-2, by=.05), 'within noise'),
    ('too large', dict(model='xse_resnext50', bs=512, lr=1e-2, by=.2), 'does not hold'),
    ('inflection points', dict(model='xresnet18', bs=64, lr=1e-3, by=.1), 'does not hold'),
    ('inflection points', dict(bs=64, by=0, err=EXACT), 'holds'),
    ('slower fall', dict(model='xse_resnext50', bs=[128, 256, 512], to=.1), 'does not hold'),
    ('hierarchy', dict(bs=64, lr=1e-2, by=.1), 'holds'),
    ('hierarchy', dict(bs=64, lr=1e-2, by=-.2), 'does not hold'),
    ('lr_find for xresnet34', dict(model='xresnet34', lr=[1e-7, 1e-6, 1e-5], to=.95), 'holds'),
    ('lr_find for xse_resnext50', dict(model='xse_resnext50', lr=[1e-7, 1e-6, 1e-5], to=.95), 'holds'),
    ('lr_find for xresnet34', dict(model='xresnet34', lr=[1e-3], bs=[2, 4, 8, 16], to=.44), 'does not hold'),
    ('lr_find for xresnet18', dict(model='xresnet18', bs=[1024, 2048], to=.5), 'holds'),
    ('lr_find for xresnet18', dict(model='xresnet18', bs=2048, lr=1e-4, to=.11), 'within noise'),
    ('robust to lr', dict(model='xse_resnext50', bs=[2, 4, 8, 16], by=0), 'does not hold'),
    ('robust to lr', dict(model='xse_resnext50', bs=[4, 8], to=.7), 'within noise'),
    ('robust to lr', dict(bs=[2, 4, 8, 16], to=.7), 'holds')]

@pytest.mark.parametrize('name,how,verdict', FLIPS, ids=[f'{o[0]}-{o[2]}' for o in FLIPS])
def test_flips_with_the_grid(ev, name, how, verdict): assert run(name, change(ev, **how)).verdict == verdict


def loss(ev, column, f):
    d = ev.own.copy()
    hit = d.data == 'digits'
    d.loc[hit, column] = f(d[hit])
    return replace(ev, own=d)

def inside(d): return 1 + np.abs(np.log10(d.lr) + 2) # least at lr 1e-2, inside those tried

def in_parts(ev, parts, whole, of_whole=()):
    "Evidence with runs of these accuracies in parts of 8 and in one piece, a seed each, the whole ones with `of_whole` besides"
    rows = [dict(run=f'{k}{i}', acc=a, model='m', bs=64, lr=.1, data='new', norm='batch', opt='adam', seed=i, micro_bs=m) | (dict(of_whole) if k == 'w' else {})
            for k,accs,m in (('p', parts, 8.), ('w', whole, np.nan)) for i,a in enumerate(accs)]
    return replace(ev, parts=pd.DataFrame(rows))

def noisy(d): return np.exp(.01*np.random.default_rng(0).standard_normal(len(d)))

def costs(ev, f):
    "Evidence in which an update takes `f` seconds"
    t = ev.costs.assign(seconds_per_update=f)
    return replace(ev, costs=t.assign(images_per_second=t.bs/t.seconds_per_update))

def bare(ev): return replace(ev, own=ev.own[:0])

def tuned(ev, lrs=(1e-4, 1e-3, 1e-2), drop=.2, **cols):
    "Evidence with own runs whose `acc` is that of the middle learning rate; at the others they end `drop` lower"
    n = max(len(v) for v in cols.values() if isinstance(v, list))
    listed = {k: v if isinstance(v, list) else [v]*n for k,v in cols.items()}
    times = lambda k, v: [a - drop*(lr != lrs[len(lrs)//2]) if k == 'acc' else a for lr in lrs for a in v]
    return own(ev, lr=[lr for lr in lrs for _ in range(n)], **{k: times(k, v) for k,v in listed.items()})

def with_gradients(ev, apart): return replace(ev, papers=ev.papers | dict(gradients_accumulation=pd.DataFrame(dict(norm=['batch', 'group'], micro_bs=8, apart=[apart, 0.]))))

def scaled(ev, y, f): return replace(ev, scaled=ev.scaled.assign(**{y: f}))

def inside_rules(d): return np.where((d.rule == 'sqrt') | (d.bs == 32), 1., 2.) # least at a learning rate between others

def grown(ev, acc, sd=.001):
    t = ev.grown
    return replace(ev, grown=t.assign(acc=t.way.map(acc) + sd*np.random.default_rng(0).standard_normal(len(t))))

def remedied(ev, **acc):
    t = ev.remedied
    return replace(ev, remedied=t.assign(acc=t.arm.map(acc).fillna(.5) + .001*np.random.default_rng(0).standard_normal(len(t))))

OWN = [ # claim, change of own runs, verdict
    ('fixed lr', lambda ev: scaled(ev, 'train_loss', lambda d: noisy(d)*d.bs), 'holds'),
    ('fixed lr', lambda ev: scaled(ev, 'train_loss', lambda d: noisy(d)/d.bs), 'does not hold'),
    ('fixed lr', lambda ev: scaled(ev, 'train_loss', noisy), 'within noise'),
    ('lr doubled with bs', lambda ev: scaled(ev, 'train_loss', noisy), 'holds'),
    ('lr doubled with bs', lambda ev: scaled(ev, 'train_loss', lambda d: noisy(d)*np.where(d.rule == 'linear', d.bs, 1)), 'does not hold'),
    ('lr adjusted', lambda ev: scaled(ev, 'train_loss', lambda d: noisy(d)*inside_rules(d)), 'holds'),
    ('lr adjusted', lambda ev: scaled(ev, 'train_loss', lambda d: noisy(d)*inside_rules(d)*d.bs), 'does not hold'),
    ('lr adjusted', lambda ev: scaled(ev, 'train_loss', lambda d: noisy(d)*np.where(d.bs > 32, 10/d.lr, 1)), 'within noise'), # the best at the largest tried: it may come down farther
    ('lower validation loss', lambda ev: scaled(ev, 'valid_loss', lambda d: noisy(d)/d.bs), 'holds'),
    ('lower validation loss', lambda ev: scaled(ev, 'valid_loss', lambda d: noisy(d)*d.bs), 'does not hold'),
    ('lower validation loss', lambda ev: scaled(ev, 'valid_loss', noisy), 'within noise'),
    ('weaker generalization', lambda ev: remedied(ev, SB=.9, LB=.8), 'holds'),
    ('weaker generalization', lambda ev: remedied(ev, SB=.8, LB=.9), 'does not hold'),
    ('large surpasses small', lambda ev: remedied(ev, SB=.8, RA=.9), 'holds'),
    ('large surpasses small', lambda ev: remedied(ev, SB=.9, RA=.8), 'does not hold'),
    ('ghost batch norm', lambda ev: remedied(ev, LB=.8, GBN=.9), 'holds'),
    ('ghost batch norm', lambda ev: remedied(ev, LB=.9, GBN=.8), 'does not hold'),
    ('uses the hardware better', lambda ev: costs(ev, lambda d: noisy(d)), 'holds'),
    ('uses the hardware better', lambda ev: costs(ev, lambda d: noisy(d)*d.bs**2), 'does not hold'),
    ('uses the hardware better', lambda ev: costs(ev, lambda d: noisy(d)*d.bs), 'within noise'),
    ('uses the hardware better', lambda ev: replace(ev, costs=ev.costs[ev.costs.seed == 0]), 'needs an experiment'),
    ('lower cost', lambda ev: costs(ev, lambda d: d.bs**-2.), 'holds'),
    ('lower cost', lambda ev: costs(ev, lambda d: d.bs**2), 'does not hold'),
    ('lower cost', lambda ev: replace(ev, costs=ev.costs[ev.costs.bs != 512]), 'needs an experiment'),
    ('what does it save', lambda ev: costs(ev, lambda d: d.bs**2), 'holds'),
    ('what does it save', lambda ev: costs(ev, lambda d: d.bs**-2.), 'does not hold'),
    ('small for quick', lambda ev: costs(ev, lambda d: d.bs**2), 'holds'),
    ('small for quick', lambda ev: costs(ev, lambda d: d.bs**-2.), 'does not hold'),
    ('gap can be closed', lambda ev: loss(ev, 'acc', lambda d: d.acc - .2*(d.bs == 512)), 'does not hold'),
    ('gap can be closed', lambda ev: loss(ev, 'acc', lambda d: d.acc - .01*(d.bs == 512)), 'within noise'),
    ('untrainable at bs 1', lambda ev: own(ev, model='xse_resnext50', bs=[1], status='untrainable', acc=np.nan), 'holds'),
    ('untrainable at bs 1', lambda ev: own(ev, model='xse_resnext50', bs=[1]), 'does not hold'),
    ('thousand outputs', lambda ev: own(ev, data='imagenette', model='xresnet18', bs=[2048], lr=1e-4, size=128, n_out=10, acc=.3), 'holds'),
    ('thousand outputs', lambda ev: own(ev, data='imagenette', model='xresnet18', bs=[2048], lr=1e-4, size=128, n_out=10, acc=.105), 'within noise'),
    ('thousand outputs', lambda ev: own(ev, data='imagenette', model='xresnet18', bs=[2048], lr=1e-4, size=128, n_out=10, acc=.02), 'does not hold'),
    ('thousand outputs', lambda ev: own(ev, data='imagenette', model='xresnet18', bs=[2048], lr=1e-4, size=128, n_out=1000, acc=.3), 'needs an experiment'),
    ('epoch times', lambda ev: own(ev, model=['xresnet18', 'xresnet34'], bs=64, size=128, device='cuda (A100)', seconds=[36., 44.]), 'holds'),
    ('epoch times', lambda ev: own(ev, model=['xresnet18'], bs=64, size=128, device='cuda (A100)', seconds=[90.]), 'does not hold'),
    ('grow bs instead of decaying lr', lambda ev: grown(ev, dict(step=.9, grow=.9, still=.8)), 'holds'),
    ('grow bs instead of decaying lr', lambda ev: grown(ev, dict(step=.9, grow=.8, still=.8)), 'does not hold'),
    ('grow bs instead of decaying lr', lambda ev: grown(ev, dict(step=.9, grow=.9, still=.8), sd=.02), 'within noise'),
    ('group normalization', lambda ev: tuned(bare(ev), norm=['group', 'batch'], acc=[.7, .5]), 'holds'),
    ('group normalization', lambda ev: tuned(bare(ev), norm=['group', 'batch'], acc=[.5, .7]), 'does not hold'),
    ('group normalization', lambda ev: tuned(bare(ev), norm=['group', 'batch'], acc=[.501, .5]), 'within noise'),
    ('group normalization', lambda ev: tuned(bare(ev), norm=['group', 'batch'], bs=[8, 4], acc=[.7, .5]), 'needs an experiment'),
    ('group normalization', lambda ev: tuned(bare(ev), norm=['group', 'batch'], wd=[.1, .01], acc=[.7, .5]), 'needs an experiment'),
    ('group normalization', lambda ev: tuned(bare(ev), norm=['group', 'batch', 'group', 'batch'], opt=['adam', 'adam', 'sgd', 'sgd'], acc=[.7, .5, .3, .5]), 'does not hold'), # worse in one cell of two
    ('group normalization', lambda ev: own(bare(ev), norm=['group']*3 + ['batch']*3, lr=[1e-4, 1e-3, 1e-2]*2, acc=[.3, .7, .2, .1, .5, .4]), 'holds'), # each at its best learning rate
    ('group normalization', lambda ev: own(bare(ev), norm=['group']*3 + ['batch']*3, lr=[1e-4, 1e-3, 1e-2]*2, acc=[.3, .7, .8, .1, .5, .4]), 'holds'), # at the edge, and it could only do better
    ('group normalization', lambda ev: own(bare(ev), norm=['group']*3 + ['batch']*3, lr=[1e-4, 1e-3, 1e-2]*2, acc=[.3, .7, .2, .1, .5, .6]), 'needs an experiment'), # BatchNorm could do better still
    ('group normalization', lambda ev: own(bare(ev), norm=['group']*3 + ['batch']*3, lr=[1e-4, 1e-3, 1e-2]*2, acc=[.1, .2, .3, .1, .6, .5]), 'needs an experiment'), # Group Normalization could
    ('group normalization', lambda ev: own(bare(ev), norm=['group']*3 + ['batch']*3, lr=[1e-4, 1e-3, 1e-2]*2, acc=[.1, .3, .2, .1, .5, .6]), 'does not hold'), # and so BatchNorm is even farther above
    ('group normalization', lambda ev: own(bare(ev), norm=['group', 'batch'], acc=[.7, .5]), 'needs an experiment'), # one learning rate is none chosen
    ('group normalization', lambda ev: tuned(bare(ev), norm=['group', 'batch'], bs=1, acc=[.7, .5]), 'needs an experiment'),
    ('weight decay', lambda ev: tuned(bare(ev), wd=[.1, .01], acc=[.7, .5]), 'holds'),
    ('other optimizers', lambda ev: tuned(bare(ev), opt=['sgd', 'adam'], acc=[.3, .5]), 'does not hold'),
    ('other augmentation', lambda ev: tuned(bare(ev), aug=['flip', 'usual'], acc=[.7, .5]), 'holds'),
    ('group normalization at bs 1', lambda ev: tuned(bare(ev), norm=['group', 'batch'], bs=1, acc=[.7, .5]), 'holds'),
    ('group normalization at bs 1', lambda ev: tuned(bare(ev), norm=['group', 'batch'], bs=1, acc=[.501, .5]), 'does not hold'),
    ('frozen batch norm', lambda ev: tuned(bare(ev), norm=['frozen', 'batch'], bs=2, acc=[.7, .5]), 'holds'),
    ('frozen batch norm', lambda ev: tuned(bare(ev), norm=['frozen', 'batch'], bs=4, acc=[.7, .5]), 'needs an experiment'),
    ('longer warm-up', lambda ev: tuned(bare(ev), warmup=[.5, np.nan], bs=1, acc=[.7, .5]), 'holds'),
    ('longer warm-up', lambda ev: tuned(bare(ev), warmup=[.5, np.nan], bs=1, acc=[.3, .5]), 'does not hold'),
    ('scaled beta2', lambda ev: tuned(bare(ev), beta2=[.99**(1/32), .99], bs=1, acc=[.7, .5]), 'holds'),
    ('scaled beta2', lambda ev: tuned(bare(ev), beta2=[.999, .99], bs=1, acc=[.7, .5]), 'needs an experiment'), # not the rule's
    ('accumulation', lambda ev: with_gradients(ev, 1e-15), 'holds'),
    ('accumulation', lambda ev: with_gradients(ev, .01), 'does not hold'),
    ('same run in parts', lambda ev: in_parts(ev, [.5, .501], [.5, .502]), 'holds'),
    ('same run in parts', lambda ev: in_parts(ev, [.5, .51], [.7, .71]), 'does not hold'),
    ('same run in parts', lambda ev: in_parts(ev, [.5, .6], [.51, .58]), 'within noise'),
    ('same run in parts', lambda ev: in_parts(ev, [.5], [.7]), 'needs an experiment'), # one seed
    ('same run in parts', lambda ev: in_parts(ev, [.5, .51], [.7, .71], dict(opt='sgd')), 'needs an experiment'), # no pairs
    ('several devices', lambda ev: own(ev, several_gpus=[True, False], acc=[.5, .7]), 'does not hold'),
    ('lamb', lambda ev: tuned(bare(ev), opt=['lamb', 'adam'], bs=512, acc=[.7, .5]), 'holds'),
    ('lamb', lambda ev: tuned(bare(ev), opt=['lamb', 'adam'], bs=8, acc=[.7, .5]), 'needs an experiment'),
    ('ranger', lambda ev: tuned(bare(ev), opt=['ranger', 'adam'], schedule='flat_cos', bs=512, acc=[.5, .7]), 'does not hold'),
    ('ranger', lambda ev: tuned(bare(ev), opt=['ranger', 'adam'], bs=512, acc=[.5, .7]), 'needs an experiment'),
    ('batch size finder', lambda ev: at_8(ev, [7., 9.]), 'holds'),
    ('batch size finder', lambda ev: at_8(ev, [7., 90.]), 'does not hold'),
    ('batch size finder', lambda ev: at_8(ev, [9., 16.]), 'within noise'),
    ('batch size finder', lambda ev: at_8(ev, [90., 90.], inside=False), 'needs an experiment'),
    ('batch size finder', lambda ev: replace(ev, noise=None), 'needs an experiment'),
    ('half the cost', lambda ev: own(ev, device='cuda', bs=[8, 8, 64, 64], acc=[.5, .501, .5, .501], seconds=[10., 10.1, 2., 2.02]), 'holds'),
    ('half the cost', lambda ev: own(ev, device='cuda', bs=[8, 8, 64, 64], acc=[.5, .501, .5, .501], seconds=[10., 10.1, 9., 9.1]), 'does not hold'),
    ('half the cost', lambda ev: own(ev, device='cuda', bs=[8, 8, 64, 64], opt=['adam', 'adam', 'sgd', 'sgd'], acc=[.5, .501, .5, .501], seconds=[10., 10.1, 2., 2.02]), 'needs an experiment'),
    ('half the cost', lambda ev: own(ev, device='cuda', bs=[8, 64], acc=[.5, .501], seconds=[10., 2.]), 'needs an experiment'),
    ('imagenet in 30 minutes', lambda ev: own(ev, data='imagenet', acc=[.76], seconds=[1700.]), 'holds'),
    ('imagenet in 30 minutes', lambda ev: own(ev, data='imagenet', acc=[.76], seconds=[17000.]), 'does not hold'),
    ('contrastive learning', lambda ev: own(ev, regime='contrastive', bs=[8, 512], acc=[.5, .7]), 'holds'),
    ('contrastive learning', lambda ev: own(ev, regime='contrastive', bs=[8, 512], acc=[.7, .5]), 'does not hold'),
    ('loss in the millions', lambda ev: own(ev, printed_loss=[2e6]), 'holds'),
    ('loss in the millions', lambda ev: own(ev, printed_loss=[2.]), 'does not hold'),
    ('over-weighted gradient', lambda ev: own(ev, grad_factor_48_64=[1.5]), 'holds'),
    ('over-weighted gradient', lambda ev: own(ev, grad_factor_48_64=[1.]), 'does not hold'),
    ('partial window', lambda ev: own(ev, carried_over=[16.]), 'holds'),
    ('partial window', lambda ev: own(ev, carried_over=[0.]), 'does not hold'),
    ('left-over gradients', lambda ev: own(ev, first_step_factor=[1.78]), 'holds'),
    ('left-over gradients', lambda ev: own(ev, first_step_factor=[1.]), 'does not hold')]

@pytest.mark.parametrize('name,how,verdict', OWN, ids=[f'{o[0]}-{o[2]}' for o in OWN])
def test_flips_with_own_runs(ev, name, how, verdict): assert run(name, how(ev)).verdict == verdict

@pytest.mark.parametrize('name,table,how,verdict', [
    ('scaled lr at bs 8192', 'goyal2017_lr_rules', lambda t: t.assign(top1_err_mean=t.top1_err_mean + 3*(t.lr_rule == 'linear_0.10x32')), 'does not hold'),
    ('weaker generalization', 'hoffer2017_gap', lambda t: t.assign(LB=t.SB + t.LB/50), 'does not hold'),
    ('weaker generalization', 'hoffer2017_gap', lambda t: t.assign(LB=t.SB + np.tile([3, -2], 4)), 'within noise'),
    ('large surpasses small', 'hoffer2017_gap', lambda t: t.assign(RA=t.RA - 5), 'does not hold'),
    ('large surpasses small', 'hoffer2017_gap', lambda t: t.assign(RA=t.RA - .5), 'within noise'),
    ('ghost batch norm', 'hoffer2017_gap', lambda t: t.assign(GBN=t.LB - 5), 'does not hold'),
    ('fewer updates', 'zhang2024_steps', lambda t: t.assign(steps=t.steps*t.batch_size_seqs**2), 'does not hold')])
def test_flips_with_the_papers(ev, name, table, how, verdict): assert run(name, replace(ev, papers=ev.papers | {table: how(ev.papers[table])})).verdict == verdict

def test_an_error_that_is_not_of_these_runs_is_called_assumed_or_not_used(ev):
    "One seed: losses and times have no error; accuracies have one that is assumed, and say so"
    once = replace(ev, own=ev.own[ev.own.seed == 0])
    once = replace(once, **{k: o[o.seed == 0] for k in ('scaled', 'grown', 'remedied', 'costs') for o in [getattr(ev, k)]})
    for name in ('fixed lr', 'lr doubled with bs', 'lr adjusted', 'lower validation loss', 'grow bs instead of decaying lr', 'uses the hardware better', 'lower cost', 'small for quick', 'what does it save'):
        v = run(name, once)
        assert (v.verdict, v.needs) == ('needs an experiment', 'a second seed'), name
    assert 'assumed' in run('gap can be closed', once).number and 'assumed' not in run('gap can be closed', ev).number
    way = dict(norm=['group']*2 + ['batch']*2, acc=[.7, .703, .5, .504])
    assert 'assumed' in run('group normalization', tuned(bare(ev), norm=['group', 'batch'], acc=[.7, .5])).number
    assert 'assumed' not in run('group normalization', tuned(bare(ev), **way)).number

@pytest.mark.parametrize('name,cols', [('epoch times', dict(model=['xresnet18'], bs=64, size=128, device='cuda (A100)', seconds=[36.])), ('loss in the millions', dict(printed_loss=[2e6])),
                                       ('imagenet in 30 minutes', dict(data='imagenet', acc=[.76], seconds=[1700.]))])
def test_what_has_no_interval_says_so(ev, name, cols): assert 'without an interval' in run(name, own(ev, **cols)).number

def test_half_cost_within_noise(ev):
    "Seconds that scatter as much as they differ"
    v = run('half the cost', own(ev, device='cuda', bs=[8, 8, 64, 64], acc=[.5, .501, .5, .501], seconds=[10., 14., 4., 6.]))
    assert v.verdict == 'within noise' and v.number.startswith(f'{np.sqrt(4*6/10/14):.2f} to')

def test_sharpness(ev):
    course = lambda bs, seed, to: [dict(run=f'{bs}-{seed}', bs=bs, epoch=e, sharpness=s) for e,s in ((1, 10.), (5, to*(1 + .01*seed)))]
    for small,large,verdict in ((2, 50, 'holds'), (20, 50, 'does not hold')):
        rows = pd.DataFrame([o for seed in range(3) for o in course(256, seed, small) + course(4096, seed, large)])
        assert run('sharpness', replace(ev, sharp=rows)).verdict == verdict

def test_every_claim_can_flip():
    "Each claim is seen with at least two verdicts here or in the ledger"
    seen = {o[0] for o in FLIPS + OWN} | {'scaled lr at bs 8192', 'weaker generalization', 'large surpasses small', 'ghost batch norm', 'fewer updates', 'sharpness'}
    assert set(CLAIMS) - seen == set()
