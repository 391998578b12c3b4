"""A whole search against shops whose truth, prices and clock are made up."""
import json
from dataclasses import dataclass, field

import numpy as np, pytest

from bs_lr_study.metrics import metric
from bs_lr_study.suggest.lattice import Lattice, Limits, doublings, half_decades
from bs_lr_study.suggest.live import Progress, searched
from bs_lr_study.suggest.search import FRESH, Buy, Stop, Strategy, Tried, decide, view
from bs_lr_study.suggest.surrogate import surface
from bs_lr_study.suggest.task import SuggestError

ACC = metric('acc')
WIDE = Lattice(doublings(4, 256), half_decades(1e-5, 1e-1))

def hill(bs, lr):
    "The best is at bs 64, lr 3e-3"
    return .95 - .01*(np.log2(bs) - 6)**2 - .05*(np.log10(lr) + 2.5)**2

@dataclass
class Shop:
    "Sells runs of a made-up surface; its clock goes on as it trains"
    truth: object = hill
    noise: float = .004
    metric: object = ACC
    seconds: object = lambda bs: 2 + 200/bs # of a run
    truly: float = 1. # Times as long as it says
    row: int = 1
    limits: Limits = Limits(4096)
    now: float = 0.
    bought: list = field(default_factory=list)
    notes: dict = field(default_factory=dict)
    dies_after: int = 10**9 # Runs

    def price(self, bs, n=1): return n*self.seconds(bs)
    def look(self): return list(self.bought)
    def kept(self, n_search): return self.notes.get(n_search)
    def keep(self, n_search, cells, n): self.notes = {n_search: (cells, n)}
    def setting(self, bs, lr): return dict(bs=bs, lr=lr)
    def memory(self, bs): return None
    def why_lost(self): return 'They are kept'

    def made(self, bs, lr, seed):
        y = self.truth(bs, lr)
        rng = np.random.default_rng([bs, int(1e8*lr), seed])
        if isinstance(y, str): return Tried(bs, lr, seed, np.nan, y, self.seconds(bs)/10)
        return Tried(bs, lr, seed, y + self.noise*rng.standard_normal(), 'ok', self.seconds(bs)*self.truly)

    def buy(self, buy):
        for lr,seed in buy.pairs:
            if len(self.bought) >= self.dies_after: raise KeyboardInterrupt
            self.bought.append(self.made(buy.bs, lr, seed))
            self.now += self.bought[-1].seconds

def progress(shop, budget=200, lattice=WIDE, **given):
    strategy = Strategy(metric=shop.metric, row=shop.row, **given)
    return Progress(shop, strategy, lattice, budget, lambda text: None, lambda: shop.now)

def found(shop, budget=200, lattice=WIDE, **given): return searched(progress(shop, budget, lattice, **given))

def test_it_finds_the_top_and_says_what_it_is_worth():
    a = found(Shop())
    best = hill(64, 3e-3)
    assert hill(a.setting['bs'], a.setting['lr']) > best - .01
    assert a.interval[0] <= hill(a.setting['bs'], a.setting['lr']) <= a.interval[1]
    assert a.beyond >= 0 and (a.short is None or a.short >= 0)

@pytest.mark.parametrize('truly', [.5, 1, 1.3])
@pytest.mark.parametrize('budget', [60, 300])
def test_a_budget_is_kept(budget, truly):
    "Even where runs take somewhat longer than they are thought to; prices are learnt"
    shop = Shop(truly=truly)
    shop.price = lambda bs, n=1: n*shop.seconds(bs)*(truly if shop.bought else 1)
    found(shop, budget)
    assert .5*budget < shop.now <= 1.05*budget

@pytest.mark.parametrize('dies_after', [1, 7, 15, 22])
def test_killed_and_called_again_is_the_same_search(dies_after):
    whole = Shop()
    expected = found(whole)
    shop = Shop(dies_after=dies_after)
    with pytest.raises(KeyboardInterrupt): found(shop)
    shop.dies_after = 10**9
    shop.now = 1000. # later
    again = found(shop)
    assert shop.bought == whole.bought
    assert again == expected

def test_more_minutes_go_on_where_it_stopped():
    shop = Shop()
    found(shop, 100)
    n = len(shop.bought)
    first = list(shop.bought)
    found(shop, 100)
    assert len(shop.bought) == n # nothing more to buy
    found(shop, 300)
    assert shop.bought[:n] == first and len(shop.bought) > n

def test_rows_are_bought_at_one_batch_size():
    shop,rows = Shop(row=4),[]
    buy = shop.buy
    shop.buy = lambda o: (rows.append(o), buy(o))
    found(shop)
    assert max(len(o.pairs) for o in rows if o.why != 'confirm') == 4
    assert all(len(set(o.pairs)) == len(o.pairs) for o in rows)

def test_a_setting_in_use_is_among_the_finalists():
    a = found(Shop(), 400, tries=((24, 7e-4),))
    assert (24, 7e-4) in [(o['bs'], o['lr']) for o in a.finalists]

def test_fresh_seeds_alone_say_what_to_expect():
    shop = Shop()
    a = found(shop)
    fresh = [o.value for o in shop.bought if o.seed >= FRESH and o.cell == (a.setting['bs'], a.setting['lr'])]
    assert a.expected == pytest.approx(np.mean(fresh)) and a.finalists[0]['n'] == len(fresh)

def test_nothing_told_apart_gives_the_fastest():
    "A plain on which no setting is better: the largest batch of the finalists is the fastest"
    a = found(Shop(truth=lambda bs, lr: .9, noise=.01))
    assert not a.told_apart
    assert (a.setting['bs'], a.setting['lr']) == a.fastest
    assert 'Nothing was told apart' in str(a)

def test_an_optimum_at_the_edge_widens_the_lattice():
    a = found(Shop(truth=lambda bs, lr: .9 - .05*(np.log10(lr) - 1)**2), 600, Lattice((16, 32), half_decades(1e-4, 1e-2)))
    assert a.setting['lr'] > 1e-2

def test_it_stops_when_little_is_to_be_gained():
    shop = Shop()
    p = progress(shop, 10_000, within=.02)
    assert 'expected to be gained' in p.search() and shop.now < 3000

def test_less_is_better_of_a_loss():
    loss = metric('valid_loss')
    a = found(Shop(truth=lambda bs, lr: float(np.exp(-hill(bs, lr)*3)), noise=.001, metric=loss))
    assert hill(a.setting['bs'], a.setting['lr']) > hill(64, 3e-3) - .02
    assert a.metric.lower and a.interval[0] < a.interval[1]

@pytest.mark.parametrize('status', ['diverged', 'failed', 'untrainable', 'oom'])
def test_nothing_trains(status):
    shop = Shop(truth=lambda bs, lr: status)
    with pytest.raises(SuggestError, match=rf'\d+ {status}'): found(shop, 10_000)
    assert 0 < len(shop.bought) <= 20 # kept

def test_divergence_almost_everywhere():
    "Learning rates go down until something trains"
    shop = Shop(truth=lambda bs, lr: hill(bs, lr) if lr < 5e-5 else 'diverged')
    a = found(shop, 400)
    assert a.setting['lr'] < 5e-5 and a.tried['diverged'] > 0

def test_large_batches_do_not_fit():
    a = found(Shop(truth=lambda bs, lr: hill(bs, lr) if bs <= 16 else 'oom'), 400)
    assert a.setting['bs'] <= 16

def test_a_budget_for_no_run():
    with pytest.raises(SuggestError, match='too little for one run'): found(Shop(), 1)

def test_no_time_for_fresh_runs_is_said():
    a = found(Shop(), 10)
    assert a.interval is None and 'no time for fresh runs' in str(a)

def test_an_answer_is_json():
    back = json.loads(found(Shop()).json())
    assert back['setting']['bs'] and back['finalists'][0]['in_set'] in (True, False)

# The surface against exact values

def test_the_surface_is_exact_where_there_is_no_choice():
    "With one set of parameters it is the textbook's Gaussian process"
    from bs_lr_study.suggest import surrogate as s
    at,y = [3, 20, 41, 41],np.array([.5, .8, .6, .65])
    seen = surface(WIDE, at, y)
    h = int(seen.weights.argmax())
    z = seen.squeeze(y)
    fits = []
    for prior in s._priors(WIDE):
        for r in s.NOISE:
            K = prior + s.ROUGH*r*np.eye(len(prior))
            A = K[np.ix_(at, at)] + r*np.eye(4)
            mean = z.mean() + K[:, at] @ np.linalg.solve(A, z - z.mean())
            cov = K - K[:, at] @ np.linalg.solve(A, K[at])
            fits.append((np.abs(mean - seen.means[h]).max() + np.abs(cov - seen.covs[h]).max()))
    assert min(fits) < 1e-8

def test_draws_have_the_mean_and_spread_of_the_surface():
    at = [WIDE.index(*o) for o in ((32, 1e-3), (32, 1e-2), (32, 1e-4), (128, 1e-3), (8, 1e-3))]
    seen = surface(WIDE, at, np.array([.9, .8, .7, .88, .85]))
    drawn = seen.squeeze(seen.draws(4000, np.random.default_rng(0)))
    expected = seen.squeeze(seen.squeeze.back(seen.mean))
    assert np.abs(np.median(drawn, 0) - expected)[at].max() < .2
    spread = np.subtract(*np.quantile(drawn, [.84, .16], 0))/2
    assert np.all(spread[at] < np.median(spread)) # where runs were made more is known

def test_a_decision_takes_less_than_a_second():
    import time
    rng = np.random.default_rng(0)
    cells = [WIDE.cells[i] for i in rng.integers(len(WIDE.cells), size=80)]
    count = {}
    runs = []
    for c in cells:
        count[c] = count.get(c, -1) + 1
        runs.append(Tried(*c, count[c], hill(*c) + .01*rng.standard_normal()))
    start = time.process_time()
    assert isinstance(decide(WIDE, runs, Strategy(metric=ACC)), (Buy, Stop))
    assert time.process_time() - start < 1

def test_the_order_of_runs_says_nothing():
    runs = [Shop().made(*c, 0) for c in WIDE.cells[::5]]
    a,b = (view(WIDE, o, ACC).mean for o in (runs, runs[::-1]))
    assert np.allclose(a, b)

def test_fresh_runs_are_not_seen_by_the_search():
    runs = [Shop().made(*c, 0) for c in WIDE.cells[::7]]
    fresh = [replace_seed(o) for o in runs]
    assert decide(WIDE, runs, Strategy(metric=ACC)) == decide(WIDE, runs + fresh, Strategy(metric=ACC))

def replace_seed(o): return o._replace(seed=FRESH, value=.01)
