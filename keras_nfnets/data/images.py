"""Reads image files and normalizes pixels, as arrays."""

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
    """Takes the mean from images and divides by the standard deviation.

    Args:
        images: Array `(..., channels)` of values in [0, 255].
        mean: Sequence of floats, one per channel.
        std: Sequence of floats, one per channel.

    Returns:
        A float32 array of the same shape.

    Example:

    >>> images = keras_nfnets.data.normalize(images, data.mean, data.std)
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
        size: Integer, side in pixels that the image is squashed to, or `None`
            to leave it as it is.
        channels: Integer, `1` for grey or `3` for red, green and blue.
        max_pixels: Integer, how many pixels the file may have. A file that has
            more is refused before it is decoded. Defaults to `MAX_PIXELS`,
            89,478,485.

    Returns:
        A float32 array `(height, width, channels)` of values in [0, 255].

    Raises:
        ValueError: If the file is not there, is no file but a folder or a
            pipe, is not a PNG or JPEG image, is damaged or has too many
            pixels; or `channels` is neither 1 nor 3.
        ImportError: If TensorFlow, or with a `size` Pillow, is not installed.

    Example:

    >>> image = keras_nfnets.data.read_image("seven.png", size=32, channels=1)
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
    """Returns the pixels of a file, a uint8 array; arguments as `read_image`.

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
    """Returns the pixels of the content of a file, a uint8 array.

    Args:
        content: Bytes or string tensor.
        channels: As for `read_image`.
        max_pixels: As for `read_image`.
        name: String, what an error calls it.

    Raises:
        ValueError: As `read_image`.
    """
    tf = tensorflow()
    try:
        with tf.device("CPU"):
            return pixels.decode(content, channels, max_pixels).numpy()
    except tf.errors.OpError as error:
        raise ValueError(f"{name}: {_in_words(error)}") from None


def _in_words(error):
    """Returns TensorFlow's message without the names of its operations."""
    message = re.sub(r"{{.*?}}|\[Op:.*|name: *$", "", error.message).strip()
    checked = re.search(r"assertion failed: \[(.*)\]", message, re.DOTALL)
    if not checked:
        return f"cannot be read: {message}"
    return checked[1].replace("] [", " ")
