# make run: the quick start. make test, make lint: what CI runs. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := train,yolo,onnx,registry,serve,pipelines,dev,docs
# default: what the index has, with CUDA; cpu: from TORCH_INDEX, without
TORCH ?= default
TORCH_INDEX ?=
EXPERIMENT ?= pipelines/experiments/quickstart.yaml
OUT ?= pipeline.yaml
ARGS ?=
DOCKER ?= docker
IMAGES ?= light gpu serve
BASE_IMAGE ?= python:3.11-slim
WITH_ULTRALYTICS ?= 1
TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' automl_images/__init__.py)
REGISTRY ?=

.PHONY: setup run test test-full lint docs format compile components submit rerun bench images push wheel release-images lint-images smoke-kind clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "automl-images needs Python 3.11 to 3.13; name one with PYTHON=..." >&2; exit 2; }
	@case "$(TORCH)" in default) ;; cpu) test -n "$(TORCH_INDEX)";; *) false;; esac || \
		{ echo "name PyTorch's CPU index: make setup TORCH=cpu TORCH_INDEX=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(if $(filter cpu,$(TORCH)),$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt --index-url $(TORCH_INDEX) torch torchvision)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@# ultralytics asks for the OpenCV with windows, which needs X libraries; the headless one is the same without
	$(BIN)/python -m pip uninstall --quiet --yes opencv-python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall -c constraints.txt opencv-python-headless
	@touch $@

# With DATA, a folder or file of annotations: an experiment for it is written first, unless it is there.
OWN = $(notdir $(patsubst %/,%,$(DATA))).yaml
run: setup
	$(if $(DATA),@test -f "$(OWN)" || $(BIN)/automl-images init "$(DATA)" -o "$(OWN)" $(if $(TASK),--task $(TASK)))
	$(BIN)/python -m pipelines run $(if $(DATA),"$(OWN)" $(ARGS),$(EXPERIMENT) --predict sample/JPEGImages/000000.jpg $(ARGS))

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not full" $(ARGS)

test-full: setup
	$(BIN)/python -m pytest $(ARGS)

lint: setup lint-images
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck --external-sources --source-path=SCRIPTDIR .ci/run tests/kind/*.sh
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/check-jsonschema --builtin-schema custom.github-workflows-require-timeout .github/workflows/*.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yaml

# A link or a heading that is not there fails it; all pages are read anew, so that it does so each time.
docs: setup
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet -d build/doctrees docs build/docs
	@echo build/docs/index.html

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: setup
	$(BIN)/python -m pipelines compile $(EXPERIMENT) -o $(OUT) $(ARGS)

components: setup
	$(BIN)/python -m automl_images.components.package

submit: setup
	$(BIN)/python -m pipelines submit $(EXPERIMENT) $(if $(HOST),--host $(HOST)) $(ARGS)

# With RUN a step of that run, with its inputs; without, the command STEP of automl-images with the arguments ARGS.
rerun: setup
	@test -n "$(STEP)" || { echo "name the step: make rerun STEP=evaluate RUN=runs/cells/TIME" >&2; exit 2; }
	$(BIN)/python -m pipelines $(if $(RUN),rerun $(RUN) $(STEP) $(ARGS),step $(STEP) $(ARGS))

bench: setup
	@set -e; for benchmark in $$(ls benchmarks/*.py | grep -v -e __init__ -e report.py); do echo "== $$benchmark"; $(BIN)/python -m benchmarks.$$(basename $$benchmark .py); done

images: $(IMAGES:%=image-%)

.PHONY: $(IMAGES:%=image-%)
$(IMAGES:%=image-%): image-%:
	$(DOCKER) build --build-arg BASE_IMAGE=$(BASE_IMAGE) $(if $(filter light,$*),,--build-arg WITH_ULTRALYTICS=$(WITH_ULTRALYTICS)) \
		--build-arg VERSION=$(TAG) --build-arg REVISION=$$(git rev-parse --short HEAD 2>/dev/null || echo unknown) \
		-t automl-images/$*:$(TAG) -f $(if $(filter gpu,$*),Dockerfile.gpu,images/$*/Dockerfile) .

push:
	@test -n "$(REGISTRY)" || { echo "name the registry: make push REGISTRY=registry.example.com/team" >&2; exit 2; }
	@set -e; for image in $(IMAGES); do \
		$(DOCKER) image inspect automl-images/$$image:$(TAG) >/dev/null 2>&1 || \
			{ echo "there is no image automl-images/$$image:$(TAG); make images first" >&2; exit 2; }; \
	done; for image in $(IMAGES); do \
		$(DOCKER) tag automl-images/$$image:$(TAG) $(REGISTRY)/automl-images/$$image:$(TAG); \
		$(DOCKER) push $(REGISTRY)/automl-images/$$image:$(TAG); \
	done; echo "the images by their digests, for the environment or an experiment's cluster.images:"; for image in $(IMAGES); do \
		echo AUTOML_IMAGES_$$(echo $$image | tr a-z A-Z)_IMAGE=$$($(DOCKER) image inspect automl-images/$$image:$(TAG) \
			--format '{{range .RepoDigests}}{{println .}}{{end}}' | grep -F "$(REGISTRY)/automl-images/$$image@" | head -n 1); \
	done

wheel: setup
	$(BIN)/python -m build --wheel --outdir dist .

# Builds with a list of contents (SBOM) and provenance beside each image, pushes, and writes dist/images.txt: by digest.
release-images:
	@test -n "$(REGISTRY)" || { echo "name the registry: make release-images REGISTRY=registry.example.com/team" >&2; exit 2; }
	@mkdir -p dist && rm -f dist/images.txt
	@set -e; for image in $(IMAGES); do \
		file=images/$$image/Dockerfile; extra="--build-arg WITH_ULTRALYTICS=$(WITH_ULTRALYTICS)"; \
		case $$image in gpu) file=Dockerfile.gpu;; light) extra=;; esac; \
		$(DOCKER) buildx build --sbom=true --provenance=mode=max --push --metadata-file dist/$$image.json \
			--build-arg BASE_IMAGE=$(BASE_IMAGE) $$extra --build-arg VERSION=$(TAG) \
			--build-arg REVISION=$$(git rev-parse --short HEAD) -t $(REGISTRY)/automl-images/$$image:$(TAG) -f $$file .; \
		digest=$$(sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]*\)".*/\1/p' dist/$$image.json); \
		test -n "$$digest" || { echo "the builder wrote no digest of $$image" >&2; exit 2; }; \
		echo $(REGISTRY)/automl-images/$$image@$$digest >> dist/images.txt; \
	done; rm -f dist/*.json; cat dist/images.txt

lint-images: setup
	$(BIN)/hadolint Dockerfile.gpu images/light/Dockerfile images/serve/Dockerfile

smoke-kind: setup
	PYTHON=$(CURDIR)/$(BIN)/python tests/kind/smoke.sh $(LANE)

clean:
	rm -rf $(VENV) build dist docs/reference *.egg-info sample runs prediction.png $(OUT)
