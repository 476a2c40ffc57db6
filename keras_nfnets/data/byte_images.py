"""Computes look-up tables, statistics and samples of uint8 images.

OpenCV computes most of them where it can be imported, and NumPy otherwise. Both
give the same bytes. OpenCV is faster, and releases the interpreter's lock
meanwhile.
"""

import functools
import importlib
import math
from types import ModuleType

import numpy as np

GREY = 128
# Bytes. TensorFlow takes over an array that begins at a multiple of them, and
# copies others.
ALIGNMENT = 64


@functools.cache
def opencv() -> ModuleType | None:
    """Returns the module of OpenCV, or `None` where it cannot be imported."""
    try:
        return importlib.import_module("cv2")
    except ImportError:
        return None


def look_up(image, table):
    """Replaces every value of an image by its entry in a table.

    Args:
        image: uint8 array `(height, width, channels)`.
        table: Array `(256,)`, or `(256, channels)` for a table per channel.

    Returns:
        An array of the image's shape, of the table's type.

    Example:

    >>> inverted = look_up(image, np.arange(255, -1, -1, "uint8"))
    """
    cv2 = opencv()
    if cv2 is None:
        if table.ndim == 1:
            return np.take(table, image)
        channels = np.arange(image.shape[-1]) * len(table)
        return np.take(table.T, image + channels)
    if table.ndim == 2:
        table = table[:, None]
    return cv2.LUT(image, table).reshape(image.shape)


def channel_ranges(image):
    """Returns the smallest and the largest value of each channel.

    Args:
        image: uint8 array `(height, width, channels)`.

    Returns:
        A tuple of two uint8 arrays `(channels,)`.
    """
    # Reducing over rows of contiguous bytes first is fast.
    wide = image.reshape(len(image), -1)
    shape = image.shape[1:]
    return tuple(
        reduce(reduce(wide, axis=0).reshape(shape), axis=0)
        for reduce in (np.min, np.max)
    )


def channel_histograms(image):
    """Counts the values of each channel.

    Args:
        image: uint8 array `(height, width, channels)`.

    Returns:
        An int64 array `(channels, 256)`.
    """
    cv2 = opencv()
    channels = range(image.shape[-1])
    if cv2 is None:
        counts = [
            np.bincount(image[..., c].ravel(), minlength=256) for c in channels
        ]
    else:
        counts = [
            cv2.calcHist([image], [c], None, [256], [0, 256]).ravel()
            for c in channels
        ]
    # OpenCV counts in float32, exactly up to 2**24 pixels.
    return np.asarray(counts).astype("int64")


def normalize_lines(images, mean, scale):
    """Subtracts a mean and multiplies by a scale.

    It goes image by image: one image fits the processor's cache, a batch does
    not.

    Args:
        images: uint8 array `(batch, height, line)`, with the channels of all
            pixels of a line one after the other.
        mean: float32 array `(line,)`.
        scale: float32 array `(line,)`.

    Returns:
        A float32 array of the shape of the images.
    """
    result = aligned(images.shape, "float32")
    for image, normalized in zip(images, result, strict=True):
        np.subtract(image, mean, out=normalized)
        normalized *= scale
    return result


def aligned(shape, dtype):
    """Returns an array, not filled, that TensorFlow need not copy.

    Args:
        shape: Tuple of integers.
        dtype: String, the type of a number.
    """
    count, dtype = math.prod(shape), np.dtype(dtype)
    memory = np.empty(count * dtype.itemsize + ALIGNMENT, "uint8")
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start:][: count * dtype.itemsize].view(dtype).reshape(shape)


def sample(image, coordinates):
    """Takes each pixel of the result from given coordinates of an image.

    Args:
        image: uint8 array `(height, width, channels)`.
        coordinates: int16 array `(height, width, 2)`: x and y of the pixel to
            take. A negative x stands for grey, 128.

    Returns:
        A uint8 array of the image's shape.
    """
    cv2 = opencv()
    if cv2 is None:
        x, y = coordinates[..., 0], coordinates[..., 1].astype("int64")
        flat = image.reshape(-1, image.shape[-1])
        coordinates = y * image.shape[1] + x
        result = np.take(flat, coordinates, axis=0, mode="clip")
        result[x < 0] = GREY
        return result
    return cv2.remap(
        image,
        coordinates,
        None,
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY,) * 4,
    ).reshape(image.shape)
