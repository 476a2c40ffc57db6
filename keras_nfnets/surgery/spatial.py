"""Predicts what convolutions and poolings do to a signal.

Each function takes a `Signal` and the `Window` of each spatial axis. It returns
the `Signal` behind the layer. All account for strides and for the correlation
of neighbouring pixels; `convolved` also accounts for zeros at the border.

The formulas of `convolved` are expectations over random kernels. A kernel has N
weights, the fan-in. Standardization makes their sum 0 and the sum of their
squares 1. So the mean of a square is 1 / N, and the mean of a product of two
different weights is -1 / (N (N - 1)): what one weight has, the others lack.
"""

import dataclasses
import math

import numpy as np

from keras_nfnets.surgery.signal import CHANNELS, PIXELS, Signal, normal
from keras_nfnets.surgery.windows import line_correlation, window_correlation


def convolved(signal, windows, channels):
    """Returns the signal after a standardized convolution.

    Inside of the image the kernel cancels the mean. It keeps the variance,
    except for what `_cancelled` returns. At the border a part of the kernel
    lies on zeros. There less variance comes through. The weights that lie on
    the image do not sum to 0 there, so a part of the mean comes through.

    Args:
        signal: `Signal` before the convolution.
        windows: List of `Window`, one per spatial axis.
        channels: Integer, input channels of one kernel. A depthwise kernel has
            one.
    """
    # For each axis, ones `(positions, taps)` where a tap lies on the image. The
    # axes are independent, so a mean over all of them is a product.
    on_image = [window.inside() for window in windows]
    # The fraction of pairs of a position and a tap that lie on the image.
    inside = math.prod(ones.mean() for ones in on_image)
    # The mean square of that fraction at one position, and for one tap.
    by_position = math.prod((ones.mean(1) ** 2).mean() for ones in on_image)
    by_tap = math.prod((ones.mean(0) ** 2).mean() for ones in on_image)
    # A constant input of 1 gives at each position the sum of the weights that
    # lie on the image. The mean square of these sums is `inside - by_position`
    # for many weights. Their mean over positions becomes the output channel's
    # mean, of square `to_mean`. What is left is variance over positions.
    to_mean = by_tap - inside**2
    to_variance = (inside - by_position) - to_mean
    passed = inside * (1 - _cancelled(signal, windows, channels))
    known = dict(
        correlation=_correlation_after(signal, windows, channels),
        convolved=True,
    )
    if channels == 1:
        # A depthwise kernel sees the mean of one channel. It has few weights,
        # N, so the factor N / (N - 1) of both mean squares is not left out.
        size = math.prod(window.size for window in windows)
        squares = signal.means**2 * (size / max(size - 1, 1))
        variance = signal.variances * passed + squares * to_variance
        return normal(variance, spread=(squares * to_mean).mean(), **known)
    # The means of the channels are a mean that all have in common, and
    # differences from it. The kernel cancels the common mean only. The
    # differences pass as if each weight were independent of the others.
    common, spread = signal.means.mean() ** 2, signal.means.var()
    variance = signal.variance * passed + common * to_variance
    variance += spread * (inside - by_tap)
    spread = spread * by_tap + common * to_mean
    return normal(variance, spread=spread, **known)


def _cancelled(signal, windows, channels):
    """Returns the fraction of the variance that a kernel of mean 0 cancels.

    Correlated pixels have a part in common, and the kernel cancels it as it
    cancels a mean. The variance of the output is the sum of `w_i * w_j` times
    the covariance of the pixels i and j. All pixels with themselves give the
    whole variance. Each pair of different pixels subtracts its correlation over
    `fan_in * (fan_in - 1)`. Only pixels of one channel are correlated.
    """
    size = math.prod(window.size for window in windows)
    fan_in = size * channels
    if size == 1:
        return 0.0
    # The sum over all pairs of pixels of one channel, without the `size` pairs
    # of a pixel with itself.
    correlations = size**2 * window_correlation(windows, signal.correlation)
    correlations -= size
    return channels * correlations / (fan_in * (fan_in - 1))


def _correlation_after(signal, windows, channels):
    """Returns the correlation of neighbouring pixels after a convolution.

    It is the correlation that the pixels had at the distance of the stride, and
    what the convolution adds.

    Args:
        signal: `Signal` before the convolution.
        windows: List of `Window`. The first axis stands for all of them.
        channels: Integer, input channels of one kernel.
    """
    first = windows[0]
    fan_in = math.prod(window.size for window in windows) * channels
    # Two neighbouring windows share `overlap` input values. Each value meets
    # one weight in the first window and another in the second. The product of
    # two weights is negative on average. The taps of the two windows meet only
    # where the stride is a multiple of the dilation.
    step, apart = divmod(first.stride, first.dilation)
    shared = 0 if apart else max(first.size - step, 0)
    overlap = shared * fan_in / first.size
    added = -overlap / (fan_in * (fan_in - 1)) if fan_in > 1 else 0.0
    rho = signal.correlation
    # A negative correlation does not reach beyond the adjacent pixels.
    before = rho**first.stride if rho > 0 or first.stride == 1 else 0.0
    return float(np.clip(before + added, -0.9, 0.9))


def averaged(signal, windows):
    """Returns the signal after average pooling.

    The means of the channels stay. The variance of a mean of pixels is the
    pixels' variance times the mean correlation of any two of them.

    Args:
        signal: `Signal` before the pooling.
        windows: List of `Window`, one per spatial axis. For the correlation of
            the output, the first one stands for all of them.
    """
    # The formula for a negative correlation may come out below zero.
    kept = max(window_correlation(windows, signal.correlation), 1e-6)
    # A window and its neighbour, `stride` pixels away, have a covariance, and
    # each has a variance. Their quotient is the correlation of the output.
    rho = max(signal.correlation, 0.0)
    first = windows[0]
    covariance = line_correlation(first.size, rho, first.stride)
    correlation = covariance / line_correlation(first.size, rho)
    return dataclasses.replace(
        normal(signal.variances * kept, min(correlation, 0.9), signal.means),
        convolved=signal.convolved,
    )


def largest(signal, windows):
    """Returns the signal after max pooling.

    The maximum has no formula, so it is taken of windows that are drawn. Their
    pixels come from the sample of a channel, as if they were independent.

    Args:
        signal: `Signal` before the pooling.
        windows: List of `Window`, one per spatial axis. Two neighbouring
            windows lie next to each other on the first one.
    """
    size, stride = windows[0].size, windows[0].stride
    # One strip of pixels holds two neighbouring windows: one at its start, and
    # one `stride` pixels further, at its end.
    length = size + stride
    others = math.prod(window.size for window in windows[1:])
    shape = (CHANNELS, PIXELS * others * length)
    chosen = np.random.default_rng(0).integers(PIXELS, size=shape)
    strips = np.take_along_axis(signal.pairs[..., 0], chosen, 1)
    strips = strips.reshape(CHANNELS, PIXELS, others, length)
    pairs = [
        strips[..., :size].max((2, 3)),
        strips[..., -size:].max((2, 3)),
    ]
    return Signal(np.stack(pairs, 2), convolved=signal.convolved)
