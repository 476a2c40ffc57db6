"""Mixes images of bytes by MixUp and CutMix, as the papers do."""

import numpy as np

from keras_nfnets.data.runtime import tensorflow


def mixup(one, other, ratio):
    """Blends two images, and cuts the values to bytes.

    Args:
        one: uint8 array `(height, width, channels)`.
        other: uint8 array of the same shape.
        ratio: Float in [0, 1], the fraction of the first.
    """
    result = one.astype("float32")
    result *= np.float32(ratio)
    rest = other.astype("float32")
    rest *= np.float32(1) - np.float32(ratio)
    result += rest
    return result.astype("uint8")


def cutmix(one, other, box):
    """Pastes a box of an image into another one.

    Args:
        one: uint8 array `(height, width, channels)`.
        other: uint8 array of the same shape.
        box: Four integers, see `draw_boxes`.
    """
    left, right, top, bottom = box
    result = one.copy()
    result[top:bottom, left:right] = other[top:bottom, left:right]
    return result


def partners_in_pairs(count):
    """Returns the places of the partners of the first half of a batch.

    Args:
        count: Integer, images in the batch.

    Raises:
        ValueError: If it is odd.
    """
    if count % 2:
        raise ValueError(
            "`images` must be even in number where `mix_partners` is 'pairs'. "
            f"Received: {count} images"
        )
    return tensorflow().range(count // 2, count)


def partners_in_batch(count, parts, key):
    """Draws the places of partners, each from the image's part of the batch.

    Args:
        count: Integer, images in the batch.
        parts: Tuple of integers, where one part ends and the next begins.
        key: Integer tensor `(2,)`.
    """
    tf = tensorflow()
    order = tf.random.stateless_uniform((count,), key)
    # Sorted by part first, then by what was drawn.
    for part in parts:
        order += tf.cast(tf.range(count) >= part, tf.float32)
    return tf.argsort(order, stable=True)


def draw_boxes(area, center, height, width):
    """Returns CutMix's boxes, cut at the border, and what they leave.

    Args:
        area: Float32 tensor `(count,)`, the fraction of the image that stays
            if the box is not cut: its sides are `sqrt(1 - area)` of the
            image's.
        center: Float32 tensor `(count, 2)` in [0, 1), x and y of the box's
            centre as a fraction of the image.
        height: Integer.
        width: Integer.

    Returns:
        An int32 tensor `(count, 4)` of left, right, top and bottom, and a
        float32 tensor `(count,)`, the fraction of pixels outside.
    """
    tf = tensorflow()
    side = tf.sqrt(1 - area)
    left, right = _span(width, side, center[:, 0])
    top, bottom = _span(height, side, center[:, 1])
    pixels = tf.cast((right - left) * (bottom - top), tf.float32)
    boxes = tf.stack([left, right, top, bottom], -1)
    return boxes, 1 - pixels / (height * width)


def _span(size, side, center):
    tf = tensorflow()
    half = tf.cast(side * size, tf.int32) // 2
    middle = tf.cast(center * size, tf.int32)
    return tf.maximum(middle - half, 0), tf.minimum(middle + half, size)


def beta(shape, key, alpha):
    """Draws from a symmetric beta distribution.

    Args:
        shape: Tuple of integers.
        key: Integer tensor `(2,)`.
        alpha: Float, both of its parameters.
    """
    tf = tensorflow()
    keys = tf.unstack(tf.random.split(key, 2), num=2)
    # Two gamma draws of a small parameter may both underflow to zero. Their
    # logarithms do not, from the draws of `alpha + 1`.
    gamma = tf.random.stateless_gamma((2, *shape), keys[0], alpha + 1.0)
    uniform = tf.random.stateless_uniform(
        (2, *shape), keys[1], minval=1e-30, maxval=1.0
    )
    logs = tf.math.log(gamma) + tf.math.log(uniform) / alpha
    return tf.sigmoid(logs[0] - logs[1])
