"""Texts in blocks, language models, and rows of them beside their single runs."""
from functools import partial

import numpy as np, pytest, torch, torch.nn.functional as F

from bs_lr_study.files import DataError
from bs_lr_study.runs import grid
from bs_lr_study.training import row as rows
from bs_lr_study.training.gpt import GPT, gpt
from bs_lr_study.training.row import Row, batches, train_row
from bs_lr_study.training.text import TOKENIZER, TextBlocks, TextData, blocks, load_text, python_text, split_text, text_fingerprint

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))

@pytest.fixture
def tiny():
    "Twenty sequences of eight tokens out of eleven"
    tokens = np.random.default_rng(0).integers(0, 11, 20*8 + 1)
    return TextBlocks(TextData(tokens, tokens[:41], 11), 8)

MODELS = dict(tiny_gpt=partial(gpt, width=8, depth=2, heads=2))

def member(row, i): return torch.cat([p.detach().reshape(row.members.k, -1)[i] for p in row.members.parameters()])

@pytest.mark.parametrize('opt', ['adam', 'sgd'])
@pytest.mark.parametrize('seeds', [[0], [0, 1]])
def test_each_member_is_its_own_single_run(tiny, seeds, opt, monkeypatch):
    "Twenty updates in float64: weights to 1e-10, of one seed and of two, whole batches, micro-batches and clipped gradients"
    monkeypatch.setattr(rows, 'batches', lambda *args, **kw: batches(*args, **kw, block=1))
    for micro,clip in ((None, None), (2, None), (None, .1)):
        cfgs = grid(data='text', model='tiny_gpt', bs=4, micro_bs=micro, epochs=4, seed=seeds, lr=[1e-3, 1e-1], opt=opt, clip=clip)
        opts = dict(models=MODELS, dtype=torch.float64)
        ends,row = train_row(cfgs, tiny, **opts)
        assert ends[0]['steps'] == 20
        for i,cfg in enumerate(cfgs):
            (end,),alone = train_row([cfg], tiny, **opts)
            assert (member(row, i) - member(alone, 0)).abs().max() < 1e-10
            for k in ('valid_loss', 'train_loss'):
                assert end['metrics'][-1][k] == pytest.approx(ends[i]['metrics'][-1][k], rel=1e-9)

def test_validation_is_the_mean_over_all_places(tiny):
    "Beside a second computation, with a last batch that is not full"
    row = Row(grid(data='text', model='tiny_gpt', bs=4, lr=[1e-3, 1e-2]), tiny, models=MODELS, dtype=torch.float64)
    tiny.valid_batches = partial(tiny.valid_batches, 2)
    loss,_ = row.validate(tiny)
    out = row.outputs(tiny.xv)[:,0]
    assert loss[0] == pytest.approx(F.cross_entropy(out.flatten(0, 1), tiny.yv.flatten()).item())

def test_what_a_place_says_depends_on_what_came_before_it_alone():
    model = GPT(11, 8, 8, 2, 2).double()
    x = torch.arange(8)[None].double().requires_grad_(False).long()
    jac = torch.autograd.functional.jacobian(lambda e: model.tokens.scores(model.norm(model.blocks(e)))[0].sum(-1), model.tokens(x))
    assert (jac[:, 0].abs().sum(-1).triu(1) == 0).all() and (jac[:, 0].abs().sum(-1).diagonal() > 0).all()

def test_heads_share_the_width():
    with pytest.raises(ValueError, match='width = 10 cannot be shared among heads = 4'): gpt(11, 8, width=10)

def test_python_text_is_text_and_the_same_each_time():
    assert python_text() == python_text() and len(python_text().decode(errors='ignore')) > .99*len(python_text())
    assert text_fingerprint() == text_fingerprint()

def test_no_token_is_in_both_parts_or_in_none():
    tokens = np.arange(10**5)
    for n,pct in ((10**5, .2), (10**5, 1/9), (50, .2), (7, .5), (3, .1)):
        train,valid = split_text(tokens[:n], pct)
        assert sorted([*train, *valid]) == list(range(n))
    assert len(split_text(tokens, .2)[1]) == pytest.approx(2e4, abs=4096)

def test_folders_of_text(tmp_path):
    (tmp_path/'b.txt').write_text('second')
    (tmp_path/'a.md').write_bytes('erst\r\ndann ü'.encode())
    (tmp_path/'.hidden.txt').write_text('no')
    (tmp_path/'picture.png').write_bytes(b'\x89')
    data = load_text(tmp_path)
    assert bytes(np.concatenate([data.train, data.valid]).tolist()).decode() == 'erst\ndann ü\nsecond\n'
    before = text_fingerprint(tmp_path)
    (tmp_path/'b.txt').write_text('sacond')
    assert text_fingerprint(tmp_path) != before
    for o in ('train', 'val'): (tmp_path/'own'/o).mkdir(parents=True)
    (tmp_path/'own/train/t.txt').write_text('train')
    (tmp_path/'own/val/v.txt').write_text('valid')
    own = load_text(tmp_path/'own')
    assert bytes(own.train.tolist()) == b'train\n' and bytes(own.valid.tolist()) == b'valid\n'

def test_what_is_no_text(tmp_path):
    (tmp_path/'latin.txt').write_bytes('früh'.encode('latin-1'))
    with pytest.raises(DataError, match=r'latin\.txt: byte 2 is 0xfc, which is not UTF-8: save'): load_text(tmp_path)
    with pytest.raises(DataError, match='no such file or folder'): load_text(tmp_path/'none')
    (tmp_path/'empty').mkdir()
    with pytest.raises(DataError, match='there is no text in it: its files should end in .csv'): load_text(tmp_path/'empty')
    with pytest.raises(DataError, match='the validation text has 9 tokens, but context = 64 asks for 65'):
        TextBlocks(TextData(np.arange(100), np.arange(9), 256), 64)

def test_a_broken_tokenizer_is_named(tmp_path):
    pytest.importorskip('tokenizers', reason='the library tokenizers is not installed')
    (tmp_path/'a.txt').write_text('some text')
    (tmp_path/TOKENIZER).write_text('{}')
    with pytest.raises(DataError, match='is no tokenizer that can be read'): load_text(tmp_path)

def test_blocks_follow_each_other():
    x,y = blocks(np.arange(11), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]] and y.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]

def test_both_engines_train_the_same_run():
    "fastai's Learner and the fast engine: the same losses, tokens counted, the loss as the only metric"
    from bs_lr_study.training import fast, learner
    cfgs = grid(data='python', model='gpt', bs=128, epochs=1, lr=[1e-3, 3e-3], x=dict(width=8, depth=1, heads=2))
    (a,b),(one,two) = (list(o.train_many(cfgs, device='cpu')) for o in (fast, learner))
    for r,s in ((a, one), (b, two)):
        assert (r.status, s.status) == ('ok', 'ok'), (r.message, s.message)
        assert set(r.metrics[-1]) == set(s.metrics[-1]) == {'epoch', 'train_loss', 'valid_loss'}
        assert r.metrics[-1]['valid_loss'] == pytest.approx(s.metrics[-1]['valid_loss'], rel=1e-3)
        assert r.cost['tokens'] == s.cost['tokens'] == 2**18 and r.cost['steps'] == s.cost['steps'] == 32
    assert a.env['members'] == 2

@pytest.mark.parametrize('change, says', [
    (dict(size=32), 'text has no pixels: leave size out'), (dict(aug='strong'), 'text is not augmented'),
    (dict(norm='group'), 'the norms of language models stay as they are'), (dict(x=dict(context='long')), "x.context = 'long': expected"),
    (dict(x=dict(context=10**6)), 'the training text has 262145 tokens, but context = 1000000 asks for'),
    (dict(bs=5000), 'bs 5000 is more than the 4096 training'),
    (dict(x=dict(tokens=10)), 'x.tokens = 10: expected 64 (one block) to 262144'),
    (dict(x=dict(tokens='few')), "x.tokens = 'few': expected"),
    (dict(bs=32, x=dict(tokens=1024)), 'bs 32 is more than the 16 training'),
    (dict(n_out=100), 'n_out = 100, but the data have 256 classes')])
def test_what_does_not_fit_is_said_before_training(change, says):
    from bs_lr_study.training import fast, learner
    cfgs = grid(**dict(data='python', model='gpt', bs=64, lr=1e-3) | change)
    for engine in (fast, learner):
        run, = engine.train_many(cfgs, device='cpu')
        assert says in run.message and run.status in ('failed', 'untrainable')

@pytest.mark.usefixtures('one_thread')
def test_budgets_and_sizes_are_axes_of_a_study(tmp_path):
    "Own axes that the data read, beside those of the model; one that nobody reads is refused; a table keeps them apart"
    from bs_lr_study.analysis import load_runs
    from bs_lr_study.sweep import make_study, run
    axes = dict(data='python', models='gpt', batch_sizes=16, lrs=1e-3, epochs=1)
    axes |= {'x.context': 16, 'x.width': 8, 'x.depth': 1, 'x.heads': 2}
    run(make_study('tiny', tmp_path/'tiny.jsonl', **axes, **{'x.tokens': [256, 512]}), workers=0)
    df = load_runs(tmp_path/'tiny.jsonl')
    assert df['x.tokens'].tolist() == df.tokens.tolist() == [256, 512] and df.attrs['metric'].name == 'valid_loss'
    with pytest.raises(Exception, match='x.contxt: neither'):
        run(make_study('odd', tmp_path/'odd.jsonl', **axes, **{'x.contxt': 16}), workers=0)
