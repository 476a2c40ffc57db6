"""Mixes images of bytes by MixUp and CutMix, as the papers' code does.

`mixup` and `cutmix` mix two images with NumPy. The other functions draw, in
TensorFlow's graph, what to mix: partners, ratios and boxes.
"""

import numpy as np

from keras_nfnets.data.runtime import tensorflow


def mixup(one, other, ratio):
    """Blends two images, and drops the fractions of the values.

    Args:
        one: uint8 array `(height, width, channels)`.
        other: uint8 array of the same shape.
        ratio: Float in [0, 1], the fraction of the first image.

    Returns:
        A uint8 array of the same shape.

    Reference: [Zhang et al., 2017](https://arxiv.org/abs/1710.09412), Section 2
    """
    result = one.astype("float32")
    result *= np.float32(ratio)
    rest = other.astype("float32")
    rest *= np.float32(1) - np.float32(ratio)
    result += rest
    return result.astype("uint8")


def cutmix(one, other, box):
    """Pastes a box of the second image into the first at the same place.

    Args:
        one: uint8 array `(height, width, channels)`, the image outside the box.
        other: uint8 array of the same shape, the image inside the box.
        box: Four integers: left, right, top and bottom, see `draw_boxes`.

    Returns:
        A uint8 array of the same shape.

    Reference: [Yun et al., 2019](https://arxiv.org/abs/1905.04899), Section 3.1
    """
    left, right, top, bottom = box
    result = one.copy()
    result[top:bottom, left:right] = other[top:bottom, left:right]
    return result


def partners_in_pairs(count):
    """Returns the indices of the partners of the first half of a batch.

    Args:
        count: Integer, images in the batch.

    Returns:
        An int32 tensor `(count // 2,)`.

    Raises:
        ValueError: If `count` is odd.
    """
    if count % 2:
        raise ValueError(
            "`images` must be even in number where `mix_partners` is 'pairs'. "
            f"Received: {count} images"
        )
    return tensorflow().range(count // 2, count)


def partners_in_batch(count, parts, key):
    """Draws a partner for each image, from the image's part of the batch.

    Args:
        count: Integer, images in the batch.
        parts: Tuple of integers, the indices at which one part ends and the
            next begins.
        key: Integer tensor `(2,)`.

    Returns:
        An int32 tensor `(count,)` of indices: a permutation within each part.
    """
    tf = tensorflow()
    order = tf.random.stateless_uniform((count,), key)
    # A drawn number is below 1, so adding 1 for each part before an image's own
    # sorts by part first.
    for part in parts:
        order += tf.cast(tf.range(count) >= part, tf.float32)
    return tf.argsort(order, stable=True)


def draw_boxes(outside, center, height, width):
    """Returns CutMix's boxes, clipped to the image, and the area outside them.

    Before clipping, the sides of a box are `sqrt(1 - outside)` of the image's.

    Args:
        outside: Float32 tensor `(count,)`, the fraction of the image outside
            the box, before the box is clipped.
        center: Float32 tensor `(count, 2)` in [0, 1), x and y of the box's
            centre as a fraction of the image.
        height: Integer, pixels.
        width: Integer, pixels.

    Returns:
        An int32 tensor `(count, 4)` of left, right, top and bottom, and a
        float32 tensor `(count,)`, the fraction of pixels outside.
    """
    tf = tensorflow()
    side = tf.sqrt(1 - outside)
    left, right = _clipped_interval(width, side, center[:, 0])
    top, bottom = _clipped_interval(height, side, center[:, 1])
    pixels = tf.cast((right - left) * (bottom - top), tf.float32)
    boxes = tf.stack([left, right, top, bottom], -1)
    return boxes, 1 - pixels / (height * width)


def _clipped_interval(size, side, center):
    """Returns begin and end of a box along one side of the image."""
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

    Returns:
        A float32 tensor of that shape, in [0, 1].
    """
    tf = tensorflow()
    keys = tf.unstack(tf.random.split(key, 2), num=2)
    # A beta draw is the ratio a / (a + b) of two gamma draws. For a small
    # alpha both may underflow to zero. Their logarithms are therefore computed
    # from draws of `alpha + 1`: log a = log gamma(alpha + 1) + log(u) / alpha.
    gamma = tf.random.stateless_gamma((2, *shape), keys[0], alpha + 1.0)
    uniform = tf.random.stateless_uniform(
        (2, *shape), keys[1], minval=1e-30, maxval=1.0
    )
    logs = tf.math.log(gamma) + tf.math.log(uniform) / alpha
    return tf.sigmoid(logs[0] - logs[1])
