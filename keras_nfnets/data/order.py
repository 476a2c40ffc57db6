"""Decides the order in which a run reads its images."""

from keras_nfnets.data.runtime import tensorflow

# Records that wait to be drawn from, undecoded.
SHUFFLE_BUFFER = 10_000

# Any large number. With keys of small numbers alone most images stay in place.
KEY = 498247692

# Numbers that are put in order at a time: for one alone, the operations would
# take a fiftieth of the time that its image does.
BLOCK = 256


def shuffled(numbers, count, seed):
    """Maps positions in a run to shuffled image indices.

    Args:
        numbers: Integer or int64 tensor `()` or `(n,)`, counted from the start
            of the run.
        count: Integer, images in an epoch.
        seed: Integer, or `None` for the order they have.
    """
    tf = tensorflow()
    if seed is None:
        return numbers
    numbers = tf.convert_to_tensor(numbers, tf.int64)
    epochs, indices = numbers // count, numbers % count
    zeros = tf.zeros_like(epochs)
    # The public `index_shuffle` takes a seed for each number in its
    # documentation only. It completes the key as is done here.
    return tf.raw_ops.RandomIndexShuffle(
        index=indices,
        seed=tf.stack([zeros + seed, epochs, zeros + KEY], -1),
        max_index=tf.constant(count - 1, tf.int64),
    )


def shuffled_numbers(numbers, count, seed):
    """Pairs positions in a run with image indices, as `shuffled` does.

    Args:
        numbers: `tf.data.Dataset` of numbers, without end.
        count: Integer, images in an epoch.
        seed: Integer.
    """
    blocks = numbers.batch(BLOCK, drop_remainder=True)
    return blocks.map(
        lambda block: (block, shuffled(block, count, seed))
    ).unbatch()


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
