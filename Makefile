# Every target is complete on a machine with Python 3.11+ and make: the first one that
# runs creates .venv and installs, from constraints.txt, what is missing.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test check docs format clean

help:
	@echo "make demo    the whole job on the bundled digits: train, cut, publish, install, compose"
	@echo "make test    all tests"
	@echo "make check   format, lint, types, layers"
	@echo "make docs    the documentation as a site, in build/docs"
	@echo "make format  format the code"
	@echo "make clean   remove .venv and what the demo wrote"

# torch first and alone: what depends on it then finds the pinned build already there.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -e '.[train,augment,onnx,s3,tensorboard,browse,dev]'
	@touch $@

demo: .venv/installed
	@$(BIN)/python examples/digits_demo.py demo

# A process for each processor, which computes on that one alone.
test: export OMP_NUM_THREADS = 1
test: .venv/installed
	$(BIN)/python -m pytest -n auto --dist worksteal

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv demo
