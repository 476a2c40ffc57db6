"""Predicts the signal of a fresh network from a sample.

A `Signal` is a sample of channels, and for each channel of pairs of
neighbouring pixels. The functions say what each kind of layer makes of it.
They take branches for independent of each other, and the correlation of two
pixels to fall by the same factor with each pixel between them.
"""

import dataclasses
import functools
import math

import numpy as np

from keras_nfnets.surgery.windows import (
    line_correlation,
    window_correlation,
)

CHANNELS, PIXELS = 256, 128
# A scale this close to one is left out.
TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Signal:
    """What is known of one tensor.

    Args:
        pairs: Array of shape `(CHANNELS, PIXELS, 2)`: for each channel, pairs
            of neighbouring pixels.
        padding: Tuple of pairs of integers, the zeros on both sides of each
            spatial axis. They are not among the pairs. Defaults to `()`.
        gate: Boolean, whether the values are those of a gate, in (0, 1).
            Defaults to `False`.
        pooled: Boolean, whether the tensor holds one value per channel, from
            global pooling. Defaults to `False`.
        convolved: Boolean, whether the signal comes from convolutions.
            Defaults to `False`.
    """

    pairs: np.ndarray
    padding: tuple = ()
    gate: bool = False
    pooled: bool = False
    convolved: bool = False

    @property
    def means(self):
        """The mean of each channel."""
        return self.pairs.mean((1, 2))

    @property
    def variances(self):
        """The variance of each channel."""
        return self.pairs.var((1, 2))

    @property
    def variance(self):
        """The average channel variance."""
        return float(self.variances.mean())

    @property
    def std(self):
        return math.sqrt(self.variance)

    @property
    def mean_square(self):
        return float((self.pairs**2).mean())

    @property
    def correlation(self):
        """Correlation of two neighbouring pixels."""
        if self.variance == 0:
            return 0.0
        left, right = np.moveaxis(self.pairs - self.means[:, None, None], 2, 0)
        return float((left * right).mean() / self.variance)

    def map(self, function):
        """Returns the signal after a function of one value."""
        pairs = np.asarray(function(self.pairs.astype("float32")), "float64")
        return dataclasses.replace(self, pairs=pairs)

    def shuffled(self, seed):
        """Returns the pairs in another order: independent, but alike."""
        generator = np.random.default_rng(seed)
        pairs = generator.permutation(self.pairs)
        return generator.permutation(pairs, axis=1)


@functools.cache
def _white():
    """Returns normal pairs: in each channel of mean 0 and variance 1."""
    generator = np.random.default_rng(0)
    pairs = generator.standard_normal((CHANNELS, PIXELS, 2))
    pairs -= pairs.mean(1, keepdims=True)
    left, right = pairs[..., 0], pairs[..., 1]
    left /= left.std(1, keepdims=True)
    right -= left * (left * right).mean(1, keepdims=True)
    right /= right.std(1, keepdims=True)
    means = generator.standard_normal(CHANNELS)
    return left, right, (means - means.mean()) / means.std()


def normal(variance=1.0, correlation=0.0, mean=0.0, spread=0.0, **known):
    """Returns a normal signal.

    Args:
        variance: Float, or an array of one per channel. Defaults to `1.0`.
        correlation: Float, of neighbouring pixels. Defaults to `0.0`.
        mean: Float, or an array of one per channel. Defaults to `0.0`.
        spread: Float, variance of what is added to the channels' means.
            Defaults to `0.0`.
        **known: Other fields of `Signal`.
    """
    left, right, means = _white()
    right = correlation * left + math.sqrt(1 - correlation**2) * right
    means = mean + math.sqrt(spread) * means
    stds = np.sqrt(variance) * np.ones(CHANNELS)
    pairs = means[:, None, None] + stds[:, None, None] * np.stack(
        [left, right], 2
    )
    return Signal(pairs, **known)


def is_one(scale):
    """Whether a scale may be left out."""
    return abs(scale - 1) <= TOLERANCE


def scaled(signal, factor):
    """Returns the signal times a number."""
    return dataclasses.replace(signal, pairs=signal.pairs * factor)


def added(signals, weights=None):
    """Returns the sum of independent signals, each times its weight."""
    weights = weights or [1.0] * len(signals)
    pairs = sum(
        weight * signal.shuffled(seed)
        for seed, (signal, weight) in enumerate(
            zip(signals, weights, strict=True)
        )
    )
    return Signal(pairs, **_common(signals))


def multiplied(signals):
    """Returns the product of independent signals."""
    rows = [signal.shuffled(seed) for seed, signal in enumerate(signals)]
    return Signal(np.prod(rows, axis=0), **_common(signals))


def gated(signal, gates):
    """Returns a signal times gates that hold one value per channel."""
    for seed, gate in enumerate(gates):
        values = gate.shuffled(seed).mean((1, 2), keepdims=True)
        size = math.sqrt(gate.mean_square / (values**2).mean())
        signal = dataclasses.replace(signal, pairs=signal.pairs * values * size)
    return signal


def joined(signals, channels):
    """Returns the signals side by side, by their share of the channels."""
    ends = np.cumsum(channels) / np.sum(channels) * CHANNELS
    ends = [0, *np.round(ends).astype(int)]
    pairs = [
        signal.shuffled(seed)[start:end]
        for seed, (signal, start, end) in enumerate(
            zip(signals, ends[:-1], ends[1:], strict=True)
        )
    ]
    return Signal(np.concatenate(pairs), **_common(signals))


def _common(signals):
    return dict(
        pooled=all(signal.pooled for signal in signals),
        convolved=any(signal.convolved for signal in signals),
    )


def convolved(signal, windows, channels):
    """Returns what a standardized convolution makes of a signal.

    Its kernel has mean 0 and squares that sum to 1 over all of its inputs. At
    the border a part of the kernel lies on zeros: less variance comes
    through, and the part that is left does not cancel the mean.

    Args:
        signal: `Signal`.
        windows: List of `Window`, one per spatial axis.
        channels: Integer, input channels of one kernel; 1 is depthwise.
    """
    taps = [window.inside() for window in windows]
    size = math.prod(window.size for window in windows)
    inside = math.prod(t.mean() for t in taps)
    # The sum of a part of the kernel: its variance over the positions is its
    # mean square without the square of its mean.
    by_position = math.prod((t.mean(1) ** 2).mean() for t in taps)
    by_tap = math.prod((t.mean(0) ** 2).mean() for t in taps)
    part = (inside - by_position) - (by_tap - inside**2)
    lasting = by_tap - inside**2
    passed = inside * (1 - _cancelled(signal, windows, channels))
    after = dict(
        correlation=_after_stride(signal, windows, channels), convolved=True
    )
    if channels == 1:
        bessel = size / max(size - 1, 1)
        squares = signal.means**2 * bessel
        variance = signal.variances * passed + squares * part
        return normal(variance, spread=(squares * lasting).mean(), **after)
    # Means that all channels have in common cancel, others do not.
    common, spread = signal.means.mean() ** 2, signal.means.var()
    variance = signal.variance * passed + common * part
    variance += spread * (inside - by_tap)
    return normal(variance, spread=spread * by_tap + common * lasting, **after)


def _cancelled(signal, windows, channels):
    """Returns the share of the variance that a kernel of mean 0 cancels.

    It is what neighbouring pixels of a channel have in common.
    """
    size = math.prod(window.size for window in windows)
    fan_in = size * channels
    if size == 1:
        return 0.0
    pairs = size**2 * window_correlation(windows, signal.correlation) - size
    return channels * pairs / (fan_in * (fan_in - 1))


def _after_stride(signal, windows, channels):
    """Returns the correlation of neighbours behind a convolution."""
    size, stride = windows[0].size, windows[0].stride
    fan_in = math.prod(window.size for window in windows) * channels
    # A kernel of mean 0 has taps that are correlated negatively.
    taps = max(size - stride, 0) * fan_in / size
    own = -taps / (fan_in * (fan_in - 1)) if fan_in > 1 else 0.0
    rho = signal.correlation
    before = rho**stride if rho > 0 or stride == 1 else 0.0
    return float(np.clip(before + own, -0.9, 0.9))


def averaged(signal, windows):
    """Returns a signal after average pooling: less variance, the same means."""
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
    """Returns a signal after max pooling, of pixels taken as independent."""
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
