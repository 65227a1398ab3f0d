# make setup   build .venv with everything needed to develop voxid
# make demo    train a speaker encoder on real speech, measure it, draw it: under five minutes
# make test    lint, types, tests
# make figures  draw the pictures of docs/course.md and docs/evaluation.md again
# make bench   every benchmark of docs/benchmarks.md
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.voxid-installed

.PHONY: setup demo figures lint types test slow bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "voxid needs Python 3.11 or newer, and this is %d.%d: make PYTHON=python3.12 setup" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@

demo: setup
	$(BIN)/voxid demo -o demo-out

figures: demo
	$(BIN)/python tests/docs_runner.py docs/course.md .
	mkdir -p docs/img/course && cp demo-out/course/*.png docs/img/course/
	$(BIN)/python tests/docs_runner.py docs/evaluation.md .
	mkdir -p docs/img/evaluation && cp evaluation-figures/*.png docs/img/evaluation/

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/pyright

test: lint types
	$(BIN)/python -m pytest -n 2

slow: setup
	$(BIN)/python -m pytest -m slow

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv demo-out evaluation-figures runs build dist
