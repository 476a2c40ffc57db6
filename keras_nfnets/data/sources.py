"""Describes a source of labelled images, of every kind."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import MAX_PIXELS
from keras_nfnets.variants.table import VARIANTS

# Of photographs, unless they are measured: ImageNet's.
PHOTO_MEAN = VARIANTS["nfnet_f0"].pixel_mean
PHOTO_STD = VARIANTS["nfnet_f0"].pixel_std


@dataclasses.dataclass(frozen=True)
class Source:
    """Labelled images in a training and a test part.

    A part is an `Indexed` or a `Streamed`. What they read is the content of an
    image file, or an image `(height, width, channels)` of values in
    [0, 255], and an integer label.

    Args:
        train: The part to train on.
        test: The part that is held out.
        class_names: Tuple of strings.
        mean: Tuple of floats, one per channel, what is taken from a pixel.
            Defaults to ImageNet's.
        std: Tuple of floats, one per channel, what it is then divided by.
            Defaults to ImageNet's.
        skipped: Dictionary that is filled while batches are read: the name of
            each image that was left out, by `"train"` or `"test"` and its
            number, which for training images counts on over epochs.
        max_pixels: Integer, how many pixels an image file may have. One that
            has more is left out. Defaults to `MAX_PIXELS`.
        broken: List that is filled while batches are read: what is wrong with
            the files of records, if an epoch has other than `count`.

    Raises:
        ValueError: If there are fewer than two classes, or a part is empty.

    Example:

    >>> source = keras_nfnets.data.open_source("folder:photos")
    >>> source.train_count
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
        """1 for grey images, 3 for red, green and blue."""
        return len(self.mean)

    @property
    def train_count(self) -> int:
        """How many images there are to train on."""
        return self.train.count

    @property
    def test_count(self) -> int:
        """How many images are held out."""
        return self.test.count


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Images that can be read in any order.

    Args:
        count: Integer, number of images.
        read: Function of an index tensor, in a graph: raw image and label.
        name: Function of an integer: what to call the image in a message.
    """

    count: int
    read: Callable[[Tensor], tuple[Tensor, Tensor]]
    name: Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Images that come in the order of the files they are in.

    Args:
        count: Integer, number of images.
        shards: Integer, number of files.
        records: Function of an epoch (a tensor, or `None` for the order of the
            files), a seed, a host and the number of hosts: a
            `tf.data.Dataset` of one epoch's undecoded records.
        read: Function of a record, in a graph: raw image and label.
        files: Tuple of the files' paths, to name those that lack records.
            Defaults to none.
    """

    count: int
    shards: int
    records: Callable[..., Any]
    read: Callable[[Tensor], tuple[Tensor, Tensor]]
    files: tuple[str, ...] = ()
