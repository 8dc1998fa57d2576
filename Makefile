# make run: the quick start. make test, make lint: what CI runs. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,yolo,pipelines,dev
EXPERIMENT ?= pipelines/experiments/quickstart.yaml
OUT ?= pipeline.yaml
ARGS ?=

.PHONY: setup run test test-full lint format compile submit bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "automl-images needs Python 3.11 to 3.13; name one with PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@# ultralytics asks for the OpenCV with windows, which needs X libraries; the headless one is the same without
	$(BIN)/python -m pip uninstall --quiet --yes opencv-python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall -c constraints.txt opencv-python-headless
	@touch $@

run: setup
	@test -d sample/JPEGImages || $(BIN)/automl-images sample-data sample
	$(BIN)/python -m pipelines run $(EXPERIMENT) --predict sample/JPEGImages/000000.jpg $(ARGS)

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not full" $(ARGS)

test-full: setup
	$(BIN)/python -m pytest $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: setup
	$(BIN)/python -m pipelines compile $(EXPERIMENT) -o $(OUT) $(ARGS)

submit: setup
	$(BIN)/python -m pipelines submit $(EXPERIMENT) $(ARGS)

bench: setup
	@set -e; for benchmark in $$(ls benchmarks/*.py | grep -v -e __init__ -e report.py); do echo "== $$benchmark"; $(BIN)/python $$benchmark; done

clean:
	rm -rf $(VENV) build dist *.egg-info sample runs prediction.png $(OUT)
