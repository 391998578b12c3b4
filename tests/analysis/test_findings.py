"What is said of a grid, against numbers worked out from the CSV by other means and grids whose right sentence is known"
import numpy as np, pandas as pd, pytest
from scipy import stats as ss

from bs_lr_study.analysis import cells, find_record, load_runs
from bs_lr_study.analysis.findings import CERTAINTY, findings, findings_text
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

def said(df, topic='row', sd=.001): return findings(df, sd).query('topic == @topic').sentence.tolist()


class TestPublished:
    def test_error_is_that_of_nine_pairs(self, raw):
        first = pd.read_csv(find_record('2025-06-01')).run.str.extract(r'^imagenette-(\w+)-bs-(\d+)-lr-(.+)$').set_axis(['model', 'bs', 'lr'], axis=1).astype(dict(bs=int, lr=float))
        both = first.assign(acc=pd.read_csv(find_record('2025-06-01')).acc).merge(raw, on=['model', 'bs', 'lr'])
        assert len(both) == 9
        assert published_sd().sd == pytest.approx(np.sqrt(((both.acc_x - both.acc_y)**2).sum()/18))

    def test_rows_name_the_highest_cell(self, found, raw):
        rows = found[found.topic == 'row']
        assert len(rows) == 15 == raw.groupby(['model', 'lr']).ngroups
        for o in rows.itertuples():
            row = raw[(raw.model == o.model) & np.isclose(raw.lr, o.evidence['lr'])]
            assert o.evidence['bs'] == row.bs[row.acc.idxmax()] and f'bs {o.evidence["bs"]}' in o.sentence
            at_end = o.evidence['bs'] in (row.bs.min(), row.bs.max())
            assert (o.certainty == 'open') <= at_end and (o.certainty == 'clear') <= (not at_end)

    def test_sets_hold_all_within_a_plain_t(self, found, raw):
        "Cells that even a single comparison cannot tell from the best stay in; none is dropped that is closer than one that is kept"
        for o in found[(found.topic == 'row')].itertuples():
            row = raw[(raw.model == o.model) & np.isclose(raw.lr, o.evidence['lr'])]
            behind = (row.acc.max() - row.acc).set_axis(row.bs)
            kept = set(o.evidence['candidates'])
            assert set(behind.index[behind < ss.t.ppf(.9, 9)*published_sd().sd*2**.5]) <= kept
            assert behind[list(kept)].max() < behind.drop(list(kept)).min() if len(kept) < len(row) else True

    def test_the_sentence_of_the_first_row(self, found):
        assert 'At lr 1e-3 xresnet18 rises up to bs 8 and falls past it; bs 4 to 64 cannot be told from 8 (assuming that a run moves by 0.8 points).' in found.sentence.tolist()

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
        assert 'xresnet34 at bs 16, lr 1e-3 (80.1 %' in o.sentence

    def test_a_given_error_is_not_called_assumed(self):
        t = findings(load_runs().query('model == "xresnet18" and bs < 32'), RunSd(.0078, 9, '18 runs of 9 cells'))
        assert not t.sentence.str.contains('assum').any()


class TestKnownSentences:
    def test_inside(self): assert said(grid({.1: [20, 40, 60, 50, 30]})) == ['At lr 1e-1 m rises up to bs 8 and falls past it; none of the others tried can be as good (assuming that a run moves by 0.1 points).']
    def test_two_alike(self): assert 'rises up to bs 8 and falls past it; bs 16 cannot be told from 8' in said(grid({.1: [20, 40, 60, 59.9, 30]}))[0]
    def test_many_alike(self): assert 'falls past it; bs 4 to 16 cannot be told from 8' in said(grid({.1: [20, 59.9, 60, 59.9, 30]}))[0]
    def test_alike_with_a_hole(self): assert 'bs 4 and 16 to 64 cannot be told from 16' in said(grid({.1: [20, 59.9, 59, 60, 59.9, 59.9, 30]}, [2, 4, 8, 16, 32, 64, 128]))[0]
    def test_largest(self): assert 'rises up to bs 32, the largest tried: a larger one may be better' in said(grid({.1: [20, 30, 40, 50, 60]}))[0]
    def test_smallest(self): assert 'falls from bs 2 on, the smallest tried: a smaller one may be better' in said(grid({.1: [60, 50, 40, 30, 20]}))[0]
    def test_one_is_the_smallest_there_is(self):
        f = findings(grid({.1: [60, 50, 40, 30, 20]}, [1, 2, 4, 8, 16]), .001).query('topic == "row"').iloc[0]
        assert 'falls from bs 1 on; none of the others' in f.sentence and f.certainty == 'clear'
    def test_flat(self): assert 'is highest at bs 8; any of those tried may be the best' in said(grid({.1: [50, 50, 50.1, 50, 50]}), sd=.01)[0]
    def test_half_open(self):
        assert 'rises up to bs 8; whether it falls past it is within noise' in said(grid({.1: [20, 40, 60, 59.9, 59.9]}))[0]
        assert 'falls past bs 8; whether it rises up to it is within noise' in said(grid({.1: [59.9, 59.9, 60, 40, 20]}))[0]
    def test_up_and_down_and_up(self): assert 'not in one sweep, for bs 2 is 20.0 points above bs 4; none of the others' in said(grid({.1: [40, 20, 60, 50, 30]}))[0]
    def test_one_cell(self): assert said(grid({.1: [50]})) == ['At lr 1e-1 m was run at bs 2 only (50.0 %).']
    def test_diverging(self):
        d = grid({.1: [20, 40, 60, np.nan, np.nan], .2: [np.nan]*5})
        d['status'] = np.where(d.acc.isna(), 'diverged', 'ok')
        rows = said(d)
        assert 'rises up to bs 8 and diverges past it' in rows[0] and rows[1] == 'At lr 2e-1 m diverged at every batch size tried (bs 2 to 32).'
        assert said(d, 'lost')[0].startswith('7 of 10 runs of m diverged, in 7 cells: lr 1e-1 and 2e-1, bs 2 to 32.')

    def test_some_runs_lost(self):
        d = pd.concat([grid({.1: [50, 60, 40]}).assign(seed=i, status='ok') for i in range(3)], ignore_index=True).assign(run=lambda t: t.run + '-seed-' + t.seed.astype(str))
        d.loc[(d.bs == 8) & (d.seed > 0), ['acc', 'status']] = np.nan, 'diverged'
        d.loc[(d.bs == 4) & (d.seed == 1), ['acc', 'status']] = np.nan, 'failed'
        lost = said(load_runs(d), 'lost')
        assert lost == ['2 of 9 runs of m diverged, at bs 8, lr 1e-1 (2 of 3). 1 cell still has an accuracy, which is of the survivors and flatters.',
                        '1 of 9 runs of m failed, at bs 4, lr 1e-1 (1 of 3). 1 cell still has an accuracy, which is of the survivors and flatters.']

    def test_best_moves(self):
        assert said(grid({.1: [20, 60, 50, 40, 30], .2: [20, 30, 40, 60, 30]}), 'best batch size') == [
            'The best batch size of m is 4 at lr 1e-1 and 16 at lr 2e-1 (assuming that a run moves by 0.1 points).',
            'The best batch size of m grows from lr 1e-1 to 2e-1 (assuming that a run moves by 0.1 points).']
        assert 'of m may be the same for all, bs 8 (' in said(grid({.1: [20, 40, 60, 40, 30], .2: [20, 40, 60, 40, 30]}), 'best batch size')[1]

    def test_no_movement_where_a_set_ends_because_nothing_was_run_beyond(self):
        low = grid({.1: [20, 59.9, 60, 59.95]}, [2, 4, 8, 16])
        high = grid({.2: [20, 30, 40, 50, 60, 40]}, [2, 4, 8, 16, 32, 64])
        assert said(pd.concat([low, high]), 'best batch size')[1] == 'The best batch size of m moves nowhere beyond noise (assuming that a run moves by 0.1 points).'
        assert 'grows' in said(pd.concat([grid({.1: [20, 59.9, 60, 59.95, 30]}, [2, 4, 8, 16, 32]), high]), 'best batch size')[1]
        from_below = grid({.1: [60, 60.05, 59.9, 30]}, [16, 32, 64, 128])
        assert 'moves nowhere' in said(pd.concat([grid({.2: [20, 60, 30, 20, 20]}), from_below]), 'best batch size')[1]

    def test_both_directions(self):
        d = grid({.1: [60, 60, 50, 40, 60], .2: [40, 50, 50.5, 60, 50]})
        assert said(d, 'best learning rate')[1].startswith('The best learning rate of m grows from bs 2 to 16 and shrinks from bs 16 to 32 (')
        t = findings(load_runs(), run_error(load_runs())).query('topic == "best learning rate" and model == "xresnet34"')
        assert t.sentence.iloc[1] == 'The best learning rate of xresnet34 grows from bs 1 to 1024 and shrinks from bs 1024 to 2048 (assuming that a run moves by 0.8 points).'
        assert t.certainty.tolist() == ['within noise', 'clear']

    def test_best_lr(self):
        d = grid({.1: [60, 60, 50, 40, 30], .2: [40, 50, 50.5, 60, 50]})
        assert said(d, 'best learning rate')[0].startswith('The best learning rate of m is 1e-1 (bs 2 and 4), 2e-1 (bs 8 to 32) (')
        assert said(d, 'best learning rate')[1].startswith('The best learning rate of m grows from bs 2 to 32')
        assert [o.split(' the best')[0] for o in said(d, 'edge')] == ['At 3 of 5 batch sizes (8 to 32)', 'At 2 of 5 batch sizes (2 and 4)']

    def test_one_column(self):
        d = load_runs('2025-06-01')
        assert 'At bs 64 the best learning rate of xresnet34 is the largest tried' in findings_text(findings(d)) and '-0.0' not in findings_text(findings(d))

    def test_seeds_give_the_error(self):
        rng = np.random.default_rng(0)
        d = pd.concat([grid({.1: [20, 40, 60, 50, 30]}).assign(seed=i) for i in range(3)], ignore_index=True)
        d['acc'] += .01*rng.standard_normal(len(d))
        t = findings(load_runs(d))
        want = np.sqrt(d.groupby('bs').acc.var().mean())
        assert t[t.topic == 'noise'].evidence.iloc[0]['sd'] == pytest.approx(want) and not t.sentence.str.contains('assum').any()
        assert '15 runs of m, 3 a cell' in t.sentence[0]

    def test_tried_means_tried(self):
        d = grid({.1: [40, 50, np.nan], .2: [30, 40, np.nan]}, [32, 64, 128])
        d['status'] = np.where(d.acc.isna(), 'oom', 'ok')
        assert 'rises up to bs 64, the largest with an accuracy: a larger one may be better' in said(d)[0]
        assert 'its batch size is the largest with an accuracy' in said(d, 'best cell')[0] and 'its learning rate is the smallest tried' in said(d, 'best cell')[0]
        d = grid({.1: [40], .2: [50], .3: [np.nan]}, [32]).assign(status=['ok', 'ok', 'failed'])
        assert said(d, 'edge') == ['At bs 32 the best learning rate of m is the largest with an accuracy: a larger one may be better.']

    def test_blank_accuracies_are_counted(self):
        d = grid({.1: [20, np.nan, 60, 40, np.nan]})
        assert said(d, 'lost') == ['2 of 5 runs of m have no accuracy, at bs 4, lr 1e-1 (1 of 1) and bs 32, lr 1e-1 (1 of 1).']
        assert 'm has no accuracy at every batch size' not in findings_text(findings(d)) and 'm has no accuracy at any batch size tried (bs 2 to 32)' in findings_text(findings(d.assign(acc=np.nan)))

    def test_rivals_by_name_if_few(self):
        d = grid({.1: [20, 40, 60, 50, 30], .2: [20, 40, 50, 60.05, 30]})
        assert 'bs 16, lr 2e-1 (60.0 %, of which about 0.1 points are luck); 1 other cannot be told from it (bs 8, lr 1e-1)' in said(d, 'best cell')[0]
        assert '9 others cannot be told from it (all within bs 2 to 32, lr 1e-1 to 2e-1)' in said(d, 'best cell', .4)[0]

    def test_luck_of_the_best_is_by_the_error_near_the_top(self):
        t = findings(load_runs('digits'))
        o,halves = t[t.topic == 'best cell'].evidence.iloc[0],t[t.topic == 'noise'].evidence.iloc[1]
        assert halves['better'] < .007 < .03 < halves['other'] and 0 < o['flattery'] < halves['better']

    def test_flat_grids_are_seldom_called_clear(self):
        "Of grids that are flat at most one in ten may have a row that is clear"
        rng,flat,n = np.random.default_rng(1),grid({.1: [50]*5, .2: [50]*5}),30
        drawn = [flat.assign(acc=.5 + .01*rng.standard_normal(10)) for _ in range(n)]
        assert sum((findings(d, .01).query('topic == "row"').certainty == 'clear').any() for d in drawn) <= n/10


class TestAssumed:
    "An error that nobody measured: never less than chance on the validation images, and clear only with room"
    peak = grid({.1: [40, 44, 48, 44, 40], .2: [38, 40, 42, 40, 38]})

    def test_small_validation_set(self):
        few,many = (findings(self.peak.assign(n_valid=n)) for n in (50, 50_000))
        assert few[few.topic == 'noise'].evidence.iloc[0]['sd'] == pytest.approx(np.sqrt((self.peak.acc*(1 - self.peak.acc)/50).mean()))
        assert 'on 50 validation images' in few[few.topic == 'noise'].sentence.iloc[0] and not (few.certainty == 'clear').any()
        assert many[many.topic == 'noise'].evidence.iloc[0]['sd'] == published_sd().sd

    def test_clear_with_twice_the_error_only(self):
        wide,sharp = (findings(grid({.1: a})).query('topic == "row"').iloc[0] for a in ([56.5, 58, 60, 58, 56.5], [20, 40, 60, 40, 20]))
        assert wide.certainty == 'within noise' and wide.sentence.endswith('(assuming that a run moves by 0.8 points; not so if by twice that).')
        assert sharp.certainty == 'clear' and sharp.sentence.endswith('(assuming that a run moves by 0.8 points).')
        assert findings(grid({.1: [56.5, 58, 60, 58, 56.5]}), .0078).query('topic == "row"').certainty.iloc[0] == 'clear' # given, so taken at its word

    def test_replicates_count_more_than_the_binomial_error(self):
        d = pd.concat([self.peak.assign(seed=i, acc=self.peak.acc + e) for i,e in enumerate((-.002, .002))]).assign(n_valid=50)
        assert run_error(load_runs(d)).sd == pytest.approx(.002*2**.5)

    def test_what_rests_on_no_error_does_not_say_so(self):
        t = findings(load_runs())
        said = t.sentence.str.contains('assuming')
        assert not said[t.topic.isin(['runs', 'missing', 'lost', 'edge'])].any() and said[t.topic.isin(['best cell', 'models', 'spread', 'best learning rate'])].all()


full = load_runs()

class TestAnyFrame:
    frames = dict(one=full.head(1), row=full[(full.model == 'xresnet18') & (full.lr == 1e-3)], column=full[full.bs == 64], model=full[full.model == 'xse_resnext50'],
        diverged=full.head(4).assign(acc=np.nan, status='diverged'), failed=full.head(4).assign(acc=np.nan, status='failed'), holes=full[full.bs < 32].iloc[::3],
        copies=pd.concat([full.head(3).assign(seed=0), full.head(3).assign(seed=1)], ignore_index=True), digits=load_runs('digits'), first=load_runs('2025-06-01'),
        blank=full.head(5).assign(acc=[.1, np.nan, .3, .4, np.nan]), two_cells=full.iloc[[0, 1]], glance=load_runs('imagenette32'))

    @pytest.mark.parametrize('name', frames)
    def test_says_something_sound(self, name):
        t = findings(self.frames[name])
        assert len(t) and t.certainty.isin(CERTAINTY).all() and t.evidence.map(type).eq(dict).all()
        text = findings_text(t)
        assert not {'nan', 'inf', '<NA>', 'None'} & set(text.replace('(', ' ').replace(')', ' ').replace(',', ' ').split())
        assert t.sentence.str.match(r'^[A-Z0-9].*\.$').all() and ' 1 runs' not in f' {text}' and ' 1 others' not in text

    def test_runs_that_may_not_share_a_table_are_refused(self):
        with pytest.raises(ValueError, match='differ in epochs'): findings(load_runs('digits-updates'))

    def test_runs_that_agree_to_the_digit_give_no_error(self): assert run_error(self.frames['copies']).how.startswith('assumed')


@pytest.mark.parametrize('k,dof', [(2, 9), (12, 9), (123, 9), (12, 80)])
def test_margin_is_scipys(k, dof):
    assert margin(RunSd(.01, dof, ''), k) == pytest.approx(ss.studentized_range.ppf(.9, k, dof)*.01, rel=.01)
    assert margin(RunSd(.01, dof, ''), k, n_a=4, n_b=1) == pytest.approx(margin(RunSd(.01, dof, ''), k)*np.sqrt(.625))

def test_may_win_keeps_a_best_that_is_clear_alone():
    c = cells(grid({.1: [20, 40, 60, 50, 30], .2: [10]*5}))
    assert may_win(c, RunSd(.001, np.inf, '')).bs.tolist() == [8]
    assert len(may_win(c, RunSd(.4, np.inf, ''))) == 10


class TestReport:
    lost = grid({.1: [50, 60, np.nan]}).assign(status=['ok', 'ok', 'oom'])

    @pytest.mark.parametrize('message,said', [(None, 'no reason given'), (np.nan, 'no reason given'), ('', 'no reason given'), (' \n', 'no reason given'), ('CUDA out of memory\nat line 3', 'CUDA out of memory')])
    def test_every_lost_run_is_told(self, message, said):
        d = self.lost.assign(message=['', None, message])
        assert how_ended(d) == f'3 runs, one a cell\n1 oom: {said}' and f'1 oom: {said}' in tables(d)

    def test_status_without_message(self):
        assert how_ended(self.lost) == '3 runs, one a cell\n1 oom: no reason given'
        assert '1 oom' in tables(self.lost) and how_ended(self.lost.drop(columns='status')) == '3 runs, one a cell'
