"""A model saved on one backend is the same model on another."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from helpers import BACKEND, FILES, ROOT, TESTS

BACKENDS = ["tensorflow", "jax", "torch"]


def _run(script, *arguments, backend=BACKEND):
    path = os.pathsep.join([str(ROOT), str(TESTS)])
    run = subprocess.run(
        [sys.executable, TESTS / "scripts" / script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def _load(folder, *saved_by, backend=BACKEND):
    shown = _run("load_model.py", folder, *saved_by, backend=backend)
    return json.loads(shown.splitlines()[-1])


def _check(found, backend):
    # Probabilities: another backend sums a convolution in another order.
    assert found["keras"] < 1e-5
    assert found["weights.h5"] < 1e-5
    assert found["iterations"] == 1
    assert found["momentum"] > 0
    if backend == "jax":
        # TensorFlow on a CPU saves that it did not compile; JAX has to.
        assert found["jit_compile"]


def test_loads_what_each_backend_saved():
    # In one process, whose start would take most of the time for each.
    for found in _load(FILES / "saved", *BACKENDS).values():
        _check(found, BACKEND)


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="each backend's file is loaded above"
)
def test_saved_here_loads_in_a_fresh_process_elsewhere(tmp_path):
    _run("save_model.py", tmp_path)
    others = [
        backend
        for backend in BACKENDS
        if backend != BACKEND and importlib.util.find_spec(backend)
    ]
    for backend in others or [BACKEND]:
        found = _load(tmp_path, BACKEND, backend=backend)
        _check(found[BACKEND], backend)
