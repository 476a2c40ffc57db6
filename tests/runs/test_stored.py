"""Every field of a run's files is checked, and a wrong one is named."""

import json
import math
from types import SimpleNamespace

import pytest

from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.settings import Settings, from_options

SOURCE = SimpleNamespace(
    class_names=("a", "b"), mean=(1.5,), std=(2.0,), train_count=4, test_count=3
)
REMOVED = object()
TABLE = (
    "epoch,loss,val_accuracy,images_per_second\r\n"
    "1,2.5,0.25,90\r\n2,1.5,0.5,100\r\n"
)


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.claim()
    run.write_config(from_options(), SOURCE)
    return run


def change(run, path, value):
    """Changes a field of config.json, given by its names from the top."""
    content = inner = json.loads(run.config.read_text())
    *parents, name = path.split(".")
    for parent in parents:
        inner = inner[parent]
    if value is REMOVED:
        del inner[name]
    else:
        inner[name] = value
    run.config.write_text(json.dumps(content))


FIELDS = [
    *("settings", "class_names", "mean", "std", "train_images"),
    *("test_images", "backend", "versions"),
    *(f"settings.{name}" for name in Settings.__dataclass_fields__),
    *("settings.recipe.epochs", "settings.recipe.clipping"),
    *("settings.recipe.agc_exclude", "settings.recipe.nesterov"),
]


# The one type of those tried that a field may have. What runs of earlier
# versions lack may be missing.
GOOD = {
    "settings.weights": REMOVED,
    "settings.freeze_epochs": REMOVED,
    "settings.recipe.clipping": 2.5,
    "settings.recipe.agc_exclude": [],
    "versions": {"a": 1},
}


@pytest.mark.parametrize("value", [REMOVED, [], 2.5, {"a": 1}, [[1]]])
@pytest.mark.parametrize("path", FIELDS)
def test_missing_or_of_another_type(run, path, value):
    change(run, path, value)
    if path in GOOD and value == GOOD[path]:
        assert run.read_config()
        return
    with pytest.raises(ValueError, match="its config.json cannot be") as error:
        run.read_config()
    assert f"`{path.split('.')[-1]}`" in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("settings.seed", True, "`seed` in `settings` must be an integer"),
        ("settings.seed", -1, "`seed` must be from 0"),
        ("settings.precision", "float8", "`precision` must be one of"),
        ("settings.recipe.epochs", -1, "`epochs` must be a positive integer"),
        ("settings.recipe.dropout", "0.1", "`dropout` .* a finite number"),
        ("settings.recipe.dropout", math.nan, "`dropout` .* a finite number"),
        ("settings.recipe.clipping", "x", "a finite number or null. Rec"),
        ("settings.recipe.more", 1, "must have no field 'more'"),
        ("settings.more", 1, "must have no field 'more'"),
        ("class_names", [1], "`class_names` .* a list of strings"),
        ("mean", [1.0, 2.0], "`mean` and `std` must be of one length"),
        ("std", [0], "`std` .* a list of positive numbers"),
        ("std", [math.inf], "`std` .* a list of positive numbers"),
        ("train_images", -4, "`train_images` .* at least 0. Received: -4"),
    ],
)
def test_value_outside_its_range(run, path, value, rule):
    change(run, path, value)
    with pytest.raises(ValueError, match=rule):
        run.read_config()


def test_every_cut_of_the_config_is_refused(run):
    whole = run.config.read_bytes()
    config = run.read_config()
    for length in range(0, len(whole) - 2, 7):
        run.config.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="config.json is not JSON"):
            run.read_config()
    run.config.write_bytes(whole)
    assert run.read_config() == config


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[" * 100_000, b"null", b'"config"', b"\0"]
)
def test_what_is_no_object_at_all(run, content):
    run.config.write_bytes(content)
    with pytest.raises(ValueError, match="config.json (is not JS|must be an)"):
        run.read_config()


def test_history_is_read(run):
    run.history.write_bytes(TABLE.encode())
    assert run.read_history() == [
        dict(epoch=1, loss=2.5, val_accuracy=0.25, images_per_second=90),
        dict(epoch=2, loss=1.5, val_accuracy=0.5, images_per_second=100),
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (TABLE, "", "must begin with a line of columns, .*among"),
        ("epoch", "time", "must begin with a line of columns, .*among"),
        ("2.5", "two", "`loss` in line 2 of history.csv must be a number"),
        ("2.5", "", "`loss` in line 2 of history.csv must be a number"),
        ("1,2.5", "1", "line 2 of history.csv must have 4 values"),
        ("0.25", "0.25,7", "line 2 of history.csv must have 4 values. Rec.* 5"),
        (",100\r\n", ",10", "line 3 of history.csv must have an end"),
        ("\r\n2,1.5,0.5,100\r\n", "", "line 2 of history.csv must have an end"),
        ("2,1.5", "3,1.5", "`epoch` in line 3 of history.csv must be 2"),
        ("2,1.5", "nan,1.5", "`epoch` in line 3 of history.csv must be 2"),
        ("2,1.5", "\0,1.5", "history.csv"),
        ("2,1.5", '"2,1.5', "history.csv is not CSV|line 3 of history.csv"),
    ],
)
def test_damaged_history_names_line_and_column(run, old, new, problem):
    assert old in TABLE
    run.history.write_bytes(TABLE.replace(old, new, 1).encode())
    with pytest.raises(ValueError, match=problem):
        run.read_history()


def test_history_that_is_no_text(run):
    run.history.write_bytes(b"epoch\n\xff\n")
    with pytest.raises(ValueError, match="history.csv is not CSV"):
        run.read_history()
