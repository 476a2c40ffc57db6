"""Checks that an epoch has all its records, and names shards that lack some.

A damaged or missing shard would otherwise shorten every epoch in silence.
`whole_epoch` counts records while they pass, and writes what is wrong into
`Source.broken`. `stop_if_broken` then raises TensorFlow's error in the place of
a batch, which `whole_shards` turns into a ValueError outside of the graph.
"""

import contextlib
import os
from collections.abc import Iterator

from keras_nfnets.checks import printable
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Source

# In a TFRecord file each record is stored as its length, a checksum of the
# length, the record, and its checksum.
LENGTH_BYTES, CHECKSUM_BYTES = 8, 4
# The largest number of shards that a message names.
NAMED = 4


def whole_epoch(records, count, source, files):
    """Passes an epoch's records on, and counts them.

    If their number is wrong, a message is written to `source.broken`. The last
    record is passed on only after the check.

    Args:
        records: `tf.data.Dataset` of one epoch's undecoded records.
        count: Integer, how many records there must be.
        source: `Source`, whose `broken` takes the message.
        files: Paths of the files that hold the records. If there are none, as
            for TensorFlow Datasets, nothing is counted.

    Returns:
        A `tf.data.Dataset` of the same records.
    """
    if not files:
        return records
    tf = tensorflow()

    def note(found):
        if not source.broken:
            source.broken.append(_message(files, count, int(found)))

    # Records that a damaged file does not return are missing from the count.
    records = records.ignore_errors()
    nothing = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), records.element_spec
    )
    start = (tf.constant(-1, tf.int64), nothing)

    def hold_back(before, element):
        """Returns the record before this one, after the check of the number."""
        index, is_end = element[0], element[0] < 0
        found = tf.where(is_end, before[0], index) + 1
        wrong = tf.where(is_end, found != count, found > count)
        noted = tf.cond(
            wrong,
            lambda: tf.group(tf.numpy_function(note, [found], [])),
            tf.no_op,
        )
        with tf.control_dependencies([noted]):
            return element, tf.nest.map_structure(tf.identity, before[1])

    # The index -1 marks the end of the records.
    end = tf.data.Dataset.from_tensors(start)
    numbered = records.enumerate().concatenate(end)
    return numbered.scan(start, hold_back).skip(1)


def until_broken(epochs, source):
    """Ends a dataset of epochs once the source is known to be broken.

    Otherwise epochs without records would follow each other for ever.

    Args:
        epochs: `tf.data.Dataset` of epochs.
        source: `Source`.
    """
    tf = tensorflow()
    return epochs.take_while(
        lambda epoch: tf.numpy_function(lambda: not source.broken, [], tf.bool)
    )


def stop_if_broken(batches, source, endless):
    """Raises TensorFlow's InvalidArgumentError in place of the next batch.

    Args:
        batches: `tf.data.Dataset`.
        source: `Source`.
        endless: Boolean, whether `batches` ends only if the source is broken.
            Then an error takes the place of its end.

    Returns:
        A `tf.data.Dataset` of the same batches.
    """
    tf = tensorflow()

    def message():
        return "".join(source.broken[:1]).encode()

    def check(*batch):
        """Passes a batch on, or fails with the message."""
        text = tf.numpy_function(message, [], tf.string)
        whole = tf.raw_ops.Assert(condition=tf.equal(text, b""), data=[text])
        with tf.control_dependencies([whole]):
            return tf.nest.map_structure(tf.identity, batch)

    if endless:
        nothing = tf.nest.map_structure(
            lambda spec: tf.zeros(spec.shape, spec.dtype), batches.element_spec
        )
        batches = batches.concatenate(tf.data.Dataset.from_tensors(nothing))
    return batches.map(check)


def host_count(part, host, hosts):
    """Returns how many of a part's records one host reads in an epoch.

    Args:
        part: `Streamed`.
        host: Integer, index of the host.
        hosts: Integer, number of hosts.

    Returns:
        An integer, or `None` if the part's files are not known.

    Raises:
        ValueError: If the files of all hosts together do not have `count`
            records.
    """
    if hosts == 1:
        return part.count
    if not part.files:
        return None
    counts = [count_records(file) for file in part.files]
    if sum(counts) != part.count:
        raise ValueError(_message(part.files, part.count, sum(counts)))
    return sum(counts[host::hosts])


@contextlib.contextmanager
def whole_shards(source: Source) -> Iterator[None]:
    """Turns TensorFlow's error about a source's shards into a ValueError.

    Args:
        source: `Source` whose batches are read inside.

    Raises:
        ValueError: If an epoch of it has too few or too many records. It
            names the shards that are to blame.

    Example:

    >>> with keras_nfnets.data.whole_shards(source):
    ...     model.evaluate(keras_nfnets.data.test_batches(source, recipe))
    """
    try:
        yield
    except tensorflow().errors.OpError:
        if source.broken:
            raise ValueError(source.broken[0]) from None
        raise


def count_records(file):
    """Counts the records of a TFRecord file.

    It reads only their lengths, and seeks over the records.

    Args:
        file: String, path of the file.

    Returns:
        Integer, the number of complete records.
    """
    size, place, count = os.path.getsize(file), 0, 0
    with open(file, "rb") as content:
        while place < size:
            content.seek(place)
            length = int.from_bytes(content.read(LENGTH_BYTES), "little")
            place += LENGTH_BYTES + length + 2 * CHECKSUM_BYTES
            count += place <= size
    return count


def _message(files, count, found):
    """Reads all files, and returns a message that names the odd ones."""
    shards = [(file, *_read_through(file)) for file in files]
    damaged = [shard for shard in shards if shard[2]]
    # The shards of a data set hold about equally many records. The odd ones are
    # therefore those with the fewest or the most.
    extreme = max if found > count else min
    odd = extreme((shard[1] for shard in shards), default=0)
    named = damaged or [shard for shard in shards if shard[1] == odd]
    lines = [
        f"{printable(file)} ({records} records{problem})"
        for file, records, problem in named[:NAMED]
    ]
    if named[NAMED:]:
        lines.append(f"{len(named) - NAMED} others")
    more = "more" if found > count else found
    return (
        f"An epoch must have {count} records, as the data set says. "
        f"Received: {more}; see {', '.join(lines) or 'its files'}"
    )


def _read_through(file):
    """Returns how many records a file has, and a remark if it is damaged."""
    tf = tensorflow()
    count = 0
    try:
        for _ in tf.data.TFRecordDataset(os.fsencode(file)):
            count += 1
    except tf.errors.OpError:
        return count, " up to where it is damaged"
    return count, ""
