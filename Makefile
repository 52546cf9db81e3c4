# `make demo` and `make test` work from a fresh clone with nothing but Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads of the tiny networks on a CPU would only wait for each other. Bytecode is kept, whatever the machine says: the
# suite starts hundreds of processes.
TEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=

.PHONY: install bundle demo docs test test-fast test-further test-lmms test-trl test-browser matrix lint clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg setup.py pyproject.toml constraints.txt rgpt4d_plugin.pth
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Use: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[dev]' -c constraints.txt
	touch $@

demo: install
	$(BIN)/rgpt4d demo recipes/demo_cpu.yaml
	$(BIN)/rgpt4d evidence --preset demo --regimes many --arms sft explicit --seeds 1 --jobs 2 --out demo/evidence

# For a machine without a network, in dist/bundle/; see docs/speed.md. PY=3.12: its Python; WITHOUT="pandas pyarrow": what
# it has besides torch.
bundle: install
	$(BIN)/python tools/make_bundle.py $(if $(PY),--python $(PY)) $(if $(WITHOUT),--without $(WITHOUT))

# In two processes, about twelve minutes on two cores. A file stays in one process, for the sake of its fixtures;
# tests/conftest.py puts the files that take longest first.
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: install lint
	$(PYTEST) -m 'not further'

# The rest: examples to their end, and the slow tests of the families that are like one of those that `make test` tries.
test-further: install
	$(PYTEST) -m further

# While developing: under a minute on two cores. Left out is what trains for seconds (`slow`) or starts processes of
# its own (`distributed`).
test-fast: install
	$(PYTEST) -m 'not slow and not distributed'

# An environment on top of the packages in .venv, which its site-packages point to.
define overlay
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	  echo "import site; site.addsitedir('$$site')" > \
	  $$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/product.pth
endef

# lmms-eval puts av below 16 and some 60 packages in, so it has an environment of its own: what it imports to load and
# score tasks.
LMMS := .venv-lmms
LMMS_VERSION := 0.7.3

$(LMMS)/.installed: $(VENV)/.installed tests/lmms/requirements.txt
	$(call overlay,$(LMMS))
	$(LMMS)/bin/python -m pip install -q -r tests/lmms/requirements.txt
	$(LMMS)/bin/python -m pip install -q --no-deps lmms-eval==$(LMMS_VERSION)
	touch $@

test-lmms: $(LMMS)/.installed
	$(TEST_ENV) $(LMMS)/bin/python -m pytest tests/lmms

# TRL of today wants datasets that LLaMA-Factory 0.9.5 refuses: an environment of its own.
TRL := .venv-trl

$(TRL)/.installed: $(VENV)/.installed tests/trl_requirements.txt
	$(call overlay,$(TRL))
	$(TRL)/bin/python -m pip install -q -r tests/trl_requirements.txt
	touch $@

test-trl: $(TRL)/.installed
	$(TEST_ENV) $(TRL)/bin/python -m pytest tests/trainers/test_trl.py

# The page of `rgpt4d annotate` in a headless Chromium; without root, install chromium and chromium-driver yourself.
BROWSER := .venv-browser

$(BROWSER)/.installed: $(VENV)/.installed
	$(call overlay,$(BROWSER))
	$(BROWSER)/bin/python -m pip install -q 'selenium>=4.20'
	touch $@

test-browser: $(BROWSER)/.installed
	command -v chromium google-chrome >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium chromium-driver; }
	$(TEST_ENV) $(BROWSER)/bin/python -m pytest tests/annotate/test_browser.py

# Before a release, by hand: the host's tests with every supported transformers. The table is in docs/install.md.
MATRIX := 5.2.0 5.3.0 5.4.0 5.5.4
MATRIX_TESTS := tests/patches tests/modeling tests/template tests/trainers/test_training.py \
  tests/trainers/test_batches.py tests/test_recipes.py

.venv-transformers-%/.installed: $(VENV)/.installed
	$(call overlay,$(@D))
	$(@D)/bin/python -m pip install -q --no-deps transformers==$*
	touch $@

matrix-%: .venv-transformers-%/.installed
	$(TEST_ENV) $(<D)/bin/python -m pytest -q $(MATRIX_TESTS)

matrix: $(MATRIX:%=matrix-%)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/lint_imports.py
	$(BIN)/mypy

# The site of docs/, in site/; a link to a page, heading or file that does not exist is an error.
docs: install
	$(BIN)/python tools/make_reference.py
	$(BIN)/python tools/make_families.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf demo site build dist *.egg-info
