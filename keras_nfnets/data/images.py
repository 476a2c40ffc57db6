"""Image files and pixels as arrays, without TensorFlow."""

from collections.abc import Sequence

import numpy as np

from keras_nfnets.annotations import FilePath
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


def read_image(path: FilePath, size: int | None, channels: int) -> np.ndarray:
    """Reads a PNG or JPEG file.

    Args:
        path: String or path of the file.
        size: Integer, side in pixels that the image is squashed to, or `None`
            to leave it as it is.
        channels: Integer, `1` for grey or `3` for red, green and blue.

    Returns:
        A float32 array `(height, width, channels)` of values in [0, 255].

    Raises:
        ValueError: If the file is not there, cannot be read, or is not a PNG
            or JPEG image, or `channels` is neither 1 nor 3.
        ImportError: If Pillow is not installed.

    Example:

    >>> image = keras_nfnets.data.read_image("seven.png", size=32, channels=1)
    """
    pillow = require("PIL.Image")
    if channels not in (1, 3):
        raise ValueError(
            f"`channels` must be 1 or 3. Received: channels={channels}"
        )
    try:
        with pillow.open(path, formats=("PNG", "JPEG")) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except pillow.UnidentifiedImageError:
        raise ValueError(f"{path}: not a PNG or JPEG image") from None
    # Pillow's decoders raise many kinds of errors for broken files.
    except Exception as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: cannot be read: {reason}") from None
    if size is not None:
        image = image.resize((size, size), pillow.Resampling.BILINEAR)
    return np.asarray(image, "float32").reshape(*image.size[::-1], channels)
