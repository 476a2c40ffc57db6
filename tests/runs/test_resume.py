"""A run that was stopped ends as one that was not, to the last digit."""

import os
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import small_runs
from helpers import BACKEND, ROOT, TESTS, to_numpy, without_speed
from small_runs import FILES

from keras_nfnets import cli
from keras_nfnets.runs.folder import Run

for module in ("matplotlib", "PIL", "sklearn", "tensorflow"):
    pytest.importorskip(module)
ASKED = "KERAS_NFNETS_KILLS"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        BACKEND == "torch", reason="dropout draws from PyTorch's own generator"
    ),
    pytest.mark.skipif(
        BACKEND == "jax" and ASKED not in os.environ,
        reason=f"compiles in five processes: only where {ASKED} is set",
    ),
]

# CONTRIBUTING.md tells how to set another number.
KILLS = int(os.environ.get(ASKED, 1))
# More than pass before the last signal, which come within a second each.
EPOCHS = 12 + 6 * KILLS


class Process:
    """`keras-nfnets train` in a process of its own."""

    def __init__(self, run, *arguments, dies=""):
        self.run = run
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "small_runs.py"), "train"]
            + ["--out", str(run.path), *map(str, arguments)],
            env={
                **os.environ,
                small_runs.DIES: dies,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop(self, number, seconds):
        """Sends a signal some time after training has gone on."""
        before = len(self.run.read_history())
        while len(self.run.read_history()) <= before:
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        time.sleep(seconds)
        self.process.send_signal(number)
        return self.end()

    def end(self):
        """Returns the exit status and what was written of errors."""
        try:
            _, errors = self.process.communicate(timeout=300)
        finally:
            self.process.kill()
        return self.process.returncode, errors


def state_of(run):
    model, state = run.checkpoints.load()
    variables = model.weights + model.optimizer.variables
    return state["step"], [to_numpy(v) for v in variables]


def check_interrupted(run, status, errors):
    """Ctrl-C, as the terminal sends it, leaves a model that loads."""
    assert status == cli.INTERRUPTED
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("keras-nfnets: interrupted; ")
    assert str(run.model) in last and "--resume" in last
    assert {path.name for path in run.path.iterdir()} == FILES
    best, newest = keras.models.load_model(run.model), run.checkpoints.load()[0]
    assert len(best.get_weights()) == len(newest.get_weights()) > 0


def test_stopped_runs_end_as_the_undisturbed_one(tmp_path):
    start = ("--recipe", "tiny", "--epochs", EPOCHS, "--seed", 3)
    undisturbed, run = Run(tmp_path / "undisturbed"), Run(tmp_path / "run")
    whole = Process(undisturbed, *start)
    moments = random.Random(0)

    process = Process(run, *start)
    for _ in range(KILLS):
        status, _ = process.stop(signal.SIGKILL, moments.uniform(0, 0.5))
        assert status == -signal.SIGKILL
        process = Process(run, "--resume")
    status, errors = process.stop(signal.SIGINT, moments.uniform(0, 0.5))
    check_interrupted(run, status, errors)
    process = Process(run, "--resume")
    status, errors = process.stop(signal.SIGTERM, moments.uniform(0, 0.5))
    assert status == cli.TERMINATED
    assert "terminated after a checkpoint" in errors.splitlines()[-1]

    newest = run.checkpoints.steps()[-1] / "model.keras"
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    status, errors = Process(run, "--resume").end()
    assert status == 0, errors
    assert f"{newest.parent} is damaged" in errors

    assert whole.end()[0] == 0
    assert_same_end(run, undisturbed, EPOCHS)


@pytest.mark.skipif(ASKED not in os.environ, reason=f"only with {ASKED}")
def test_killed_in_a_later_epoch_and_in_a_validation(tmp_path):
    start = ("--recipe", "tiny", "--epochs", 6, "--seed", 3)
    undisturbed, run = Run(tmp_path / "undisturbed"), Run(tmp_path / "run")
    whole = Process(undisturbed, *start)
    arguments = start
    for moment, epochs in (("training:3", 3), ("validation:4", 4)):
        status, errors = Process(run, *arguments, dies=moment).end()
        assert status == -signal.SIGKILL, errors
        assert len(run.read_history()) == epochs
        arguments = ("--resume",)
    status, errors = Process(run, "--resume").end()
    assert status == 0, errors
    assert whole.end()[0] == 0
    assert_same_end(run, undisturbed, 6)


def assert_same_end(run, undisturbed, epochs):
    step, ours = state_of(run)
    assert step == epochs * 3
    for value, other in zip(ours, state_of(undisturbed)[1], strict=True):
        np.testing.assert_array_equal(value, other)
    rows, others = run.read_history(), undisturbed.read_history()
    assert without_speed(rows) == without_speed(others)
