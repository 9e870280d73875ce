# make demo: transcribe the bundled clips with the bundled model. make test: lint, types, all tests.
# Each makes its own environment in .venv first, which needs Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lowest fuzz bench gpu clean bidding-demo bidding-test
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(BIN)/nim4 transcribe demo/*.flac

test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --only-expected-skips

# What takes longer: hours of sound, training that is killed, attacks on a server.
test-slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow --numprocesses auto --maxprocesses 8 --only-expected-skips

$(VENV)/bin/python:
	@echo "Making the environment $(VENV); the first time takes some minutes."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "nim4asr needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,containers,hotwords,lora,export,lhotse,serve,wyoming,mcp]"
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

# Has anything become slower than it was when benchmarks/bench.json was written? In two minutes, on a quiet machine.
# PEERS are others to measure beside it, as NAME=PYTHON=MODEL (benchmarks/peers.py).
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py $(PEERS:%=--peer %)

# The 2.3 B shape on a GPU, in eight minutes at most; VLLM is the Python of an environment with vLLM (docs/gpu.md).
gpu: $(VENV)/.installed-torch
	$(BIN)/python benchmarks/gpu.py $(if $(VLLM),--vllm-python $(VLLM))

$(VENV)/.installed-torch: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[torch]"
	@touch $@

# The bundled model from nothing, out of the corpora in CORPORA and, labeled by Moonshine, the clips in CLIPS,
# and sentences of the articles in ARTICLES (docs/training.md). Hours to days; each part goes on where it stopped.
CORPORA ?= corpora
RUNS ?= runs
LABELED := $(CORPORA)/speech/cv_en_labeled.jsonl
SENTENCES := $(CORPORA)/text/en_articles.txt.gz
WEIGHTS := model/model.safetensors
LONGER = $(BIN)/nim4 train nano-longer --data $(CORPORA) --output $(@D:/model=) --init-model $(<D) --start-stage pretraining

.PHONY: nano
nano: $(RUNS)/nano-mean/encoder_chunk.onnx

$(SENTENCES): | $(VENV)/.installed-dev
	$(BIN)/python tools/collect_sentences.py $(ARTICLES) -o $@ --apart-from $(CORPORA)/speech/cv_en.jsonl $(CORPORA)/speech/speechocean762.jsonl

$(RUNS)/nano/$(WEIGHTS): | $(VENV)/.installed-dev $(if $(ARTICLES),$(SENTENCES))
	$(BIN)/nim4 train nano --data $(CORPORA) --output $(RUNS)/nano

# Nothing but a head that hears English can tell which labels to trust.
$(LABELED): | $(RUNS)/nano/$(WEIGHTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt moonshine-voice
	$(BIN)/python tools/label_speech.py $(CLIPS) -o $(RUNS)/labels.jsonl --apart-from $(CORPORA)/speech/cv_en.jsonl
	$(BIN)/python tools/filter_labels.py $(RUNS)/labels.jsonl -o $(RUNS)/labeled.jsonl --model $(RUNS)/nano/model
	cp $(RUNS)/labeled.jsonl $@

$(RUNS)/nano-longer-1/$(WEIGHTS): $(RUNS)/nano/$(WEIGHTS) $(if $(CLIPS),| $(LABELED))
	$(LONGER)
$(RUNS)/nano-longer-2/$(WEIGHTS): $(RUNS)/nano-longer-1/$(WEIGHTS)
	$(LONGER)
$(RUNS)/nano-longer-3/$(WEIGHTS): $(RUNS)/nano-longer-2/$(WEIGHTS)
	$(LONGER)

$(RUNS)/nano-mean/encoder_chunk.onnx: $(RUNS)/nano-longer-2/$(WEIGHTS) $(RUNS)/nano-longer-3/$(WEIGHTS)
	$(BIN)/nim4 average $(RUNS)/nano-longer-2/model $(RUNS)/nano-longer-3/model -o $(RUNS)/nano-mean
	$(BIN)/nim4 export $(RUNS)/nano-mean

# The second product, auctionlab, has an environment and tests of its own.
bidding-demo:
	@$(MAKE) --no-print-directory -C bidding demo

bidding-test:
	@$(MAKE) --no-print-directory -C bidding test

clean:
	rm -rf $(VENV) $(VENV)-lowest .mypy_cache .ruff_cache .pytest_cache .hypothesis
