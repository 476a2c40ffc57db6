"""The measured signal is the papers' own, and NumPy's."""

import keras
import numpy as np
import pytest
from helpers import Reference, variant_of

import keras_nfnets
from keras_nfnets.callbacks import (
    SignalPropagation,
    plot_signal_propagation,
    signal_propagation,
)
from keras_nfnets.layers import NFBlock, SkipGain
from keras_nfnets.weights.names import assign, haiku_targets

X = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")


def residual_model(scaled=True):
    """One block of which every number is easy to follow.

    `scaled` may be `"number"`, for a product in place of layers.
    """
    inputs = keras.Input((32, 32, 3))
    start = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(start)
    x = branch = keras.layers.Conv2D(4, 1, name="branch")(x)
    if scaled == "number":
        x = 0.2 * x
    elif scaled:
        x = SkipGain()(keras.layers.Rescaling(0.2)(x))
    outputs = keras.layers.Add(name="sum")([start, x])
    return keras.Model(inputs, outputs), [start, branch, outputs]


def moments(array):
    mean, variance = array.mean((0, 1, 2)), array.var((0, 1, 2))
    return float((mean**2).mean()), float(variance.mean())


@pytest.mark.parametrize(
    ("name", "tag"), [("nfnet_plain", "odd"), ("nf_resnet_plain", "even")]
)
def test_curves_are_the_papers(name, tag):
    reference = Reference(f"model_{name}")
    model = keras_nfnets.NFNet(
        variant_of(reference.meta),
        classes=reference.meta["kwargs"]["num_classes"],
        stochastic_depth=0.25,
    )
    assign(
        haiku_targets(model, reference.meta["cls"]), reference.under("params/")
    )
    rows = signal_propagation(model, reference[f"{tag}/x"])
    metrics = reference.under(f"{tag}/metrics/")
    assert len(rows) == 1 + len(reference.meta["blocks"])
    assert rows[0]["res_avg_var"] is None
    for i, row in enumerate(rows):
        # Sums over whole feature maps, in another order: float32 rounding.
        for curve in ("avg_sq_mean", "avg_var"):
            expected = float(metrics[f"{curve}_{i}"])
            assert row[curve] == pytest.approx(expected, rel=2e-4)
        if i:
            expected = float(metrics[f"res_avg_var_{i - 1}"])
            assert row["res_avg_var"] == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("scaled", [False, True, "number"])
def test_a_sum_is_measured_as_numpy_does(scaled):
    model, tensors = residual_model(scaled)
    start, branch, outputs = keras.Model(model.input, tensors).predict(
        X, verbose=0
    )
    stem, block = signal_propagation(model, X)
    assert (stem["name"], block["name"]) == ("stem", "sum")
    # float32 rounding of a mean over 7,200 values.
    measured = stem["avg_sq_mean"], stem["avg_var"]
    assert measured == pytest.approx(moments(start), rel=1e-4)
    measured = block["avg_sq_mean"], block["avg_var"]
    assert measured == pytest.approx(moments(outputs), rel=1e-4)
    # Before the skip gain, which is zero.
    expected = moments(branch)[1]
    assert block["res_avg_var"] == pytest.approx(expected, rel=1e-4)


def test_training_normalizes_by_the_batch_and_changes_nothing():
    model, _ = residual_model()
    model.get_layer("conv").kernel.assign(np.full((3, 3, 3, 4), 5.0))
    before = model.get_weights()
    still = signal_propagation(model, X)[1]["res_avg_var"]
    moving = signal_propagation(model, X, training=True)[1]["res_avg_var"]
    assert moving < still / 100
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_concatenations_are_blocks_and_else_convolutions():
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", name="a")(inputs)
    y = keras.layers.Conv2D(2, 3, padding="same", name="b")(x)
    model = keras.Model(inputs, y)
    names = [row["name"] for row in signal_propagation(model, X)]
    assert names == ["a", "b"]
    joined = keras.layers.Concatenate(name="join")([x, y])
    rows = signal_propagation(keras.Model(inputs, joined), X)
    assert [row["name"] for row in rows] == ["stem", "join"]
    expected = rows[0]["avg_var"] + signal_propagation(model, X)[1]["avg_var"]
    assert rows[1]["avg_var"] == pytest.approx(expected / 2, rel=1e-4)


def test_callback_measures_the_weights_of_its_epochs(tmp_path):
    model, _ = residual_model()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    path = tmp_path / "signals.png"
    callback = SignalPropagation(X, every=2, path=path)
    targets = np.zeros((8, 30, 30, 4), "float32")
    history = model.fit(X, targets, epochs=3, verbose=0, callbacks=[callback])
    assert set(history.history) == {"loss"}
    assert [row["epoch"] for row in callback.rows] == [1, 1, 3, 3]
    last = [
        {n: v for n, v in row.items() if n != "epoch"}
        for row in callback.rows[2:]
    ]
    # Compiled there and not here: the same but for rounding.
    variances = [row["avg_var"] for row in signal_propagation(model, X)]
    assert [row["avg_var"] for row in last] == pytest.approx(
        variances, rel=1e-4
    )
    first = [row["avg_var"] for row in callback.rows[:2]]
    assert first != [row["avg_var"] for row in last]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_picture_of_a_model(tmp_path):
    path = tmp_path / "signals.png"
    plot_signal_propagation(residual_model()[0], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_bad_input(tmp_path):
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="class Own"):
        signal_propagation(Own(), X)
    with pytest.raises(ValueError, match="not built"):
        signal_propagation(keras.Sequential([keras.layers.Dense(1)]), X)
    with pytest.raises(ValueError, match="residual block.*'dense'"):
        inputs = keras.Input((3,))
        dense = keras.Model(inputs, keras.layers.Dense(1)(inputs), name="dense")
        signal_propagation(dense, X[:, 0, 0])
    with pytest.raises(ValueError, match="every=0"):
        SignalPropagation(X, every=0)
    two = [keras.Input((3,)), keras.Input((3,))]
    both = keras.Model(two, keras.layers.Add()(two))
    with pytest.raises(ValueError, match="2 inputs"):
        plot_signal_propagation(both, tmp_path / "signals.png")


def test_a_block_behind_a_product_with_a_number():
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 8)).astype("float32")
    inputs = keras.Input((8, 8, 8))
    halved, plain = (
        keras.Model(inputs, NFBlock(8, group_width=2, name="block")(start))
        for start in (0.5 * inputs, inputs)
    )
    plain.set_weights(halved.get_weights())
    # Half is exact, so both have the same values throughout.
    expected = signal_propagation(plain, x / 2)
    assert signal_propagation(halved, x) == expected
    assert expected[1]["res_avg_var"] > 0


def test_a_sequential_model_is_known_by_its_graph():
    layers = [
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3, name="conv"),
        keras.layers.GlobalAveragePooling2D(),
    ]
    model = keras.Sequential(layers)
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    rows = signal_propagation(model, x)
    twin = keras.Model(model.inputs[0], model.outputs[0])
    assert rows == signal_propagation(twin, x)
    assert [row["name"] for row in rows]
    with pytest.raises(ValueError, match="`model` must be a functional"):
        signal_propagation("model", x)
