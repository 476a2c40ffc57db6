"""AGC and its callbacks on several devices do what they do on one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import BACKEND, ROOT, TESTS

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        BACKEND == "torch", reason="Keras has no data parallelism on PyTorch"
    ),
]

KINDS = ["plain", "AGCModel"]


@pytest.fixture(scope="module")
def result():
    path = os.pathsep.join([str(ROOT), str(TESTS), *sys.path])
    run = subprocess.run(
        [sys.executable, TESTS / "scripts" / "agc_replicas.py"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["replicas"] == (2 if BACKEND == "tensorflow" else 4)
    return found


def pair(result, name):
    return result["alone"][name], result["together"][name]


def distance(ours, theirs):
    """Of weights, relative to the largest."""
    ours, theirs = (
        [np.asarray(w) for w in each["weights"]] for each in (ours, theirs)
    )
    largest = max(np.abs(w).max() for w in ours)
    pairs = zip(ours, theirs, strict=True)
    return max(np.abs(a - b).max() for a, b in pairs) / largest


def assert_rows(ours, theirs, rtol):
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    for column in (2, 3):
        np.testing.assert_allclose(
            [row[column] for row in theirs],
            [row[column] for row in ours],
            rtol=rtol,
        )


NOT_TRAINED = pytest.mark.skipif(
    BACKEND != "jax", reason="replicas take long to trace on TensorFlow"
)


@pytest.mark.parametrize(
    "kind", ["plain", pytest.param("AGCModel", marks=NOT_TRAINED)]
)
def test_several_devices_end_at_the_weights_of_one(result, kind):
    alone, together = pair(result, f"{kind} float32")
    # After 20 steps: several sums round otherwise than one, 4e-7 was measured.
    assert distance(alone, together) < 1e-6
    assert 0.1 < alone["clipped"] < 0.9
    assert together["clipped"] == alone["clipped"]
    assert_rows(alone["rows"], together["rows"], rtol=1e-5)
    assert alone["steps"] == together["steps"] == 20


@NOT_TRAINED
def test_float64_says_that_the_rest_is_rounding(result):
    alone, together = pair(result, "plain float64")
    # Twenty steps of 1e-16.
    assert distance(alone, together) < 1e-14
    assert_rows(alone["rows"], together["rows"], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_overflow_on_one_replica_skips_the_step_on_all(result, kind):
    alone, together = pair(result, f"{kind} mixed_float16")
    for each in (alone, together):
        # One batch of four in each of five epochs, from a scale of 2^15.
        assert each["steps"] == 15
        assert each["scale"] == 2.0**10
    # Each replica's gradient is rounded to float16, to 5e-4 of itself: 4e-4
    # was measured.
    assert distance(alone, together) < 2e-3
    assert together["clipped"] == pytest.approx(alone["clipped"], abs=0.02)
    assert_rows(alone["rows"], together["rows"], rtol=0.02)


def test_ways_are_the_same_training_on_several_devices(result):
    together = result["together"]
    plain, model = (together[f"{kind} mixed_float16"] for kind in KINDS)
    assert plain["rows"] == model["rows"]
    assert plain["weights"] == model["weights"]


def test_speed_is_that_of_the_global_batch(result):
    for name, run in result["together"].items():
        per_second = np.array(run["steps_per_second"])
        # The global batch, not a replica's share of it.
        np.testing.assert_allclose(run["speed"], 16 * per_second, rtol=1e-6)
        if "two steps in one" not in name:
            # Four steps an epoch, of which the very first is left out.
            seconds = (np.array([3, 4, 4, 4, 4]) / per_second).sum()
            assert 0 < seconds < run["seconds"]


@pytest.mark.skipif(
    BACKEND != "jax",
    reason="several steps in one execution fail under MirroredStrategy on "
    "virtual CPUs, with Keras's own optimizers too",
)
def test_several_steps_in_one_execution(result):
    run = result["together"]["AGCModel two steps in one"]
    one = result["together"]["AGCModel float32"]
    # XLA may order the sums of another program in another way.
    assert distance(one, run) < 1e-6
    assert_rows(one["rows"], run["rows"], rtol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX's gradient is global")
def test_loss_scaling_from_outside_is_refused(result):
    assert result["error"].startswith("`optimizer` must be with_agc(LossScale")
    assert "on 2 replicas" in result["error"]
