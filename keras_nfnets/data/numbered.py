"""Numbers the images of a source in the order in which a run reads them."""

from keras_nfnets.data.order import shuffled_numbers
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.shards import host_count, unbroken, whole_epoch
from keras_nfnets.data.sources import Streamed


def train_records(source, seed, first, hosts):
    """Returns the numbers of a run's images and what to read for each.

    Args:
        source: `Source`.
        seed: Integer, of the order.
        first: Integer, the number of the host's first image.
        hosts: Integer, and so many numbers lie between two of a host's.

    Returns:
        A `tf.data.Dataset` of pairs, without end.
    """
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


def test_records(source, host, hosts):
    """Returns the numbers of the test images and what to read for each.

    Args:
        source: `Source`.
        host: Integer.
        hosts: Integer.

    Returns:
        A `tf.data.Dataset` of pairs.
    """
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


def filling(decoded, count, host, hosts):
    """Returns zeros in place of images, numbered on from the last one.

    Args:
        decoded: `tf.data.Dataset` of numbers and images.
        count: Integer, number of images.
        host: Integer.
        hosts: Integer.
    """
    tf = tensorflow()
    first = count + (host - count) % hosts
    zeros = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), decoded.element_spec[1]
    )
    numbers = tf.data.Dataset.range(first, tf.int64.max, hosts)
    return numbers.map(lambda number: (number, zeros))
