"A verdict by its intervals, and its numbers in words"
import numpy as np, pytest

from bs_lr_study.lab.ledger import Claims, Lacking, Verdict, judge, need, test_claims as table_of, words

def test_judge():
    assert [judge([0], [1], least=o) for o in (0, .5, 1.5)] == ['holds', 'within noise', 'does not hold']
    assert judge([], []) == judge([np.nan], [1]) == 'needs an experiment'
    assert judge([1, -1], [2, 1], least=0) == 'within noise' and judge([1, -2], [2, -1], least=0) == 'does not hold'

@pytest.mark.parametrize('template,value,want', [
    ('{x:.1p}', -.0004, '0.0'), ('{x:.1p}', -.0274, '−2.7'), ('{x:.2f}', -.5, '−0.50'), ('{x:.2g}', 1.4e7, '1.4e7'),
    ('{x:.2g}', 2.6e-16, '2.6e-16'), ('{x:lr}', 1e-3, '1e-3'), ('{x:.0p}', [.39, .46], '39, 46'), ('{x}', 'a-b', 'a-b')])
def test_words(template, value, want): assert words(template, x=value) == want

def test_lists_have_templates_of_their_own():
    v = Verdict('holds', '{n} of them: {rows}', dict(n=2, rows=[dict(a=1), dict(a=2)]), dict(rows='a is {a}'))
    assert v.found == '2 of them: a is 1; a is 2'

def test_a_lack_of_runs_is_a_verdict():
    claims = Claims('00_x.ipynb')
    @claims.enter('belief', 'some claim', 'So it is.')
    def claim(ev): return need(ev, 'a run', 'there are {n}', n=0)
    v = claim([])
    assert (v.verdict, v.found, v.needs, v.numbers) == ('needs an experiment', 'there are 0', 'a run', dict(n=0))
    with pytest.raises(Lacking): need([], 'a run')
    assert table_of(claims, []).cell.item() == '00_x.ipynb#some-claim'
