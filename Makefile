# Every target does its own set-up: a virtual environment in .venv, pinned by constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
VALIDATOR := .venv/fiboa/.ready
AZURITE := .venv/azurite/.ready

.DEFAULT_GOAL := help
.PHONY: help install validator azurite demo test test-avx2 test-servers test-qgis test-docs docs dist test-long test-faults test-real coverage check bench sample-tiles sample-model clean

help: ## Show the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

install: $(READY) ## Make .venv and install geounet into it.

demo: $(READY) ## Predict, vectorise and picture the sample scene into demo_output/.
	$(BIN)/geounet demo --out demo_output --overwrite

# fiboa's own validator wants an older pyarrow than we do, so it has an environment of its own.
$(VALIDATOR): $(READY)
	$(PYTHON) -m venv .venv/fiboa
	.venv/fiboa/bin/pip install --quiet --disable-pip-version-check fiboa-cli==0.21.0 vecorel-cli==0.2.15
	touch $(VALIDATOR)

validator: $(VALIDATOR) ## Install fiboa's validator into .venv/fiboa; without it its test is skipped.

# A server that speaks as Azure's object store does; it needs Node.js.
$(AZURITE): $(READY)
	npm install --silent --no-audit --no-fund --prefix .venv/azurite azurite@3.37.0
	touch $(AZURITE)

azurite: $(AZURITE) ## Install Azure's storage emulator into .venv/azurite; without it its tests are skipped.

test: $(READY) ## Run the test suite (some minutes on 2 cores).
	$(BIN)/pytest -m "not real and not fault and not server and not qgis and not docs and not long" --numprocesses logical --maxprocesses 4 --dist loadfile

test-long: $(READY) ## Run the tests of every option of every command, and of whole jobs.
	$(BIN)/pytest -m long --numprocesses logical --maxprocesses 4

test-avx2: $(READY) ## Run the tests of what networks compute as on a CPU without AVX-512 (PyTorch, oneDNN, OpenVINO).
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \
	  $(BIN)/pytest -m "numerical and not real" --numprocesses logical --maxprocesses 4 --dist loadfile

test-servers: $(READY) ## Run the tests with servers and browsers, which they start themselves.
	$(BIN)/pytest -m "server and not real and not qgis and not docs" --numprocesses logical --maxprocesses 4 --dist loadfile

test-qgis: $(READY) ## Run the tests that open files in QGIS, off screen; without QGIS they are skipped.
	$(BIN)/pytest -m qgis --numprocesses logical --maxprocesses 4

test-docs: $(READY) ## Build the documentation, and run every command line and block of code in it.
	$(BIN)/pytest -m docs --numprocesses logical --maxprocesses 4

docs: $(READY) ## Build the documentation into site/, which opens without a server.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(READY) ## Build wheel and sdist into dist/.
	rm -rf dist
	$(BIN)/python -m build

test-faults: $(READY) ## Run the tests that kill processes at moments of their work.
	$(BIN)/pytest -m fault --numprocesses logical --maxprocesses 4

test-real: $(READY) ## Run the tests on real data, found through GEOUNET_DATA.
	$(BIN)/pytest -m real

coverage: $(READY) ## Run the test suite and show what it does not reach.
	$(BIN)/pytest -m "not real and not fault and not qgis and not docs" --cov

check: $(READY) ## Lint, format check and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## Measure ratios side by side (50 minutes, 95 more where GEOUNET_DATA is set; BENCH_ARGS=--quick is small); see docs/benchmarks.md.
	for script in $$(ls tests/benchmarks/bench_*.py | grep -v bench_networks); do $(BIN)/python $$script $(BENCH_ARGS) || exit 1; done
	$(BIN)/python tests/benchmarks/table.py

sample-tiles: $(READY) ## Draw sample_tiles/ anew (seconds; the same pixels each time).
	$(BIN)/python sample_tiles/make.py

sample-model: $(READY) ## Train sample_tiles/model.safetensors anew (3 minutes on 2 cores).
	cd sample_tiles && ../$(BIN)/geounet train train/images --labels train/labels --val val/images \
	  --val-labels val/labels --classes classes.csv --depth 3 --width 12 --patch-size 128 --minutes 3 \
	  --out model.safetensors --overwrite

clean: ## Remove what was built; the sources stay.
	rm -rf .venv build dist site *.egg-info demo_output benchmark_results .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
