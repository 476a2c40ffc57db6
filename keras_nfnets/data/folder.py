"""Opens a folder of image files, one subfolder per class."""

import os
import random
from pathlib import Path

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import MAX_PIXELS
from keras_nfnets.data.images import decode_file
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.sources import Indexed, Source

SUFFIXES = (".jpg", ".jpeg", ".png")
TEST_FRACTION = 0.2
PARTS = (("train", "val"), ("train", "validation"), ("train", "test"))


def folder(
    path: FilePath, split_seed: int = 0, max_pixels: int = MAX_PIXELS
) -> Source:
    """Opens a folder of PNG and JPEG files, one subfolder per class.

    If there are subfolders `train` and `val`, `validation` or `test`, these are
    the two parts. Otherwise a fifth of each class is held out.

    Args:
        path: String or path.
        split_seed: Integer, decides which images are held out. Defaults to
            `0`.
        max_pixels: Integer, see `Source`. Defaults to `MAX_PIXELS`.

    Returns:
        A `Source`.

    Raises:
        FileNotFoundError: If there is no folder at the path.
        ValueError: If there are fewer than two classes, the two parts have
            different classes, a class has no image that can be read, or a
            folder, pipe or device has the name of an image.

    Example:

    >>> source = keras_nfnets.data.folder("photos")
    >>> source.class_names
    ('cat', 'dog')
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
        train, test = (_files_by_class(part, max_pixels) for part in parts[0])
        if list(train) != list(test):
            raise ValueError(
                f"{parts[0][0]} and {parts[0][1]} must have the same classes. "
                f"Received: {sorted(set(train) ^ set(test))} in one of them"
            )
    else:
        train, test = _split(_files_by_class(root, max_pixels), split_seed)
    return Source(
        _part(train), _part(test), tuple(train), max_pixels=max_pixels
    )


def _files_by_class(root, max_pixels):
    """Returns the image files of each class, by its name."""
    classes = {
        child.name: _image_files(child)
        for child in sorted(root.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    if not classes:
        raise ValueError(
            f"`data` must be a folder with a subfolder per class. Received: "
            f"folder:{root}, which has none"
        )
    for name, files in classes.items():
        _check_one_can_be_read(name, root / name, files, max_pixels)
    return classes


def _image_files(folder):
    """Returns the sorted paths of the files that have an image's suffix."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if Path(entry.name).suffix.lower() not in SUFFIXES:
                continue
            # Reading a pipe may block for ever. A dangling link is left out
            # later, like any file that cannot be read.
            if not entry.is_file() and os.path.exists(entry.path):
                raise ValueError(
                    "A path with the name of an image must be a file, not a "
                    "folder, a pipe or a device. "
                    f"Received: {entry.path!r}"
                )
            found.append(Path(entry.path))
    return sorted(found)


def _check_one_can_be_read(name, folder, files, max_pixels):
    """Raises a ValueError unless a class has an image that can be read."""
    reason = ""
    for file in files:
        try:
            decode_file(file, 3, max_pixels)
            return
        except ValueError as error:
            reason = reason or f", the first one {error}"
    raise ValueError(
        f"The class {name!r} has no PNG or JPEG image that can be "
        f"read. Received: {len(files)} files in {folder}{reason}"
    )


def _split(classes, seed):
    """Holds out a fraction of each class, drawn by the seed."""
    train, test = {}, {}
    for name, files in classes.items():
        held_out = round(len(files) * TEST_FRACTION)
        order = random.Random(seed).sample(files, len(files))
        test[name] = sorted(order[:held_out])
        train[name] = sorted(order[held_out:])
    return train, test


def _part(classes):
    """Returns the files of all classes as a part of a source."""
    tf = tensorflow()
    names = [str(file) for files in classes.values() for file in files]
    sizes = [len(files) for files in classes.values()]
    labels = tf.constant(np.repeat(np.arange(len(sizes)), sizes), tf.int64)
    # Names are passed as bytes, since they need not be UTF-8.
    files = tf.constant([os.fsencode(name) for name in names], tf.string)

    def read(index):
        file = tf.io.read_file(tf.gather(files, index))
        return file, tf.gather(labels, index)

    return Indexed(len(names), read, names.__getitem__)
