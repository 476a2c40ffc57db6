"""Pairs each position of a run with the record or image that is read there.

A position counts the images of a run from its start, over epochs.
`train_records` and `test_records` return datasets of pairs: a position, and
what `read` of the source's part takes.
"""

from keras_nfnets.data.order import shuffled_positions
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.shards import host_count, until_broken, whole_epoch
from keras_nfnets.data.sources import Streamed


def train_records(source, seed, first, hosts):
    """Returns the positions of a run's images and what to read for each.

    Args:
        source: `Source`.
        seed: Integer, seed of the order.
        first: Integer, the position of the host's first image.
        hosts: Integer, number of hosts. A host reads every `hosts`-th position.

    Returns:
        A `tf.data.Dataset` of pairs, without end: an int64 position, and the
        index of an image or an undecoded record.
    """
    tf = tensorflow()
    part = source.train
    positions = tf.data.Dataset.range(first, tf.int64.max, hosts)
    if not isinstance(part, Streamed):
        return shuffled_positions(positions, part.count, seed)

    host = first % hosts
    count = host_count(part, host, hosts)

    @tf.autograph.experimental.do_not_convert
    def epoch_records(epoch):
        """Returns the records of one epoch, checked for their number."""
        # Shuffling combines our seed with the graph's global seed, so that
        # one is fixed, for this graph alone. It must not be zero: TensorFlow
        # would then compare our seed with zero, which fails for a tensor.
        tf.random.set_seed(1)
        records = part.records(epoch, seed, host, hosts)
        if count is None:
            return records
        return whole_epoch(records, count, source, part.files)

    epochs = until_broken(tf.data.Dataset.range(tf.int64.max), source)
    records = epochs.flat_map(epoch_records)
    return tf.data.Dataset.zip(positions, records.skip(first // hosts))


def test_records(source, host, hosts):
    """Returns the positions of the test images and what to read for each.

    Args:
        source: `Source`.
        host: Integer, index of this host.
        hosts: Integer, number of hosts.

    Returns:
        A `tf.data.Dataset` of pairs, as `train_records` returns.
    """
    tf = tensorflow()
    part = source.test
    positions = tf.data.Dataset.range(part.count)
    if isinstance(part, Streamed):
        records = part.records(None, 0, 0, 1)
        records = whole_epoch(records, part.count, source, part.files)
        records = tf.data.Dataset.zip(positions, records)
    else:
        records = tf.data.Dataset.zip(positions, positions)
    return records.shard(hosts, host)


def padding_images(decoded, count, host, hosts):
    """Returns images of zeros, at the positions after the last image.

    Args:
        decoded: `tf.data.Dataset` of positions and images, for the shapes.
        count: Integer, number of real images.
        host: Integer, index of this host.
        hosts: Integer, number of hosts.

    Returns:
        A `tf.data.Dataset` of positions and images, without end.
    """
    tf = tensorflow()
    first = count + (host - count) % hosts
    zeros = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), decoded.element_spec[1]
    )
    positions = tf.data.Dataset.range(first, tf.int64.max, hosts)
    return positions.map(lambda position: (position, zeros))
