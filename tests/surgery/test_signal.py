"""The plan's rules hold for NumPy and for layers with many channels."""

import keras
import numpy as np
import pytest
from helpers import evaluate

from keras_nfnets.layers import WSConv2D, WSDepthwiseConv2D
from keras_nfnets.surgery import rules
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery.windows import (
    Window,
    line_correlation,
    same_zeros,
    window_correlation,
)

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
        # More of the kernel lies on zeros than without a dilation.
        lambda: WSConv2D(256, 3, padding="symmetric", dilation_rate=2),
        lambda: WSConv2D(256, 2, padding="same", dilation_rate=2),
        lambda: WSDepthwiseConv2D(3, depth_multiplier=4),
        # Neighbouring windows share no pixel.
        lambda: WSDepthwiseConv2D(2, depth_multiplier=4, dilation_rate=2),
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


def test_dilated_taps_see_pixels_that_are_less_correlated():
    rho, x = 0.7, np.random.default_rng(1).normal(size=(8, 24, 24, 64))
    for axis in (1, 2):
        rows = np.moveaxis(x, axis, 0)
        for i in range(1, len(rows)):
            rows[i] = rho * rows[i - 1] + (1 - rho**2) ** 0.5 * rows[i]
    x = x.astype("float32")
    for dilation in (1, 2):
        layer = WSDepthwiseConv2D(3, depth_multiplier=4, dilation_rate=dilation)
        variance, *_ = measured(layer, x)
        found, *_ = planned(layer, signals.normal(correlation=rho), x)
        # 256 kernels of 9 taps; the two dilations differ by half.
        assert found == pytest.approx(variance, rel=0.06)


@pytest.mark.parametrize("rho", [0.6, -0.1])
def test_window_correlation_is_the_mean_over_all_pairs_of_taps(rho):
    windows = [Window(None, 3, dilation=2), Window(None, 2)]
    taps = [(2 * i, j) for i in range(3) for j in range(2)]
    total = 0.0
    for y, x in taps:
        for other_y, other_x in taps:
            down, right = abs(y - other_y), abs(x - other_x)
            if rho > 0:
                total += rho ** (down + right)
            elif max(down, right) <= 1:
                total += rho if down + right else 1
    assert window_correlation(windows, rho) == pytest.approx(total / 36)
    # Taps at 0 and 3 against taps at 1 and 4.
    line = line_correlation(2, 0.5, shift=1, dilation=3)
    assert line == pytest.approx((0.5 + 0.5**4 + 0.5**2 + 0.5) / 4)


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
