"""A model saved on one backend is the same model on another."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest
from helpers import BACKEND, FILES

HERE = pathlib.Path(__file__).parent
BACKENDS = ["tensorflow", "jax", "torch"]


def _run(script, *arguments, backend=BACKEND):
    path = os.pathsep.join([str(HERE.parent), str(HERE)])
    run = subprocess.run(
        [sys.executable, HERE / "scripts" / script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


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
    found = _run("load_model.py", FILES / "saved", saved_by)
    _check(json.loads(found.splitlines()[-1]), BACKEND)


def test_saved_here_loads_in_a_fresh_process_elsewhere(tmp_path):
    _run("save_model.py", tmp_path)
    others = [
        backend
        for backend in BACKENDS
        if backend != BACKEND and importlib.util.find_spec(backend)
    ]
    for backend in others or [BACKEND]:
        found = _run("load_model.py", tmp_path, BACKEND, backend=backend)
        _check(json.loads(found.splitlines()[-1]), backend)
