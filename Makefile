# make demo: hippocampi of a real T1 head, into demo/.  make test: lint and tests.  Each works alone on a fresh clone.
FITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python3.10 python; do \
	if $$p -c '$(FITS)' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
export PYTHONPATH := AHNetSegment

.PHONY: help demo test test-slow test-slicer lint bench bench-finetuning bench-transfer screenshots gallery model-tables evaluate-abdomen evaluate-cardiac evaluate-hippocampus train-abdomen train-brain bench-tables bench-planes evaluate-pseudo-mr clean

help:
	@sed -n '1s/^# //p' Makefile

$(INSTALLED): Testing/requirements.txt Testing/requirements-no-deps.txt
	@"$(PYTHON)" -c '$(FITS)' || { echo "Python 3.10 to 3.13 is needed; name one: make PYTHON=/path/to/python3.12"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r Testing/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r Testing/requirements-no-deps.txt
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python Testing/demo.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff .
	$(BIN)/mypy

# One thread a worker: two workers with two threads each would fight for two cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# What make test leaves out, since it takes half a minute a test. AHNET_FUZZ: how many damaged files of each format.
test-slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow -rP

# The module's own test and those of the panel inside a real Slicer, see CONTRIBUTING.md; its Python needs pytest and
# torch: make test-slicer SLICER=/path/to/Slicer [INSTALL=yes] [CONFIGURATIONS=plain] [TESTS="Testing/test_panel_cases.py"]
test-slicer:
	@PYTHONPATH=Testing "$(PYTHON)" -m in_slicer --slicer "$(SLICER)" $(if $(filter yes,$(INSTALL)),--install) \
		$(if $(CONFIGURATIONS),--configurations $(CONFIGURATIONS)) -- $(TESTS)

# Against MONAI's AH-Net and nnU-Net's architecture, with labelled data in ../shared: about three quarters of an hour.
# Some parts alone: make bench BENCH="1 3"; how Dice rises in an hour of training: make bench BENCH="9 --before v1".
bench: $(INSTALLED) $(VENV)/bench-installed
	$(BIN)/python Testing/bench/bench.py $(BENCH)

# The README's table of speed and memory, from what make bench has written.
bench-tables: $(INSTALLED)
	$(BIN)/python Testing/bench/tables.py

$(VENV)/bench-installed: Testing/bench/requirements.txt $(INSTALLED)
	$(BIN)/python -m pip install --quiet -r Testing/bench/requirements.txt
	@touch $@

# What slices in another plane than the model's cost, on labelled data in ../shared: a quarter of an hour.
bench-planes: $(INSTALLED)
	$(BIN)/python Testing/bench/planes.py $(BENCH)

# Fine-tuning on labelled data in ../shared, against training from scratch: an hour.
bench-finetuning: $(INSTALLED)
	$(BIN)/python Testing/bench/finetuning.py $(BENCH)

# The training's 2D stage and transfer, against 3D from the first step on: an hour and more.
bench-transfer: $(INSTALLED)
	$(BIN)/python Testing/bench/transfer.py $(BENCH)

# The panel before, during and after a run and in the middle of a training, into Resources/Screenshots.
screenshots: $(INSTALLED)
	$(BIN)/python Testing/screenshots.py

# What each bundled model finds in a case that it has not seen, with labelled data in ../shared, into the same folder.
gallery: $(INSTALLED)
	$(BIN)/python Testing/gallery.py

# The README's tables of what each bundled model reaches, from its card.
model-tables: $(INSTALLED)
	$(BIN)/python Testing/model_tables.py

evaluate-abdomen: $(INSTALLED)
	$(BIN)/python -m AHNetSegmentLib evaluate --model abdomen-ct --data ../shared/data/abdomen-ct --split validation

evaluate-cardiac: $(INSTALLED)
	$(BIN)/python -m AHNetSegmentLib evaluate --model cardiac-cine --data ../shared/data/cardiac-cine --split validation

evaluate-hippocampus: $(INSTALLED)
	$(BIN)/python -m AHNetSegmentLib evaluate --model hippocampus-t1 --data ../shared/data/hippocampus-t1 --split validation

# CT beside images that look like MR, made of it, on the validation cases: make evaluate-pseudo-mr OF="--model abdomen",
# or OF="--work <folder>" for a training that is still under way.
evaluate-pseudo-mr: $(INSTALLED)
	$(BIN)/python Testing/pseudo_mr.py $(or $(OF),--model abdomen) --data ../shared/data/abdomen-ct

# A model from its recipe, with data in ../shared. It goes on from where it was stopped, at whatever moment that was:
# checkpoint, log and the finished model are in WORK, which should lie outside of the working tree.
train-abdomen train-brain: train-%: $(INSTALLED)
	@test -n "$(WORK)" || { echo "Name the folder of checkpoint and model: make $@ WORK=/path/to/folder"; exit 1; }
	$(BIN)/python -m AHNetSegmentLib train Testing/recipes/$*.toml --data ../shared/data/$(DATA_$*) --work "$(WORK)" $(TRAIN)

DATA_abdomen := abdomen-ct
DATA_brain := brain-labels

clean:
	rm -rf demo $(VENV)
