"""A run's folder keeps its settings and history, and belongs to one run."""

import shutil
from types import SimpleNamespace

import pytest

from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.settings import from_options

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
def source():
    return SimpleNamespace(
        class_names=("a", "b"),
        mean=(1.5,),
        std=(2.0,),
        train_count=4,
        test_count=3,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_config_round_trip(run, source):
    settings = from_options(epochs=3, learning_rate=0.3)
    run.write_config(settings, source)
    config = run.read_config()
    assert config["settings"] == settings
    assert config["class_names"] == ["a", "b"]
    assert (config["mean"], config["std"]) == ([1.5], [2.0])
    assert (config["train_images"], config["test_images"]) == (4, 3)
    assert config["backend"] in config["versions"]


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


@pytest.mark.parametrize("overwrite", [False, True])
def test_claim_refuses_a_file(overwrite, tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="a folder, new or empty.*a file"):
        Run(path).claim(overwrite)
    assert path.read_text() == "mine"


def test_overwriting_removes_the_run_and_nothing_else(run):
    run.write_history(ROWS)
    for folder in (run.saved_model, run.checkpoints.path, run.logs):
        folder.mkdir()
        (folder / "part").write_text("old")
    for path in (run.model, run.curves, run.config):
        path.write_text("old")
    (run.path / "notes.txt").write_text("mine")
    run.claim(overwrite=True)
    assert names(run.path) == ["notes.txt"]


def test_a_run_without_a_checkpoint_is_abandoned(run):
    run.config.write_text("{}")
    run.checkpoints.path.mkdir()
    (run.checkpoints.path / "step-000000001").mkdir()
    run.abandon()
    assert run.config.exists()
    shutil.rmtree(run.checkpoints.path)
    run.abandon()
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no config.json"),
        ("{", "cannot be used"),
        ("{}", "cannot be used"),
        ('{"settings": {"unknown": 1}}', "cannot be used"),
        ('{"settings": 1}', "`settings` in config.json must be an object"),
        ("[]", "cannot be used"),
    ],
)
def test_a_folder_that_is_no_run(run, content, problem):
    if content is not None:
        run.config.write_text(content)
    with pytest.raises(ValueError, match=problem) as error:
        run.read_config()
    assert str(run.path) in str(error.value)


def test_stored_settings_must_agree_with_what_is_given(run, source):
    settings = from_options(epochs=3)
    run.write_config(settings, source)
    assert run.stored_settings({}) == settings
    assert run.stored_settings({"epochs": 3}) == settings
    with pytest.raises(ValueError, match="with: epochs=3, seed=0. Received:"):
        run.stored_settings({"epochs": 4, "seed": 1, "batch_size": 64})


@pytest.mark.parametrize(
    "changes", [dict(class_names=("a", "c")), dict(train_count=5)]
)
def test_source_must_be_the_one_of_the_start(run, source, changes):
    run.write_config(from_options(), source)
    run.check_source(source)
    for name, value in changes.items():
        setattr(source, name, value)
    with pytest.raises(ValueError, match="4 training images of 2 classes"):
        run.check_source(source)
