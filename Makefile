# Each target makes the environment it needs, once, from pinned constraints.
#
#   make demo        train, evaluate and export a small network on digits
#   make test        the tests on TensorFlow, then on JAX
#   make test-long   the tests marked `long`, which `make test` leaves out
#   make test-torch  the tests on PyTorch
#   make test-oldest  a part of them with the oldest Keras, TensorFlow and JAX
#   make test-colab   a part of them on JAX without TensorFlow, as in Colab
#   make fuzz        3,000 random corruptions of each kind of weight file, and
#                    of a run folder
#   make export-all  every network of the table in every format (hours), or in
#                    those of EXPORT_ARGS="--format onnx"
#   make packages    wheel and sdist, each tried in an empty environment
#   make lint        ruff, and mypy over the public surface
#   make bench       speed and memory, side by side with other libraries
#   make notebooks   runs the notebooks, quickly
#   make docs        the documentation as a site in build/docs, and its tests

PYTHON ?= python3
# Not an extra of the package: it is `tensorflow` without its GPU code, for a
# smaller download. Where it does not exist (macOS): make TENSORFLOW=tensorflow
TENSORFLOW ?= tensorflow-cpu
# Tests spend most of their time tracing, which uses one core.
WORKERS ?= 2
PYTEST_ARGS ?=
FUZZ_ARGS ?=
EXPORT_ARGS ?=
NOTEBOOK_ARGS ?=
# On which the packages are tried: make PYTHONS='python3.11 python3.13' packages
PYTHONS ?= $(PYTHON)

# Errors only: where an index lacks a page, pip warns once per package.
PIP_INSTALL = -m pip install -qq --disable-pip-version-check
# What may differ between versions: the private names, a network from its first
# step to its export, SAM and folding.
VERSION_TESTS = tests/test_private_names.py tests/test_versions.py \
	tests/training/test_sam.py tests/export/test_folding.py
PYTEST = -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test test-tensorflow test-jax test-long test-torch test-oldest \
	test-colab fuzz export-all packages lint bench docs notebooks

demo: .venv/installed
	KERAS_BACKEND=tensorflow .venv/bin/python tools/demo.py --out runs/demo

test: test-tensorflow test-jax

test-tensorflow: .venv/installed
	KERAS_BACKEND=tensorflow .venv/bin/python $(PYTEST) -m "not long"

test-jax: .venv/installed
	KERAS_BACKEND=jax .venv/bin/python $(PYTEST) -m "not long"

test-long: .venv/installed
	KERAS_BACKEND=tensorflow .venv/bin/python $(PYTEST) -m long
	KERAS_BACKEND=jax .venv/bin/python $(PYTEST) -m long

test-torch: .venv-torch/installed
	KERAS_BACKEND=torch .venv-torch/bin/python $(PYTEST)

test-oldest: .venv-oldest/installed
	KERAS_BACKEND=tensorflow .venv-oldest/bin/python $(PYTEST) $(VERSION_TESTS)
	KERAS_BACKEND=jax .venv-oldest/bin/python $(PYTEST) \
		tests/test_private_names.py tests/test_versions.py

test-colab: .venv-colab/installed
	KERAS_BACKEND=jax .venv-colab/bin/python $(PYTEST) $(VERSION_TESTS)

fuzz: .venv/installed
	PYTHONPATH=tests .venv/bin/python tests/fuzz.py $(FUZZ_ARGS)

export-all: .venv/installed
	.venv/bin/python tools/export_all.py $(EXPORT_ARGS)

packages:
	$(PYTHON) tools/check_packages.py --out dist $(PYTHONS)

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/installed .venv-kecam/installed .venv-timm/installed
	.venv/bin/python benchmarks/startup.py --out benchmarks/results/STARTUP.md
	.venv/bin/python benchmarks/growth.py --out benchmarks/results/GROWTH.md
	.venv/bin/python benchmarks/input_pipeline.py --out benchmarks/results/INPUT.md
	.venv/bin/python benchmarks/inference.py --out benchmarks/results/INFERENCE.md
	.venv/bin/python benchmarks/side_by_side.py --out benchmarks/results/RESULTS.md

# The tests run the docstrings' examples, and open the site in a browser.
docs: .venv-docs/installed
	.venv-docs/bin/python -m sphinx -q -W --keep-going -d build/doctrees \
		docs build/docs
	KERAS_BACKEND=tensorflow .venv-docs/bin/python $(PYTEST) docs/tests

notebooks: .venv-docs/installed
	.venv-docs/bin/python tools/notebooks.py $(NOTEBOOK_ARGS)

# The stamp is written last, so a failed install is tried again.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv: one to three minutes, once"
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP_INSTALL) -c constraints.txt \
		-e '.[cv,data,dev,hub,jax,onnx,tfds]' $(TENSORFLOW)
	touch $@

.venv-torch/installed: pyproject.toml constraints-torch.txt
	@echo "Installing into .venv-torch: one to three minutes, once"
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python $(PIP_INSTALL) -c constraints-torch.txt \
		-e '.[data,dev,onnx,torch]' $(TENSORFLOW)
	touch $@

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	@echo "Installing into .venv-oldest: one to three minutes, once"
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python $(PIP_INSTALL) -c constraints-oldest.txt \
		-e '.[data,dev,jax]' $(TENSORFLOW)
	touch $@

# Without TensorFlow, also where an extra needs it.
.venv-colab/installed: pyproject.toml constraints-colab.txt
	@echo "Installing into .venv-colab: one to three minutes, once"
	$(PYTHON) -m venv .venv-colab
	.venv-colab/bin/python $(PIP_INSTALL) -c constraints-colab.txt \
		-e '.[data,dev,jax]'
	touch $@

.venv-docs/installed: pyproject.toml constraints-docs.txt
	@echo "Installing into .venv-docs: one to three minutes, once"
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP_INSTALL) -c constraints-docs.txt \
		-e '.[cv,data,docs,jax,onnx]' $(TENSORFLOW)
	touch $@

# The list is complete. Without --no-deps pip would add `tensorflow` to the
# `tensorflow-cpu` that both contenders are to run on.
.venv-kecam/installed: benchmarks/requirements-kecam.txt
	@echo "Installing into .venv-kecam: one to three minutes, once"
	$(PYTHON) -m venv .venv-kecam
	.venv-kecam/bin/python $(PIP_INSTALL) --no-deps -r $<
	touch $@

.venv-timm/installed: benchmarks/requirements-timm.txt
	@echo "Installing into .venv-timm: one to three minutes, once"
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/python $(PIP_INSTALL) -r $<
	touch $@
