# Everything on a fresh machine with Python 3.11 to 3.13 and nothing else: `make demo`, `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

# The CPU build wherever pip's own indexes have it under its local version, else PyTorch's index.
TORCH_VERSION := 2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

SAMPLE := data/sample/bouconne_2018-08.tif data/sample/bouconne_2018-11.tif
TESTED_MATCHERS := aliked-lightglue disk-lightglue xfeat-lighterglue

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-qgis package install install-dev clean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: install ## Register the sample pair, August to November, and write demo/.
	@mkdir -p demo
	$(BIN)/python -m imatch match $(SAMPLE) --bands B8 --device cpu \
		--overwrite -o demo/registration.json -o demo/tie_points.gpkg --plot demo/registration.png
	@echo "Look at demo/registration.png; open demo/tie_points.gpkg in QGIS."

test: install-dev ## Lint, format check, types, architecture, tests.
	$(BIN)/python -m imatch weights fetch $(TESTED_MATCHERS:%=--matcher %)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal

test-qgis: install-dev ## Test the plugin in the real QGIS, which has to be installed.
	@command -v qgis_process >/dev/null && command -v xvfb-run >/dev/null || { echo \
		"No QGIS here: apt-get install --no-install-recommends qgis python3-qgis qgis-providers xvfb xauth"; exit 1; }
	IMATCH_TEST_QGIS=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/qgis

docs: $(VENV)/.imatch-docs ## Build the documentation into site/, every link and docstring checked.
	$(BIN)/mkdocs build --strict

package: install-dev ## Build the wheel and the source distribution into dist/, and check them.
	rm -rf build dist imatch.egg-info
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	@ls -l dist

install: $(VENV)/.imatch ## Make .venv with torch and this package.

install-dev: $(VENV)/.imatch-dev ## The same, with what the tests need.

clean: ## Remove .venv, demo/, build products and caches (downloaded weights stay).
	rm -rf $(VENV) demo build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find imatch tests experiments data -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is touched last, so an interrupted step is done again.

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is too old: set PYTHON=/path/to/python, 3.11 or newer"; exit 1; }
	"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.torch-$(TORCH_VERSION): $(VENV)/.made
	$(BIN)/pip install 'torch==$(TORCH_VERSION)+cpu' 2> $(VENV)/torch.log || \
		$(BIN)/pip install 'torch==$(TORCH_VERSION)' --extra-index-url $(TORCH_INDEX)
	@touch $@

$(VENV)/.imatch: $(VENV)/.torch-$(TORCH_VERSION) setup.cfg pyproject.toml
	$(BIN)/pip install --editable .
	@touch $@

$(VENV)/.imatch-dev: $(VENV)/.imatch
	$(BIN)/pip install --editable '.[dev]'
	@touch $@

$(VENV)/.imatch-docs: $(VENV)/.imatch
	$(BIN)/pip install --editable '.[docs]'
	@touch $@
