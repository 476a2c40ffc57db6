"""`WSConv2D` standardizes its kernel as the papers do, and saves its gain."""

import keras
import numpy as np
import pytest
from helpers import (
    Reference,
    assert_gradients,
    assert_outputs,
    gradients,
    to_numpy,
    weighted_sum,
)

from keras_nfnets.layers import WSConv2D

REFERENCE = Reference("wsconv")


def _layer(case, name):
    layer = WSConv2D(
        case["filters"],
        case["kernel_size"],
        case["strides"],
        case["padding"].lower(),
        dilation_rate=case["dilation_rate"],
        groups=case["groups"],
        epsilon=case["eps"],
    )
    layer.build(case["input_shape"])
    layer.kernel.assign(REFERENCE[f"{name}/w"])
    layer.gain.assign(REFERENCE[f"{name}/gain"])
    layer.bias.assign(REFERENCE[f"{name}/bias"])
    return layer


@pytest.mark.parametrize("name", sorted(REFERENCE.meta["cases"]))
def test_outputs_and_gradients_are_the_papers(name):
    case = REFERENCE.meta["cases"][name]
    layer = _layer(case, name)
    y, dx, grads = gradients(
        layer,
        REFERENCE[f"{name}/x"],
        weighted_sum(REFERENCE[f"{name}/cotangent"]),
    )
    # Variances down to 1e-9 are known to fewer digits.
    rate = 1e-4 if case["special"] == "small" else 2e-5
    assert_outputs(y, REFERENCE[f"{name}/y"], rate)
    assert_outputs(
        layer.standardize(layer.kernel), REFERENCE[f"{name}/std_w"], rate
    )
    assert_gradients(dx, REFERENCE[f"{name}/dx"])
    assert_gradients(grads[id(layer.kernel)], REFERENCE[f"{name}/dw"])
    assert_gradients(grads[id(layer.gain)], REFERENCE[f"{name}/dgain"])
    assert_gradients(grads[id(layer.bias)], REFERENCE[f"{name}/dbias"])
    assert layer.compute_output_shape(case["input_shape"]) == tuple(
        case["output_shape"]
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_standardizes_in_float32_under_mixed_precision(policy):
    # A large mean: in half precision it would swallow the kernel's variation.
    def initializer(shape, dtype=None):
        return 100 + 0.01 * keras.random.normal(shape, dtype=dtype, seed=1)

    layer = WSConv2D(4, 3, dtype=policy, kernel_initializer=initializer)
    x = keras.random.normal((2, 8, 8, 3), seed=2)
    outputs = layer(x)
    exact = WSConv2D(4, 3, kernel_initializer=initializer)
    expected = to_numpy(exact(x))
    assert keras.backend.standardize_dtype(outputs.dtype) == policy[6:]
    np.testing.assert_allclose(
        to_numpy(keras.ops.cast(outputs, "float32")), expected, atol=0.05
    )


def test_gain_survives_saving(tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, WSConv2D(4, 3, name="conv")(inputs))
    model.get_layer("conv").gain.assign([1.0, 2.0, 3.0, 4.0])
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    fresh = keras.Model.from_config(model.get_config())
    fresh.load_weights(tmp_path / "model.weights.h5")
    for other in (loaded, fresh):
        for ours, theirs in zip(model.weights, other.weights, strict=True):
            np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


@pytest.mark.parametrize(
    "arguments",
    [
        dict(use_gain=False, use_bias=False),
        dict(
            groups=2,
            epsilon=1e-5,
            strides=2,
            padding="same",
            activation="relu",
            gain_initializer="zeros",
            kernel_regularizer="l2",
            bias_constraint="non_neg",
        ),
    ],
)
def test_config_round_trip(arguments):
    layer = WSConv2D(4, 3, **arguments)
    copy = WSConv2D.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert copy(np.ones((1, 8, 8, 2), "float32")).shape[-1] == 4
    assert (copy.gain is None) == (not layer.use_gain)


def test_unknown_sizes_pass_through():
    inputs = keras.Input((None, None, 3))
    assert WSConv2D(4, 3, 2, "same")(inputs).shape == (None, None, None, 4)


def test_lora_adapts_the_kernel_that_is_standardized():
    layer = WSConv2D(4, 3)
    layer.build((None, 8, 8, 3))
    layer.enable_lora(2)
    before = to_numpy(layer(np.ones((1, 8, 8, 3), "float32")))
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    after = to_numpy(layer(np.ones((1, 8, 8, 3), "float32")))
    assert not np.allclose(before, after)


@pytest.mark.parametrize("epsilon", [0.0, -1e-4])
def test_epsilon_must_be_positive(epsilon):
    with pytest.raises(ValueError, match="`epsilon` must be positive"):
        WSConv2D(4, 3, epsilon=epsilon)


def test_channels_first_is_refused():
    with pytest.raises(ValueError, match="`data_format` must be"):
        WSConv2D(4, 3, data_format="channels_first")


def test_channels_must_divide_by_groups():
    with pytest.raises(ValueError, match="input channels must be evenly"):
        WSConv2D(4, 3, groups=2).build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="filters must be evenly"):
        WSConv2D(3, 3, groups=2)
