"""Opens data sets that are in memory as a whole.

`digits` loads images as arrays, and `from_arrays` makes a `Source` of any
arrays.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_nfnets.checks import check_positive
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Indexed, Source
from keras_nfnets.extras import require


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Holds a data set in memory, split into a training and a test part.

    Args:
        train_images: Array `(count, height, width, channels)` of floats in
            [0, 255].
        train_labels: Array `(count,)` of integers, indices into
            `class_names`.
        test_images: Array, as `train_images`.
        test_labels: Array, as `train_labels`.
        class_names: Tuple of strings.
        mean: Tuple of floats, one per channel: the mean of the training
            pixels.
        std: Tuple of floats, one per channel: their standard deviation.

    Example:

    >>> data = keras_nfnets.data.digits(size=32)
    >>> images = keras_nfnets.data.normalize(
    ...     data.test_images, data.mean, data.std
    ... )
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def digits(size: int = 32, split_seed: int = 0) -> Dataset:
    """Loads the 1,797 handwritten digits that scikit-learn carries.

    They are white on black with one channel, and are enlarged from 8 x 8
    pixels. A fifth of each class is held out as the test part.

    Args:
        size: Integer, side of the returned images in pixels. Defaults to
            `32`.
        split_seed: Integer, decides which images are held out. Defaults to
            `0`.

    Returns:
        A `Dataset` with 1,437 training and 360 test images.

    Raises:
        ValueError: If `size` is not positive.
        ImportError: If scikit-learn is not installed.

    Example:

    >>> keras_nfnets.data.digits(size=32).train_images.shape
    (1437, 32, 32, 1)
    """
    check_positive(size=size)
    source = require("sklearn.datasets").load_digits()
    images = (source.images * (255 / 16)).astype("float32")[..., None]
    images = ops.convert_to_numpy(ops.image.resize(images, (size, size)))
    split = require("sklearn.model_selection").train_test_split
    train_images, test_images, train_labels, test_labels = split(
        images,
        source.target,
        test_size=0.2,
        stratify=source.target,
        random_state=split_seed,
    )
    return Dataset(
        train_images,
        train_labels,
        test_images,
        test_labels,
        class_names=tuple(str(name) for name in source.target_names),
        mean=tuple(map(float, train_images.mean(axis=(0, 1, 2)))),
        std=tuple(map(float, train_images.std(axis=(0, 1, 2)))),
    )


def digits_source() -> Source:
    """Opens the digits as a source, in their original size of 8 x 8 pixels.

    Returns:
        A `Source`.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:

    >>> source = keras_nfnets.data.open_source("digits")
    """
    data = digits(size=8)
    return from_arrays(
        data.train_images,
        data.train_labels,
        data.test_images,
        data.test_labels,
        data.class_names,
    )


def from_arrays(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    class_names: Sequence[str],
) -> Source:
    """Makes a source of images in memory.

    Its mean and standard deviation are those of the training images.

    Args:
        train_images: Array `(count, height, width, channels)` of values in
            [0, 255], of 1 or 3 channels.
        train_labels: Array `(count,)` of integers, indices into
            `class_names`.
        test_images: Array, as `train_images`.
        test_labels: Array, as `train_labels`.
        class_names: Sequence of strings.

    Returns:
        A `Source`.

    Raises:
        ValueError: If images and labels differ in number, the images have
            another shape or the two parts other channels, a label is no index
            of a class, or there are fewer than two classes.

    Example:

    >>> images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3))
    >>> train, test = (images[:48], y[:48]), (images[48:], y[48:])
    >>> source = keras_nfnets.data.from_arrays(*train, *test, "0123456789")
    >>> dataset = keras_nfnets.data.train_batches(source, recipe)
    """
    train = _part("train", train_images, train_labels, len(class_names))
    test = _part("test", test_images, test_labels, len(class_names))
    channels = [np.shape(x)[-1] for x in (train_images, test_images)]
    if channels[0] != channels[1]:
        raise ValueError(
            "`test_images` must have as many channels as `train_images`, "
            f"{channels[0]}. Received: {channels[1]}"
        )
    source = Source(train, test, tuple(class_names))
    axes = (0, 1, 2)
    return dataclasses.replace(
        source,
        mean=tuple(map(float, np.mean(train_images, axes, "float64"))),
        std=tuple(map(float, np.maximum(np.std(train_images, axes), 1e-3))),
    )


def _part(name, images, labels, classes):
    """Returns images and labels as a part of a source."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"`{name}_images` must be (count, height, width, channels) with 1 "
            f"or 3 channels. Received: shape={images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"`{name}_labels` must be one per image, {len(images)}. "
            f"Received: shape={labels.shape}"
        )
    check_labels(labels, classes, f"{name}_labels")
    tf = tensorflow()
    images, labels = tf.constant(images), tf.constant(labels, tf.int64)

    def read(index):
        return tf.gather(images, index), tf.gather(labels, index)

    return Indexed(len(images), read, lambda index: f"{name} image {index}")


def check_labels(labels: Any, classes: int, argument: str = "labels") -> None:
    """Raises a ValueError unless every label is an index of a class.

    Args:
        labels: Array of any shape.
        classes: Integer, number of classes.
        argument: String, what the user calls the labels. Defaults to
            `"labels"`.
    """
    labels = np.asarray(labels)
    whole = np.issubdtype(labels.dtype, np.integer)
    outside = labels[(labels < 0) | (labels >= classes)] if whole else labels
    if outside.size:
        raise ValueError(
            f"`{argument}` must be integers from 0 to {classes - 1}. "
            f"Received: {np.unique(outside)[:8].tolist()} among them"
        )
