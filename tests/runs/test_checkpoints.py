"""A checkpoint brings back all that training goes on from, or says why."""

import json

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy

from keras_nfnets.runs.checkpoints import (
    Checkpoints,
    random_states,
    restore_metrics,
)
from keras_nfnets.training.optimizers import SGD


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


@pytest.fixture
def model():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile(
        SGD(0.1, use_ema=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, epochs=1):
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = np.arange(8) % 3
    return model.fit(x, y, epochs=epochs, shuffle=False, verbose=0).history


def state_of(model):
    variables = model.weights + model.optimizer.variables
    return [to_numpy(v) for v in variables + random_states(model)]


own_generator = pytest.mark.skipif(
    BACKEND == "torch", reason="dropout draws from PyTorch's own generator"
)


@own_generator
def test_all_that_training_goes_on_from_comes_back(checkpoints, model):
    fit(model)
    rows = [
        dict(epoch=1, val_accuracy=0.1, images_per_second=5),
        dict(epoch=2, val_accuracy=1e-30, images_per_second=7),
    ]
    checkpoints.save(model, step=7, history=rows)
    loaded, state = checkpoints.load()
    assert (state["step"], state["history"]) == (7, rows)
    for ours, theirs in zip(state_of(loaded), state_of(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # The same masks of dropout, and the same program: not a digit apart.
    assert fit(loaded, 2) == fit(model, 2)


@own_generator
def test_random_states_move_and_count(checkpoints, model):
    before = [to_numpy(v).tolist() for v in random_states(model)]
    fit(model)
    after = [to_numpy(v).tolist() for v in random_states(model)]
    assert len(before) == 1 and before != after


def test_metrics_of_an_unfinished_epoch(checkpoints, model):
    fit(model)
    values = model.get_metrics_result()
    checkpoints.save(model, step=1)
    loaded, state = checkpoints.load()
    fit(loaded)
    loaded.reset_metrics()
    restore_metrics(loaded, state["metrics"])
    found = {n: float(v) for n, v in loaded.get_metrics_result().items()}
    assert found == {n: float(v) for n, v in values.items()}


def test_last_two_are_kept(checkpoints, model):
    for step in (9, 10, 11):
        checkpoints.save(model, step)
    names = [path.name for path in checkpoints.steps()]
    assert names == ["step-000000010", "step-000000011"]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("name", ["model.keras", "state.json"])
@pytest.mark.parametrize("damage", [cut, flip, remove])
def test_damaged_newest_is_named_and_the_one_before_is_taken(
    checkpoints, model, damage, name, capsys
):
    if (damage, name) == (flip, "state.json"):
        pytest.skip("a digit that became another one is a good file")
    checkpoints.save(model, 1)
    checkpoints.save(model, 2)
    newest = checkpoints.steps()[-1]
    damage(newest / name)
    _, state = checkpoints.load()
    assert state["step"] == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert f"keras-nfnets: {newest} is damaged and left out: " in errors


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("step", None, "state.json must have the field `step`"),
        ("step", "2", "`step` in state.json must be an integer of at least 0"),
        ("step", -1, "`step` in state.json must be"),
        ("step", True, "`step` in state.json must be"),
        ("random", [[1, "a"]], "`random` in state.json must be a list of li"),
        (
            "random",
            [],
            "`random` in state.json must have 1 values. Received: 0",
        ),
        ("metrics", {}, "`metrics` in state.json must be a list of numbers"),
        ("history", [{"epoch": 2}], "`history` in state.json must be the nu"),
        ("history", [{"epoch": 1, "a": "b"}], "`history` in state.json must"),
    ],
)
def test_state_with_a_wrong_field_is_named_and_left_out(
    checkpoints, model, capsys, field, value, reason
):
    checkpoints.save(model, 1)
    checkpoints.save(model, 2)
    state = checkpoints.steps()[-1] / "state.json"
    content = json.loads(state.read_text()) | {field: value}
    if value is None:
        del content[field]
    state.write_text(json.dumps(content))
    assert checkpoints.load()[1]["step"] == 1
    errors = capsys.readouterr().err
    assert reason in errors and errors.count("\n") == 1


def test_weights_that_are_not_finite_are_left_out(checkpoints, model):
    checkpoints.save(model, 1)
    weight = model.weights[0]
    weight.assign(np.full(weight.shape, np.nan))
    checkpoints.save(model, 2)
    assert checkpoints.load()[1]["step"] == 1


def test_nothing_to_go_on_from(checkpoints, model):
    with pytest.raises(ValueError, match="must have a whole checkpoint"):
        checkpoints.load()
    checkpoints.save(model, 1)
    (path,) = checkpoints.steps()
    (path / "state.json").write_text(json.dumps({"step": 1}))
    with pytest.raises(ValueError, match="must have a whole checkpoint"):
        checkpoints.load()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="files know no backend")
def test_full_disk_leaves_the_checkpoint_before(checkpoints, model, tmp_path):
    """A process that may not write so much gets an OSError, as on a disk."""
    resource = pytest.importorskip("resource")
    checkpoints.save(model, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError):
            checkpoints.save(model, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in checkpoints.path.iterdir()] == [
        "step-000000001"
    ]
