"""Predicts what convolutions and poolings do to a signal.

Each function takes a `Signal` and the `Window` of each spatial axis. It
accounts for zeros at the border, for strides, and for the correlation of
neighbouring pixels.
"""

import dataclasses
import math

import numpy as np

from keras_nfnets.surgery.signal import CHANNELS, PIXELS, Signal, normal
from keras_nfnets.surgery.windows import line_correlation, window_correlation


def convolved(signal, windows, channels):
    """Returns the signal after a standardized convolution.

    The N weights of a kernel have mean 0, and their squares sum to 1. At the
    border a part of the kernel lies on zeros. There less variance comes
    through, and the weights on the image no longer cancel its mean.

    Args:
        signal: `Signal` before the convolution.
        windows: List of `Window`, one per spatial axis.
        channels: Integer, input channels of one kernel. A depthwise kernel has
            one.
    """
    taps = [window.inside() for window in windows]
    size = math.prod(window.size for window in windows)
    inside = math.prod(t.mean() for t in taps)
    by_position = math.prod((t.mean(1) ** 2).mean() for t in taps)
    by_tap = math.prod((t.mean(0) ** 2).mean() for t in taps)
    # A constant input of 1 gives at each position the sum of the weights that
    # lie on the image. Its mean square is `inside - by_position`. The square
    # of its mean over positions, `lasting`, becomes a channel mean; the rest,
    # `part`, is variance.
    lasting = by_tap - inside**2
    part = (inside - by_position) - lasting
    passed = inside * (1 - _cancelled(signal, windows, channels))
    after = dict(
        correlation=_after_stride(signal, windows, channels), convolved=True
    )
    if channels == 1:
        bessel = size / max(size - 1, 1)
        squares = signal.means**2 * bessel
        variance = signal.variances * passed + squares * part
        return normal(variance, spread=(squares * lasting).mean(), **after)
    # A mean that all channels have in common cancels; differences between the
    # means of channels do not.
    common, spread = signal.means.mean() ** 2, signal.means.var()
    variance = signal.variance * passed + common * part
    variance += spread * (inside - by_tap)
    return normal(variance, spread=spread * by_tap + common * lasting, **after)


def _cancelled(signal, windows, channels):
    """Returns the fraction of the variance that a kernel of mean 0 cancels.

    Neighbouring pixels of a channel have this part in common. Two weights of
    the kernel have the correlation -1 / (fan_in - 1).
    """
    size = math.prod(window.size for window in windows)
    fan_in = size * channels
    if size == 1:
        return 0.0
    pairs = size**2 * window_correlation(windows, signal.correlation) - size
    return channels * pairs / (fan_in * (fan_in - 1))


def _after_stride(signal, windows, channels):
    """Returns the correlation of neighbouring pixels after a convolution.

    Args:
        signal: `Signal` before the convolution.
        windows: List of `Window`. The first axis stands for all of them.
        channels: Integer, input channels of one kernel.
    """
    size, stride = windows[0].size, windows[0].stride
    fan_in = math.prod(window.size for window in windows) * channels
    # Two neighbouring windows overlap in `taps` input values. Each of them
    # meets two different weights, which are correlated negatively in a kernel
    # of mean 0.
    taps = max(size - stride, 0) * fan_in / size
    own = -taps / (fan_in * (fan_in - 1)) if fan_in > 1 else 0.0
    rho = signal.correlation
    before = rho**stride if rho > 0 or stride == 1 else 0.0
    return float(np.clip(before + own, -0.9, 0.9))


def averaged(signal, windows):
    """Returns the signal after average pooling.

    The means of the channels stay. The variance falls, less so if neighbouring
    pixels are correlated.

    Args:
        signal: `Signal` before the pooling.
        windows: List of `Window`, one per spatial axis.
    """
    rho = max(signal.correlation, 0.0)
    kept = max(window_correlation(windows, signal.correlation), 1e-6)
    first = windows[0]
    neighbour = line_correlation(first.size, rho, first.stride)
    correlation = neighbour / line_correlation(first.size, rho)
    return dataclasses.replace(
        normal(signal.variances * kept, min(correlation, 0.9), signal.means),
        convolved=signal.convolved,
    )


def largest(signal, windows):
    """Returns the signal after max pooling.

    The pixels of a window are drawn from the sample as if independent. Two
    neighbouring windows share the pixels by which they overlap.

    Args:
        signal: `Signal` before the pooling.
        windows: List of `Window`, one per spatial axis.
    """
    size, stride = windows[0].size, windows[0].stride
    others = math.prod(window.size for window in windows[1:])
    shape = (CHANNELS, PIXELS * others * (size + stride))
    chosen = np.random.default_rng(0).integers(PIXELS, size=shape)
    values = np.take_along_axis(signal.pairs[..., 0], chosen, 1)
    values = values.reshape(CHANNELS, PIXELS, others, size + stride)
    pairs = [
        values[..., :size].max((2, 3)),
        values[..., -size:].max((2, 3)),
    ]
    return Signal(np.stack(pairs, 2), convolved=signal.convolved)
