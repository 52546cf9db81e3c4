# `make demo` and `make test` work from a fresh clone with nothing but Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads of the tiny networks on a CPU would only wait for each other.
TEST_ENV := OMP_NUM_THREADS=1

.PHONY: install demo test lint clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg setup.py pyproject.toml constraints.txt rgpt4d_plugin.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Use: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[dev]' -c constraints.txt
	touch $@

demo: install
	$(BIN)/rgpt4d demo recipes/demo_cpu.yaml

test: install lint
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf demo build dist *.egg-info
