"""Predicts the signal of a fresh network from a sample.

A `Signal` stands for a feature map. It is a sample: for each of `CHANNELS`
channels, `PIXELS` pairs of neighbouring pixels. Means and variances are
computed from the sample, so an activation is applied to it as it is.

`normal` makes the first signal. `scaled`, `added`, `multiplied`, `gated` and
`joined` compute what merging layers give; `spatial` does the same for
convolutions and pooling.

Two assumptions keep this simple. Branches are independent of each other. A
positive correlation of two pixels falls by the same factor with each pixel of
distance, and a negative one does not reach beyond adjacent pixels.
"""

import dataclasses
import functools
import math

import numpy as np

CHANNELS, PIXELS = 256, 128
# A scale that differs from one by no more than this is left out.
TOLERANCE = 0.05


@dataclasses.dataclass(frozen=True)
class Signal:
    """Stands for one feature map by a sample of its pixels.

    Args:
        pairs: Array of shape `(CHANNELS, PIXELS, 2)`: for each channel, pairs
            of neighbouring pixels.
        padding: Tuple of pairs of integers, the zeros on both sides of each
            spatial axis. The pairs do not contain them. Defaults to `()`.
        gate: Boolean, whether the values are those of a gate, in (0, 1).
            Defaults to `False`.
        pooled: Boolean, whether the tensor holds one value per channel, from
            global pooling. Defaults to `False`.
        convolved: Boolean, whether a convolution is among the layers that
            computed it. Defaults to `False`.

    Example:

    >>> signal = normal(variance=4.0)
    >>> round(signal.variance, 3)
    4.0
    >>> relu = signal.map(lambda x: np.maximum(x, 0))
    >>> round(relu.variance / signal.variance, 2)
    0.34
    """

    pairs: np.ndarray
    padding: tuple = ()
    gate: bool = False
    pooled: bool = False
    convolved: bool = False

    @property
    def means(self):
        """The mean of each channel, an array of shape `(CHANNELS,)`."""
        return self.pairs.mean((1, 2))

    @property
    def variances(self):
        """The variance of each channel, an array of shape `(CHANNELS,)`."""
        return self.pairs.var((1, 2))

    @property
    def variance(self):
        """The variance of a channel, averaged over channels."""
        return float(self.variances.mean())

    @property
    def std(self):
        """The square root of `variance`."""
        return math.sqrt(self.variance)

    @property
    def mean_square(self):
        """The mean of all squared values."""
        return float((self.pairs**2).mean())

    @property
    def correlation(self):
        """The correlation of neighbouring pixels; 0 for constant channels."""
        if self.variance == 0:
            return 0.0
        left, right = np.moveaxis(self.pairs - self.means[:, None, None], 2, 0)
        return float((left * right).mean() / self.variance)

    def map(self, function):
        """Returns the signal after an elementwise function.

        Args:
            function: Function of a float32 array that returns one of its shape.
        """
        pairs = np.asarray(function(self.pairs.astype("float32")), "float64")
        return dataclasses.replace(self, pairs=pairs)

    def shuffled(self, seed):
        """Returns the pairs in another order of channels and pixels.

        Shuffled with different seeds, two samples of one tensor are
        independent.

        Args:
            seed: Integer.
        """
        generator = np.random.default_rng(seed)
        pairs = generator.permutation(self.pairs)
        return generator.permutation(pairs, axis=1)


@functools.cache
def _white():
    """Returns the normal numbers that every normal signal is made of.

    Returns:
        A tuple of three arrays: the left and the right pixel of each pair, of
        shape `(CHANNELS, PIXELS)` with mean 0, variance 1 and no correlation in
        each channel; and one normal number per channel.
    """
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
        variance: Float, or an array with one value per channel. Defaults to
            `1.0`.
        correlation: Float, correlation of neighbouring pixels. Defaults to
            `0.0`.
        mean: Float, or an array with one value per channel. Defaults to `0.0`.
        spread: Float, variance of normal numbers that are added to the means of
            the channels. Defaults to `0.0`.
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
    """Tells whether a scale is so close to one that it is left out."""
    return abs(scale - 1) <= TOLERANCE


def scaled(signal, factor):
    """Returns the signal times a number.

    Args:
        signal: `Signal`.
        factor: Float.
    """
    return dataclasses.replace(signal, pairs=signal.pairs * factor)


def added(signals, weights=None):
    """Returns the weighted sum of independent signals.

    Args:
        signals: List of `Signal`.
        weights: List of floats, one per signal. Defaults to `None`, for ones.
    """
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
    """Returns a signal times gates.

    A gate of channel attention holds one value per channel. Its values in the
    sample are averaged over pixels and scaled so that the mean square of the
    gate stays.

    Args:
        signal: `Signal` of the features.
        gates: List of `Signal`, the gates.
    """
    for seed, gate in enumerate(gates):
        values = gate.shuffled(seed).mean((1, 2), keepdims=True)
        size = math.sqrt(gate.mean_square / (values**2).mean())
        signal = dataclasses.replace(signal, pairs=signal.pairs * values * size)
    return signal


def joined(signals, channels):
    """Returns the concatenation of signals along their channels.

    Each signal fills a fraction of the sample's channels.

    Args:
        signals: List of `Signal`.
        channels: List of integers, channels of each tensor.
    """
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
    """Returns the fields that a merged signal has in common with its parts."""
    return dict(
        pooled=all(signal.pooled for signal in signals),
        convolved=any(signal.convolved for signal in signals),
    )
