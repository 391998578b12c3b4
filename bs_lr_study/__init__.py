"""What batch size and learning rate do to a model, and which to use: a lab notebook that is also a library"""

__version__ = "0.1.0"

# What is used most, by the room that has it; imported once it is asked for, so that the package itself is light
_ROOMS = {
    'bs_lr_study.analysis': 'answer_oom best_by best_run by_setting cells comparable crosstab_acc crosstab_text find_record '
                            'inflection_table load_runs optima pick_model printable records top_runs',
    'bs_lr_study.sweep': 'load_study make_study'}

def __getattr__(name):
    from importlib import import_module
    room = next((k for k,names in _ROOMS.items() if name in names.split()), None)
    if room is None: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(room), name)

def __dir__(): return sorted({*globals(), *(o for names in _ROOMS.values() for o in names.split())})
