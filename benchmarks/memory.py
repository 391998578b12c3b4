"""Peak memory of a few updates by each way of training, each measured in a process of its own

Print JSON: case -> way -> three values in MiB, above what the imports take. `growth.py` runs it too.
"""
import argparse, json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

def peak(way, model, size, bs, k):
    "MiB at the most, above what this process held before"
    import resource, torch
    from bs_lr_study.runs import RunConfig
    from steps import Fast, Published, members, noise
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    torch.set_num_threads(1)
    source,cfg = noise(size, 4*bs),RunConfig('noise', model, bs, 1e-3, size=size)
    way = Published(learner(source, model, bs)) if way == 'published' else Fast(members(cfg, k), source)
    way(3)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)/2**10

def learner(source, model, bs):
    from bs_lr_study.training.models import model_function
    from published import array_learner
    learn = array_learner(source.xt, source.yt, source.xv, source.yv, bs)
    learn.model = model_function(model)(10, 3)
    return learn

CASES = [('small', 32, 64, (1, 4, 16)), ('small', 128, 64, (1, 4, 16)), ('xresnet18', 64, 16, (1, 3))]
QUICK = [('small', 32, 16, (1, 4))]

def peaks(cases, repeats, call):
    "Case -> way -> MiB, where `call(f, *args)` runs `f` in a process of its own"
    def of(model, size, bs, ks):
        ways = {'published loop': ('published', 1)} | {f'fast, {k} run{"s"*(k > 1)}': ('fast', k) for k in ks}
        return {name: [call(peak, way, model, size, bs, k) for _ in range(repeats)] for name,(way,k) in ways.items()}
    return {f'{model}, {size} px, bs {bs}': of(model, size, bs, ks) for model,size,bs,ks in cases}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--quick', action='store_true', help='see that it works, on one tiny case, once')
    quick = p.parse_args().quick
    cases,repeats = (QUICK,1) if quick else (CASES,3)
    ctx = get_context('forkserver')
    # What a process would otherwise have to import
    ctx.set_forkserver_preload(['bs_lr_study.training.fast', 'torch._dynamo', 'fastai.vision.all'])
    with ProcessPoolExecutor(1, ctx, max_tasks_per_child=1) as ex:
        said = peaks(cases, repeats, lambda *a: ex.submit(*a).result())
        print(json.dumps(said))

if __name__ == '__main__': main()
