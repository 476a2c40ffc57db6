"""Reads and writes TFRecord files, in a folder with an index.

`write_records` writes the files and the `dataset.json` that names them, and
`tfrecord` opens such a folder as a `Source`.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from keras_nfnets.annotations import FilePath
from keras_nfnets.data.arrays import check_labels
from keras_nfnets.data.index import INDEX, read_index
from keras_nfnets.data.order import epoch_seed, shuffled_records
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Source, Streamed
from keras_nfnets.files import replacing

# The names of the features in the records of ImageNet.
ENCODED, LABEL = "image/encoded", "image/class/label"
CYCLE_LENGTH = 16


def tfrecord(path: FilePath) -> Source:
    """Opens a folder of TFRecord files.

    Its `dataset.json` names the files and classes, as `write_records` writes
    it:

        {"class_names": ["cat", "dog"], "first_label": 0,
         "train": {"files": "train-*", "count": 1000},
         "test": {"files": "test-*", "count": 200}}

    A record has the features `image/encoded`, the content of a PNG or JPEG
    file, and `image/class/label`, an integer from `first_label` on.

    Args:
        path: String or path of the folder.

    Returns:
        A `Source`.

    Raises:
        FileNotFoundError: If there is no `dataset.json`.
        ValueError: If a field of it is missing or wrong, or a part has no
            files. Reading batches raises TensorFlow's InvalidArgumentError if
            an epoch has more or fewer than `count` records; see
            `keras_nfnets.data.whole_shards`.

    Example:

    >>> photos = [("photos/cat/0.jpg", 0), ("photos/dog/0.jpg", 1)]
    >>> names = ["cat", "dog"]
    >>> keras_nfnets.data.write_records("records", names, photos, photos)
    >>> source = keras_nfnets.data.open_source("tfrecord:records")
    """
    index = read_index(Path(path))
    train, test = (
        _part(part, index.first_label, len(index.class_names))
        for part in (index.train, index.test)
    )
    return Source(train, test, index.class_names)


def _part(part, first_label, classes):
    """Returns the records of some files as a part of a source."""
    tf = tensorflow()
    # Names are passed as bytes, since they need not be UTF-8.
    files = [os.fsencode(file) for file in part.files]
    features = {
        ENCODED: tf.io.FixedLenFeature((), tf.string),
        LABEL: tf.io.FixedLenFeature((), tf.int64),
    }

    def records(epoch, seed, host, hosts):
        """Returns an epoch's records: files in random order, then a buffer."""
        shuffle = epoch is not None
        seed = epoch_seed(seed, epoch) if shuffle else None
        own = tf.data.Dataset.from_tensor_slices(files).shard(hosts, host)
        if shuffle:
            own = own.shuffle(len(files), seed, reshuffle_each_iteration=False)
        dataset = own.interleave(
            tf.data.TFRecordDataset,
            cycle_length=CYCLE_LENGTH if shuffle else 1,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return shuffled_records(dataset, seed)

    def read(record):
        """Returns content and label of a record, and checks the label."""
        content = tf.io.parse_single_example(record, features)
        label = content[LABEL] - first_label
        # A label out of range would become a row of zeros, an image of no
        # class. The record is left out like an image that cannot be read.
        in_range = [
            tf.debugging.assert_non_negative(label),
            tf.debugging.assert_less(label, tf.constant(classes, tf.int64)),
        ]
        with tf.control_dependencies(in_range):
            return content[ENCODED], tf.identity(label)

    return Streamed(part.count, len(files), records, read, part.files)


def write_records(
    path: FilePath,
    class_names: Sequence[str],
    train: Sequence[tuple[FilePath, int]],
    test: Sequence[tuple[FilePath, int]],
    shards: int = 8,
) -> None:
    """Writes image files as TFRecords, with their `dataset.json`.

    Args:
        path: String or path of a folder that is new or empty.
        class_names: Sequence of strings.
        train: Sequence of pairs: path of a PNG or JPEG file, and label, an
            index into `class_names`.
        test: Sequence of pairs, as `train`.
        shards: Integer, files per part. Defaults to `8`.

    Raises:
        ValueError: If a label is no index of a class.
        FileExistsError: If `path` is a file, or a folder that is not empty.
        FileNotFoundError: If an image file does not exist. Then no folder is
            written.

    Example:

    >>> train = [("photos/cat/0.jpg", 0), ("photos/dog/0.jpg", 1)]
    >>> test = [("cat.png", 0)]
    >>> keras_nfnets.data.write_records("records", ["cat", "dog"], train, test)
    """
    root = Path(path)
    if root.exists() and (root.is_file() or any(root.iterdir())):
        raise FileExistsError(
            f"`path` must be a new or empty folder. Received: path={path}"
        )
    for part, pairs in (("train", train), ("test", test)):
        check_labels([label for _, label in pairs], len(class_names), part)
    root.parent.mkdir(parents=True, exist_ok=True)
    with replacing(root) as temporary:
        temporary.mkdir()
        _write(temporary, class_names, dict(train=train, test=test), shards)


def _write(root, class_names, parts, shards):
    """Writes the shards of all parts, and their index."""
    tf = tensorflow()
    index = dict(class_names=list(class_names), first_label=0)
    for part, pairs in parts.items():
        for shard in range(shards):
            name = f"{part}-{shard:05}-of-{shards:05}"
            with tf.io.TFRecordWriter(str(root / name)) as writer:
                for file, label in pairs[shard::shards]:
                    writer.write(_record(Path(file).read_bytes(), label))
        index[part] = dict(files=f"{part}-*", count=len(pairs))
    (root / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _record(content, label):
    """Returns one serialized record."""
    tf = tensorflow()
    train = tf.train
    features = train.Features(
        feature={
            ENCODED: train.Feature(bytes_list=train.BytesList(value=[content])),
            LABEL: train.Feature(int64_list=train.Int64List(value=[label])),
        }
    )
    return train.Example(features=features).SerializeToString()
