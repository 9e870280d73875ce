# make demo: transcribe the bundled clips with the bundled model. make test: lint, types, all tests.
# Each makes its own environment in .venv first, which needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lowest fuzz clean bidding-demo bidding-test
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(BIN)/nim4 transcribe demo/*.flac

test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --only-expected-skips

$(VENV)/bin/python:
	@echo "Making the environment $(VENV); the first time takes some minutes."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "nim4asr needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,containers,hotwords,training,export,lhotse,serve,wyoming,mcp]"
	@touch $@

# The lowest versions that pyproject.toml asks for, without any extra: do they do what the newest do?
lowest: $(VENV)/bin/python
	@rm -rf $(VENV)-lowest && $(PYTHON) -m venv $(VENV)-lowest
	@$(BIN)/python tools/lowest_versions.py > $(VENV)-lowest/constraints.txt
	@$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c $(VENV)-lowest/constraints.txt -e .
	@$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check hypothesis pytest pytest-timeout
	@$(VENV)-lowest/bin/nim4 transcribe demo/*.flac
	$(VENV)-lowest/bin/pytest tests/test_api.py tests/test_files.py tests/phonemes tests/hotwords -k "not kernels"

# 10,000 damaged inputs over all rooms: each is read or refused in a sentence.
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzzing --count 10000

# The second product, auctionlab, has an environment and tests of its own.
bidding-demo:
	@$(MAKE) --no-print-directory -C bidding demo

bidding-test:
	@$(MAKE) --no-print-directory -C bidding test

clean:
	rm -rf $(VENV) $(VENV)-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis
