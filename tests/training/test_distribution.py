"""One replica and several with one global batch are the same training."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers import BACKEND, ROOT, TESTS, to_numpy
from small_runs import small_table

from keras_nfnets import cli
from keras_nfnets.runs.folder import Run
from keras_nfnets.training import distribution
from keras_nfnets.training.distribution import Devices

pytest.importorskip("tensorflow")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        BACKEND == "torch", reason="Keras has no data parallelism on PyTorch"
    ),
]


@pytest.fixture(scope="module")
def result():
    path = os.pathsep.join([str(ROOT), str(TESTS), *sys.path])
    run = subprocess.run(
        [sys.executable, TESTS / "scripts" / "replicas.py"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["replicas"] == (2 if BACKEND == "tensorflow" else 4)
    return found


def test_several_replicas_end_at_the_weights_of_one(result):
    # Relative to the largest weight, after 20 steps. Sums of parts round
    # otherwise than one sum: 2e-7 was measured, and 1e-16 in float64 by
    # test_agc_replicas.py.
    assert result["distance"] < 1e-6
    alone, together = result["logs"]
    assert alone["agc_clipped"][-1] > 0.1
    for name in alone:
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-5)


def test_sam_averages_and_mixing_on_several_replicas(result):
    right, of_other_samples = result["distances_with_all"]
    # Relative to the largest weight or velocity: eight steps of float32.
    assert right < 1e-5
    assert of_other_samples > 1e-3


@pytest.mark.skipif(
    BACKEND == "jax", reason="JAX has no gradient before the sum"
)
def test_clipping_before_the_sum_would_end_elsewhere(result):
    # 0.016 was measured: a hundred thousand times what the right order is off.
    assert result["distance_if_clipped_first"] > 1e-3


def test_gradients_are_summed_over_replicas_once(result):
    summed = sum(result["reduced"])
    if BACKEND == "tensorflow":
        assert summed == result["parameters"]
    else:
        # XLA is free to sum a smaller array that a gradient follows from, and
        # sums the loss and the metrics as well.
        assert 0.9 * result["parameters"] < summed
        assert summed < result["parameters"] + 10


TRAIN = ["train", "--recipe", "shared", "--variant", "tiny", "--out"]


def start_training(run, devices, **variables):
    """Starts `keras-nfnets train` in a process with so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, str(TESTS / "small_runs.py"), *TRAIN, str(run.path)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(processes):
    """Waits for processes that need each other; returns what they printed."""
    try:
        results = [p.communicate(timeout=300) for p in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, results, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [output for output, _ in results]


@pytest.mark.skipif(BACKEND != "jax", reason="several processes are JAX's")
def test_two_processes_of_two_devices_end_at_the_weights_of_one(tmp_path):
    alone, run = Run(tmp_path / "alone"), Run(tmp_path / "run")
    with small_table():
        assert cli.main([*TRAIN, str(alone.path)]) == 0
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = "localhost:{}".format(free.getsockname()[1])
    shown = end(
        [
            start_training(
                run,
                devices=2,
                KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
                KERAS_DISTRIBUTION_NUM_PROCESSES="2",
                KERAS_DISTRIBUTION_PROCESS_ID=str(i),
            )
            for i in range(2)
        ]
    )
    assert ["Epoch 2/2" in output for output in shown] == [True, False]
    models = [r.checkpoints.load()[0] for r in (alone, run)]
    ours, theirs = (
        [to_numpy(v) for v in m.weights + m.optimizer.variables] for m in models
    )
    largest = max(
        np.abs(value).max() for value in ours[: len(models[0].weights)]
    )
    for value, other in zip(ours, theirs, strict=True):
        # Four parts of a batch round otherwise than one.
        np.testing.assert_allclose(value, other, rtol=0, atol=1e-5 * largest)
    rows, others = alone.read_history(), run.read_history()
    for name in ("loss", "val_loss", "val_accuracy", "gradient_norm"):
        found, expected = ([row[name] for row in h] for h in (others, rows))
        assert found == pytest.approx(expected, rel=1e-4)


def test_one_device_needs_no_strategy():
    with distribution.scope() as devices:
        assert devices == Devices()
    assert devices.is_chief
    devices.check_batch(7)


def test_batch_that_replicas_cannot_share():
    with pytest.raises(ValueError, match="`batch_size` must be .*=7 on 4"):
        Devices(replicas=4).check_batch(7)
    assert not Devices(hosts=2, host=1).is_chief


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's variable")
def test_several_workers_of_tensorflow_are_refused(monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(ValueError, match="`TF_CONFIG` must not.*=jax.*'a:1'"):
        with distribution.scope():
            pass


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's resolvers")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TPU_NAME": "pod"}, "pod"),
        ({"COLAB_TPU_ADDR": "10.0.0.2:8470"}, "10.0.0.2:8470"),
        ({}, None),
    ],
)
def test_tpu_is_found_by_its_name(variables, expected, monkeypatch):
    for name in ("TPU_NAME", "COLAB_TPU_ADDR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(distribution.glob, "glob", lambda pattern: [])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distribution._tpu_name() == expected


@pytest.mark.skipif(BACKEND != "jax", reason="JAX's variables")
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"JAX_COORDINATOR_ADDRESS": "a:1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
    ],
)
def test_process_knows_whether_it_is_one_of_several(
    variables, expected, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distribution._is_one_of_several() is expected
