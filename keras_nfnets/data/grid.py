"""Draws the images that a network will see, with their labels."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_nfnets.annotations import FilePath, Tensor
from keras_nfnets.checks import check_positive_integer, printable
from keras_nfnets.data.arrays import Dataset
from keras_nfnets.data.sources import Source
from keras_nfnets.extras import require
from keras_nfnets.files import replacing


def draw_grid(
    batches: Iterable[tuple[Tensor, ...]],
    source: Source | Dataset,
    path: FilePath,
    rows: int = 4,
    columns: int = 8,
) -> None:
    """Draws the first images of a dataset, as they were before normalization.

    The title of an image names its class. A mixed image has several classes,
    with their fractions.

    Args:
        batches: Iterable of tuples `(images, soft_labels)`, as `train_batches`
            returns, or `(images, soft_labels, weights)`, as `test_batches`
            returns. Images are normalized, `(count, height, width, channels)`
            with 1 or 3 channels, soft labels `(count, classes)`, weights
            `(count,)`. Images of weight 0 are left out.
        source: Object with `class_names`, `mean` and `std`, such as what
            `open_source` returns.
        path: String or path of the picture, a PNG or another format that
            matplotlib writes.
        rows: Integer, rows of images. Defaults to `4`.
        columns: Integer, columns of images. Defaults to `8`.

    Raises:
        ValueError: If `rows` or `columns` is not a positive integer, matplotlib
            does not write such a file, or there is no image.
        FileNotFoundError: If the folder of `path` does not exist.
        ImportError: If matplotlib is not installed.

    Example:

    >>> batches = keras_nfnets.data.train_batches(source, recipe)
    >>> keras_nfnets.data.draw_grid(batches, source, "seen.png")
    """
    check_positive_integer(rows=rows, columns=columns)
    figure = require("matplotlib.figure").Figure(
        figsize=(1.6 * columns, 1.9 * rows), layout="constrained"
    )
    formats = figure.canvas.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in formats:
        raise ValueError(
            f"`path` must end in one of {sorted(formats)}. "
            f"Received: path={str(path)!r}"
        )
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(
            "`path` must be in a folder that is there. "
            f"Received: path={str(path)!r}"
        )
    found = _first(batches, rows * columns)
    if not found:
        raise ValueError("`batches` must hold an image. Received: none")
    # All panels are made, so that images keep their size in an unfilled grid.
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, (image, soft_labels) in zip(grid, found, strict=False):
        pixels = image * np.float32(source.std) + np.float32(source.mean)
        pixels = np.clip(np.rint(pixels), 0, 255).astype("uint8")
        if pixels.shape[-1] == 1:
            pixels = pixels.repeat(3, axis=-1)
        axes.imshow(pixels)
        label = printable(_label(soft_labels, source.class_names))
        axes.set_title(textwrap.fill(label, 24), fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _first(batches, count):
    """Returns the first images and soft labels, without padding images."""
    found = []
    for images, soft_labels, *weights in batches:
        images = np.asarray(images, "float32")
        real = np.asarray(weights[0]) != 0 if weights else slice(None)
        found += zip(images[real], np.asarray(soft_labels)[real], strict=True)
        if len(found) >= count:
            break
    return found[:count]


def _label(soft_labels, class_names):
    """Returns "cat" or, of a mixed image, "cat 0.7, dog 0.3"."""
    order = np.argsort(-soft_labels, kind="stable")
    shown = [i for i in order if soft_labels[i] >= 0.005] or order[:1]
    if len(shown) == 1:
        return class_names[shown[0]]
    return ", ".join(
        f"{class_names[i]} {round(float(soft_labels[i]), 2):g}" for i in shown
    )
