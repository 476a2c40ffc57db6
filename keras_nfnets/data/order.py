"""Decides the order in which a run reads its images.

Sources whose images can be read in any order are shuffled exactly: `shuffled`
computes the index of an image from its position, without a table. Records that
come from files pass through the buffer of `shuffled_records`.
"""

from keras_nfnets.data.runtime import tensorflow

# Number of undecoded records from which the next one is drawn.
SHUFFLE_BUFFER = 10_000

# A large constant in the key of the shuffle. With small numbers alone, most
# images would stay in place.
SHUFFLE_KEY = 498247692

# Positions that are shuffled at a time. One by one, the overhead of the
# operations would be noticeable beside decoding.
BLOCK_SIZE = 256


def shuffled(positions, count, seed):
    """Maps positions in a run to shuffled image indices.

    Each epoch is a permutation of its own.

    Args:
        positions: Integer or int64 tensor `()` or `(n,)`, counted from the
            start of the run.
        count: Integer, images in an epoch.
        seed: Integer, or `None` for the stored order.

    Returns:
        With a seed, an int64 tensor of the same shape, in [0, count). Without
        one, `positions` itself, which may be `count` or more.

    Example:

    >>> sorted(shuffled(np.arange(4), count=4, seed=0).numpy().tolist())
    [0, 1, 2, 3]
    """
    tf = tensorflow()
    if seed is None:
        return positions
    positions = tf.convert_to_tensor(positions, tf.int64)
    epochs, indices = positions // count, positions % count
    zeros = tf.zeros_like(epochs)
    # The public `tf.random.experimental.index_shuffle` is documented to take a
    # seed for each index, but does not. It completes the key in the same way.
    return tf.raw_ops.RandomIndexShuffle(
        index=indices,
        seed=tf.stack([zeros + seed, epochs, zeros + SHUFFLE_KEY], -1),
        max_index=tf.constant(count - 1, tf.int64),
    )


def shuffled_positions(positions, count, seed):
    """Pairs positions in a run with image indices, as `shuffled` does.

    Args:
        positions: `tf.data.Dataset` of positions, without end.
        count: Integer, images in an epoch.
        seed: Integer.

    Returns:
        A `tf.data.Dataset` of pairs of a position and an index.
    """
    blocks = positions.batch(BLOCK_SIZE, drop_remainder=True)
    return blocks.map(
        lambda block: (block, shuffled(block, count, seed))
    ).unbatch()


def epoch_seed(seed, epoch):
    """Returns the seed of one epoch, an int64 scalar tensor.

    Args:
        seed: Integer, seed of the run.
        epoch: Integer tensor, counted from 0.
    """
    tf = tensorflow()
    key = tf.stack([tf.cast(seed, tf.int64), epoch])
    return tf.random.stateless_uniform((), key, maxval=2**62, dtype=tf.int64)


def shuffled_records(dataset, seed):
    """Shuffles an epoch's records through a buffer.

    Args:
        dataset: `tf.data.Dataset` of undecoded records.
        seed: Tensor that `epoch_seed` returned, or `None` to keep the order.

    Returns:
        A `tf.data.Dataset` of the same records.
    """
    if seed is None:
        return dataset
    return dataset.shuffle(SHUFFLE_BUFFER, seed, reshuffle_each_iteration=False)
