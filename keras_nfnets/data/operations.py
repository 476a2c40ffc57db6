"""Computes the sixteen operations of the papers' RandAugment.

Each is a function `(image, draw)` of a uint8 array `(height, width, channels)`
with 1 or 3 channels and a `Draw`. `OPERATIONS` has them by name.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from keras_nfnets.data.byte_images import (
    GREY,
    channel_histograms,
    channel_ranges,
    look_up,
    sample,
)

# Of red, green and blue in grey, as `tf.image.rgb_to_grayscale` has them.
LUMA = np.float32([0.2989, 0.5870, 0.1140])
VALUES = np.arange(256)
# Of the blur that sharpness blends with, row by row.
SMOOTH = np.float32([1, 1, 1, 1, 5, 1, 1, 1, 1]) / np.float32(13)


@dataclasses.dataclass(frozen=True)
class Draw:
    """What decides how an operation changes an image.

    Args:
        magnitude: Number, not negative; 10 is the level 1 of the paper.
        sign: `1` or `-1`, the direction of rotation, shear and translation.
            Defaults to `1`.
        corrected: Boolean, whether to leave out the slips of the papers' code.
            Defaults to `False`.
        center: Pair of floats in [0, 1), x and y of the cutout's centre as a
            fraction of the image. Defaults to the image's centre.
    """

    magnitude: float
    sign: int = 1
    corrected: bool = False
    center: tuple[float, float] = (0.5, 0.5)

    @property
    def level(self):
        return self.magnitude / 10


def _auto_contrast(image, draw):
    low, high = (x.astype("float32") for x in channel_ranges(image))
    scale = np.float32(255) / np.maximum(high - low, np.float32(1))
    stretched = VALUES.astype("float32")[:, None] * scale + -low * scale
    same = VALUES.astype("uint8")[:, None]
    return look_up(image, np.where(high == low, same, _cut(stretched)))


def _equalize(image, draw):
    tables = [_equalizing(counts) for counts in channel_histograms(image)]
    return look_up(image, np.ascontiguousarray(np.transpose(tables)))


def _equalizing(counts):
    """Returns the table that evens a histogram, as Pillow computes it."""
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return VALUES.astype("uint8")
    table = (np.cumsum(counts) + step // 2) // step
    return np.clip(np.append(0, table[:-1]), 0, 255).astype("uint8")


def _invert(image, draw):
    return 255 - image


def _posterize(image, draw):
    # TensorFlow's shift, which the papers' code calls, leaves a bit at least.
    bits = min(max(int(4 * draw.level), 1), 8)
    return image & np.uint8(256 - 2 ** (8 - bits))


def _solarize(image, draw):
    threshold = int(256 * draw.level)
    if not draw.corrected:
        threshold %= 256
    inverted = np.where(VALUES < threshold, VALUES, 255 - VALUES)
    return look_up(image, inverted.astype("uint8"))


def _solarize_add(image, draw):
    added = np.minimum(VALUES + int(110 * draw.level), 255)
    table = np.where(VALUES < 128, added, VALUES)
    return look_up(image, table.astype("uint8"))


def _color(image, draw):
    factor = _factor(draw)
    return image if factor == 1 else _blend(_grey(image), image, factor)


def _contrast(image, draw):
    """Blends an image with the grey of its mean."""
    factor = _factor(draw)
    if factor == 1:
        return image
    if draw.corrected:
        grey = _grey(image)
        # The mean, rounded, as Pillow has it.
        mean = (2 * int(grey.sum(dtype="int64")) + grey.size) // (2 * grey.size)
    else:
        mean = min(image.shape[0] * image.shape[1] // 256, 255)
    return look_up(image, _blend(mean, VALUES.astype("uint8"), factor))


def _brightness(image, draw):
    factor = _factor(draw)
    if factor == 1:
        return image
    return look_up(image, _blend(0, VALUES.astype("uint8"), factor))


def _sharpness(image, draw):
    factor = _factor(draw)
    return image if factor == 1 else _blend(_smooth(image), image, factor)


def _cutout(image, draw):
    height, width = image.shape[:2]
    half = int(40 * draw.level)
    x, y = (int(c * n) for c, n in zip(draw.center, (width, height), strict=1))
    result = image.copy()
    result[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = GREY
    return result


def _warp(operation, image, draw):
    height, width = image.shape[:2]
    places = _places(operation, draw.level, draw.sign, height, width)
    return sample(image, places)


@functools.lru_cache(maxsize=64)
def _places(operation, level, sign, height, width):
    """Returns which pixel to take for each, see `sample`."""
    a, b, c, d, e, f = np.float32(
        _matrix(operation, sign * level, height, width)
    )
    y, x = np.indices((height, width), "float32")
    found = np.stack([a * x + b * y + c, d * x + e * y + f], -1)
    # C's `round`, which takes a half away from zero.
    found = np.trunc(found.astype("float64") + np.copysign(0.5, found))
    inside = ((found >= 0) & (found < (width, height))).all(-1, keepdims=True)
    return np.where(inside, found, -1).astype("int16")


def _matrix(operation, level, height, width):
    """Returns the first two rows of the matrix from output to input."""
    if operation == "rotate":
        angle = np.float32(30 * level * np.pi / 180)
        cos, sin = np.cos(angle), np.sin(angle)
        right, down = np.float32(width - 1), np.float32(height - 1)
        x = (right - (cos * right - sin * down)) / np.float32(2)
        y = (down - (sin * right + cos * down)) / np.float32(2)
        return cos, -sin, x, sin, cos, y
    shear, shift = 0.3 * level, 100 * level
    return {
        "shear_x": (1, shear, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, shear, 1, 0),
        "translate_x": (1, 0, shift, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, shift),
    }[operation]


def _factor(draw):
    return 1.8 * draw.level + 0.1


def _blend(degenerate, image, factor):
    """Goes from a degenerate image through the image and beyond."""
    degenerate = np.asarray(degenerate, "float32")
    result = image.astype("float32")
    result -= degenerate
    result *= np.float32(factor)
    result += degenerate
    return _cut(result)


def _cut(values):
    return np.clip(values, 0, 255).astype("uint8")


def _grey(image):
    """Returns the grey image, `(height, width, 1)`."""
    if image.shape[-1] == 1:
        return image
    # By tables, in the order in which TensorFlow adds: then all of the 2**24
    # colours become its bytes.
    values = VALUES.astype("float32") * np.float32(1 / 255)
    red, green, blue = (
        np.take(values * weight, image[..., channel])
        for channel, weight in enumerate(LUMA)
    )
    return ((red + green + blue) * np.float32(255.5)).astype("uint8")[..., None]


def _smooth(image):
    """Returns the image, blurred but for its border."""
    wide = image.astype("uint16")
    three = wide[:-2] + wide[1:-1] + wide[2:]
    total = three[:, :-2] + three[:, 1:-1] + three[:, 2:]
    total += 4 * wide[1:-1, 1:-1]
    blurred = total // 13
    # The papers' code adds thirteenths in float32, and a sum that falls short
    # of a whole number is cut to the number below.
    exact = np.flatnonzero(total == 13 * blurred)
    _, width, channels = image.shape
    inner = (width - 2) * channels
    corner = exact + exact // max(inner, 1) * (width * channels - inner)
    found = np.zeros(len(exact), "float32")
    for (down, right), weight in zip(np.ndindex(3, 3), SMOOTH, strict=True):
        place = corner + (down * width + right) * channels
        # The product is not rounded before it is added: float64 holds both.
        product = np.take(image, place) * np.float64(weight)
        found = (found + product).astype("float32")
    blurred.ravel()[exact] = found.astype("uint16")
    result = image.copy()
    result[1:-1, 1:-1] = blurred
    return result


OPERATIONS: dict[str, Callable[[np.ndarray, Draw], np.ndarray]] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "rotate": functools.partial(_warp, "rotate"),
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": functools.partial(_warp, "shear_x"),
    "shear_y": functools.partial(_warp, "shear_y"),
    "translate_x": functools.partial(_warp, "translate_x"),
    "translate_y": functools.partial(_warp, "translate_y"),
    "cutout": _cutout,
}
