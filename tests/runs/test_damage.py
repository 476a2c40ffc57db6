"""A run folder that is damaged or incomplete is refused in one line."""

import json
import shutil

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy, without_speed
from small_runs import finished_run, small_table

from keras_nfnets import cli
from keras_nfnets.data import digits
from keras_nfnets.runs.folder import Run

for module in ("matplotlib", "PIL", "sklearn", "tensorflow"):
    pytest.importorskip(module)
pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="files and words: one backend is enough"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finished_run(tmp_path_factory)


@pytest.fixture
def run(finished, tmp_path):
    """A copy that a test may damage."""
    return Run(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def command(run, tmp_path, capfd):
    """Runs a command on the run; returns status, output and errors."""
    digit = tmp_path / "digit.png"
    keras.utils.save_img(digit, digits(32).test_images[0], scale=False)
    arguments = {
        "evaluate": ["evaluate", run.path],
        "predict": ["predict", run.path, digit],
        "export": ["export", run.path],
        "resume": ["train", "--out", run.path, "--resume"],
    }

    def call(name):
        capfd.readouterr()
        with small_table():
            status = cli.main([str(word) for word in arguments[name]])
        return status, *capfd.readouterr()

    return call


@pytest.fixture
def refused(command):
    def call(name):
        status, _, errors = command(name)
        assert status == cli.BAD_REQUEST
        assert errors.startswith("keras-nfnets: error: ")
        assert errors.count("\n") == 1
        return errors

    return call


def flip(path, share=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * share)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.98])
@pytest.mark.parametrize("name", ["evaluate", "predict", "export", "resume"])
def test_one_bit_of_the_model(run, refused, name, share):
    flip(run.model, share)
    line = refused(name)
    assert f"{str(run.model)!r} is not a " in line
    assert not run.saved_model.exists()


@pytest.mark.parametrize("name", ["evaluate", "predict", "export", "resume"])
def test_model_that_is_gone_or_a_folder(run, refused, name):
    run.model.unlink()
    assert f"model={str(run.model)!r}" in refused(name)
    run.model.mkdir()
    assert "must be a file, not a folder" in refused(name)


@pytest.mark.parametrize("name", ["evaluate", "predict", "export"])
def test_model_of_another_run(run, refused, name):
    content = json.loads(run.config.read_text())
    content["class_names"].append("another")
    run.config.write_text(json.dumps(content))
    line = refused(name)
    assert "1 channels and 11 classes. Received: 1 and 10" in line


def test_history_that_is_damaged_is_not_written_over(run, refused):
    damaged = run.history.read_bytes()[:-5]
    run.history.write_bytes(damaged)
    assert "line 3 of history.csv must have an end" in refused("resume")
    assert run.history.read_bytes() == damaged


@pytest.mark.long
def test_history_that_is_gone_comes_back(run, finished, command):
    run.history.unlink()
    status, output, errors = command("resume")
    assert status == 0, errors
    assert run.history.read_bytes() == finished.history.read_bytes()


@pytest.mark.long
def test_best_so_far_is_kept_without_the_history(run, command):
    """The model of an epoch that no later one reaches."""
    best = run.model.read_bytes()
    for path in run.checkpoints.steps():
        state = json.loads((path / "state.json").read_text())
        for row in state["history"]:
            row["val_accuracy"] = 2.0
        (path / "state.json").write_text(json.dumps(state))
    shutil.rmtree(run.checkpoints.steps()[-1])
    run.history.unlink()
    status, _, errors = command("resume")
    assert status == 0, errors
    assert run.model.read_bytes() == best
    assert [row["epoch"] for row in run.read_history()] == [1, 2]


@pytest.mark.long
def test_going_on_from_the_first_epoch_ends_alike(run, finished, command):
    shutil.rmtree(run.checkpoints.steps()[-1])
    assert command("resume")[0] == 0
    ours, theirs = run.read_history(), finished.read_history()
    assert without_speed(ours) == without_speed(theirs)
    for a, b in zip(
        run.checkpoints.load()[0].weights,
        finished.checkpoints.load()[0].weights,
        strict=True,
    ):
        np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


def test_two_at_once(run, refused):
    with run.lock():
        line = refused("resume")
    assert "must be written by one process at a time" in line


@pytest.mark.parametrize("name", ["evaluate", "predict", "export", "resume"])
def test_config_with_a_field_gone(run, refused, name):
    content = json.loads(run.config.read_text())
    del content["settings"]["recipe"]["test_size"]
    run.config.write_text(json.dumps(content))
    assert "config.json cannot be used: `recipe` must have the field" in (
        refused(name)
    )
