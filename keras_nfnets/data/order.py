"""The order in which a run sees its images."""

from keras_nfnets.data.runtime import tensorflow

# Records that wait to be drawn from, undecoded.
SHUFFLE_BUFFER = 10_000


def shuffled(number, count, seed):
    """Returns which of so many images is the one of this number in a run.

    Args:
        number: Integer tensor, counted from the start of the run.
        count: Integer, images in an epoch.
        seed: Integer, or `None` for the order they have.
    """
    tf = tensorflow()
    if seed is None:
        return number
    epoch, index = number // count, number % count
    seed = tf.stack([tf.cast(seed, tf.int64), epoch])
    return tf.random.experimental.index_shuffle(index, seed, count - 1)


def epoch_seed(seed, epoch):
    """Returns a seed of an epoch's own, a scalar tensor.

    Args:
        seed: Integer.
        epoch: Integer tensor.
    """
    tf = tensorflow()
    key = tf.stack([tf.cast(seed, tf.int64), epoch])
    return tf.random.stateless_uniform((), key, maxval=2**62, dtype=tf.int64)


def shuffled_records(dataset, seed):
    """Returns an epoch's records as they are drawn from a buffer.

    Args:
        dataset: `tf.data.Dataset` of undecoded records.
        seed: What `epoch_seed` returns, or `None` to leave them in order.
    """
    if seed is None:
        return dataset
    return dataset.shuffle(SHUFFLE_BUFFER, seed, reshuffle_each_iteration=False)
