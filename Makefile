# Each target sets up all it needs in .venv: it asks for git, make and Python 3.11 or later.
PYTHON ?= python3
BIN := .venv/bin
# Kept, whatever the shell says: without it each process compiles torch and fastai anew, seven seconds of a core
export PYTHONDONTWRITEBYTECODE :=
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: study test quick test-all bench faults gpu site posts fix pictures constraints hooks clean

# ARGS: further options of `bslr run`
study: .venv/.ready
	$(BIN)/bslr run digits $(ARGS)

# Every notebook and every test but those of minutes. A third worker for two cores: many tests wait for processes.
test: .venv/.ready
	$(BIN)/ruff check
	$(PYTEST) -m "not slow" -n 3 --dist loadscope --no-loadscope-reorder --durations 10

# While one works: what starts no processes and runs no notebooks, each test with its first parameters only.
# ROOM=analysis, a folder of tests/, takes well under a minute
quick: .venv/.ready
	$(BIN)/ruff check
	$(PYTEST) -m "not slow and not processes and not notebook" --one-of-each -n 2 --dist loadscope tests/$(ROOM)

# The slow ones too, in an order of their own, with ten times as many malformed tables
test-all: .venv/.ready
	$(BIN)/ruff check
	BSLR_FUZZ=2500 $(PYTEST) -n 2 --dist loadscope --random-order-bucket module --random-order-seed $$(date +%s) --durations 10

# The fast engine beside the published loop: the better part of an hour; QUICK=1 takes a minute or two and proves nothing
bench: .venv/.ready
	$(BIN)/python benchmarks/bench.py $(if $(QUICK),--quick)

# What a sweep survives, as a table: about a quarter of an hour; QUICK=1 harms it a few times only
faults: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python faults $(if $(QUICK),--quick) --save runs/faults.json

# On a machine with a GPU, offline perhaps: tests, step rates, then the published grid; goes on where it was.
# DATA=imagenette2-160.tgz names the images, MINUTES=9 says when to end; TINY=1 tries all of it on a CPU
gpu: .venv/.ready
	$(BIN)/python benchmarks/gpu_day.py $(if $(TINY),--device cpu --tiny,--data $(DATA)) --minutes $(or $(MINUTES),9)

# The site, into _docs: a preview, and checks of it; RENDER=quarto renders it as the deployment does
site: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python tools/pages.py $(if $(RENDER),--$(RENDER))

# Once records have grown: run the posts, the summaries and the home page again and save them
posts: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python tools/pages.py --save

# After a change in nbs/: export the modules, clean the notebooks, write README.md and what follows from the repository's address
fix: .venv/.ready
	$(BIN)/python tools/address.py
	$(BIN)/nbdev-export
	$(BIN)/nbdev-clean
	$(BIN)/python tools/readme.py

# Once a report looks otherwise: draw the terminal and photograph the page that README and the home page show; needs Chromium
pictures: .venv/.ready
	$(BIN)/python tools/pictures.py
	$(BIN)/python tools/sweep_picture.py

# The newest versions that pyproject.toml allows, as the ones to test with
constraints: .venv/.ready
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras \
		--no-header --no-annotate --no-emit-index-url pyproject.toml --output-file constraints.txt

# Clean notebooks and check the style before each commit
hooks: .venv/.ready
	$(BIN)/pre-commit install

clean:
	rm -rf .venv runs plots build dist _docs _pages .pytest_cache .ruff_cache .hypothesis *.egg-info

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: Python 3.11 or later is needed (make PYTHON=python3.12 …)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@
