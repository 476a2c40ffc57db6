"""A fit shows AGC's report, images per second, the time left and a bar."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import BACKEND, least_variant, to_numpy

import keras_nfnets
from keras_nfnets.callbacks import progress, throughput
from keras_nfnets.callbacks.progress import HideAGCDetails, Progress, duration
from keras_nfnets.training import agc_report
from keras_nfnets.training.agc import unitwise_norm

X = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
Y = np.arange(8) % 3


def network(**agc):
    variant = least_variant(depths=(1, 1))
    model = keras_nfnets.NFNet(variant, input_shape=(32, 32, 3), classes=3)
    model.compile(
        keras_nfnets.optimizers.SGD(0.1),
        "sparse_categorical_crossentropy",
        agc=keras_nfnets.AGC(**agc),
    )
    return model


@pytest.mark.skipif(
    BACKEND == "jax", reason="compiles every operation on its own"
)
def test_detailed_report_is_what_numpy_counts():
    model = network(clipping=0.001, detailed=True)
    seen = {}
    optimizer = model.optimizer
    clip = optimizer._clip

    def spy(gradients, variables):
        paths = [
            model.trainable_variables[optimizer._get_variable_index(v)].path
            for v in variables
        ]

        def keep(*arrays):
            half = len(arrays) // 2
            seen["gradients"] = dict(zip(paths, arrays[:half], strict=True))
            seen["weights"] = dict(zip(paths, arrays[half:], strict=True))

        keep(*map(to_numpy, gradients), *map(to_numpy, variables))
        return clip(gradients, variables)

    optimizer._clip = spy
    model.run_eagerly = True
    logs = {n: v[0] for n, v in model.fit(X, Y, verbose=0).history.items()}
    shares, squares = {}, np.zeros(2)
    for variable in model.trainable_variables:
        if variable.path == "head/classifier/kernel":
            continue
        g = seen["gradients"][variable.path]
        w = seen["weights"][variable.path]
        g_norm, w_norm = to_numpy(unitwise_norm(g)), to_numpy(unitwise_norm(w))
        part = variable.path.split("/")[0].split("_")[0]
        marks = g_norm > 0.001 * np.maximum(w_norm, 1e-3)
        # What is at the floor does not count: biases and skip gains, at zero.
        shares.setdefault(part, []).append(marks[w_norm > 1e-3].ravel())
        squares += [np.square(g).sum(), np.square(w).sum()]
    expected = {
        f"agc_clipped_{part}": np.concatenate(marks).mean()
        for part, marks in shares.items()
    }
    assert set(shares) == {"stem", "stage1", "stage2", "head"}
    assert len(set(expected.values())) > 1
    expected["gradient_norm"], expected["weight_norm"] = np.sqrt(squares)
    found = {name: float(logs[name]) for name in expected}
    assert found == pytest.approx(expected, rel=1e-5)
    assert all(agc_report.is_detail(name) for name in expected)
    assert not agc_report.is_detail("agc_clipped")


def test_detailed_report_in_a_fit_and_in_a_file(tmp_path):
    model = network(detailed=True)
    history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    names = ["stem", "stage1", "stage2", "head"]
    assert {f"agc_clipped_{name}" for name in names} <= set(history)
    assert all(v > 0 for v in history["gradient_norm"])
    values = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert set(values) == {"loss"}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.agc.detailed


def test_detailed_report_alone():
    model = network(detailed=True, metric=False)
    history = model.fit(X, Y, epochs=1, verbose=0).history
    assert "agc_clipped" not in history and "weight_norm" in history


def test_what_is_no_part_of_a_network_is_other():
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3)(keras.layers.Dense(4, "relu")(inputs))
    model = keras_nfnets.AGCModel(inputs, outputs)
    model.compile("sgd", "mse", agc=keras_nfnets.AGC(detailed=True))
    history = model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0).history
    assert {"agc_clipped", "agc_clipped_other"} <= set(history)


def test_detailed_report_of_a_model_that_fit_builds():
    class Model(keras_nfnets.AGCModel):
        def __init__(self):
            super().__init__()
            self.top = keras.layers.Dense(3)

        def call(self, inputs):
            return self.top(inputs)

    model = Model()
    model.compile("sgd", "mse", agc=keras_nfnets.AGC(detailed=True))
    history = model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0).history
    assert {"agc_clipped", "agc_clipped_other"} <= set(history)


@pytest.fixture
def slow(monkeypatch):
    """A clock by which a step takes 50 ms, and the first one longer."""
    clock = SimpleNamespace(now=0.0)
    fake = SimpleNamespace(perf_counter=lambda: clock.now)
    for module in (progress, throughput):
        monkeypatch.setattr(module, "time", fake)

    class Slow(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            clock.now += 9.0 if batch == 0 else 0.05

    return Slow()


@pytest.fixture
def small():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.25), "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)  # compiles
    return model


def fit(model, *callbacks, **arguments):
    x = np.ones((20, 4))
    return model.fit(
        x, x[:, :1], batch_size=4, verbose=0, callbacks=callbacks, **arguments
    ).history


def test_speed_leaves_the_first_step_out(small, slow):
    history = fit(small, Progress(batch_size=4), slow, epochs=1)
    # The first step is over when the second one begins.
    assert history["images_per_second"] == [pytest.approx(4 * 4 / (4 * 0.05))]
    assert history["learning_rate"] == [0.25]


def test_time_left_is_said_once(small, slow, capsys):
    progress = Progress(4, total_steps=1000)
    fit(small, progress, slow, initial_epoch=2, epochs=5)
    # The third epoch is over: 985 steps of 50 ms.
    assert capsys.readouterr().out == "about 49 s left\n"


def test_no_time_left_is_said_of_one_epoch(small, capsys):
    fit(small, Progress(4, total_steps=5), epochs=1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (40.4, "40 s"),
        (1200, "20 min"),
        (12000, "3 h 20 min"),
        (7199, "2 h 0 min"),
    ],
)
def test_duration(seconds, expected):
    assert duration(seconds) == expected


def test_details_are_in_the_history_and_not_on_the_bar(capsys):
    model = network(detailed=True)
    history = model.fit(X, Y, verbose=1, callbacks=[HideAGCDetails()]).history
    output = capsys.readouterr().out
    assert "loss:" in output and "agc_clipped:" in output
    assert "agc_clipped_" not in output and "weight_norm" not in output
    assert {"agc_clipped_stem", "weight_norm", "loss"} <= set(history)


def test_bar_says_nothing_where_nothing_was_asked_for(small, capsys):
    fit(small, HideAGCDetails(), epochs=2)
    assert capsys.readouterr().out == ""
