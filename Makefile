# make quickstart   from a fresh clone to lithium on copper
# make test         the whole test suite
# make gpaw         the engine gpaw; needs a C++ compiler, BLAS and FFTW
# PYTHON=python3.12 make …   chooses the interpreter

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CULI_MLIP_DATA ?= $(abspath $(wildcard ../shared/data))
export CULI_MLIP_DATA

# Two processes of one thread each: most tests are too small for more. A file's tests share what
# they are made of, and stay together.
# nequip's own tests call its commands by name.
PYTEST := PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: quickstart gpaw test test-all lint constraints clean

quickstart: $(VENV)/.installed
	$(BIN)/culi-mlip quickstart

test: $(VENV)/.installed-dev lint
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.installed-dev lint
	$(PYTEST)

# A GPAW that is there, or that pip kept, may be of another libxc.
gpaw: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet pyscf gpaw-data -c constraints.txt
	GPAW_CONFIG="$(CURDIR)/gpaw_siteconfig.py" $(BIN)/python -m pip install --quiet \
		--no-cache-dir --force-reinstall --no-deps gpaw -c constraints.txt

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Newest versions of everything for every Python that is supported; CUDA's follow from torch's.
constraints: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet uv
	echo 'torch==2.13.0' | $(BIN)/uv pip compile pyproject.toml --all-extras --upgrade \
		--universal --python-version 3.10 --no-python-downloads --constraint - \
		--no-header --no-annotate --no-emit-index-url | \
		grep -vE '^(nvidia-(cu|n[cv])|cuda-|triton)' > constraints.new
	mv constraints.new constraints.txt

# Each stamp is written last: an interrupted installation is taken up again.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch -c constraints.txt
	$(BIN)/python -m pip install --quiet -e '.[foundation]' -c constraints.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
