"""Reads and writes weight files of every known kind, by their suffixes.

`load` puts a file into a model, and `read` returns the arrays of the papers'
and timm's files. `write` and `write_arrays` write such files, and `classes_in`
tells the size of a file's classifier.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.files import check_is_file
from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights import keras as keras_files
from keras_nfnets.weights import own, safetensors
from keras_nfnets.weights.channels import FIRST_KERNEL, fit_channels, fits
from keras_nfnets.weights.identity import HEAD, classes_among, hint
from keras_nfnets.weights.identity import classes_of as classes_of
from keras_nfnets.weights.identity import fitting_variants as fitting_variants
from keras_nfnets.weights.names import (
    assign,
    collect,
    haiku_targets,
    timm_targets,
)
from keras_nfnets.weights.target import Target
from keras_nfnets.weights.values import checked


def load(model: keras.Model, path: FilePath) -> None:
    """Loads a weight file of any known kind into a model.

    A model without a classifier or without a head skips these parts of the
    file. A classifier with another number of classes keeps its fresh weights,
    with a warning. A first kernel for RGB is fitted to images of other
    channels, with a warning, see `fit_channels`. A file that is refused changes
    nothing.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path of a `.weights.h5`, `.keras`, `.npz` (the
            papers') or `.safetensors` (timm's) file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind, is damaged, or belongs to
            another network (the message names the variants that fit), or if
            a value is not a finite number of the weight's type.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico")
    >>> keras_nfnets.weight_files.write(model, "pico_haiku.npz")
    >>> keras_nfnets.weight_files.load(model, "pico_haiku.npz")
    """
    check_is_file(path, "weights")
    if str(path).endswith(keras_files.ENDINGS):
        own.load(model, path)
    else:
        load_arrays(model, read(path))


def load_arrays(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Assigns the papers' or timm's arrays to a model, as `load` does.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        arrays: Dictionary from the source's names to arrays in its axes.

    Raises:
        ValueError: As `load` does.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico")
    >>> arrays = keras_nfnets.weights.collect(
    ...     keras_nfnets.weights.haiku_targets(model)
    ... )
    >>> keras_nfnets.weight_files.load_arrays(model, arrays)
    """
    targets = targets_for(model, arrays)
    head = {name for name in arrays if re.search(HEAD, name)}
    fresh = {
        name
        for name in head & targets.keys()
        if _has_other_classes(targets[name], arrays[name], classes_of(arrays))
    }
    targets = {n: t for n, t in targets.items() if n not in fresh}
    # A model may lack the head that its file has.
    needed = {n: a for n, a in arrays.items() if n in targets or n not in head}
    fitted = _fit_first_kernel(targets, needed)
    try:
        assign(targets, needed | fitted)
    except ValueError as error:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"{error}.{hint(shapes)}") from None
    classes = classes_of(arrays) if fresh else None
    own.warn(model, own.Difference(classes, fitted=bool(fitted)))


def _fit_first_kernel(targets, arrays):
    """Returns the first kernel under its name, if it has to be fitted.

    A kernel that cannot be fitted is left to `assign`, which reports it.
    """
    for name, target in targets.items():
        if target.variable.path != FIRST_KERNEL or name not in arrays:
            continue
        shape = tuple(target.variable.shape)
        if arrays[name].ndim != len(shape):
            continue
        kernel = target.to_ours(arrays[name])
        if fits(kernel.shape, shape):
            kernel = fit_channels(checked(name, kernel), shape[2])
            return {name: target.to_theirs(kernel)}
    return {}


def _has_other_classes(target, array, classes):
    """Tells whether an array of a classifier differs in its classes alone."""
    if target.shape == array.shape or classes is None:
        return False
    shape = target.variable.shape
    return array.size * shape[-1] == math.prod(shape) * classes


def targets_for(
    model: keras.Model, arrays: Mapping[str, np.ndarray]
) -> dict[str, Target]:
    """Returns the targets of a source's arrays, told by the form of its names.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        arrays: Dictionary from the source's names to arrays.

    Returns: A dictionary from names to `Target`: that of `haiku_targets` if the
    first name is one of Haiku's, else that of `timm_targets`.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico")
    >>> names = keras_nfnets.weights.haiku_targets(model)
    >>> targets = keras_nfnets.weight_files.targets_for(model, names)
    """
    first = next(iter(arrays), "")
    if "/~/" in first:
        return haiku_targets(model, root=first.split("/")[0])
    return timm_targets(model)


def read(path: FilePath) -> dict[str, np.ndarray]:
    """Reads the arrays of a weight file of the papers or of timm.

    Args:
        path: String or path of a `.npz` or `.safetensors` file.

    Returns:
        A dictionary from the source's names to NumPy arrays.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind or is damaged, or if a
            value is not a finite number of float32.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico")
    >>> keras_nfnets.weight_files.write(model, "pico_haiku.npz")
    >>> arrays = keras_nfnets.weight_files.read("pico_haiku.npz")
    """
    path = Path(path)
    check_is_file(path, "path")
    if path.suffix == ".npz":
        return haiku_files.read(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            "`path` must end in .weights.h5, .keras, .npz or .safetensors; "
            "`keras-nfnets convert` reads .pth too. "
            f"Received: {str(path)!r}"
        )
    return safetensors.read(path)


def write(model: keras.Model, path: FilePath, root: str = "NFNet") -> None:
    """Writes a model's weights under another source's names.

    A complete new file replaces the old one at the path.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path that ends in `.npz` (the papers' format) or
            `.safetensors` (timm's).
        root: String, the network's name in a file of the papers, see
            `haiku_targets`. Defaults to `"NFNet"`.

    Raises:
        ValueError: If the path ends in anything else.

    Example:

    >>> model = keras_nfnets.NFNet("test_nfnet")
    >>> keras_nfnets.weight_files.write(model, "test_nfnet.safetensors")
    """
    path = Path(path)
    if path.suffix == ".npz":
        haiku_files.write(path, collect(haiku_targets(model, root)))
    elif path.suffix == ".safetensors":
        write_arrays(collect(timm_targets(model)), path)
    else:
        raise ValueError(
            f"`path` must end in .npz or .safetensors. Received: {str(path)!r}"
        )


def write_arrays(arrays: Mapping[str, np.ndarray], path: FilePath) -> None:
    """Writes arrays as safetensors.

    Args:
        arrays: Dictionary from names to NumPy arrays.
        path: String or path of the file.

    Raises:
        OSError: If the file cannot be written, as on a full disk.

    Example:

    >>> arrays = {"head.fc.bias": np.zeros(10, "float32")}
    >>> keras_nfnets.weight_files.write_arrays(arrays, "bias.safetensors")
    """
    safetensors.write(path, arrays)


def classes_in(path: FilePath) -> int | None:
    """Returns the number of classes of a file's classifier.

    Args:
        path: String or path of a file that `load` takes.

    Returns:
        An integer, or `None` if the file has no classifier.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind or is damaged.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico", classes=10)
    >>> keras_nfnets.weight_files.write(model, "pico_haiku.npz")
    >>> keras_nfnets.weight_files.classes_in("pico_haiku.npz")
    10
    """
    return classes_among(_shapes(path))


def variants_in(path: FilePath) -> list[str]:
    """Returns the names of the variants that a file may belong to.

    Args:
        path: String or path of a file that `load` takes.

    Returns:
        A list of keys of `VARIANTS` with the file's number of weights, for
        images of three channels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind or is damaged.

    Example:

    >>> model = keras_nfnets.NFNet("test_nfnet")
    >>> keras_nfnets.weight_files.write(model, "test_nfnet.safetensors")
    >>> keras_nfnets.weight_files.variants_in("test_nfnet.safetensors")
    ['test_nfnet']
    """
    return fitting_variants(_shapes(path))


def _shapes(path):
    """Returns the shapes of a file's arrays, by their names."""
    check_is_file(path, "weights")
    if str(path).endswith(keras_files.ENDINGS):
        return keras_files.shapes(path)
    return {name: array.shape for name, array in read(path).items()}
