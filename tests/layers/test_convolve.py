"""All ways to convolve agree, in outputs and in gradients."""

import keras
import numpy as np
import pytest
from helpers import BACKEND, assert_gradients, gradients, to_numpy, weighted_sum

from keras_nfnets.layers import WSConv2D, convolve
from keras_nfnets.layers.device import has_onednn, tracing_for


# With blocks of 32 channels: all groups in one block; a group each; four
# groups in a block, and one left.
@pytest.mark.parametrize("groups, width", [(3, 4), (2, 40), (9, 8)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("way", ["split", "onednn"])
def test_all_ways_of_groups_agree(monkeypatch, strides, groups, width, way):
    if way == "onednn" and not has_onednn():
        pytest.skip("TensorFlow does not compute with oneDNN here")
    x = keras.random.normal((2, 9, 7, groups * width), seed=1)
    layer = WSConv2D(groups * 6, 3, strides, "same", groups=groups)
    monkeypatch.setattr(convolve, "grouped_conv_strategy", lambda dtype: way)
    draw = np.random.default_rng(0).normal(
        size=layer.compute_output_shape(x.shape)
    )
    loss = weighted_sum(draw.astype("float32"))
    fast, d_inputs, d_weights = gradients(layer, to_numpy(x), loss)
    monkeypatch.setattr(
        convolve, "grouped_conv_strategy", lambda dtype: "native"
    )
    native, expected, d_expected = gradients(layer, to_numpy(x), loss)
    # Sums of up to 360 products, in another order.
    np.testing.assert_allclose(fast, native, atol=1e-5)
    assert_gradients(d_inputs, expected)
    for weight in layer.trainable_variables:
        assert_gradients(d_weights[id(weight)], d_expected[id(weight)])


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch's own kernels are used")
def test_grouped_conv_strategy_on_a_cpu():
    expected = "onednn" if has_onednn() else "split"
    assert convolve.grouped_conv_strategy("float32") == expected
    assert convolve.grouped_conv_strategy("float16") == "split"


def test_groups_stay_whole_in_a_program_for_another_device():
    with tracing_for("tpu"):
        assert convolve.grouped_conv_strategy("float32") == "native"


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow's CPU")
@pytest.mark.parametrize(
    "kernel_size, size",
    [(1, (5, 5)), (3, (1, 1)), (3, (6, 9)), ((5, 3), (4, 7))],
)
def test_own_gradients_are_those_of_tensorflow(monkeypatch, kernel_size, size):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, *size, 6)).astype("float32")
    layer = WSConv2D(8, kernel_size, padding="same", groups=2)
    loss = weighted_sum(draw.normal(size=(2, *size, 8)).astype("float32"))
    arguments = layer.kernel_size, (1, 1), "same", (1, 1)
    monkeypatch.setattr(convolve, "has_onednn", lambda: False)
    assert convolve.needs_own_gradient(*arguments)
    _, d_inputs, d_weights = gradients(layer, x, loss)
    monkeypatch.setattr(convolve, "needs_own_gradient", lambda *_, **__: False)
    _, expected, d_expected = gradients(layer, x, loss)
    assert_gradients(d_inputs, expected)
    for weight in layer.trainable_variables:
        assert_gradients(d_weights[id(weight)], d_expected[id(weight)])


@pytest.mark.parametrize(
    "kernel_size, strides, padding, dilation_rate",
    [
        ((2, 2), (1, 1), "same", (1, 1)),
        ((3, 3), (2, 2), "same", (1, 1)),
        ((3, 3), (1, 1), "valid", (1, 1)),
        ((3, 3), (1, 1), "same", (2, 2)),
    ],
)
def test_other_convolutions_keep_the_backend_s_gradients(
    monkeypatch, kernel_size, strides, padding, dilation_rate
):
    monkeypatch.setattr(convolve, "has_onednn", lambda: False)
    assert not convolve.needs_own_gradient(
        kernel_size, strides, padding, dilation_rate
    )


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow's CPU")
@pytest.mark.parametrize("onednn", [False, True])
def test_own_gradients_can_be_differentiated_again(monkeypatch, onednn):
    import tensorflow as tf

    if onednn and not has_onednn():
        pytest.skip("TensorFlow does not compute with oneDNN here")
    monkeypatch.setattr(convolve, "has_onednn", lambda: onednn)
    x = tf.constant(
        np.random.default_rng(0).normal(size=(1, 4, 4, 2)), "float32"
    )
    layer = WSConv2D(2, 3, padding="same")

    def penalty(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.reduce_sum(tf.square(layer(x)))
        return tf.reduce_sum(tf.square(tape.gradient(outputs, x)))

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = penalty(x)
    # The penalty is a quadratic form in x.
    product = tf.reduce_sum(tape.gradient(value, x) * x)
    np.testing.assert_allclose(product, 2 * value, rtol=1e-5)
