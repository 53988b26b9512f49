# Two commands: `make demo` and `make test`. Each does all set-up by itself, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export OMP_NUM_THREADS ?= 1

.PHONY: demo test setup lint clean

demo: setup
	$(BIN)/steadydancer demo $(ARGS)

test: lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

setup: $(READY)

# Set-up again when the dependencies change. The compiled DeepSpeed op is cached under the user's cache folder.
$(READY): pyproject.toml constraints.txt
	@infra/deploy/system-packages.sh $(PYTHON)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "Python 3.11 or 3.12 is needed (MediaPipe has no other); name one with: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[embedded,dwpose,s3,dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # on all cores; files for newer Pythons do not compile
	$(BIN)/python -m training.prebuild
	@touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info
