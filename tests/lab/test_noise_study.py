"Noise scales as predictors of the best batch size, on points of which all is known and on the record's own lines"
import json

import numpy as np, pandas as pd, pytest

from bs_lr_study.analysis import find_record
from bs_lr_study.lab.noise import noise_points, noise_study, prediction_errors

def made_up(bs, **cols):
    "Points of three models by four learning rates"
    rng = np.random.default_rng(0)
    p = pd.DataFrame([dict(model=m, lr=lr) for m in 'abc' for lr in (1e-4, 1e-3, 1e-2, 1e-1)])
    p = p.assign(inside=True, early=2.**rng.uniform(2, 8, 12), late=2.**rng.uniform(5, 12, 12)).assign(**cols)
    return p.assign(bs=bs(p))

@pytest.mark.parametrize('bs,exact', [
    (lambda p: 3*p.early**.5, 'noise early, a line'),
    (lambda p: 700*p.lr**.3, 'learning rate, a line'),
    (lambda p: 9*p.lr*p.early, 'lr · noise early'),
    (lambda p: p.late, 'noise late, as it is'),
    (lambda p: 5*p.lr**.2*p.late**.4, 'lr and noise late, a plane')])
def test_what_made_the_points_predicts_them(bs, exact):
    t = prediction_errors(made_up(bs)).rms
    assert t[exact] < 1e-9 and t['always the same'] > .5

def test_errors_by_hand():
    p = made_up(lambda p: 2*p.early)
    t = prediction_errors(p)
    y = np.log2(p.bs)
    others = np.array([y[p.model != m].mean() for m in p.model])
    assert (t.rms['noise early, as it is'], t.factor['noise early, as it is']) == pytest.approx((1, 2))
    assert t.rms['always the same'] == pytest.approx(np.sqrt(((y - others)**2).mean()))
    assert (t.n == 12).all() and (t.lo <= t.rms).all() and (t.rms <= t.hi).all()
    assert t.p['noise early, a line'] < .01 and t.p['learning rate, a line'] == 1

def test_rows_that_do_not_count():
    p = made_up(lambda p: 2*p.early)
    odd = pd.concat([p, p.assign(inside=False, bs=1.), p.assign(early=np.inf)], ignore_index=True)
    assert prediction_errors(odd).rms['noise early, as it is'] == pytest.approx(1)
    late = prediction_errors(p.assign(late=[np.inf] + [9.]*11))
    assert not late.index.str.contains('late').any()
    with pytest.raises(ValueError, match='1 model'): prediction_errors(p[p.model == 'a'])

def test_no_noise():
    with pytest.raises(ValueError, match='no run has measured noise'):
        noise_points(pd.DataFrame(), pd.DataFrame(dict(run=['a'])))

def recorded(name): return map(json.loads, find_record(name).read_text().splitlines())

def of_row(d, row):
    "Whether a run is one of a row of the points"
    cfg,norm = d['config'],'group' if 'GroupNorm' in row.model else 'batch'
    return (cfg['model'], cfg.get('norm'), cfg['lr']) == (row.model.split()[0], norm, row.lr) and cfg['bs'] <= 256

def test_points_from_the_raw_lines():
    runs = {d['id']: d for name in ('digits', 'noise') for d in recorded(name)}
    points = noise_study()
    assert len(points) == 16
    for o in points.itertuples():
        mine = [d for d in runs.values() if of_row(d, o)]
        accs = {}
        for d in mine: accs.setdefault(d['config']['bs'], []).append(d['metrics'][-1]['acc'])
        means = {bs: np.round(np.mean(v), 12) for bs,v in accs.items()}
        assert o.bs == min(bs for bs,v in means.items() if v == max(means.values()))
        assert o.inside == (min(accs) < o.bs < max(accs)) and o.bs_lo <= o.bs <= o.bs_hi
        for when,i in (('early', 0), ('late', -1)):
            seen = [d['metrics'][i] for d in mine if 'g2' in d['metrics'][i]]
            ratio = sum(m['tr_sigma'] for m in seen)/sum(m['g2'] for m in seen)
            assert len(seen) == 5 and getattr(o, when) == pytest.approx(max(ratio, 0) or np.inf)
            assert getattr(o, f'{when}_lo') <= getattr(o, when) <= getattr(o, f'{when}_hi')
