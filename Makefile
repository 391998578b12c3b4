# Each target sets up all it needs in .venv: it asks for git, make and Python 3.11 or later.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: study test test-all bench faults site posts fix clean

study: .venv/.ready
	$(BIN)/bslr run digits

# the posts are run by the tests, where only the package is installed
test: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/nbdev-test --n-workers 2 --skip-folder-re '^([_.]|posts$$)'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-all: .venv/.ready
	$(BIN)/nbdev-test --n-workers 2 --flags slow
	BSLR_FUZZ=2500 $(BIN)/python -m pytest

# times as fast as the published loop, W&B off and on; the better part of an hour
bench: .venv/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[wandb]'
	$(BIN)/python benchmarks/bench.py

# what a sweep survives, as a table: about a quarter of an hour
faults: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python faults --save runs/faults.json

# the site, into _docs: a preview, and checks of it; RENDER=quarto renders it as the deployment does
site: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python tools/pages.py $(if $(RENDER),--$(RENDER))

# once records have grown: run the posts, the summaries and the home page again and save them
posts: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python tools/pages.py --save

# after a change in nbs/: export the modules, clean the notebooks, write README.md and what follows from the repository's address
fix: .venv/.ready
	$(BIN)/python tools/address.py
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tools/readme.py

clean:
	rm -rf .venv runs plots build dist _docs _pages *.egg-info

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or later is needed (make PYTHON=python3.12 …)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@
