"""Images and labels: data sets as arrays, batches of them, and image files."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_nfnets.checks import check_positive
from keras_nfnets.extras import require


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory, split into a training and a test part.

    Args:
        train_images: Array `(count, height, width, channels)` of floats in
            [0, 255].
        train_labels: Array `(count,)` of integers, indices into
            `class_names`.
        test_images: As `train_images`.
        test_labels: As `train_labels`.
        class_names: Tuple of strings.
        mean: Tuple of floats, one per channel: the mean of the training
            pixels.
        std: Tuple of floats, one per channel: their standard deviation.

    Example:

    >>> data = keras_nfnets.data.digits(size=32)
    >>> images = keras_nfnets.data.normalize(
    ...     data.test_images, data.mean, data.std
    ... )
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple
    mean: tuple
    std: tuple


class Batches(keras.utils.PyDataset):
    """Shuffled whole batches, whose order follows from seed and epoch alone.

    A run that is taken up again at epoch n therefore sees what it would have
    seen. What does not fill a batch is left out of that epoch.

    Args:
        images: Array `(count, ...)`.
        targets: Array `(count, ...)`.
        batch_size: Integer, images per batch.
        seed: Integer. Defaults to `0`.

    Raises:
        ValueError: If `batch_size` is not between 1 and the number of images.

    Example:

    >>> batches = keras_nfnets.data.Batches(images, targets, batch_size=64)
    >>> model.fit(batches, epochs=15, shuffle=False)
    """

    def __init__(self, images, targets, batch_size, seed=0):
        super().__init__()
        if not 1 <= batch_size <= len(images):
            raise ValueError(
                "`batch_size` must be between 1 and the number of images, "
                f"{len(images)}. Received: batch_size={batch_size}"
            )
        self.images = images
        self.targets = targets
        self.batch_size = batch_size
        self.seed = seed
        self.begin(0)

    def __len__(self):
        return len(self.images) // self.batch_size

    def __getitem__(self, index):
        start = index * self.batch_size
        chosen = self.order[start : start + self.batch_size]
        return self.images[chosen], self.targets[chosen]

    def on_epoch_end(self):
        self.begin(self.epoch + 1)

    def begin(self, epoch):
        """Puts the images in the order of this epoch, counted from 0."""
        self.epoch = epoch
        random = np.random.default_rng((self.seed, epoch))
        self.order = random.permutation(len(self.images))


def digits(size=32, split_seed=0):
    """Loads the 1,797 handwritten digits that scikit-learn carries.

    White on black, one channel, enlarged from 8 pixels a side. A fifth of
    each class is held out as the test part.

    Args:
        size: Integer, side of the returned images in pixels. Defaults to
            `32`.
        split_seed: Integer, decides which images are held out. Defaults to
            `0`.

    Returns:
        A `Dataset` with 1,437 training and 360 test images.

    Raises:
        ValueError: If `size` is not positive.
        ImportError: If scikit-learn is not installed.

    Example:

    >>> keras_nfnets.data.digits(size=32).train_images.shape
    (1437, 32, 32, 1)
    """
    check_positive(size=size)
    source = require("sklearn.datasets").load_digits()
    images = (source.images * (255 / 16)).astype("float32")[..., None]
    images = ops.convert_to_numpy(ops.image.resize(images, (size, size)))
    split = require("sklearn.model_selection").train_test_split
    train_images, test_images, train_labels, test_labels = split(
        images,
        source.target,
        test_size=0.2,
        stratify=source.target,
        random_state=split_seed,
    )
    return Dataset(
        train_images,
        train_labels,
        test_images,
        test_labels,
        class_names=tuple(str(name) for name in source.target_names),
        mean=tuple(map(float, train_images.mean(axis=(0, 1, 2)))),
        std=tuple(map(float, train_images.std(axis=(0, 1, 2)))),
    )


# What `--data` of the command line can name.
DATASETS = {"digits": digits}


def load(name, size):
    """Loads a data set by its name in `DATASETS`.

    Args:
        name: String.
        size: Integer, side of the images in pixels.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: If `name` is unknown.

    Example:

    >>> data = keras_nfnets.data.load("digits", size=32)
    """
    if name not in DATASETS:
        raise ValueError(
            f"`data` must be one of {sorted(DATASETS)}. Received: data={name!r}"
        )
    return DATASETS[name](size=size)


def normalize(images, mean, std):
    """Takes the mean from images and divides by the standard deviation.

    Args:
        images: Array `(..., channels)` of values in [0, 255].
        mean: Sequence of floats, one per channel.
        std: Sequence of floats, one per channel.

    Returns:
        A float32 array of the same shape.

    Example:

    >>> images = keras_nfnets.data.normalize(images, data.mean, data.std)
    """
    mean, std = np.float32(mean), np.float32(std)
    return (np.asarray(images, "float32") - mean) / std


def one_hot(labels, classes):
    """Returns labels as rows of zeros with a one at the label's place.

    Args:
        labels: Array `(count,)` of integers.
        classes: Integer, number of classes.

    Returns:
        A float32 array `(count, classes)`.

    Raises:
        ValueError: If a label is not a whole number from 0 to `classes - 1`.
            `keras.ops.one_hot` would make a row of zeros of it.

    Example:

    >>> targets = keras_nfnets.data.one_hot(data.train_labels, 10)
    """
    labels = np.asarray(labels)
    whole = np.issubdtype(labels.dtype, np.integer)
    outside = labels[(labels < 0) | (labels >= classes)] if whole else labels
    if outside.size:
        raise ValueError(
            f"`labels` must be integers from 0 to {classes - 1}. "
            f"Received: {np.unique(outside)[:8].tolist()} among the labels"
        )
    return np.eye(classes, dtype="float32")[labels]


def read_image(path, size, channels):
    """Reads a PNG or JPEG file.

    Args:
        path: String or path of the file.
        size: Integer, side in pixels that the image is squashed to, or `None`
            to leave it as it is.
        channels: Integer, `1` for grey or `3` for red, green and blue.

    Returns:
        A float32 array `(height, width, channels)` of values in [0, 255].

    Raises:
        ValueError: If the file is not there, cannot be read, or is not a PNG
            or JPEG image, or `channels` is neither 1 nor 3.
        ImportError: If Pillow is not installed.

    Example:

    >>> image = keras_nfnets.data.read_image("seven.png", size=32, channels=1)
    """
    pillow = require("PIL.Image")
    if channels not in (1, 3):
        raise ValueError(
            f"`channels` must be 1 or 3. Received: channels={channels}"
        )
    try:
        with pillow.open(path, formats=("PNG", "JPEG")) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except pillow.UnidentifiedImageError:
        raise ValueError(f"{path}: not a PNG or JPEG image") from None
    # Pillow's decoders raise many kinds of errors for broken files.
    except Exception as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: cannot be read: {reason}") from None
    if size is not None:
        image = image.resize((size, size), pillow.Resampling.BILINEAR)
    return np.asarray(image, "float32").reshape(*image.size[::-1], channels)
