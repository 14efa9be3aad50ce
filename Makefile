# `make demo` and `make test` set up their own environment in .venv; nothing else is needed than
# make and Python 3.11 to 3.13.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(if $(shell $(p) -c 'import sys; print(1) if (3, 11) <= sys.version_info < (3, 14) else sys.exit(1)' 2>/dev/null),$(p))))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := runs/demo
# Two processes: the tests are many small compilations, and two cores are common. A file stays in one
# of them, so that what its tests share is made once; files come in their own order, for those of few
# tests are long, and the last of them would run alone.
# Bytecode is kept, whatever the environment says: the processes that tests start read it, too.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 --dist=loadfile --no-loadscope-reorder
# Only for comparisons in the tests; the CPU's build alone, for the usual one takes gigabytes.
TORCH := torch==2.13.0+cpu

.PHONY: demo test-core test test-slow coverage lint format docs release requirements clean

# Trains LSGAN in one stage on the embedded digits, which have 8 pixels: 16 show all of them. A minute
# on two idle cores.
demo: $(READY)
	$(BIN)/python -m experiments.train --method=lsgan --scheme=one_stage --dataset=digits --conditional \
		--image_size=16 --width=32 --batch_size=64 --optimizer=adam --learning_rate_d=2e-4 --ema_decay=0.995 \
		--num_steps=2500 --num_samples=80 --sample_every=500 --save_every=500 --workdir=$(DEMO)
	$(BIN)/python -m experiments.sample --workdir=$(DEMO) --grid=80 --interpolate=10
	@echo "Look at $(DEMO)/generated/grid.png and interpolations.png, and at $(DEMO)/curves.png."
	@echo "For images of your own: $(BIN)/python -m experiments.train --dataset=folder \
--data_dir=FOLDER --image_size=32 --width=32 --workdir=runs/mine"

# Three tiers. Losses, the one pass, steps, data, checkpoints and the loop, without another process ...
test-core: $(READY)
	$(PYTEST) -m 'not slow and not process' tests/core tests/data tests/engine tests/gan/test_updates.py

# ... all that is not slow, ...
test: $(VENV)/.torch
	$(PYTEST) -m 'not slow'

# ... and everything.
test-slow: $(VENV)/.torch $(VENV)/.docs
	$(PYTEST)

# The lines that the fast tests reach.
coverage: $(VENV)/.torch
	$(PYTEST) -m 'not slow' --cov=osgan_jax --cov=experiments --cov-report=term-missing:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in docs/_build/html; a warning is an error. Nothing is fetched.
docs: $(VENV)/.docs
	JAX_PLATFORMS=cpu $(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

# The wheel and the source distribution, in dist/.
release: $(VENV)/.docs
	rm -rf build dist
	$(BIN)/python -m build --no-isolation

$(READY): requirements.txt setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed and none was found on the PATH; install one or give PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear $(VENV) || { echo "error: $(PYTHON) could not make a virtual environment in $(VENV); install its venv module (Debian: python3-venv)" >&2; exit 1; }
	@echo "Installing into $(VENV), once; this takes a minute or two ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt || { echo "error: the requirements could not be installed; is there a network, and room on the disk?" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e . || { echo "error: the package itself could not be installed from $(CURDIR)" >&2; exit 1; }
	@touch $(READY)

$(VENV)/.torch: $(READY)
	@if $(BIN)/python -m pip install -q --disable-pip-version-check '$(TORCH)' 2>/dev/null; then touch $(VENV)/.torch; \
		else echo "There is no $(TORCH) to be had now: the comparisons with it are skipped."; fi

$(VENV)/.docs: $(READY) docs/requirements.txt
	@echo "Installing what builds the site into $(VENV), once ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt -r docs/requirements.txt || { echo "error: what builds the site could not be installed; is there a network?" >&2; exit 1; }
	@touch $@

# Resolves setup.cfg anew and pins what comes out.
requirements:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11, 3.12 or 3.13 is needed" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q '.[test]'
	{ sed -n '/^#/p' requirements.txt; $(BIN)/python -m pip freeze --exclude osgan_jax; } > requirements.new
	mv requirements.new requirements.txt
	$(BIN)/python -m pip install -q -r requirements.txt '.[docs]'
	{ sed -n '/^#/p' docs/requirements.txt; $(BIN)/python -m pip freeze --all --exclude osgan_jax --exclude pip | grep -vxFf requirements.txt; } > requirements.new
	mv requirements.new docs/requirements.txt

clean:
	rm -rf $(VENV) .cache build dist docs/_build docs/generated *.egg-info .pytest_cache .ruff_cache .hypothesis
