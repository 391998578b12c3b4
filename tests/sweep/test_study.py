"""What settings declare: the published grid as it was, and errors that name the key, the value and the choices."""
from pathlib import Path

import pytest

from bs_lr_study.sweep import load_study, make_study
from bs_lr_study.sweep.study import SettingsError, find_settings

@pytest.fixture
def folder(tmp_path): return tmp_path

def test_published_grid_is_the_csv():
    root = Path(__file__).parents[2]
    names = [l.split(',')[0] for l in (root/'bs_lr_study/records/2025-06-04-imagenette.csv').read_text().splitlines()[1:]]
    runs = load_study('imagenette', root/'bs_lr_study'/'settings.ini').runs
    assert sorted(runs) == sorted(names) and len(names) == 123
    assert {c.n_out for c in runs.values() if c.model == 'xresnet18'} == {1000}
    assert {c.n_out for c in runs.values() if c.model != 'xresnet18'} == {None}
    assert {(c.size, c.epochs, c.seed) for c in runs.values()} == {(128, 5, 0)}

def test_settings_errors_name_all_that_helps(folder):
    bad = {
        'batch_sizes = 8 0': ('settings.ini', '[a]', 'batch_sizes', '0'),
        'lrs = tiny': ('lrs', "'tiny'"),
        'opt = lion': ("'lion'", "'adam'"),
        'batchsizes = 3': ('batchsizes', 'batch_sizes'),
        'epochs = many': ('epochs', "'many'"),
        'seeds = -1': ('seeds', '-1')}
    for line,said in bad.items():
        keys = dict(data='digits', models='small', batch_sizes='8', lrs='1e-3')
        keys.pop(line.split(' =')[0], None)
        (folder/'settings.ini').write_text('[a]\n' + ''.join(f'{k} = {v}\n' for k,v in keys.items()) + line)
        with pytest.raises(SettingsError) as e: load_study('a', folder/'settings.ini')
        for o in said: assert o in str(e.value)

def test_nothing_may_stand_behind_a_section(folder):
    "Where a newline is lost, a key would be lost with it"
    (folder/'settings.ini').write_text('[a] epochs = 3\ndata = digits\nmodels = small\nbatch_sizes = 8\nlrs = 1e-3')
    with pytest.raises(SettingsError, match='settings.ini'): load_study('a', folder/'settings.ini')

def test_a_value_that_is_missing_before_an_indented_line(folder):
    (folder/'settings.ini').write_text('[a]\nepochs\n  3\ndata = digits\n')
    with pytest.raises(SettingsError, match='settings.ini'): load_study('a', folder/'settings.ini')

def test_settings_run_nothing(folder):
    "Values are text: no interpolation, no evaluation"
    (folder/'settings.ini').write_text('[a]\ndata = digits\nmodels = small\nbatch_sizes = __import__("os").getpid()\nlrs = 1e-3')
    with pytest.raises(SettingsError, match='batch_sizes'): load_study('a', folder/'settings.ini')

def test_the_settings_that_count(folder):
    "Those of the current folder, else the package's own; a missing study is told of with the place and the choices"
    assert find_settings().parts[-2:] == ('bs_lr_study', 'settings.ini')
    said = "^no settings.ini here, and in the package's own no study 'mine'; there are digits, imagenette"
    with pytest.raises(SettingsError, match=said):
        load_study('mine')
    (folder/'settings.ini').write_text('[mine]\ndata = digits\nmodels = small\nbatch_sizes = 8\nlrs = 1e-3')
    assert find_settings() == Path('settings.ini') and len(load_study('mine').runs) == 1
    with pytest.raises(SettingsError, match="^settings.ini: no study 'digits'; there are mine$"): load_study('digits')
    with pytest.raises(SettingsError, match='^nowhere.ini: no such settings file$'): load_study('mine', 'nowhere.ini')

class Callback: "Of the reader's own"

def test_what_is_measured_can_be_named_in_full():
    "Without an entry in the register, and so in a worker too"
    def measured(measure):
        s = make_study('s', data='digits', models='small', batch_sizes=8, lrs=1e-3, measure=measure)
        return set(s.measure.values())
    assert measured('mine:Callback') == {'mine:Callback'} and measured(Callback) == {Callback} and measured(None) == set()
    with pytest.raises(SettingsError, match='measure: one name at most, not a b'): measured(['a', 'b'])
    with pytest.raises(SettingsError, match="measure: no measurement 'sound'"): measured('sound')

def test_what_the_studies_of_the_package_measure_is_there():
    "Each names its measurement in full: a renamed module would be noticed only when the study is run"
    from bs_lr_study.register import import_object
    from bs_lr_study.sweep import study_names
    settings = Path(__file__).parents[2]/'bs_lr_study'/'settings.ini'
    measures = {m for name in study_names(settings) for m in load_study(name, settings).measure.values()}
    assert len(measures) == 3
    for m in measures: assert hasattr(import_object(m), 'epoch_metrics'), m
