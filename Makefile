# make demo and make test are all a new reader needs; the rest is for working on the code.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint types integration generate
.DEFAULT_GOAL := test

setup:
	@$(PYTHON) scripts/bootstrap.py

demo: setup ## A group of four warms from a slow registry, on this machine, without a cluster or root
	@$(BIN)/python -m demo

test: setup ## Every test that needs no server and no root
	$(BIN)/python -m pytest tests/unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

integration: setup ## Tests on a real registry, API server and mounts; each says in its skip reason what it misses
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/integration tests/faults

generate: setup ## Rewrite generated files: CRDs and the CSI stubs
	$(BIN)/python scripts/generate.py
