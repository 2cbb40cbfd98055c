# `make live` talks, `make test` checks, `make docs` builds the site. They set themselves up in .venv.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8321
MODEL ?= nano
WORKERS ?= 2
VENV := .venv
INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: live test docs coverage system-packages clean

live: $(VENV)/live.stamp  ## serve the bundled model with its page
	@$(VENV)/bin/quintet serve $(MODEL) --host $(HOST) --port $(PORT)

test: $(VENV)/test.stamp system-packages  ## every check: style, types, tests, a tiny pipeline
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile

coverage: $(VENV)/test.stamp system-packages  ## which lines of the package the tests reach
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term --cov-fail-under=90

docs: $(VENV)/test.stamp  ## what pages take from the code, written anew; then the site, strictly
	@$(VENV)/bin/python -m scripts.draw_idea
	@$(VENV)/bin/python -m scripts.write_docs
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet
	@echo "The site is in build/site: open build/site/index.html"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Quintet needs Python 3.11 or newer; install it, or name it with PYTHON=..."; exit 2; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python's venv module is missing; install it (on Debian: python3-venv)."; exit 2; }

$(VENV)/live.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Quintet and its libraries into $(VENV): 1.3 GB with PyTorch's build for the CPU," \
	  "several more with its build for NVIDIA GPUs; this takes some minutes ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Quintet, its libraries and its checks into $(VENV) ..."
	@$(INSTALL) -e '.[dev,docs]'
	@$(INSTALL) -e '.[quality]' 2>/dev/null || \
	  echo "Not installed: pesq, which needs a C compiler (on Debian: apt-get install gcc" \
	    "python3-dev); the benchmark of the codec's quality and its test are left out."
	@touch $@ $(VENV)/live.stamp

# Programs that tests and training use. Where they cannot be installed, tests that need them are
# skipped and say so; a session with the bundled model needs none of them.
system-packages:
	@sh scripts/system-packages.sh

clean:  ## remove what the two commands made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
