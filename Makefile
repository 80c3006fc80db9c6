# Every target sets up what it needs; a fresh machine needs only python3, git and make.

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

# The demo's changes to params.yaml: small built-in drawings, and a small encoder with random weights. It trains for so
# few steps that it learns more without geometric augmentation.
DEMO := data.source=synthetic data.image_size=96 train.epochs=5 train.learning_rate=0.003 train.layer_decay=1.0 \
  train.steps_per_epoch=180 train.ema=0.9 'train.augment.scale=[1.0,1.0]' train.augment.aspect=1.0 train.augment.rotation=0.0 \
  model.encoder.weights=none model.encoder.alpha=0.35 'model.decoder.filters=[64,32,16]' \
  'model.encoder.layers=[block_1_expand_relu,block_3_expand_relu,block_6_expand_relu,block_13_expand_relu]'

# The revision that a change is to be merged into.
BASE ?= origin/main

# Columns that `make experiments` leaves out of `dvc exp show`: files, and scores close to those that it shows.
HIDDEN := (src|stages|data|models|results)/|network|original\.(iou|dice|mean_dice|interval|boundary_f1)|calibration|val_(loss|acc)|best_epoch|epochs|loss|Executor|Created

.PHONY: help setup demo remote-demo test test-all repro experiments ablation plots review bench bench-check bench-gpu lint format lock clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

setup: .venv/.complete ## Create .venv with the locked requirements

.venv/.complete: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(None if (3, 10) <= v <= (3, 13) else "error: Python %d.%d found, 3.10 to 3.13 needed; try make PYTHON=python3.12" % v)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: this Python cannot create virtual environments; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	@# The lock is complete. Without --no-deps some pips look for newer versions of packages with extras, and refuse them.
	.venv/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Train, score and report on built-in drawings, in a clone of the last commit under .demo
	rm -rf .demo
	git clone --quiet . .demo
	cd .demo && dvc exp run $(foreach param,$(DEMO),-S $(param)) && segpipe scores

remote-demo: setup ## Push to an S3 bucket on loopback, clone, pull: nothing runs (in .remote-demo)
	python examples/remote_demo.py

test: setup ## Run the tests, without the long ones
	python -m pytest -n auto --dist worksteal -m "not slow"

test-all: setup ## Run all tests
	python -m pytest -n auto --dist worksteal

repro: setup ## Run the pipeline as params.yaml says
	dvc repro

experiments: setup ## Compare the experiments: changed params and scores
	dvc exp show --only-changed --precision 4 --sort-by original.mean_iou --sort-order desc --drop '$(HIDDEN)'

ablation: setup ## Train the rows of docs/quality.md that have no result, and write its tables
	python experiments/run.py; code=$$?; python experiments/table.py && exit $$code

plots: setup ## Write a page of curves, scores and pictures; it and dvc plots diff then need no network
	python -m segpipe.review.plotpage .dvc/plots/page.html
	dvc config --local plots.html_template plots/page.html
	dvc plots show

bench: setup ## Measure speed on the CPU as ratios: a table, and benchmarks/results
	python benchmarks/run.py

bench-check: setup ## Measure, and fail if a ratio is worse than its bound
	python benchmarks/run.py --check

bench-gpu: setup ## Measure training on a GPU with JAX: precisions, encoder frozen and trained, batch sizes
	python benchmarks/gpu.py

review: setup ## Check this change against BASE, and compare the two in logs/review
	rm -rf logs/review && mkdir -p logs/review
	-segpipe compare $(BASE) --out logs/review/page
	segpipe check --base $(BASE) --markdown > logs/review/comment.md; code=$$?; \
	  tee -a "$${GITHUB_STEP_SUMMARY:-/dev/null}" < logs/review/comment.md; exit $$code

lint: setup ## Check format, style, types and workflows
	ruff format --check .
	ruff check .
	mypy
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	zizmor --offline --no-progress .github/workflows

format: setup ## Format the code
	ruff format .
	ruff check --fix .

lock: setup ## Resolve requirements.lock again from pyproject.toml
	uv pip compile pyproject.toml --extra cluster --extra dev --extra export --extra geo --extra hub --extra jax --extra medical --extra serve --extra sweep --universal --python-version 3.10 --generate-hashes \
	  --no-header --no-annotate --quiet --output-file requirements.lock
	uv pip compile docker/requirements.in --constraint requirements.lock --universal --python-version 3.13 --generate-hashes \
	  --no-header --no-annotate --quiet --output-file docker/requirements.lock

clean: ## Remove what this Makefile made, but no data or results
	rm -rf .venv .demo .remote-demo .experiments .pytest_cache .mypy_cache .ruff_cache .hypothesis
