"""Grouped convolutions on several devices keep their batch where it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import BACKEND

jax = pytest.importorskip("jax")

SCRIPT = Path(__file__).parents[1] / "scripts" / "grouped_on_devices.py"

pytestmark = [
    pytest.mark.skipif(BACKEND != "jax", reason="the partitioner is JAX's"),
    pytest.mark.skipif(
        not hasattr(jax, "shard_map"), reason="JAX from 0.6 has shard_map"
    ),
    pytest.mark.long,
]


@pytest.fixture(scope="module")
def result():
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_device_computes_its_part_of_the_batch(result):
    assert result["devices"] == 4
    # Standardizing weights, AGC and the update are the same on every device.
    ratio = result["together"]["flops"] / result["alone"]["flops"]
    assert 0.25 <= ratio < 0.30


def test_no_device_gets_the_images_of_another(result):
    assert result["together"]["gathers"] == 0
    # Beside the gradients, which one sum has, there are loss and metrics.
    assert 1 <= result["together"]["sums"] <= 4


def test_weights_are_those_of_one_device(result):
    ours, theirs = (result[k]["weights"] for k in ("alone", "together"))
    for a, b in zip(ours, theirs, strict=True):
        # Sums of float32 in another order, over three steps.
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_outputs_of_other_layers_and_of_uneven_batches(result):
    ours, theirs = (result[k]["others"] for k in ("alone", "together"))
    for a, b in zip(ours, theirs, strict=True):
        assert np.ptp(a) > 0.1
        # bfloat16 keeps 8 bits.
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-5)
