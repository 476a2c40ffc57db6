"""Computes the windows of convolutions and poolings."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Window:
    """One axis of a convolution or pooling.

    Args:
        length: Integer, pixels of the input, or `None`.
        size: Integer, pixels of the kernel.
        stride: Integer.
        dilation: Integer.
        zeros: Pair of integers, zeros before and behind the input.
    """

    length: int | None
    size: int
    stride: int = 1
    dilation: int = 1
    zeros: tuple = (0, 0)

    def inside(self):
        """Returns which taps see the input, of shape (positions, taps)."""
        if self.length is None:
            return np.ones((1, self.size))
        before, behind = self.zeros
        reach = (self.size - 1) * self.dilation + 1
        last = self.length + before + behind - reach
        starts = np.arange(0, max(last, 0) + 1, self.stride) - before
        pixels = starts[:, None] + np.arange(self.size) * self.dilation
        return ((pixels >= 0) & (pixels < self.length)).astype("float64")


def same_zeros(length, size, stride, dilation=1):
    """Returns the zeros that the padding "same" puts before and behind."""
    if length is None:
        return (0, 0)
    reach = (size - 1) * dilation + 1
    total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return (total // 2, total - total // 2)


def line_correlation(size, correlation, shift=0):
    """Returns the mean correlation of the pixels of two windows on an axis."""
    pixels = np.arange(size)
    distances = np.abs(pixels[:, None] - pixels - shift)
    return float((correlation ** distances.astype("float64")).mean())


def window_correlation(windows, rho):
    """Returns the mean correlation of the pixels in a window."""
    if rho >= 0:
        return math.prod(line_correlation(w.size, rho) for w in windows)
    # A negative one is that of next neighbours alone, diagonal ones too.
    size = math.prod(w.size for w in windows)
    near = math.prod(3 * w.size - 2 if w.size > 1 else 1 for w in windows)
    return (size + (near - size) * rho) / size**2
