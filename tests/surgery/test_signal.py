"""The plan's rules hold for NumPy and for layers with many channels."""

import keras
import numpy as np
import pytest
from helpers import evaluate

from keras_nfnets.layers import WSConv2D, WSDepthwiseConv2D
from keras_nfnets.surgery import rules
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery.windows import Window, same_zeros

X = np.random.default_rng(0).normal(size=(8, 8, 8, 64)).astype("float32")


def measured(layer, x):
    """Variance, mean square of channel means, correlation of neighbours."""
    y = evaluate(keras.Sequential([keras.Input(x.shape[1:]), layer]), x)
    means = y.mean((0, 1, 2))
    centered = y - means
    shared = (centered[:, :, 1:] * centered[:, :, :-1]).mean()
    variance = (centered**2).mean()
    return variance, (means**2).mean(), shared / variance


def planned(layer, before, x):
    tensor = keras.Input(x.shape[1:])
    after = rules.expected(layer, [tensor], [before], layer(tensor))
    return after.variance, (after.means**2).mean(), after.correlation


@pytest.mark.parametrize(
    "make",
    [
        lambda: WSConv2D(64, 3),
        lambda: WSConv2D(64, 1, strides=2),
        # Half of the kernel lies on zeros, and the mean shows at the border.
        lambda: WSConv2D(256, 5, padding="same"),
        lambda: WSConv2D(256, 3, strides=2, padding="symmetric"),
        lambda: WSDepthwiseConv2D(3, depth_multiplier=4),
        lambda: WSDepthwiseConv2D(5, padding="same", depth_multiplier=4),
        lambda: keras.layers.AveragePooling2D(2),
        lambda: keras.layers.AveragePooling2D(3, strides=1),
        lambda: keras.layers.MaxPooling2D(3, strides=2),
    ],
)
def test_layers_do_what_is_planned(make):
    x = np.maximum(X, 0) * 1.7
    before = signals.normal().map(lambda x: np.maximum(x, 0) * 1.7)
    variance, squares, correlation = measured(make(), x)
    found = planned(make(), before, x)
    # 64 channels and kernels of 9 taps are that far from their expectation.
    assert found[0] == pytest.approx(variance, rel=0.06)
    assert found[1] == pytest.approx(squares, rel=0.2, abs=0.02)
    # The mean of a border is common to neighbours, which the plan leaves out.
    assert found[2] == pytest.approx(correlation, abs=0.08)


def test_neighbours_have_their_correlation():
    for correlation in (-0.2, 0.0, 0.5):
        signal = signals.normal(4.0, correlation, mean=1.0, spread=9.0)
        assert signal.variance == pytest.approx(4.0, rel=1e-6)
        assert signal.correlation == pytest.approx(correlation, abs=1e-6)
        assert signal.means.mean() == pytest.approx(1.0)
        assert signal.means.var() == pytest.approx(9.0)


def test_sums_products_and_concatenations():
    one, two = signals.normal(), signals.normal(4.0, mean=3.0)
    # Of 256 channels with 128 pairs of pixels: a correlation of 1/181.
    total = signals.added([one, two], [2.0, 0.5])
    assert total.variance == pytest.approx(4 + 1, rel=0.02)
    assert total.means.mean() == pytest.approx(1.5)
    product = signals.multiplied([one, two])
    assert product.variance == pytest.approx(4 + 9, rel=0.03)
    joined = signals.joined([one, two], [30, 10])
    assert joined.variance == pytest.approx(0.75 + 0.25 * 4)
    assert joined.means.var() == pytest.approx(0.75 * 0.25 * 9)


def test_a_gate_keeps_the_mean_of_its_squares():
    values = signals.normal(0.0, spread=0.01, mean=0.5)
    after = signals.gated(signals.normal(), [values])
    assert after.variance == pytest.approx(0.26, rel=0.02)


@pytest.mark.parametrize(
    ("length", "size", "stride", "expected"),
    [
        (8, 3, 1, (1, 1)),
        (8, 3, 2, (0, 1)),
        (7, 3, 2, (1, 1)),
        (1, 5, 1, (2, 2)),
    ],
)
def test_zeros_are_those_of_the_padding_same(length, size, stride, expected):
    assert same_zeros(length, size, stride) == expected
    window = Window(length, size, stride, zeros=expected)
    assert window.inside().shape == (-(-length // stride), size)
    ones = np.ones((1, length, 1), "float32")
    layer = keras.layers.Conv1D(
        1,
        size,
        stride,
        "same",
        use_bias=False,
        kernel_initializer="ones",
    )
    taps = np.asarray(keras.ops.convert_to_numpy(layer(ones)))[0, :, 0]
    np.testing.assert_array_equal(window.inside().sum(1), taps)
