"""Distorts images by one operation of the papers' RandAugment."""

from typing import Any

import numpy as np

from keras_nfnets.checks import check_not_negative, check_seed, near_matches
from keras_nfnets.data.operations import OPERATIONS, Draw
from keras_nfnets.recipes.rules import MAX_MAGNITUDE

# Coordinates are 16-bit integers, as OpenCV takes them.
LONGEST_SIDE = 2**15 - 2


def distort(
    images: Any,
    operation: str,
    magnitude: float,
    sign: int = 1,
    corrected: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Distorts images by one operation of the papers' RandAugment.

    The level of an operation is a tenth of the magnitude. `distort` always
    applies the operation at the full strength of its level.

    The papers' code has two mistakes, which are kept. `contrast` blends with
    the grey of `height * width / 256`, instead of the image's mean. `solarize`
    keeps its threshold, `256 * level`, in a byte: at a level of 1 it is 0,
    which inverts all values, and at 1.5 it is 128. With `corrected`, `contrast`
    blends with the mean of the grey image, and `solarize` inverts nothing from
    a level of 1 on.

    OpenCV computes where it can be imported, and NumPy otherwise. Both give the
    bytes of the papers' code, which computes with TensorFlow. There is one
    exception. That code's `sharpness` adds rounded thirteenths, and where
    TensorFlow does not fuse multiplication and addition, some values differ by
    one or two.

    Args:
        images: uint8 array `(batch, height, width, channels)` or `(height,
            width, channels)`, of 1 or 3 channels.
        operation: String: `"auto_contrast"`, `"equalize"`, `"invert"`,
            `"rotate"`, `"posterize"`, `"solarize"`, `"solarize_add"`,
            `"color"`, `"contrast"`, `"brightness"`, `"sharpness"`,
            `"shear_x"`, `"shear_y"`, `"translate_x"`, `"translate_y"` or
            `"cutout"`.
        magnitude: Number from 0 to a million. The papers use up to 10 and more.
        sign: Integer, `1` or `-1`: the direction of rotation, shear and
            translation. Defaults to `1`.
        corrected: Boolean, whether to correct the two mistakes. Defaults to
            `False`.
        seed: Integer, decides where `cutout` cuts, for each image by itself.
            Defaults to `0`.

    Returns:
        A uint8 array of the same shape.

    Raises:
        ValueError: If images are no bytes or have another shape, there is no
            such operation, or `magnitude`, `sign` or `seed` is out of range.

    Example:

    >>> image = np.zeros((32, 32, 3), "uint8")
    >>> int(keras_nfnets.data.distort(image, "invert", magnitude=10).max())
    255

    Reference: [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719)
    """
    images = np.asarray(images)
    _check(images, operation, magnitude, sign)
    check_seed(seed=seed)
    batch = images.reshape(-1, *images.shape[-3:])
    centers = np.random.default_rng(seed).random((len(batch), 2))
    result = np.empty_like(batch)
    for index, (image, center) in enumerate(zip(batch, centers, strict=True)):
        draw = Draw(magnitude, sign, corrected, tuple(center))
        result[index] = OPERATIONS[operation](np.ascontiguousarray(image), draw)
    return result.reshape(images.shape)


def _check(images, operation, magnitude, sign):
    """Raises a ValueError for arguments that `distort` does not take."""
    if images.dtype != "uint8":
        raise ValueError(
            f"`images` must be of dtype uint8. Received: dtype={images.dtype}"
        )
    if images.ndim not in (3, 4) or images.shape[-1] not in (1, 3):
        raise ValueError(
            "`images` must be (batch, height, width, channels) or (height, "
            "width, channels) with 1 or 3 channels. "
            f"Received: shape={images.shape}"
        )
    if not all(images.shape[-3:]):
        raise ValueError(
            "`images` must have a pixel at least. "
            f"Received: shape={images.shape}"
        )
    if max(images.shape[-3:-1]) > LONGEST_SIDE:
        raise ValueError(
            f"`images` must have sides of at most {LONGEST_SIDE} pixels. "
            f"Received: shape={images.shape}"
        )
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise ValueError(
            f"`operation` must be one of {sorted(OPERATIONS)}. "
            f"{near_matches(operation, OPERATIONS)}"
            f"Received: operation={operation!r}"
        )
    check_not_negative(magnitude=magnitude)
    if magnitude > MAX_MAGNITUDE:
        raise ValueError(
            f"`magnitude` must not be above {MAX_MAGNITUDE}. "
            f"Received: magnitude={magnitude!r}"
        )
    if sign not in (1, -1):
        raise ValueError(f"`sign` must be 1 or -1. Received: sign={sign!r}")
