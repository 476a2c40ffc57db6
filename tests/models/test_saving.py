"""A model saved on one backend is the same model on another."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from helpers import BACKEND, FILES, ROOT, TESTS
from scripts import load_model, save_model

BACKENDS = ["tensorflow", "jax", "torch"]


def _load_elsewhere(folder, backend):
    path = os.pathsep.join([str(ROOT), str(TESTS)])
    run = subprocess.run(
        [sys.executable, TESTS / "scripts/load_model.py", folder, BACKEND],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "KERAS_BACKEND": backend,
            # As in conftest.py: what runs once is not worth optimizing.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])[BACKEND]


def _check(found, backend):
    # Probabilities: another backend sums a convolution in another order.
    assert found["keras"] < 1e-5
    assert found["weights.h5"] < 1e-5
    assert found["iterations"] == 1
    assert found["momentum"] > 0
    if backend == "jax":
        # TensorFlow on a CPU saves that it did not compile; JAX has to.
        assert found["jit_compile"]


@pytest.mark.parametrize("saved_by", BACKENDS)
def test_loads_what_each_backend_saved(saved_by):
    _check(load_model.distances(FILES / "saved", saved_by), BACKEND)


@pytest.mark.long
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="each backend's file is loaded above"
)
def test_saved_here_loads_in_a_fresh_process_elsewhere(tmp_path):
    save_model.save(tmp_path)
    others = [
        backend
        for backend in BACKENDS
        if backend != BACKEND and importlib.util.find_spec(backend)
    ]
    for backend in others or [BACKEND]:
        _check(_load_elsewhere(tmp_path, backend), backend)
