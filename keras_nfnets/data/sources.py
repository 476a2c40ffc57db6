"""Describes a source of labelled images, of every kind.

A `Source` has a training and a test part. A part is `Indexed` if its images can
be read in any order, as files and arrays can, or `Streamed` if they come in the
order of the records in some files. To add a kind of source, write a function
that returns a `Source`, and add it to `KINDS` in `open_source`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import MAX_PIXELS
from keras_nfnets.variants.table import VARIANTS

# Statistics of ImageNet's pixels, for photographs that were not measured.
PHOTO_MEAN = VARIANTS["nfnet_f0"].pixel_mean
PHOTO_STD = VARIANTS["nfnet_f0"].pixel_std


@dataclasses.dataclass(frozen=True)
class Source:
    """Holds labelled images in a training and a test part.

    A part is an `Indexed` or a `Streamed`. It reads an integer label and a raw
    image: the content of an image file, or an array `(height, width, channels)`
    of values in [0, 255].

    Args:
        train: The part to train on.
        test: The part that is held out.
        class_names: Tuple of strings.
        mean: Tuple of floats, one per channel, subtracted from pixels. Defaults
            to ImageNet's.
        std: Tuple of floats, one per channel, by which pixels are then divided.
            Defaults to ImageNet's.
        skipped: Dictionary that is filled while batches are read. It maps
            `("train", position)` or `("test", position)` to the name of an
            image that was left out. Positions in training count on over epochs.
        max_pixels: Integer, the largest number of pixels of an image file. A
            larger image is left out. Defaults to `MAX_PIXELS`.
        broken: List that is filled while batches are read. It gets a message if
            an epoch of records has more or fewer than `count`.

    Raises:
        ValueError: If there are fewer than two classes, or a part is empty.

    Example:

    >>> source = keras_nfnets.data.open_source("digits")
    >>> source.train_count, source.channels
    (1437, 1)
    """

    train: "Indexed | Streamed"
    test: "Indexed | Streamed"
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = PHOTO_MEAN
    std: tuple[float, ...] = PHOTO_STD
    skipped: dict[tuple[str, int], str] = dataclasses.field(
        default_factory=dict
    )
    max_pixels: int = MAX_PIXELS
    broken: list = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise ValueError(
                "A data set must have at least two classes. "
                f"Received: {list(self.class_names)}"
            )
        for name in ("train", "test"):
            if not getattr(self, name).count:
                raise ValueError(
                    f"The {name} part must not be empty. Received: "
                    f"{self.train.count} to train on, {self.test.count} to test"
                )

    @property
    def channels(self) -> int:
        """The number of channels: 1 for grey images, 3 for colours."""
        return len(self.mean)

    @property
    def train_count(self) -> int:
        """The number of images to train on."""
        return self.train.count

    @property
    def test_count(self) -> int:
        """The number of images that are held out."""
        return self.test.count


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Holds images that can be read in any order.

    Args:
        count: Integer, number of images.
        read: Function of an int64 scalar tensor, the index of an image. It
            returns the raw image and the label, in a TensorFlow graph.
        name: Function of an integer index that returns the name of the image in
            a message.
    """

    count: int
    read: Callable[[Tensor], tuple[Tensor, Tensor]]
    name: Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Holds images that come in the order of records in files.

    Args:
        count: Integer, number of images.
        shards: Integer, number of files.
        records: Function `(epoch, seed, host, hosts)` that returns a
            `tf.data.Dataset` of one epoch's undecoded records. `epoch` is an
            int64 tensor, or `None` for the stored order.
        read: Function of a record that returns the raw image and the label, in
            a TensorFlow graph.
        files: Tuple of the files' paths, to name those that lack records.
            Defaults to none.
    """

    count: int
    shards: int
    records: Callable[..., Any]
    read: Callable[[Tensor], tuple[Tensor, Tensor]]
    files: tuple[str, ...] = ()
