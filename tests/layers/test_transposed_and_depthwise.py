"""Convolutions that the papers do not use standardize as the others do."""

import keras
import numpy as np
import pytest
from helpers import to_numpy

from keras_nfnets import layers
from keras_nfnets.training.unit_axes import unit_axes

# Ours, Keras's, arguments, the input, and the axes of a unit.
CASES = {
    "1d": (
        layers.WSConv1D,
        keras.layers.Conv1D,
        dict(filters=4, kernel_size=3, padding="causal", groups=2),
        (2, 9, 6),
        (0, 1),
    ),
    "1d_strided": (
        layers.WSConv1D,
        keras.layers.Conv1D,
        dict(filters=4, kernel_size=2, strides=2, padding="same"),
        (2, 9, 6),
        (0, 1),
    ),
    "3d": (
        layers.WSConv3D,
        keras.layers.Conv3D,
        dict(filters=4, kernel_size=(1, 2, 3), strides=2, padding="same"),
        (2, 4, 5, 6, 3),
        (0, 1, 2, 3),
    ),
    "transposed": (
        layers.WSConv2DTranspose,
        keras.layers.Conv2DTranspose,
        dict(filters=4, kernel_size=3, strides=2, activation="relu"),
        (2, 5, 4, 3),
        (0, 1, 3),
    ),
    "depthwise": (
        layers.WSDepthwiseConv2D,
        keras.layers.DepthwiseConv2D,
        dict(kernel_size=3, depth_multiplier=2, padding="same"),
        (2, 5, 4, 3),
        (0, 1),
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def _standardized(kernel, gain, axes):
    """The papers' formula in float64."""
    kernel = kernel.astype("float64")
    fan_in = np.prod([kernel.shape[axis] for axis in axes])
    variance = kernel.var(axis=axes, keepdims=True)
    scale = 1 / np.sqrt(np.maximum(variance * fan_in, 1e-4))
    centered = kernel - kernel.mean(axis=axes, keepdims=True)
    return centered * scale * gain.reshape(scale.shape)


def _built(kind, arguments, shape):
    layer = kind(**arguments)
    layer.build(shape)
    draw = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(1 + draw.normal(size=variable.shape))
    return layer


def test_is_keras_s_with_the_standardized_kernel(case):
    ours, theirs, arguments, shape, axes = case
    layer, plain = _built(ours, arguments, shape), theirs(**arguments)
    plain.build(shape)
    kernel, gain = to_numpy(layer.kernel), to_numpy(layer.gain)
    plain.kernel.assign(_standardized(kernel, gain, axes))
    plain.bias.assign(layer.bias)
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    # Sums of up to 54 products in float32.
    np.testing.assert_allclose(
        to_numpy(layer(x)), to_numpy(plain(x)), atol=1e-5
    )


def test_a_unit_of_agc_is_an_output_channel(case):
    ours, _, arguments, shape, axes = case
    layer = _built(ours, arguments, shape)
    assert unit_axes(layer, layer.kernel) == axes
    assert unit_axes(layer, layer.gain) == (0,)


def test_saves_and_loads(case, tmp_path):
    ours, _, arguments, shape, _ = case
    inputs = keras.Input(shape[1:])
    layer = ours(**arguments, epsilon=1e-2, gamma=1.5)
    model = keras.Model(inputs, layer(inputs))
    for i, variable in enumerate(model.trainable_variables):
        variable.assign(keras.random.normal(variable.shape, seed=i))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == layer.get_config()
    x = keras.random.normal(shape, seed=1)
    np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(loaded(x)))


def test_computes_in_half_and_keeps_float32(case):
    ours, _, arguments, shape, _ = case
    layer = ours(**arguments, dtype="mixed_bfloat16")
    outputs = layer(np.ones(shape, "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert {v.dtype for v in layer.trainable_variables} == {"float32"}


def test_bad_settings_are_refused(case):
    ours, _, arguments, *_ = case
    for name, value in [
        ("epsilon", 0.0),
        ("epsilon_rule", "max"),
        ("data_format", "channels_first"),
    ]:
        with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
            ours(**arguments, **{name: value})
