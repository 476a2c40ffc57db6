"""Only convolutions change, and they compute with standardized kernels."""

import keras
import numpy as np
from helpers import evaluate, to_numpy
from keras import layers

from keras_nfnets import surgery
from keras_nfnets.layers import WSConv1D, WSConv2D, WSDepthwiseConv2D

X = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")


def network():
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 3, groups=2, activation="relu", name="a")(inputs)
    x = layers.DepthwiseConv2D(3, strides=2, use_bias=False, name="b")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = x + 1.0
    return keras.Model(inputs, layers.Dense(3, name="top")(x), name="net")


def in_numpy(kernel, axes):
    centered = kernel - kernel.mean(axes, keepdims=True)
    return centered / np.sqrt((centered**2).sum(axes, keepdims=True))


def test_outputs_are_those_of_standardized_kernels():
    model = network()
    for layer in ("a", "norm"):
        bias = model.get_layer(layer).weights[1]
        bias.assign(np.arange(6) / 6)
    new, report = surgery.standardize(model)
    assert type(new.get_layer("a")) is WSConv2D
    assert type(new.get_layer("b")) is WSDepthwiseConv2D
    assert new.get_layer("b").bias is None
    found = evaluate(new, X)
    for name, axes in (("a", (0, 1, 2)), ("b", (0, 1))):
        kernel = model.get_layer(name).kernel
        kernel.assign(in_numpy(to_numpy(kernel), axes))
    # float32 rounding of kernels that are standardized in another order.
    np.testing.assert_allclose(found, evaluate(model, X), atol=2e-5)
    assert [row.name for row in report.changed] == ["a", "b"]
    assert [row.change for row in report.unchanged][-1] == "kept"


def test_a_sequential_model_in_one_dimension():
    model = keras.Sequential(
        [keras.Input((9, 2)), layers.Conv1D(4, 3, padding="causal")]
    )
    new, _ = surgery.standardize(model)
    assert isinstance(new.layers[-1], WSConv1D)
    assert new.output_shape == model.output_shape


def test_saves_and_loads(tmp_path):
    new, _ = surgery.standardize(network())
    new.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(evaluate(again, X), evaluate(new, X))
