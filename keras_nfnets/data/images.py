"""Reads image files and normalizes pixels, as NumPy arrays.

`read_image` and the functions below it decode by `pixels`, as the pipelines of
training and evaluation do.
"""

import contextlib
import os
import re
import stat
from collections.abc import Sequence

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import MAX_PIXELS, check_positive_integer, printable
from keras_nfnets.data import pixels
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.extras import require


def normalize(
    images: np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    """Subtracts the mean from images and divides by the standard deviation.

    Args:
        images: Array `(..., channels)` of values in [0, 255].
        mean: Sequence of floats, one per channel.
        std: Sequence of floats, one per channel.

    Returns:
        A float32 array of the same shape.

    Example:

    >>> x = keras_nfnets.data.normalize(images, source.mean, source.std)
    """
    mean, std = np.float32(mean), np.float32(std)
    return (np.asarray(images, "float32") - mean) / std


def read_image(
    path: FilePath,
    size: int | None,
    channels: int,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Reads a PNG or JPEG file, as training and evaluation do.

    Args:
        path: String or path of the file.
        size: Integer, side in pixels of the square to which the image is
            squashed, or `None` to keep its shape.
        channels: Integer, `1` for grey or `3` for red, green and blue.
        max_pixels: Integer, the largest number of pixels of the file. A larger
            file is refused before it is decoded. Defaults to `MAX_PIXELS`,
            89,478,485.

    Returns:
        A float32 array `(height, width, channels)` of values in [0, 255].

    Raises:
        ValueError: If the path is not that of a file, or the file is not a PNG
            or JPEG image, is damaged or has too many pixels; or if an argument
            is wrong.
        ImportError: If TensorFlow, or with a `size` Pillow, is not installed.

    Example:

    >>> image = keras_nfnets.data.read_image("seven.png", size=32, channels=1)
    >>> image.shape
    (32, 32, 1)
    """
    if channels not in (1, 3):
        raise ValueError(
            f"`channels` must be 1 or 3. Received: channels={channels}"
        )
    check_positive_integer(max_pixels=max_pixels)
    image = decode_file(path, channels, max_pixels)
    if size is None:
        return image.astype("float32")
    check_positive_integer(size=size)
    pillow = require("PIL.Image")
    image = pillow.fromarray(image[..., 0] if channels == 1 else image)
    image = image.resize((size, size), pillow.Resampling.BILINEAR)
    return np.asarray(image, "float32").reshape(size, size, channels)


def decode_file(path, channels, max_pixels):
    """Returns the pixels of a file.

    Args:
        path: String or path of the file.
        channels: Integer, `1` or `3`.
        max_pixels: Integer, the largest number of pixels.

    Returns:
        A uint8 array `(height, width, channels)`.

    Raises:
        ValueError: As `read_image`.
    """
    tf = tensorflow()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("not a file but a folder, a pipe or a device")
        with tf.device("CPU"):
            content = tf.io.read_file(os.fsencode(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{printable(path)}: {reason}") from None
    return decode_content(content, channels, max_pixels, printable(path))


def decode_content(content, channels, max_pixels, name):
    """Returns the pixels of the content of a file.

    Args:
        content: Bytes or string tensor.
        channels: Integer, `1` or `3`.
        max_pixels: Integer, the largest number of pixels.
        name: String, what an error calls the image.

    Returns:
        A uint8 array `(height, width, channels)`.

    Raises:
        ValueError: As `read_image`.
    """
    with named_errors(name):
        return pixels.decode(content, channels, max_pixels).numpy()


@contextlib.contextmanager
def named_errors(name):
    """Raises what TensorFlow says of an image as a ValueError with its name.

    Args:
        name: String, what an error calls the image.

    Raises:
        ValueError: If the block raises an error of TensorFlow.
    """
    tf = tensorflow()
    try:
        with tf.device("CPU"):
            yield
    except tf.errors.OpError as error:
        raise ValueError(f"{name}: {_in_words(error)}") from None


def _in_words(error):
    """Returns TensorFlow's message without the names of its operations."""
    message = re.sub(r"{{.*?}}|\[Op:.*|name: *$", "", error.message).strip()
    checked = re.search(r"assertion failed: \[(.*)\]", message, re.DOTALL)
    if not checked:
        return f"cannot be read: {message}"
    return checked[1].replace("] [", " ")
