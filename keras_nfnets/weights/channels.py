"""Fits a first kernel for RGB images to images of other channels."""

import math

import numpy as np

FIRST_KERNEL = "stem/conv0/kernel"
RGB = 3


def fits(shape, other):
    """Tells whether a first kernel for RGB can be fitted to another shape.

    Args:
        shape: Tuple `(height, width, channels, filters)`, the shape of the
            file's kernel.
        other: Tuple, the shape of the model's kernel, which has other channels.

    Example:

    >>> fits((3, 3, 3, 16), (3, 3, 1, 16))
    True
    """
    same = len(shape) == len(other) == 4
    same = same and shape[:2] + shape[3:] == other[:2] + other[3:]
    return same and shape[2] == RGB != other[2]


def fit_channels(kernel, channels):
    """Returns a kernel for images of other channels, as timm does.

    A kernel for one channel is the sum over the three. For any other number
    it repeats the three in turn and scales them by `3 / channels`.

    Args:
        kernel: Array `(height, width, 3, filters)`.
        channels: Integer, channels of the new images.

    Returns:
        An array `(height, width, channels, filters)` of the same type.

    Example:

    >>> fit_channels(np.ones((3, 3, 3, 16)), 1).shape
    (3, 3, 1, 16)

    Reference: `adapt_input_conv` of
    [timm](https://github.com/huggingface/pytorch-image-models)
    """
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True, dtype=kernel.dtype)
    repeated = np.tile(kernel, (1, 1, math.ceil(channels / RGB), 1))
    scale = np.asarray(RGB / channels, kernel.dtype)
    return repeated[:, :, :channels] * scale
