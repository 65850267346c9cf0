# Every target sets up what it needs; a second run does nothing twice.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: studies demo test lint docs bench lock clean

demo: .venv/installed
	$(BIN)/mrsweep run sweeps/demo.yaml

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site has an environment of its own: mkdocs-material and torchattacks want different requests.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

.venv-docs/installed: requirements-docs.lock
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --require-hashes -r requirements-docs.lock
	touch $@

# The pages of the committed studies, from their tables alone; two at once.
PAGES := $(patsubst studies/%/sweep.yaml,page/%,$(wildcard studies/*/sweeps/*/sweep.yaml))
studies: .venv/installed
	@$(MAKE) --no-print-directory --jobs=2 --output-sync $(PAGES)

page/%:
	@$(BIN)/mrsweep report studies/$*/sweep.yaml --storage studies/$(firstword $(subst /, ,$*)) \
	  --to build/studies/$(subst /sweeps/,/,$*)

bench: .venv/installed
	@for file in benchmarks/*.py benchmarks/chaos; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# Exact versions with hashes, from requirements.lock; the project itself editable, on top.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mrsweep needs Python 3.11 or later")'
	@echo "Setting up .venv: some 6 GB, once; a minute or two on a fast connection."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

# Renew both locks after a change of pyproject.toml (needs uv): of development, and of what users
# and images need, at the same versions. torch and torchvision go together.
LOCK := uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --no-header \
  --no-emit-index-url
lock:
	printf 'torch==2.14.1\ntorchvision==0.29.1\n' | \
	  $(LOCK) --extra dev --constraint - --output-file requirements.lock
	$(LOCK) --extra s3 --constraint requirements.lock --output-file requirements-users.lock
	$(subst pyproject.toml,--group docs,$(LOCK)) --output-file requirements-docs.lock

clean:
	rm -rf .venv .venv-docs build runs .mypy_cache .pytest_cache .ruff_cache *.egg-info
