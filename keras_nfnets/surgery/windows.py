"""Computes which pixels the windows of convolutions and poolings see.

`Window` describes one spatial axis. `windows_of` reads the windows of a layer;
`line_correlation` and `window_correlation` average a correlation over them.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Window:
    """Describes one spatial axis of a convolution or pooling.

    Args:
        length: Integer, pixels of the input without `zeros`, or `None` if the
            size is not known.
        size: Integer, taps of the kernel.
        stride: Integer, pixels between two positions. Defaults to `1`.
        dilation: Integer, pixels between two taps. Defaults to `1`.
        zeros: Pair of integers, zeros before and behind the input. Defaults to
            `(0, 0)`.
    """

    length: int | None
    size: int
    stride: int = 1
    dilation: int = 1
    zeros: tuple = (0, 0)

    def inside(self):
        """Returns which taps lie on the input, for each position of the kernel.

        Returns: Array of ones and zeros of shape `(positions, taps)`. An axis
        of unknown length has one position, and all taps lie on the input.

        Example:

        >>> Window(length=3, size=3, zeros=(1, 1)).inside()
        array([[0., 1., 1.],
               [1., 1., 1.],
               [1., 1., 0.]])
        """
        if self.length is None:
            return np.ones((1, self.size))
        before, behind = self.zeros
        reach = (self.size - 1) * self.dilation + 1
        last = self.length + before + behind - reach
        starts = np.arange(0, max(last, 0) + 1, self.stride) - before
        pixels = starts[:, None] + np.arange(self.size) * self.dilation
        return ((pixels >= 0) & (pixels < self.length)).astype("float64")


def windows_of(layer, tensor, signal, sizes):
    """Returns one `Window` per spatial axis of a convolution or pooling.

    Args:
        layer: Layer with `strides`, `padding` and maybe `dilation_rate`.
        tensor: Its input, of shape `(batch, *spatial, channels)`.
        signal: `Signal` of the tensor. It knows the zeros that a layer of zero
            padding has put around the image.
        sizes: Integer or tuple, the kernel's or the pool's size.
    """
    lengths = tensor.shape[1:-1]
    strides = _each(layer.strides, lengths)
    dilations = _each(getattr(layer, "dilation_rate", 1), lengths)
    rows = zip(lengths, _each(sizes, lengths), strides, dilations, strict=True)
    windows = []
    for axis, (length, size, stride, dilation) in enumerate(rows):
        zeros = signal.padding[axis] if signal.padding else (0, 0)
        if length is not None:
            length -= sum(zeros)
        own = _zeros(layer.padding, (length, size, stride, dilation))
        zeros = tuple(map(sum, zip(zeros, own, strict=True)))
        windows.append(Window(length, size, stride, dilation, zeros))
    return windows


def _zeros(padding, axis):
    """Returns the zeros that a layer puts before and behind an axis."""
    length, size, stride, dilation = axis
    return {
        "same": same_zeros(length, size, stride, dilation),
        "symmetric": (dilation * (size // 2),) * 2,
        "causal": ((size - 1) * dilation, 0),
    }.get(padding, (0, 0))


def _each(value, axes):
    """Returns a setting of a layer as a tuple with one value per axis."""
    if isinstance(value, int):
        return (value,) * len(axes)
    return tuple(value)


def same_zeros(length, size, stride, dilation=1):
    """Returns the zeros that the padding "same" puts before and behind an axis.

    Args:
        length: Integer, pixels of the input, or `None` for no zeros.
        size: Integer, taps of the kernel.
        stride: Integer, pixels between two positions.
        dilation: Integer, pixels between two taps. Defaults to `1`.

    Example:

    >>> same_zeros(224, size=3, stride=2)
    (0, 1)
    """
    if length is None:
        return (0, 0)
    reach = (size - 1) * dilation + 1
    total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return (total // 2, total - total // 2)


def line_correlation(size, correlation, shift=0, dilation=1):
    """Returns the mean correlation of the pixels of two windows on one axis.

    Args:
        size: Integer, pixels under the taps of each window.
        correlation: Float, correlation of neighbouring pixels.
        shift: Integer, pixels from one window to the other. Defaults to `0`.
        dilation: Integer, pixels from one tap to the next. Defaults to `1`.
    """
    pixels = np.arange(size) * dilation
    distances = np.abs(pixels[:, None] - pixels - shift)
    return float((correlation ** distances.astype("float64")).mean())


def window_correlation(windows, rho):
    """Returns the mean correlation of any two pixels under a window's taps.

    Args:
        windows: List of `Window`, one per spatial axis.
        rho: Float, correlation of neighbouring pixels.
    """
    if rho >= 0:
        return math.prod(
            line_correlation(w.size, rho, dilation=w.dilation) for w in windows
        )
    # A negative correlation does not reach beyond the adjacent pixels, of
    # which the diagonal ones count too. Taps with a dilation are not adjacent.
    size = math.prod(w.size for w in windows)
    near = math.prod(
        3 * w.size - 2 if w.dilation == 1 else w.size for w in windows
    )
    return (size + (near - size) * rho) / size**2
