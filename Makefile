# Everything sets itself up: a fresh clone needs Python 3.11 to 3.13, pip and make. The second call is quick.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow fuzz lint schema docs sbom audit-dependencies clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.ready ## Audit two generators of made-up patients, then run a tiny study (some minutes)
	$(BIN)/python examples/demo.py --out demo-output
	$(BIN)/synthrelease study run examples/tiny_study.toml

test: $(VENV)/.ready-dev ## Every test but the slow ones
	$(BIN)/python -m pytest

test-slow: $(VENV)/.ready-dev ## The long simulations and the proofs on real images
	$(BIN)/python -m pytest -m slow

fuzz: $(VENV)/.ready-dev ## Damaged and hostile files into every reader, some hours: new ones in every run
	SYNTHRELEASE_FUZZ=long $(BIN)/python -m pytest tests/fuzz -m 'slow or not slow'

lint: $(VENV)/.ready-dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p synthrelease

schema: $(VENV)/.ready-dev ## Write the JSON Schemas of the records to docs/
	$(BIN)/python docs/make_schema.py

docs: schema ## Write the generated pages: commands, measures, schemas
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_measures.py

sbom: $(VENV)/.ready ## What a release consists of, as CycloneDX: dist/sbom.cdx.json
	$(BIN)/python docs/make_sbom.py dist/sbom.cdx.json

audit-dependencies: $(VENV)/.ready ## Known vulnerabilities of the dependencies (asks a service on the internet)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --strict --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

clean: ## Remove what these targets made
	rm -rf $(VENV) demo-output study-output dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $(VENV)/.ready $@
