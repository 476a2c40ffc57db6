"""Computes the sixteen operations of the papers' RandAugment.

Each operation is a function `(image, draw)` of a uint8 array `(height, width,
channels)` with 1 or 3 channels and a `Draw`. The table `OPERATIONS` at the end
has them by name. They give the bytes of the papers' TensorFlow code, which is
why types and the order of additions matter.
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

# The weights of red, green and blue in `tf.image.rgb_to_grayscale`.
LUMA = np.float32([0.2989, 0.5870, 0.1140])
VALUES = np.arange(256)
# The 3 x 3 kernel of the blur that sharpness blends with, row by row.
SMOOTH = np.float32([1, 1, 1, 1, 5, 1, 1, 1, 1]) / np.float32(13)


@dataclasses.dataclass(frozen=True)
class Draw:
    """Says how an operation changes an image.

    Args:
        magnitude: Number, not negative; 10 is the level 1 of the paper.
        sign: Integer, `1` or `-1`, the direction of rotation, shear and
            translation. Defaults to `1`.
        corrected: Boolean, whether to correct the mistakes of the papers' code,
            see `distort`. Defaults to `False`.
        center: Pair of floats in [0, 1), x and y of the cutout's centre as a
            fraction of the image. Defaults to the image's centre.
    """

    magnitude: float
    sign: int = 1
    corrected: bool = False
    center: tuple[float, float] = (0.5, 0.5)

    @property
    def level(self):
        """The strength of an operation, a tenth of the magnitude."""
        return self.magnitude / 10


def _auto_contrast(image, draw):
    """Stretches the values of each channel to [0, 255]."""
    low, high = (x.astype("float32") for x in channel_ranges(image))
    scale = np.float32(255) / np.maximum(high - low, np.float32(1))
    stretched = VALUES.astype("float32")[:, None] * scale + -low * scale
    same = VALUES.astype("uint8")[:, None]
    return look_up(image, np.where(high == low, same, _to_bytes(stretched)))


def _equalize(image, draw):
    """Evens the histogram of each channel."""
    tables = [
        _equalization_table(counts) for counts in channel_histograms(image)
    ]
    return look_up(image, np.ascontiguousarray(np.transpose(tables)))


def _equalization_table(counts):
    """Returns the table that evens a histogram, as Pillow computes it."""
    step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
    if step == 0:
        return VALUES.astype("uint8")
    table = (np.cumsum(counts) + step // 2) // step
    return np.clip(np.append(0, table[:-1]), 0, 255).astype("uint8")


def _invert(image, draw):
    return 255 - image


def _posterize(image, draw):
    """Keeps the highest bits of each value, four times the level."""
    # The papers' code shifts bits with TensorFlow, which keeps at least one.
    bits = min(max(int(4 * draw.level), 1), 8)
    return image & np.uint8(256 - 2 ** (8 - bits))


def _solarize(image, draw):
    """Inverts the values from a threshold on."""
    threshold = int(256 * draw.level)
    if not draw.corrected:
        threshold %= 256
    inverted = np.where(VALUES < threshold, VALUES, 255 - VALUES)
    return look_up(image, inverted.astype("uint8"))


def _solarize_add(image, draw):
    """Adds a constant to the values below 128."""
    added = np.minimum(VALUES + int(110 * draw.level), 255)
    table = np.where(VALUES < 128, added, VALUES)
    return look_up(image, table.astype("uint8"))


def _color(image, draw):
    """Blends an image with its grey image."""
    factor = _blend_factor(draw)
    if factor == 1:
        return image
    # Broadcasting over three channels is slow.
    grey = np.repeat(_grey(image), image.shape[-1], axis=-1)
    return _blend(grey, image, factor)


def _contrast(image, draw):
    """Blends an image with a constant grey, its mean if corrected."""
    factor = _blend_factor(draw)
    if factor == 1:
        return image
    if draw.corrected:
        grey = _grey(image)
        # The rounded mean, as in Pillow.
        mean = (2 * int(grey.sum(dtype="int64")) + grey.size) // (2 * grey.size)
    else:
        mean = min(image.shape[0] * image.shape[1] // 256, 255)
    return look_up(image, _blend(mean, VALUES.astype("uint8"), factor))


def _brightness(image, draw):
    """Blends an image with black."""
    factor = _blend_factor(draw)
    if factor == 1:
        return image
    return look_up(image, _blend(0, VALUES.astype("uint8"), factor))


def _sharpness(image, draw):
    """Blends an image with its blurred image."""
    factor = _blend_factor(draw)
    return image if factor == 1 else _blend(_smooth(image), image, factor)


def _cutout(image, draw):
    """Fills a square with grey; at the border it is clipped."""
    height, width = image.shape[:2]
    half = int(40 * draw.level)
    x, y = (int(c * n) for c, n in zip(draw.center, (width, height), strict=1))
    result = image.copy()
    result[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = GREY
    return result


def _warp(operation, image, draw):
    """Rotates, shears or shifts an image; pixels from outside are grey."""
    height, width = image.shape[:2]
    coordinates = _coordinates(operation, draw.level, draw.sign, height, width)
    return sample(image, coordinates)


@functools.lru_cache(maxsize=64)
def _coordinates(operation, level, sign, height, width):
    """Returns which pixel to take for each pixel of the result, see `sample`.

    The last results are kept, since rotations and shears of equal images
    repeat.
    """
    a, b, c, d, e, f = np.float32(
        _affine(operation, sign * level, height, width)
    )
    y, x = np.indices((height, width), "float32")
    found = np.stack([a * x + b * y + c, d * x + e * y + f], -1)
    # Rounds halves away from zero, like `round` of C.
    found = np.trunc(found.astype("float64") + np.copysign(0.5, found))
    inside = ((found >= 0) & (found < (width, height))).all(-1, keepdims=True)
    return np.where(inside, found, -1).astype("int16")


def _affine(operation, level, height, width):
    """Returns the six numbers of the affine map from output to input pixels."""
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


def _blend_factor(draw):
    """Returns the factor by which the blending operations blend."""
    return 1.8 * draw.level + 0.1


def _blend(degenerate, image, factor):
    """Goes from a degenerate image through the image and beyond.

    A factor of 0 gives the degenerate image, 1 the image; above 1 it
    extrapolates.
    """
    degenerate = np.asarray(degenerate, "float32")
    result = image.astype("float32")
    result -= degenerate
    result *= np.float32(factor)
    result += degenerate
    return _to_bytes(result)


def _to_bytes(values):
    return np.clip(values, 0, 255).astype("uint8")


def _grey(image):
    """Returns the grey image, `(height, width, 1)`."""
    if image.shape[-1] == 1:
        return image
    values = VALUES.astype("float32") * np.float32(1 / 255)
    weighted = look_up(image, values[:, None] * LUMA)
    # Adding in TensorFlow's order gives its bytes for all 2**24 colours.
    grey = weighted[..., 0] + weighted[..., 1]
    grey += weighted[..., 2]
    return (grey * np.float32(255.5)).astype("uint8")[..., None]


def _smooth(image):
    """Returns the image blurred by a 3 x 3 kernel, except for its border."""
    wide = image.astype("uint16")
    three = wide[:-2] + wide[1:-1] + wide[2:]
    total = three[:, :-2] + three[:, 1:-1] + three[:, 2:]
    total += 4 * wide[1:-1, 1:-1]
    blurred = total // 13
    # The papers' code adds thirteenths in float32. Where the exact sum is an
    # integer, rounding errors decide between it and the integer below. Only
    # these pixels are added in float32. A table has the sums of nine equal
    # ones, as in the grey that a shift leaves.
    flat = _is_flat(image)
    exact = np.flatnonzero((total == 13 * blurred) & ~flat)
    _, width, channels = image.shape
    inner = (width - 2) * channels
    corner = exact + exact // max(inner, 1) * (width * channels - inner)
    blurred.ravel()[exact] = _sum_of_thirteenths(
        np.take(image, corner + (down * width + right) * channels)
        for down, right in np.ndindex(3, 3)
    )
    result = image.copy()
    of_table = look_up(image, _sum_of_thirteenths([VALUES] * 9))
    result[1:-1, 1:-1] = np.where(flat, of_table[1:-1, 1:-1], blurred)
    return result


def _is_flat(image):
    """Returns where a value equals its eight neighbours; not at the border."""
    right, down = image[:, 1:] == image[:, :-1], image[1:] == image[:-1]
    three = right[:, 1:] & right[:, :-1]
    column = (down[1:] & down[:-1])[:, 1:-1]
    return column & three[:-2] & three[1:-1] & three[2:]


def _sum_of_thirteenths(neighbours):
    """Adds nine arrays of values, each times its weight in the blur."""
    total = np.float32(0)
    for values, weight in zip(neighbours, SMOOTH, strict=True):
        # The papers' code fuses multiplication and addition, so the product is
        # not rounded to float32 before it is added.
        total = (total + values * np.float64(weight)).astype("float32")
    return total.astype("uint8")


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
