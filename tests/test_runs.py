import dataclasses
import json

import numpy as np
import pytest

from keras_nfnets.data import Dataset
from keras_nfnets.runs import Run, Settings

ROWS = [
    dict(epoch=1, loss=2.5, accuracy=0.25, agc_clipped=0.5, val_loss=2.0),
    dict(epoch=2, loss=1.5, accuracy=0.5, agc_clipped=0.25, val_loss=1.0),
]


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "outer" / "run")
    run.claim()
    return run


@pytest.fixture
def data():
    images, labels = np.zeros((4, 32, 32, 1)), np.zeros(4, int)
    return Dataset(images, labels, images, labels, ("a", "b"), (1.5,), (2.0,))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_config_round_trip(run, data):
    settings = Settings(epochs=3, learning_rate=0.3, agc_exclude=["head/"])
    run.write_config(settings, data)
    config = run.read_config()
    assert config["settings"] == settings
    assert config["class_names"] == ["a", "b"]
    assert (config["mean"], config["std"]) == ([1.5], [2.0])
    assert config["backend"] in config["versions"]


def test_config_holds_every_setting(run, data):
    run.write_config(Settings(), data)
    stored = json.loads(run.config.read_text())["settings"]
    assert set(stored) == {f.name for f in dataclasses.fields(Settings)}


def test_history_round_trip(run):
    assert run.read_history() == []
    run.write_history(ROWS)
    assert run.read_history() == ROWS
    assert isinstance(run.read_history()[0]["epoch"], int)


def test_curves_are_drawn_where_there_is_a_history(run):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    run.draw_curves()
    assert not run.curves.exists()
    run.write_history(ROWS)
    run.draw_curves()
    with image.open(run.curves) as curves:
        assert curves.width > 1000
    assert names(run.path) == ["curves.png", "history.csv"]


def test_claim_takes_an_empty_folder(tmp_path):
    Run(tmp_path).claim()
    assert names(tmp_path) == []


def test_claim_refuses_what_is_there(run):
    run.write_history(ROWS)
    with pytest.raises(FileExistsError, match="--overwrite .* --resume"):
        run.claim()
    assert run.read_history() == ROWS


def test_claim_refuses_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="must be new or empty"):
        Run(path).claim()


def test_overwriting_removes_the_run_and_nothing_else(run):
    run.write_history(ROWS)
    run.saved_model.mkdir()
    (run.saved_model / "part").write_text("old")
    for path in (run.model, run.last, run.curves, run.config):
        path.write_text("old")
    (run.path / "notes.txt").write_text("mine")
    run.claim(overwrite=True)
    assert names(run.path) == ["notes.txt"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no config.json"),
        ("{", "cannot be used"),
        ("{}", "cannot be used"),
        ('{"settings": {"unknown": 1}}', "cannot be used"),
        ('{"settings": {"epochs": -1}}', "`epochs` must be positive"),
        ("[]", "cannot be used"),
    ],
)
def test_a_folder_that_is_no_run(run, content, problem):
    if content is not None:
        run.config.write_text(content)
    with pytest.raises(ValueError, match=problem) as error:
        run.read_config()
    assert str(run.path) in str(error.value)


def test_stored_settings_must_agree_with_what_is_given(run, data):
    settings = Settings(epochs=3)
    run.write_config(settings, data)
    assert run.stored_settings({}) == settings
    assert run.stored_settings({"epochs": 3}) == settings
    with pytest.raises(ValueError, match="`epochs` must be 3.*epochs=4"):
        run.stored_settings({"epochs": 4})


@pytest.mark.parametrize(
    "name",
    ["size", "epochs", "batch_size", "learning_rate", "clipping", "epsilon"],
)
def test_settings_must_be_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be positive.*=0"):
        Settings(**{name: 0})


def test_seed_must_not_be_negative():
    with pytest.raises(ValueError, match="`seed` must not be negative.*=-1"):
        Settings(seed=-1)


def test_warmup_is_at_most_half_of_the_run():
    assert Settings(epochs=15).warmup_steps(22) == 44
    assert Settings(epochs=1).warmup_steps(22) == 11
