# make serve    install if needed, start the server, print its address
# make test     install what the tests need if needed, run linters, type checks and tests
# make install  the part that both share
# make lint     linters and type checks alone
# make clean    remove everything that make made

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8080
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -q -c constraints.txt

# The .tflite networks of this wheel find faces; its own dependencies are not needed.
MEDIAPIPE := mediapipe==0.10.21

ON_THE_CLOCK := tests/browser tests/interop tests/benchmarks $(addprefix tests/stream/test_,audio_call.py bad_networks.py \
	packet_pacer.py render_loop.py)

KERNEL_SOURCES := $(wildcard setup.py cuda_kernels/build.py cuda_kernels/*.cpp cuda_kernels/*.cu cuda_kernels/*.cuh \
	cuda_kernels/*.h cuda_kernels/*/*.cpp cuda_kernels/*/*.cu cuda_kernels/*/*.cuh cuda_kernels/*/*.h)

.PHONY: install serve test test-install lint clean
.DELETE_ON_ERROR:

install: $(VENV)/.stamp-install

# Ctrl-C (130) is how a server ends, not an error.
serve: install
	@$(BIN)/visavis serve --host $(HOST) --port $(PORT) || [ $$? -eq 130 ]

# What is done on the clock (browsers, other peers, whole calls) goes alone, the rest several at a time: they mostly wait.
# The summary of pytest stays the last thing on the screen.
test: test-install lint
ifeq ($(PYTEST_ARGS),)
	status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadscope $(addprefix --ignore=,$(ON_THE_CLOCK)) || status=$$?; \
	$(BIN)/python -m pytest $(ON_THE_CLOCK) || status=$$?; \
	exit $$status
else
	$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

lint: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-install: $(VENV)/.stamp-test
	@.ci/system-packages

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find cuda_kernels -name '*.so' -delete

$(VENV)/.stamp-venv:
	@.ci/prerequisites $(PYTHON)
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first and by its exact version: nothing later can pull another build of it.
$(VENV)/.stamp-torch: constraints.txt | $(VENV)/.stamp-venv
	@echo "Installing torch, the largest part: this may take some minutes"
	@$(INSTALL) setuptools torch==2.13.0
	@touch $@

# setuptools warns about every editable install of packages that lie in the repository's root.
$(VENV)/.stamp-install: pyproject.toml constraints.txt $(KERNEL_SOURCES) $(VENV)/.stamp-torch
	@echo "Installing Visavis and compiling its kernels"
	@PYTHONWARNINGS=ignore $(INSTALL) --no-build-isolation -e .
	@$(PIP) install -q --no-deps $(MEDIAPIPE)
	@touch $@

# Visavis itself is there already, so pip adds what the extras name and compiles nothing again.
$(VENV)/.stamp-test: pyproject.toml constraints.txt $(VENV)/.stamp-install
	@echo "Installing what the tests need"
	@$(INSTALL) 'visavis[test,train]'
	@touch $@
