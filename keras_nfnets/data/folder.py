"""A folder of image files, one subfolder per class."""

import os
import random
from pathlib import Path

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Indexed, Source

SUFFIXES = (".jpg", ".jpeg", ".png")
TEST_SHARE = 0.2
PARTS = (("train", "val"), ("train", "validation"), ("train", "test"))


def folder(path: FilePath, split_seed: int = 0) -> Source:
    """Opens a folder of PNG and JPEG files, one subfolder per class.

    Where it has subfolders `train` and `val`, `validation` or `test`, these
    are the two parts. Else a fifth of each class is held out.

    Args:
        path: String or path.
        split_seed: Integer, decides which images are held out. Defaults to
            `0`.

    Returns:
        A `Source`.

    Raises:
        FileNotFoundError: If there is no folder at the path.
        ValueError: If there are fewer than two classes, the two parts have
            other classes, or a class has no image that can be read.

    Example:

    >>> source = keras_nfnets.data.folder("photos")
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"`data` must be a folder that is there. Received: folder:{path}"
        )
    parts = [
        (root / train, root / test)
        for train, test in PARTS
        if (root / train).is_dir() and (root / test).is_dir()
    ]
    if parts:
        train, test = map(_files_by_class, parts[0])
        if list(train) != list(test):
            raise ValueError(
                f"{parts[0][0]} and {parts[0][1]} must have the same classes. "
                f"Received: {sorted(set(train) ^ set(test))} in one of them"
            )
    else:
        train, test = _split(_files_by_class(root), split_seed)
    return Source(_part(train), _part(test), tuple(train))


def _files_by_class(root):
    classes = {
        child.name: sorted(
            file for file in child.iterdir() if file.suffix.lower() in SUFFIXES
        )
        for child in sorted(root.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    if not classes:
        raise ValueError(
            f"`data` must be a folder with a subfolder per class. Received: "
            f"folder:{root}, which has none"
        )
    for name, files in classes.items():
        if not any(map(_can_be_read, files)):
            raise ValueError(
                f"The class {name!r} has no PNG or JPEG image that can be "
                f"read. Received: {len(files)} files in {root / name}"
            )
    return classes


def _can_be_read(file):
    tf = tensorflow()
    try:
        tf.io.decode_image(tf.io.read_file(os.fspath(file)), 3)
    except tf.errors.OpError:
        return False
    return True


def _split(classes, seed):
    train, test = {}, {}
    for name, files in classes.items():
        held_out = round(len(files) * TEST_SHARE)
        order = random.Random(seed).sample(files, len(files))
        test[name] = sorted(order[:held_out])
        train[name] = sorted(order[held_out:])
    return train, test


def _part(classes):
    tf = tensorflow()
    names = [str(file) for files in classes.values() for file in files]
    sizes = [len(files) for files in classes.values()]
    labels = tf.constant(np.repeat(np.arange(len(sizes)), sizes), tf.int64)
    files = tf.constant(names, tf.string)

    def read(index):
        file = tf.io.read_file(tf.gather(files, index))
        return file, tf.gather(labels, index)

    return Indexed(len(names), read, names.__getitem__)
