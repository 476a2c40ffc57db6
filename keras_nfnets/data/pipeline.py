"""Makes batches of a source, for training and for evaluation.

Every image of a run has a position, counted from the start of the run. The
order of an epoch, and all that is random about an image, follow from the seed
and the position alone. So a run that resumes at some step sees the images that
it would have seen.

A training batch passes through `positions` (what to read), `decoding`,
`unreadable` (images that cannot be decoded) and `augmentation`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_not_negative, check_seed
from keras_nfnets.data.augmentation import (
    as_bytes,
    augment_batch,
    augments,
    custom_augmentation,
)
from keras_nfnets.data.byte_images import normalize_lines
from keras_nfnets.data.decoding import (
    decode_test,
    decode_train,
    decode_whole,
)
from keras_nfnets.data.positions import (
    padding_images,
    test_records,
    train_records,
)
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.shards import stop_if_broken
from keras_nfnets.data.sources import Source, Streamed
from keras_nfnets.data.stateless import StatelessLayer
from keras_nfnets.data.unreadable import fill_gaps
from keras_nfnets.image_size import sides
from keras_nfnets.recipes.recipe import Recipe

# Normalized test images stay in memory if they take no more bytes than this.
CACHE_BYTES = 2**31


def train_batches(
    source: Source,
    recipe: Recipe,
    seed: int = 0,
    first_step: int = 0,
    host: int = 0,
    hosts: int = 1,
    augment: Callable[[Tensor], Tensor] | StatelessLayer | None = None,
) -> Any:
    """Returns a run's training batches, without end, from one step on.

    Every image is read once before any is read again, in an order that changes
    each time. Images left over at the end of such a pass begin the next batch.
    A step reads `recipe.images_per_step` images. So an epoch of `train_count //
    batch_size` steps is one pass over the images, or two passes if images are
    mixed in pairs.

    Images are cropped, resized and mirrored one by one; batches are augmented
    and normalized. If the recipe augments them, they are cut to bytes after
    resizing, as in the papers' code.

    Args:
        source: `Source`.
        recipe: `Recipe`, whose `batch_size` is that of all hosts together.
        seed: Integer. Defaults to `0`.
        first_step: Integer, the step to begin with. The batches before it are
            not decoded. Defaults to `0`.
        host: Integer, index of this host. Defaults to `0`.
        hosts: Integer, number of hosts that share a batch. Defaults to `1`.
        augment: Function or layer that takes a batch of float32 images in
            [0, 255] and returns one, in place of the recipe's MixUp, CutMix
            and RandAugment. The result of a `StatelessLayer` follows from seed
            and step alone, as the recipe's does. Defaults to `None`.

    Returns:
        A `tf.data.Dataset` of normalized float32 images `(batch, height, width,
        channels)` and soft labels `(batch, classes)`, the fraction of each
        class.

    Raises:
        ValueError: If the batch cannot be shared among the hosts, with all
            copies of an image on one of them; if there are more hosts than
            files in the source; or if an argument is out of range.
        ImportError: If TensorFlow is not installed.

    Example:

    >>> dataset = keras_nfnets.data.train_batches(source, recipe)
    >>> steps = source.train_count // recipe.batch_size
    >>> model.fit(dataset, steps_per_epoch=steps, shuffle=False)
    """
    tf = tensorflow()
    _check_hosts(source.train, recipe, host, hosts)
    check_seed(seed=seed)
    check_not_negative(first_step=first_step)
    if augment is not None:
        recipe = replace(recipe, mixup_fraction=0.0, cutmix_fraction=0.0)
        change = custom_augmentation(seed, augment)
    else:
        change = augment_batch(recipe, seed, host, hosts)
    plain = augment is None and not augments(recipe)
    first = first_step * recipe.images_per_step + host
    records = train_records(source, seed, first, hosts)
    decode = _decode_training(source, recipe, seed, plain, augment is None)
    batches = _decoded(records, decode).batch(
        recipe.images_per_step // hosts,
        drop_remainder=True,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    batches = fill_gaps(batches, source, seed, first, hosts)
    if isinstance(source.train, Streamed):
        batches = stop_if_broken(batches, source, endless=True)
    batches = batches.map(lambda batch, is_copy: batch)
    finish = _finish_training(source, recipe, None if plain else change)
    batches = batches.enumerate(first_step).map(
        finish, tf.data.AUTOTUNE, deterministic=True
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _decode_training(source, recipe, seed, plain, in_bytes):
    """Returns a function that decodes the record at one position.

    With `repeats` above one it returns as many different crops, stacked.
    """
    tf = tensorflow()

    def one(raw, position):
        """Returns one crop, for the random numbers of a position."""
        image = decode_train(raw, source, recipe, tf.stack([seed, position]))
        if plain:
            # One image fits the processor's cache, a batch does not.
            return _normalized(image, source)
        return as_bytes(image) if in_bytes else image

    def decode(position, record):
        """Returns the position, and its images with their label."""
        raw, label = source.train.read(record)
        if recipe.repeats == 1:
            return position, (one(raw, position), label)
        raw = decode_whole(raw, source)
        first = position * recipe.repeats
        images = [one(raw, first + i) for i in range(recipe.repeats)]
        return position, (tf.stack(images), label)

    return decode


def _finish_training(source, recipe, change):
    """Returns a function that augments and normalizes a batch."""
    tf = tensorflow()
    classes = len(source.class_names)

    def finish(step, batch):
        """Returns normalized images and soft labels of a batch."""
        images, labels = batch
        if recipe.repeats > 1:
            count, repeats, *shape = images.shape
            images = tf.reshape(images, (count * repeats, *shape))
            labels = tf.repeat(labels, repeats)
        soft_labels = tf.one_hot(labels, classes)
        if change is None:
            return images, soft_labels
        images, soft_labels = change(step, images, soft_labels)
        return _normalized(images, source), soft_labels

    return finish


def test_batches(
    source: Source, recipe: Recipe, host: int = 0, hosts: int = 1
) -> Any:
    """Returns the test images in order, in batches of one shape.

    The last batch is padded with images of weight 0. All other images have the
    same weight. It is such that the mean over batches, of the loss and of
    Keras's `weighted_metrics`, is the mean over images.

    Args:
        source: `Source`.
        recipe: `Recipe`, whose `batch_size` is that of all hosts together.
        host: Integer, index of this host. Defaults to `0`.
        hosts: Integer, number of hosts that share a batch. Defaults to `1`.

    Returns:
        A `tf.data.Dataset` of normalized float32 images `(batch, height, width,
        channels)`, one-hot labels `(batch, classes)` and weights `(batch,)`. It
        stays in memory after its first pass if it takes no more than
        `CACHE_BYTES`.

    Raises:
        ValueError: As for `train_batches`.
        ImportError: If TensorFlow is not installed.

    Example:

    >>> batches = keras_nfnets.data.test_batches(source, recipe)
    >>> model.evaluate(batches)
    """
    tf = tensorflow()
    _check_hosts(source.test, recipe, host, hosts)
    count, batch_size = source.test_count, recipe.batch_size
    filled = -(-count // batch_size) * batch_size
    classes = len(source.class_names)

    def decode(position, record):
        """Returns the position, image and label; `True` marks a real image."""
        raw, label = source.test.read(record)
        image = decode_test(raw, source, recipe)
        return position, (image, label, True)

    def weigh(batch, is_copy):
        """Returns a batch with weight 0 for padding and for copies."""
        images, labels, real = batch
        weights = tf.where(real & ~is_copy, filled / count, 0.0)
        soft_labels = tf.one_hot(labels, classes)
        return _normalized(images, source), soft_labels, weights

    decoded = _decoded(test_records(source, host, hosts), decode)
    decoded = decoded.concatenate(padding_images(decoded, count, host, hosts))
    batches = decoded.batch(batch_size // hosts, drop_remainder=True)
    batches = fill_gaps(batches, source, None, host, hosts).map(weigh)
    if isinstance(source.test, Streamed):
        batches = stop_if_broken(batches, source, endless=False)
    batches = batches.take(filled // batch_size)
    batches = batches.apply(
        tf.data.experimental.assert_cardinality(filled // batch_size)
    )
    size = filled * math.prod(sides(recipe.test_size)) * source.channels * 4
    if size <= CACHE_BYTES:
        batches = batches.cache()
    return batches.prefetch(tf.data.AUTOTUNE)


def _decoded(records, decode):
    """Decodes in parallel and in order, leaving out what raises an error."""
    tf = tensorflow()
    decoded = records.map(decode, tf.data.AUTOTUNE, deterministic=True)
    return decoded.ignore_errors()


def _normalized(images, source):
    """Subtracts the source's mean and divides by its standard deviation."""
    tf = tensorflow()
    # Mean and scale are repeated to a line of pixels. Broadcasting over three
    # channels alone is slow, and constants of an image's size would double the
    # memory that is read.
    shape, width = images.shape, images.shape[-2]
    mean, scale = (
        np.tile(np.float32(values), width)
        for values in (source.mean, 1 / np.float64(source.std))
    )
    lines = tf.reshape(images, (*shape[:-2], mean.size))
    if images.dtype == tf.uint8:
        lines = tf.numpy_function(
            normalize_lines, [lines, mean, scale], tf.float32, stateful=False
        )
    else:
        lines = (tf.cast(lines, "float32") - mean) * scale
    return tf.reshape(lines, shape)


def _check_hosts(part, recipe, host, hosts):
    """Raises a ValueError unless the hosts can share the batches."""
    batch_size, repeats = recipe.batch_size, recipe.repeats
    if batch_size % hosts:
        raise ValueError(
            "`batch_size` must be divisible by the number of hosts. "
            f"Received: batch_size={batch_size} and hosts={hosts}"
        )
    if batch_size % (hosts * repeats):
        raise ValueError(
            "`batch_size` must be divisible by `hosts * repeats`. Received: "
            f"batch_size={batch_size}, hosts={hosts} and repeats={repeats}"
        )
    if not 0 <= host < hosts:
        raise ValueError(
            "`host` must be from 0 to `hosts` - 1. "
            f"Received: host={host} and hosts={hosts}"
        )
    if isinstance(part, Streamed) and hosts > part.shards:
        raise ValueError(
            "`hosts` must not be above the number of files that the data are "
            f"in, {part.shards}. Received: hosts={hosts}"
        )
