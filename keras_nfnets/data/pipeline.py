"""From a source to batches: one function for training, one for evaluation.

Images are counted from the start of a run. What is random about an image
follows from the seed and its number alone, and so does the order of an epoch:
a run that goes on at some step sees what it would have seen.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_not_negative, check_seed
from keras_nfnets.data.augmentation import augment_batch
from keras_nfnets.data.corrupt import fill_gaps
from keras_nfnets.data.decoding import decode_test, decode_train
from keras_nfnets.data.order import shuffled_numbers
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.shards import (
    host_count,
    stop_if_broken,
    unbroken,
    whole_epoch,
)
from keras_nfnets.data.sources import Source, Streamed
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
    augment: Callable[[Tensor], Tensor] | None = None,
) -> Any:
    """Returns a run's training batches, without end, from one step on.

    Every image is seen once per epoch, in an order of the epoch's own; the
    images that do not fill a batch begin the next epoch. A cropped, resized
    and mirrored batch is augmented and normalized as a whole.

    Args:
        source: `Source`.
        recipe: `Recipe`, whose `batch_size` is that of all hosts together.
        seed: Integer. Defaults to `0`.
        first_step: Integer, how many batches to leave out; nothing of them is
            decoded. Defaults to `0`.
        host: Integer, which of the hosts this is. Defaults to `0`.
        hosts: Integer, how many share a batch. Defaults to `1`.
        augment: Function or layer that takes a batch of images in [0, 255]
            and returns one, in place of the recipe's MixUp, CutMix and
            RandAugment. Defaults to `None`.

    Returns:
        A `tf.data.Dataset` of images `(batch, size, size, channels)`,
        normalized, and labels `(batch, classes)`, the share of each class.

    Raises:
        ValueError: If the batch cannot be shared among the hosts, or there
            are more hosts than files in the source.
        ImportError: If TensorFlow is not installed.

    Example:

    >>> source = keras_nfnets.data.open_source("folder:photos")
    >>> dataset = keras_nfnets.data.train_batches(source, recipe)
    >>> model.fit(dataset, steps_per_epoch=source.train_count // 256)
    """
    tf = tensorflow()
    _check_hosts(source.train, recipe.batch_size, host, hosts)
    check_seed(seed=seed)
    check_not_negative(first_step=first_step)
    mix = _augmentation(recipe, seed, augment)
    decode, finish = _of_training(source, recipe, seed, mix)
    first = first_step * recipe.batch_size + host
    records = _train_records(source, seed, first, hosts)
    batches = _decoded(records, decode).batch(
        recipe.batch_size // hosts,
        drop_remainder=True,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    batches = fill_gaps(batches, source, seed, first, hosts)
    if isinstance(source.train, Streamed):
        batches = stop_if_broken(batches, source, endless=True)
    batches = batches.map(lambda batch, is_copy: batch)
    batches = batches.enumerate(first_step).map(
        finish, tf.data.AUTOTUNE, deterministic=True
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _of_training(source, recipe, seed, mix):
    """Returns what is done to an image, and what to a batch of them."""
    tf = tensorflow()
    classes = len(source.class_names)

    def decode(position, record):
        raw, label = source.train.read(record)
        image = decode_train(raw, source, recipe, tf.stack([seed, position]))
        if not mix:
            # One image fits the processor's cache, a batch does not.
            image = _normalized(image, source)
        return position, (image, label)

    def finish(step, batch):
        images, labels = batch
        rows = tf.one_hot(labels, classes)
        if not mix:
            return images, rows
        # Bicubic resizing overshoots.
        images, rows = mix(step, tf.clip_by_value(images, 0.0, 255.0), rows)
        return _normalized(images, source), rows

    return decode, finish


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
    _check_hosts(source.test, recipe.batch_size, host, hosts)
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
        rows = tf.one_hot(labels, classes)
        return _normalized(images, source), rows, weights

    decoded = _decoded(_test_records(source, host, hosts), decode)
    decoded = decoded.concatenate(_filling(decoded, count, host, hosts))
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


def _train_records(source, seed, first, hosts):
    """Returns numbers of images and what to read, of one host."""
    tf = tensorflow()
    part = source.train
    numbers = tf.data.Dataset.range(first, tf.int64.max, hosts)
    if not isinstance(part, Streamed):
        return shuffled_numbers(numbers, part.count, seed)

    host = first % hosts
    count = host_count(part, host, hosts)

    @tf.autograph.experimental.do_not_convert
    def epoch_records(epoch):
        # Of this graph alone. The order would depend on the global seed
        # besides ours, and TensorFlow compares both with zero, which it
        # cannot with a tensor unless the first one is another number.
        tf.random.set_seed(1)
        records = part.records(epoch, seed, host, hosts)
        if count is None:
            return records
        return whole_epoch(records, count, source, part.files)

    epochs = unbroken(tf.data.Dataset.range(tf.int64.max), source)
    records = epochs.flat_map(epoch_records)
    return tf.data.Dataset.zip(numbers, records.skip(first // hosts))


def _test_records(source, host, hosts):
    tf = tensorflow()
    part = source.test
    numbers = tf.data.Dataset.range(part.count)
    if isinstance(part, Streamed):
        records = part.records(None, 0, 0, 1)
        records = whole_epoch(records, part.count, source, part.files)
        records = tf.data.Dataset.zip(numbers, records)
    else:
        records = tf.data.Dataset.zip(numbers, numbers)
    return records.shard(hosts, host)


def _filling(decoded, count, host, hosts):
    """Returns zeros in place of images, numbered on from the last one."""
    tf = tensorflow()
    first = count + (host - count) % hosts
    zeros = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), decoded.element_spec[1]
    )
    numbers = tf.data.Dataset.range(first, tf.int64.max, hosts)
    return numbers.map(lambda number: (number, zeros))


def _decoded(records, decode):
    tf = tensorflow()
    decoded = records.map(decode, tf.data.AUTOTUNE, deterministic=True)
    return decoded.ignore_errors()


def _normalized(images, source):
    # By rows of pixels: three numbers at a time are too few to be fast, and
    # constants as large as an image would have to be read as often as it is.
    shape, width = images.shape, images.shape[-2]
    mean, scale = (
        np.tile(np.float32(values), width)
        for values in (source.mean, 1 / np.float64(source.std))
    )
    rows = tensorflow().reshape(images, (*shape[:-2], mean.size))
    return tensorflow().reshape((rows - mean) * scale, shape)


def _augmentation(recipe, seed, augment):
    """Returns a function of step, images and labels, or None."""
    if augment is not None:
        return lambda step, images, rows: (augment(images), rows)
    if recipe.mixup_share or recipe.cutmix_share or recipe.randaugment_layers:
        return augment_batch(recipe, seed)
    return None


def _check_hosts(part, batch_size, host, hosts):
    if batch_size % hosts:
        raise ValueError(
            "`batch_size` must be divisible by the number of hosts. "
            f"Received: batch_size={batch_size} and hosts={hosts}"
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
