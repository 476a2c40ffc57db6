"""Activations and their constants are those of the papers' code."""

import math

import keras
import numpy as np
import pytest
from helpers import Reference, assert_outputs, gradients, weighted_sum

from keras_nfnets import layers
from keras_nfnets.layers import activations

REFERENCE = Reference("activations")


@pytest.mark.parametrize("name", REFERENCE.meta["elementwise"])
def test_values_and_gradients_are_the_papers(name):
    x = REFERENCE["x"][:, None]
    ones = weighted_sum(np.ones_like(x))
    y, dx, _ = gradients(layers.VPActivation(name), x, ones)
    assert_outputs(y[:, 0], REFERENCE[f"{name}/y"])
    # The noise of a gradient in float32 is ten times that of a value.
    assert_outputs(dx[:, 0], REFERENCE[f"{name}/dy"], rate=1e-4)


@pytest.mark.parametrize(
    "name", sorted(set(activations.GAMMA) - {"leaky_relu", "relu", "relu6"})
)
def test_slope_at_zero_is_that_beside_it(name):
    """Sums of maxima and minima tie there, and count both slopes."""
    x = np.array([[-1e-3], [0.0], [1e-3]], "float32")
    ones = weighted_sum(np.ones_like(x))
    _, slopes, _ = gradients(layers.VPActivation(name), x, ones)
    below, here, above = slopes[:, 0]
    # All others are smooth there but selu, whose slopes differ by 1.76.
    assert min(below, above) * 0.99 <= here <= max(below, above) * 1.01


def test_constants_are_the_papers():
    for name in REFERENCE.meta["elementwise"]:
        assert activations.GAMMA[name] == REFERENCE.meta["gamma"][name]


# What the papers' code does not know, which may be any.
OTHERS = set(activations.GAMMA) - set(REFERENCE.meta["elementwise"])


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_constants_are_those_of_the_function(name):
    row = activations.ACTIVATIONS[name]
    # gelu_erf has the constant of the tanh form, whose values differ by 1e-3.
    assert row.gamma == pytest.approx(
        activations.gamma_of(row.function), rel=1e-3
    )


@pytest.mark.parametrize(
    "name", [n for n, r in activations.ACTIVATIONS.items() if r.keras_name]
)
def test_keras_has_the_same_function(name):
    _, function, keras_name = activations.ACTIVATIONS[name]
    x = np.linspace(-9, 9, 37).astype("float32")
    keras_own = getattr(keras.activations, keras_name)(x)
    assert_outputs(function(keras.ops.convert_to_tensor(x)), keras_own)


def test_gamma_of_a_function():
    # max(x, 0) has the variance 1/2 - 1/(2 pi).
    expected = (1 / 2 - 1 / (2 * math.pi)) ** -0.5
    # The trapezoidal rule at a kink, and values in float32.
    assert activations.gamma_of(keras.ops.relu) == pytest.approx(
        expected, rel=1e-5
    )
    with pytest.raises(ValueError, match="`function` must vary"):
        activations.gamma_of(keras.ops.zeros_like)


def test_timm_s_gelu_has_the_error_function():
    x = np.linspace(-6, 6, 101).astype("float32")
    y = keras.ops.convert_to_numpy(activations.get("gelu_erf")(x))
    expected = [v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    gamma = REFERENCE.meta["gamma"]["gelu"]
    # The noise of float32.
    np.testing.assert_allclose(y, gamma * np.array(expected), atol=2e-6)


def test_gamma_can_be_left_to_the_kernels():
    x = np.linspace(-3, 3, 13).astype("float32")
    y = keras.ops.convert_to_numpy(activations.get("relu", False)(x))
    np.testing.assert_array_equal(y, np.maximum(x, 0))


@pytest.mark.parametrize("name", sorted(activations.GAMMA))
def test_preserves_variance(name):
    # The constants were fitted on samples: 3 % is the widest miss (sigmoid).
    gamma = activations.gamma_of(activations.get(name))
    assert gamma**-2 == pytest.approx(1, abs=0.03)


def test_serializes_inside_a_keras_layer():
    layer = keras.layers.Dense(3, activation=activations.get("gelu"))
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert copy.activation is activations.get("gelu")


def test_gelu_gradient_is_finite_in_float16():
    x = np.array([[-300.0], [-60.0], [60.0], [300.0]], "float16")
    layer = layers.VPActivation("gelu", dtype="float16")
    _, dx, _ = gradients(layer, x, weighted_sum(np.ones_like(x)))
    assert np.isfinite(dx).all()


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match="Received: activation=.swish."):
        activations.get("swish")
