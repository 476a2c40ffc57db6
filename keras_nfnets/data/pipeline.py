"""Makes batches of a source, for training and for evaluation.

Images are counted from the start of a run. What is random about an image
follows from the seed and its number alone, and so does the order of an epoch:
a run that goes on at some step sees what it would have seen.
"""

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
)
from keras_nfnets.data.decoding import (
    decode_test,
    decode_train,
    decode_whole,
)
from keras_nfnets.data.numbered import filling, test_records, train_records
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.shards import stop_if_broken
from keras_nfnets.data.sources import Source, Streamed
from keras_nfnets.data.stateless import Seeds, StatelessLayer
from keras_nfnets.data.unreadable import fill_gaps
from keras_nfnets.recipes.recipe import Recipe

# Test images stay in memory, as the network takes them, up to so many bytes.
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
    each time; the images that do not fill a batch begin the next pass. A step
    reads `recipe.images_per_step` images: an epoch of as many steps as batches
    fit into the images is one pass or, of images that are mixed in pairs, two.
    A cropped, resized and mirrored batch is augmented and normalized as a
    whole. From resizing to normalization it is of bytes, cut as in the papers'
    code, where the recipe augments it.

    Args:
        source: `Source`.
        recipe: `Recipe`, whose `batch_size` is that of all hosts together.
        seed: Integer. Defaults to `0`.
        first_step: Integer, how many batches to leave out; nothing of them is
            decoded. Defaults to `0`.
        host: Integer, which of the hosts this is. Defaults to `0`.
        hosts: Integer, how many share a batch. Defaults to `1`.
        augment: Function or layer that takes a batch of float32 images in
            [0, 255] and returns one, in place of the recipe's MixUp, CutMix
            and RandAugment. A `StatelessLayer` follows from seed and step
            alone, as the recipe's do. Defaults to `None`.

    Returns:
        A `tf.data.Dataset` of images `(batch, size, size, channels)`,
        normalized, and soft labels `(batch, classes)`, the fraction of each
        class.

    Raises:
        ValueError: If the batch cannot be shared among the hosts, with all
            copies of an image on one of them, or there are more hosts than
            files in the source.
        ImportError: If TensorFlow is not installed.

    Example:

    >>> source = keras_nfnets.data.open_source("folder:photos")
    >>> dataset = keras_nfnets.data.train_batches(source, recipe)
    >>> model.fit(dataset, steps_per_epoch=source.train_count // 256)
    """
    tf = tensorflow()
    _check_hosts(source.train, recipe, host, hosts)
    check_seed(seed=seed)
    check_not_negative(first_step=first_step)
    if augment is not None:
        recipe = replace(recipe, mixup_fraction=0.0, cutmix_fraction=0.0)
        change = _other_augmentation(seed, augment)
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
    """Returns what makes images of a record: `repeats`, stacked, if several."""
    tf = tensorflow()

    def one(raw, position):
        image = decode_train(raw, source, recipe, tf.stack([seed, position]))
        if plain:
            # One image fits the processor's cache, a batch does not.
            return _normalized(image, source)
        return as_bytes(image) if in_bytes else image

    def decode(position, record):
        raw, label = source.train.read(record)
        if recipe.repeats == 1:
            return position, (one(raw, position), label)
        raw = decode_whole(raw, source)
        first = position * recipe.repeats
        images = [one(raw, first + i) for i in range(recipe.repeats)]
        return position, (tf.stack(images), label)

    return decode


def _finish_training(source, recipe, change):
    """Returns what is done to a batch of images and labels."""
    tf = tensorflow()
    classes = len(source.class_names)

    def finish(step, batch):
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

    The last batch is filled up with images of no weight. All others weigh
    the same, so that a weighted mean over all batches is that over all
    images, of the loss and of Keras's `weighted_metrics`.

    Args:
        source: `Source`.
        recipe: `Recipe`, whose `batch_size` is that of all hosts together.
        host: Integer, which of the hosts this is. Defaults to `0`.
        hosts: Integer, how many share a batch. Defaults to `1`.

    Returns:
        A `tf.data.Dataset` of images, labels and weights. It is kept in
        memory after its first pass if it takes less than `CACHE_BYTES`.

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
        raw, label = source.test.read(record)
        image = decode_test(raw, source, recipe)
        return position, (image, label, True)

    def weigh(batch, is_copy):
        images, labels, real = batch
        weights = tf.where(real & ~is_copy, filled / count, 0.0)
        soft_labels = tf.one_hot(labels, classes)
        return _normalized(images, source), soft_labels, weights

    decoded = _decoded(test_records(source, host, hosts), decode)
    decoded = decoded.concatenate(filling(decoded, count, host, hosts))
    batches = decoded.batch(batch_size // hosts, drop_remainder=True)
    batches = fill_gaps(batches, source, None, host, hosts).map(weigh)
    if isinstance(source.test, Streamed):
        batches = stop_if_broken(batches, source, endless=False)
    batches = batches.take(filled // batch_size)
    batches = batches.apply(
        tf.data.experimental.assert_cardinality(filled // batch_size)
    )
    size = filled * recipe.test_size**2 * source.channels * 4
    if size <= CACHE_BYTES:
        batches = batches.cache()
    return batches.prefetch(tf.data.AUTOTUNE)


def _decoded(records, decode):
    tf = tensorflow()
    decoded = records.map(decode, tf.data.AUTOTUNE, deterministic=True)
    return decoded.ignore_errors()


def _normalized(images, source):
    """Subtracts the source's mean and divides by its deviation."""
    # By lines of pixels: three numbers at a time are too few to be fast, and
    # constants as large as an image would have to be read as often as it is.
    images = tensorflow().cast(images, "float32")
    shape, width = images.shape, images.shape[-2]
    mean, scale = (
        np.tile(np.float32(values), width)
        for values in (source.mean, 1 / np.float64(source.std))
    )
    lines = tensorflow().reshape(images, (*shape[:-2], mean.size))
    return tensorflow().reshape((lines - mean) * scale, shape)


def _other_augmentation(seed, augment):
    """Returns a function of step, images and soft labels."""
    tf = tensorflow()

    def change(step, images, soft_labels):
        # Bicubic resizing overshoots.
        images = tf.clip_by_value(images, 0.0, 255.0)
        if not isinstance(augment, StatelessLayer):
            return augment(images), soft_labels
        # A key for each step. Seeds count on from it, so (seed, step) itself
        # would share seeds with the next step.
        key = tf.random.split(tf.stack([tf.cast(seed, tf.int64), step]), 1)[0]
        return augment(images, Seeds(key)), soft_labels

    return change


def _check_hosts(part, recipe, host, hosts):
    """Raises a ValueError unless hosts can share the batches."""
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
