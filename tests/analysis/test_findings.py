"What is said of a grid, against numbers worked out from the CSV by other means and grids whose right sentence is known"
import json
import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from known_powers import follows
from bs_lr_study.analysis import by_setting, cells, crosstab, find_record, load_runs, settings_of
from bs_lr_study.analysis.best_lr import lr_power
from bs_lr_study.analysis.findings import findings, findings_text
from bs_lr_study.analysis.wording import CERTAINTY
from bs_lr_study.analysis.settings import at_equal_updates
from bs_lr_study.analysis.stats import margin, may_win
from bs_lr_study.analysis.replicates import published_sd, run_error
from bs_lr_study.report import tables
from bs_lr_study.report.compose import how_ended
from bs_lr_study.analysis.replicates import RunSd

@pytest.fixture(scope='module')
def raw():
    "The published rows, read with nothing of this package"
    df = pd.read_csv(find_record('2025-06-04'))
    parts = df.run.str.extract(r'^imagenette-(?P<model>\w+)-bs-(?P<bs>\d+)-lr-(?P<lr>.+)$').astype(dict(bs=int, lr=float))
    return pd.concat([parts, df.acc], axis=1)

@pytest.fixture(scope='module')
def found(): return findings(load_runs())

def grid(rows, bss=(2, 4, 8, 16, 32), model='m', **kw):
    "Runs from a dict of lr and accuracies in per cent"
    d = [(model, b, lr, a/100) for lr,accs in rows.items() for b,a in zip(bss, accs)]
    d = pd.DataFrame(d, columns=['model', 'bs', 'lr', 'acc']).assign(**kw)
    return load_runs(d.assign(run=[f'toy-{o.model}-bs-{o.bs}-lr-{o.lr}' for o in d.itertuples()]))

def values(df, topic='row', sd=.001):
    "The numbers of the findings of a topic, each with its kind and certainty"
    t = findings(df, sd).query('topic == @topic')
    return [o.evidence | dict(kind=o.kind, certainty=o.certainty) for o in t.itertuples()]

def row(accs, bss=(2, 4, 8, 16, 32), sd=.001):
    "The numbers of the one row of a toy"
    found, = values(grid({.1: accs}, bss), sd=sd)
    return found

class TestPublished:
    def test_error_is_that_of_nine_pairs(self, raw):
        first = pd.read_csv(find_record('2025-06-01'))
        parts = first.run.str.extract(r'^imagenette-(?P<model>\w+)-bs-(?P<bs>\d+)-lr-(?P<lr>.+)$').astype(dict(bs=int, lr=float))
        both = parts.assign(acc=first.acc).merge(raw, on=['model', 'bs', 'lr'])
        assert len(both) == 9
        assert published_sd().sd == pytest.approx(np.sqrt(((both.acc_x - both.acc_y)**2).sum()/18))

    def test_rows_name_the_highest_cell(self, found, raw):
        rows = found[found.topic == 'row']
        assert len(rows) == 15 == raw.groupby(['model', 'lr']).ngroups
        for o in rows.itertuples():
            row = raw[(raw.model == o.model) & np.isclose(raw.lr, o.evidence['lr'])]
            assert o.evidence['bs'] == row.bs[row.acc.idxmax()]
            at_end = o.evidence['bs'] in (row.bs.min(), row.bs.max())
            assert (o.certainty == 'open') <= at_end and (o.certainty == 'clear') <= (not at_end)

    def test_sets_hold_all_within_a_plain_t(self, found, raw):
        "Cells that even a single comparison cannot tell from the best stay in; none is dropped that is closer than one that is kept"
        for o in found[(found.topic == 'row')].itertuples():
            row = raw[(raw.model == o.model) & np.isclose(raw.lr, o.evidence['lr'])]
            behind = (row.acc.max() - row.acc).set_axis(row.bs)
            kept = set(o.evidence['candidates'])
            assert set(behind.index[behind < ss.t.ppf(.9, 9)*published_sd().sd*2**.5]) <= kept
            near = behind[published_sd().at(row)[0] == published_sd().sd] # cells further off have larger errors
            inside = near.index.isin(kept)
            assert inside.all() or not inside.any() or near[inside].max() < near[~inside].min()

    def test_the_middle_row_of_xresnet18(self, found):
        o = found[(found.kind == 'row') & (found.model == 'xresnet18')].iloc[1]
        assert (o.evidence['lr'], o.evidence['bs'], o.evidence['candidates'], o.certainty) == (1e-3, 8, (4, 8, 16, 32, 64), 'clear')
        assert not (o.evidence['low_edge'] or o.evidence['high_edge'])

    def test_counts(self, found, raw):
        missing = found[found.topic == 'missing'].set_index('model').evidence
        whole = raw.lr.nunique()*raw.bs.nunique()
        assert {m: o['missing'] for m,o in missing.items()} == (whole - raw.groupby('model').size()).to_dict()
        edge = found[found.topic == 'edge'].set_index('model').evidence
        best = raw.loc[raw.groupby(['model', 'bs']).acc.idxmax()]
        assert {m: o['bss'] for m,o in edge.items()} == best[best.lr == .01].groupby('model').bs.apply(list).to_dict()

    def test_models(self, found, raw):
        best = raw.groupby('model').acc.max()
        half = ss.studentized_range.ppf(.9, 123, 9)*published_sd().sd
        for o in found[found.topic == 'models'].evidence:
            assert o['diff'] == pytest.approx(best[o['a']] - best[o['b']]) and o['hi'] - o['diff'] == pytest.approx(half, rel=.01)

    def test_best_cell(self, found):
        o = found[(found.topic == 'best cell') & (found.model == '')].iloc[0]
        assert (o.evidence['bs'], o.evidence['lr'], o.evidence['acc'], o.certainty) == (16, .001, .800764, 'within noise')
        assert (o.evidence['winner'], o.evidence['cells']) == ('xresnet34', 123)

    def test_a_given_error_is_not_called_assumed(self):
        t = findings(load_runs().query('model == "xresnet18" and bs < 32'), RunSd(.0078, 9, '18 runs of 9 cells'))
        assert not t.sentence.str.contains('assum').any()


class TestKnownGrids:
    def test_inside(self):
        o = row([20, 40, 60, 50, 30])
        assert (o['bs'], o['candidates'], o['low_edge'], o['high_edge'], o['end'], o['back']) == (8, (8,), False, False, None, None)
        assert o['certainty'] == 'clear' and not o['diverges'] and o['tried'] == [2, 4, 8, 16, 32]

    @pytest.mark.parametrize('accs,bss,best,alike', [
        ([20, 40, 60, 59.9, 30], (2, 4, 8, 16, 32), 8, (8, 16)), ([20, 59.9, 60, 59.9, 30], (2, 4, 8, 16, 32), 8, (4, 8, 16)),
        ([20, 59.9, 59, 60, 59.9, 59.9, 30], (2, 4, 8, 16, 32, 64, 128), 16, (4, 16, 32, 64))])
    def test_alike(self, accs, bss, best, alike):
        o = row(accs, bss)
        assert (o['bs'], o['candidates'], o['certainty']) == (best, alike, 'clear')

    def test_largest(self):
        o = row([20, 30, 40, 50, 60])
        assert (o['bs'], o['end'], o['low_edge'], o['certainty']) == (32, ('largest', False), False, 'open')

    def test_smallest(self):
        o = row([60, 50, 40, 30, 20])
        assert (o['bs'], o['end'], o['high_edge'], o['certainty']) == (2, ('smallest', False), False, 'open')

    def test_one_is_the_smallest_there_is(self):
        o = row([60, 50, 40, 30, 20], [1, 2, 4, 8, 16])
        assert (o['bs'], o['candidates'], o['certainty']) == (1, (1,), 'clear')

    def test_flat(self):
        o = row([50, 50, 50.1, 50, 50], sd=.01)
        assert (o['bs'], o['candidates'], o['certainty']) == (8, (2, 4, 8, 16, 32), 'within noise')

    @pytest.mark.parametrize('accs,low_edge,high_edge', [([20, 40, 60, 59.9, 59.9], False, True), ([59.9, 59.9, 60, 40, 20], True, False)])
    def test_half_open(self, accs, low_edge, high_edge):
        o = row(accs)
        assert (o['bs'], o['low_edge'], o['high_edge'], o['certainty']) == (8, low_edge, high_edge, 'within noise')

    def test_up_and_down_and_up(self):
        o = row([40, 20, 60, 50, 30])
        assert o['back'] == (pytest.approx(.2), 2, 4) and o['candidates'] == (8,)

    def test_one_cell(self):
        o = row([50])
        assert (o['kind'], o['bs'], o['acc'], o['tried'], o['certainty']) == ('one cell', 2, .5, 1, 'open')

    def test_diverging(self):
        d = grid({.1: [20, 40, 60, np.nan, np.nan], .2: [np.nan]*5})
        d['status'] = np.where(d.acc.isna(), 'diverged', 'ok')
        first,second = values(d)
        assert (first['bs'], first['diverges'], first['low_edge'], first['high_edge']) == (8, True, False, False)
        assert (second['kind'], second['how'], second['lr'], second['bss']) == ('lost row', 'diverged', .2, [2, 4, 8, 16, 32])
        lost = values(d, 'lost')[0]
        assert (lost['how'], lost['lost'], lost['runs'], lost['in_part']) == ('diverged', 7, 10, 0)
        assert {(bs, lr) for bs,lr,n,of in lost['at']} == {(16, .1), (32, .1)} | {(b, .2) for b in (2, 4, 8, 16, 32)}

    def test_some_runs_lost(self):
        seeds = [grid({.1: [50, 60, 40]}).assign(seed=i, status='ok') for i in range(3)]
        d = pd.concat(seeds, ignore_index=True).assign(run=lambda t: t.run + '-seed-' + t.seed.astype(str))
        d.loc[(d.bs == 8) & (d.seed > 0), ['acc', 'status']] = np.nan, 'diverged'
        d.loc[(d.bs == 4) & (d.seed == 1), ['acc', 'status']] = np.nan, 'failed'
        lost = values(load_runs(d), 'lost')
        assert [(o['how'], o['lost'], o['runs'], o['at'], o['in_part']) for o in lost] == [
            ('diverged', 2, 9, [(8, .1, 2, 3)], 1), ('failed', 1, 9, [(4, .1, 1, 3)], 1)]

    def test_best_moves(self):
        best,moves = values(grid({.1: [20, 60, 50, 40, 30], .2: [20, 30, 40, 60, 30]}), 'best batch size')
        assert best['best'] == {.1: 4, .2: 16} and moves['moves'] == dict(grows=(.1, .2)) and moves['certainty'] == 'clear'
        same = values(grid({.1: [20, 40, 60, 40, 30], .2: [20, 40, 60, 40, 30]}), 'best batch size')[1]
        assert (same['moves'], same['common'], same['certainty']) == ({}, [8], 'within noise')

    def test_no_movement_where_a_set_ends_because_nothing_was_run_beyond(self):
        def moves(*grids): return values(pd.concat(grids), 'best batch size')[1]
        low = grid({.1: [20, 59.9, 60, 59.95]}, [2, 4, 8, 16])
        high = grid({.2: [20, 30, 40, 50, 60, 40]}, [2, 4, 8, 16, 32, 64])
        assert (moves(low, high)['moves'], moves(low, high)['common']) == ({}, [])
        assert list(moves(grid({.1: [20, 59.9, 60, 59.95, 30]}, [2, 4, 8, 16, 32]), high)['moves']) == ['grows']
        from_below = grid({.1: [60, 60.05, 59.9, 30]}, [16, 32, 64, 128])
        assert moves(grid({.2: [20, 60, 30, 20, 20]}), from_below)['moves'] == {}

    def test_both_directions(self):
        d = grid({.1: [60, 60, 50, 40, 60], .2: [40, 50, 50.5, 60, 50]})
        assert values(d, 'best learning rate')[1]['moves'] == dict(grows=(2, 16), shrinks=(16, 32))
        t = findings(load_runs(), RunSd(published_sd().sd, 9, 'of all cells alike'))
        t = t.query('topic == "best learning rate" and model == "xresnet34"')
        assert t.evidence.iloc[1]['moves'] == dict(grows=(1, 1024), shrinks=(1024, 2048))
        assert t.certainty.tolist()[:2] == ['within noise', 'clear']

    def test_one_column_is_no_trend(self):
        "It is named where it alone moves the best; where the best goes on and on, none is"
        end = grid({.1: [60, 60, 60, 60, 30], .2: [50, 50, 50, 50, 60], .4: [40, 40, 40, 40, 30]})
        o = values(end, 'best learning rate')[1]
        assert o['moves'] == dict(grows=(2, 32)) and o['alone'] == dict(at=32, others=4, common=[.1])
        trend = grid({.1: [60, 60, 50, 40, 30], .2: [50, 50, 60, 60, 40], .4: [40, 40, 50, 50, 60]})
        o = values(trend, 'best learning rate')[1]
        assert o['moves'] == dict(grows=(2, 32)) and 'alone' not in o
        assert 'alone' not in values(end[end.bs.isin([2, 4, 32])], 'best learning rate')[1] # two others are too few to tell

    def test_the_text_that_ships(self):
        "Its best learning rate is another at 256 sequences only, which is what the post says"
        o, = (o for o in findings(load_runs('text')).itertuples() if o.kind == 'lr moves')
        assert o.evidence['alone'] == dict(at=256, others=8, common=[3e-3])
        assert 'only bs 256 shows it: at the other 8 it may be 3e-3' in o.sentence

    def test_best_lr(self):
        d = grid({.1: [60, 60, 50, 40, 30], .2: [40, 50, 50.5, 60, 50]})
        best,moves,_ = values(d, 'best learning rate')
        assert best['best'] == {2: .1, 4: .1, 8: .2, 16: .2, 32: .2} and moves['moves'] == dict(grows=(2, 32))
        assert [(o['edge'], o['bss'], o['of']) for o in values(d, 'edge')] == [('max', [8, 16, 32], 5), ('min', [2, 4], 5)]

    def test_one_column(self):
        t = findings(load_runs('2025-06-01'))
        edge = t[(t.topic == 'edge') & (t.model == 'xresnet34')].evidence.item()
        assert (edge['bss'], edge['of'], edge['end']) == ([64], 1, ('largest', False)) and '-0.0' not in findings_text(t)

    def test_seeds_give_the_error(self):
        rng = np.random.default_rng(0)
        d = pd.concat([grid({.1: [20, 40, 60, 50, 30]}).assign(seed=i) for i in range(3)], ignore_index=True)
        d['acc'] += .01*rng.standard_normal(len(d))
        t = findings(load_runs(d))
        want = np.sqrt(d.groupby('bs').acc.var().mean())
        noise,runs = t[t.kind == 'noise'].evidence.item(),t[t.kind == 'runs'].evidence.item()
        assert noise['sd'] == pytest.approx(want) and not noise['assumed'] and not t.sentence.str.contains('assum').any()
        assert (runs['runs'], runs['least'], runs['most'], runs['models']) == (15, 3, 3, ['m'])

    def test_tried_means_tried(self):
        d = grid({.1: [40, 50, np.nan], .2: [30, 40, np.nan]}, [32, 64, 128])
        d['status'] = np.where(d.acc.isna(), 'oom', 'ok')
        assert (values(d)[0]['bs'], values(d)[0]['end']) == (64, ('largest', True))
        assert values(d, 'best cell')[0]['ends'] == dict(bs=('largest', True), lr=('smallest', False))
        d = grid({.1: [40], .2: [50], .3: [np.nan]}, [32]).assign(status=['ok', 'ok', 'failed'])
        assert [(o['bss'], o['end']) for o in values(d, 'edge')] == [([32], ('largest', True))]

    def test_blank_accuracies_are_counted(self):
        d = grid({.1: [20, np.nan, 60, 40, np.nan]})
        lost, = values(d, 'lost')
        assert (lost['how'], lost['lost'], lost['at']) == ('blank', 2, [(4, .1, 1, 1), (32, .1, 1, 1)])
        assert all(o['kind'] == 'row' for o in values(d))
        gone, = values(d.assign(acc=np.nan))
        assert (gone['kind'], gone['how'], gone['bss']) == ('lost row', 'blank', [2, 4, 8, 16, 32])

    def test_rivals(self):
        d = grid({.1: [20, 40, 60, 50, 30], .2: [20, 40, 50, 60.05, 30]})
        few,many = values(d, 'best cell')[0],values(d, 'best cell', .4)[0]
        assert (few['bs'], few['lr'], few['rivals'], few['rival_cells']) == (16, .2, 1, [('m', 8, .1)])
        ahead = .0005/(2**.5*.001) # of the lead of one cell over another, given that it is the first
        assert few['flattery'] == pytest.approx(.001/2**.5*ss.norm.pdf(ahead)/ss.norm.cdf(ahead), rel=.04) and many['rivals'] == 9

    def test_luck_of_the_best_is_by_the_error_near_the_top(self):
        t = findings(load_runs('digits'))
        best,noise = t[t.kind == 'best cell'].evidence.iloc[0],t[t.kind == 'noise'].evidence.item()
        assert noise['top'] < .007 < .03 < noise['most'] and noise['top'] < noise['sd'] and 0 < best['flattery'] < noise['top']

    def test_flat_grids_are_seldom_called_clear(self):
        "Of grids that are flat at most one in ten may have a row that is clear"
        rng,flat,n = np.random.default_rng(1),grid({.1: [50]*5, .2: [50]*5}),30
        drawn = [flat.assign(acc=.5 + .01*rng.standard_normal(10)) for _ in range(n)]
        assert sum((findings(d, .01).query('topic == "row"').certainty == 'clear').any() for d in drawn) <= n/10


class TestAssumed:
    "An error that nobody measured: never less than chance on the validation images, and clear only with room"
    peak = grid({.1: [70, 74, 78, 74, 70], .2: [68, 70, 72, 70, 68]})

    def test_small_validation_set(self):
        few,many = (findings(self.peak.assign(n_valid=n)) for n in (50, 50_000))
        assert few[few.topic == 'noise'].evidence.iloc[0]['sd'] == pytest.approx(np.sqrt((self.peak.acc*(1 - self.peak.acc)/50).mean()))
        assert few[few.topic == 'noise'].evidence.iloc[0]['assumed'] and not (few.certainty == 'clear').any()
        assert many[many.topic == 'noise'].evidence.iloc[0]['sd'] == published_sd().sd

    def test_clear_with_twice_the_error_only(self):
        wide,sharp = (findings(grid({.1: a})).query('topic == "row"').iloc[0] for a in ([66.5, 68, 70, 68, 66.5], [56, 62, 70, 62, 56]))
        assert (wide.certainty, sharp.certainty) == ('within noise', 'clear')
        assert [o.sentence.endswith('; not so if by twice that).') for o in (wide, sharp)] == [True, False]
        given = findings(grid({.1: [66.5, 68, 70, 68, 66.5]}), .0078)
        assert given[given.topic == 'row'].certainty.item() == 'clear' # taken at its word

    @pytest.mark.parametrize('shift', [.195, -.35])
    def test_it_is_refused_far_from_where_it_was_measured(self, shift):
        far = self.peak.assign(acc=self.peak.acc + shift)
        t = findings(far)
        assert not run_error(far).known and not (t.certainty == 'clear').any()
        assert len(t[t.kind == 'best cell'].evidence.iloc[0]['rival_cells']) == 9 # any may be the best
        assert not t.sentence.str.contains('Imagenette').any()

    def test_cells_that_lie_far_off_within_a_grid_may_move_more(self):
        "As near chance in the published grid, where a seed can decide whether anything is learned"
        c = cells(grid({.1: [10, 56, 60, 80, 81]}))
        assert published_sd().at(c)[0]/published_sd().sd == pytest.approx([10, (62.09065 - 56)/2, (62.09065 - 60)/2, 1, 1])

    def test_an_error_of_accuracies_is_not_lent_to_a_loss(self):
        loss = self.peak.assign(val_loss=1 - self.peak.acc).drop(columns='acc')
        with pytest.raises(ValueError, match='measured as acc, and says nothing of val_loss'): findings(loss, published_sd())
        error = self.peak.assign(error=1 - self.peak.acc).drop(columns='acc')
        assert run_error(error).sd == published_sd().sd and run_error(error).name == 'error'

    def test_replicates_count_more_than_the_binomial_error(self):
        d = pd.concat([self.peak.assign(seed=i, acc=self.peak.acc + e) for i,e in enumerate((-.002, .002))]).assign(n_valid=50)
        assert run_error(load_runs(d)).sd == pytest.approx(.002*2**.5)

    def test_what_rests_on_no_error_does_not_say_so(self):
        t = findings(load_runs())
        assuming = t.sentence.str.contains('assuming')
        assert not assuming[t.topic.isin(['runs', 'missing', 'lost', 'edge'])].any()
        assert assuming[t.topic.isin(['best cell', 'models', 'spread', 'best learning rate'])].all()


full = load_runs()

class TestAnyFrame:
    frames = dict(
        one=full.head(1), row=full[(full.model == 'xresnet18') & (full.lr == 1e-3)], column=full[full.bs == 64],
        model=full[full.model == 'xse_resnext50'], holes=full[full.bs < 32].iloc[::3],
        diverged=full.head(4).assign(acc=np.nan, status='diverged'), failed=full.head(4).assign(acc=np.nan, status='failed'),
        copies=pd.concat([full.head(3).assign(seed=0), full.head(3).assign(seed=1)], ignore_index=True),
        digits=load_runs('digits'), first=load_runs('2025-06-01'),
        blank=full.head(5).assign(acc=[.1, np.nan, .3, .4, np.nan]), two_cells=full.iloc[[0, 1]], glance=load_runs('imagenette32'))

    @pytest.mark.parametrize('name', frames)
    def test_says_something_sound(self, name):
        t = findings(self.frames[name])
        assert len(t) and t.certainty.isin(CERTAINTY).all() and t.evidence.map(type).eq(dict).all()
        text = findings_text(t)
        assert not {'nan', 'inf', '<NA>', 'None'} & set(text.replace('(', ' ').replace(')', ' ').replace(',', ' ').split())
        assert t.sentence.str.match(r'^[A-Z0-9].*\.$').all() and ' 1 runs' not in f' {text}' and ' 1 others' not in text

    def test_runs_that_may_not_share_a_table_are_refused(self):
        longer = pd.concat([load_runs('digits'), load_runs('digits-updates')], ignore_index=True)
        with pytest.raises(ValueError, match='differ in epochs'): findings(longer)
        own = load_runs('text-critical').query('epochs == 1')
        with pytest.raises(ValueError, match=r'differ in x.depth \(1, 2\); x.tokens \(65536, 262144\); x.width'): findings(own)

    def test_what_is_left_aside_may_stand_in_the_names(self):
        "As the error advises: of runs at equal updates the table is that of their records"
        rows = [json.loads(o) for o in find_record('digits-updates').read_text().splitlines()]
        d = pd.DataFrame([o['config'] | o['metrics'][-1] for o in rows])
        want = d.pivot_table(index='lr', columns='bs', values='acc')
        found = crosstab(load_runs('digits-updates', columns=dict(epochs=None)))
        assert found.to_numpy() == pytest.approx(want.to_numpy()) and found.columns.tolist() == [64, 128, 256, 512]

    @pytest.mark.parametrize('name,follow,updates', [('digits-updates', ['epochs'], 200), ('text-updates', ['epochs', 'x.tokens'], 512)])
    def test_equal_updates_share_a_table_and_that_is_said(self, name, follow, updates):
        "The same as where their lengths are left aside by hand; of images and of a text alike"
        df = load_runs(name)
        pd.testing.assert_frame_equal(crosstab(df), crosstab(load_runs(name, columns=dict.fromkeys(follow))))
        t = findings(df)
        o, = t[t.kind == 'budget'].itertuples()
        assert o.evidence['follow'] == follow and set(o.evidence['updates'].values()) == {updates}
        assert [*by_setting(df)] == [''] and settings_of(df) == [] and f'{updates} updates' in o.sentence and 'follow' in o.sentence

    def test_lengths_that_only_look_tied_are_settings(self):
        df = load_runs('digits-updates')
        assert at_equal_updates(df) == ['epochs']
        few = df.steps.where(df.bs > 64, df.steps + 1)
        lost = df.assign(status=df.status.where(df.bs > 64, 'diverged'))
        other = pd.concat([df, df[df.bs == 64].assign(epochs=11, run=lambda d: d.run + '-again')], ignore_index=True)
        for d in (df.assign(steps=few), df.assign(steps=np.nan), df.drop(columns='steps'), lost, other):
            assert at_equal_updates(d) == [] and 'epochs' in settings_of(d) and len(by_setting(d)) > 3
            with pytest.raises(ValueError, match='differ in epochs'): cells(d)
        stopped = df.assign(status=df.status.where(df.index % 3 > 0, 'diverged'), steps=df.steps.where(df.index % 3 > 0, 7))
        assert at_equal_updates(stopped) == ['epochs'] # what broke off says nothing

    def test_runs_that_agree_to_the_digit_give_no_error(self): assert run_error(self.frames['copies']).how.startswith('assumed')


@pytest.mark.parametrize('k,dof', [(2, 9), (12, 9), (123, 9), (12, 80)])
def test_margin_is_scipys(k, dof):
    assert margin(RunSd(.01, dof, ''), k) == pytest.approx(ss.studentized_range.ppf(.9, k, dof)*.01, rel=.01)
    assert margin(RunSd(.01, dof, ''), k, n_a=4, n_b=1) == pytest.approx(margin(RunSd(.01, dof, ''), k)*np.sqrt(.625))

def test_may_win_keeps_a_best_that_is_clear_alone():
    c = cells(grid({.1: [20, 40, 60, 50, 30], .2: [10]*5}))
    assert may_win(c, RunSd(.001, np.inf, '')).bs.tolist() == [8]
    assert len(may_win(c, RunSd(.4, np.inf, ''))) == 10


class TestPowers:
    "With which power of the batch size the best learning rate goes, beside what single batch sizes say"
    @pytest.fixture
    def root(self): return follows(.5, 3, noise=.002)

    @pytest.mark.parametrize('power,fits,ways', [(0, 'constant', []), (.5, 'square root', ['grows']), (1, 'linear', ['grows'])])
    def test_known(self, power, fits, ways):
        o, = (o for o in findings(follows(power, 3, noise=.002)).itertuples() if o.kind == 'lr power')
        e = o.evidence
        assert (o.topic, o.certainty, [k for k,v in e['rules'].items() if v]) == ('best learning rate', 'clear', [fits])
        assert e['lo'] <= power <= e['hi'] and (e['ways'], e['level'], e['models']) == (ways, .9, 1) and e['bss'] and not e['edges']

    def test_of_several_models_all_intervals_hold_at_once(self, root):
        alone,both = findings(root),findings(pd.concat([root, root.assign(model='n', run='n-' + root.run)], ignore_index=True))
        alone,*both = [o for t in (alone, both) for o in t.evidence[t.kind == 'lr power']]
        assert len(both) == 2 and all(o['hi'] - o['lo'] > alone['hi'] - alone['lo'] and o['models'] == 2 for o in both)
        want = lr_power(root, level=.9**.5)
        assert both[0]['hi'] - both[0]['lo'] == pytest.approx(want['hi'] - want['lo'], rel=.2) # the error is of both

    def test_too_few_batch_sizes_are_said_to_be_so(self, root):
        t = findings(root[root.lr <= 2e-3])
        o, = t[t.kind == 'lr powers open'].itertuples()
        assert (o.certainty, o.evidence['models']['m']['of']) == ('open', 7) and o.evidence['models']['m']['inside'] < 3
        assert not (t.kind == 'lr power').any()
        few = findings(root[root.bs < 32])
        assert not few.kind.str.startswith('lr power').any() # nobody asks it of two

    def test_one_seed_a_cell_rests_on_what_is_assumed(self, root):
        once = root[root.seed == 0].assign(acc=lambda d: d.acc - .15) # where the published error may be lent
        o, = (o for o in findings(once).itertuples() if o.kind == 'lr power')
        assert 'assuming that a run moves by 0.8 points' in o.sentence and o.evidence['known']
        loss = findings(once.assign(val_loss=1 - once.acc).drop(columns='acc'))
        o, = loss[loss.kind == 'lr power'].itertuples()
        assert not o.evidence['known'] and 'by how they scatter' in o.sentence and o.certainty == 'within noise'


class TestReport:
    lost = grid({.1: [50, 60, np.nan]}).assign(status=['ok', 'ok', 'oom'])

    @pytest.mark.parametrize('message,said', [(None, 'no reason given'), (np.nan, 'no reason given'), ('', 'no reason given'),
                                              (' \n', 'no reason given'), ('CUDA out of memory\nat line 3', 'CUDA out of memory')])
    def test_every_lost_run_is_told(self, message, said):
        d = self.lost.assign(message=['', None, message])
        assert how_ended(d) == f'3 runs, one a cell\n1 oom: {said}' and f'1 oom: {said}' in tables(d)

    def test_status_without_message(self):
        assert how_ended(self.lost) == '3 runs, one a cell\n1 oom: no reason given'
        assert '1 oom' in tables(self.lost)
        assert how_ended(self.lost.drop(columns='status')) == '3 runs, one a cell\n1 without a value: no reason given'
