"""Weight files, ours and other people's, by what their names end in."""

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
from keras_nfnets.weights.identity import fitting_variants as fitting_variants
from keras_nfnets.weights.names import (
    Slot,
    assign,
    collect,
    haiku_slots,
    timm_slots,
)
from keras_nfnets.weights.own import warn_of_channels, warn_of_classes
from keras_nfnets.weights.values import checked


def load(model: keras.Model, path: FilePath) -> None:
    """Reads a weight file of any known kind into a model.

    A model without its classifier, or of features, takes what it has. A
    classifier with another number of classes is left fresh, with a warning. A
    first kernel for RGB is fitted to images of other channels, with a
    warning, see `fit_channels`. A file that is refused changes nothing.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path of a `.weights.h5`, `.keras`, `.npz` (the
            papers') or `.safetensors` (timm's) file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind, damaged, or not of this
            network, for which the message says of which it may be; or if a
            value is not a finite number of the weight's type.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_f0")
    >>> keras_nfnets.weight_files.load(model, "F0_haiku.npz")
    """
    check_is_file(path, "weights")
    if str(path).endswith(keras_files.ENDINGS):
        own.load(model, path)
    else:
        load_arrays(model, read(path))


def load_arrays(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """As `load`, from a dictionary of the papers' or timm's arrays."""
    slots = slots_for(model, arrays)
    apart = [name for name in arrays if re.search(HEAD, name)]
    fresh = [
        n for n in apart if n in slots and _has_other_classes(n, slots, arrays)
    ]
    for name in fresh:
        del slots[name]
    rest = {n: a for n, a in arrays.items() if n in slots or n not in apart}
    fitted = _first_kernel_fitted(slots, rest)
    try:
        assign(slots, rest | fitted)
    except ValueError as error:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"{error}.{hint(shapes)}") from None
    if fresh:
        warn_of_classes(classes_of(arrays))
    if fitted:
        warn_of_channels(model)


def _first_kernel_fitted(slots, arrays):
    """Returns the first kernel by its name, if the model's has other channels.

    One that does not fit at all is left to `assign`, which says so.
    """
    for name, slot in slots.items():
        if slot.variable.path == FIRST_KERNEL and name in arrays:
            shape = tuple(slot.variable.shape)
            if arrays[name].ndim == len(shape):
                kernel = slot.to_ours(arrays[name])
                if fits(kernel.shape, shape):
                    kernel = checked(name, kernel)
                    fitted = fit_channels(kernel, shape[2])
                    return {name: slot.to_theirs(fitted)}
    return {}


def _has_other_classes(name, slots, arrays):
    """Whether an array of the classifier differs in its classes alone."""
    ours, theirs = slots[name].variable.shape, arrays[name]
    if slots[name].shape == theirs.shape:
        return False
    return theirs.size * ours[-1] == math.prod(ours) * classes_of(arrays)


def slots_for(
    model: keras.Model, arrays: Mapping[str, np.ndarray]
) -> dict[str, Slot]:
    """Returns where the arrays of a source belong, by how they are named."""
    first = next(iter(arrays), "")
    if "/~/" in first:
        return haiku_slots(model, root=first.split("/")[0])
    return timm_slots(model)


def read(path: FilePath) -> dict[str, np.ndarray]:
    """Reads the arrays of a file of the papers (`.npz`) or of timm.

    Args:
        path: String or path of a `.npz` or `.safetensors` file.

    Returns:
        A dictionary from the source's names to NumPy arrays.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of another kind, damaged, or has values
            that are not finite numbers of float32.

    Example:

    >>> arrays = read("F0_haiku.npz")
    """
    path = Path(path)
    check_is_file(path, "path")
    if path.suffix == ".npz":
        return haiku_files.read(path)
    if path.suffix != ".safetensors":
        raise ValueError(
            "`path` must end in .weights.h5, .keras, .npz or .safetensors; "
            "tools/convert_weights.py reads .pth too. "
            f"Received: {str(path)!r}"
        )
    return safetensors.read(path)


def write(model: keras.Model, path: FilePath, root: str = "NFNet") -> None:
    """Writes a model's weights under another source's names.

    What is at the path is replaced once the new file is complete.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path that ends in `.npz` (the papers' format) or
            `.safetensors` (timm's).
        root: String, the network's name in a file of the papers, see
            `haiku_slots`. Defaults to `"NFNet"`.

    Raises:
        ValueError: If the path ends in anything else.

    Example:

    >>> keras_nfnets.weight_files.write(model, "f0.safetensors")
    """
    path = Path(path)
    if path.suffix == ".npz":
        haiku_files.write(path, collect(haiku_slots(model, root)))
    elif path.suffix == ".safetensors":
        write_arrays(collect(timm_slots(model)), path)
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
        OSError: If it cannot be written, as on a full disk.

    Example:

    >>> keras_nfnets.weight_files.write_arrays(arrays, "f0.safetensors")
    """
    safetensors.write(path, arrays)


def classes_in(path: FilePath) -> int | None:
    """Returns how many classes a file's classifier has, or `None`.

    Args:
        path: String or path, as for `load`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind, or damaged.

    Example:

    >>> keras_nfnets.weight_files.classes_in("F0_haiku.npz")
    1000
    """
    check_is_file(path, "weights")
    if str(path).endswith(keras_files.ENDINGS):
        return classes_among(keras_files.shapes(path))
    return classes_of(read(path))


def classes_of(arrays: Mapping[str, np.ndarray]) -> int | None:
    """As `classes_in`, from a dictionary of the papers' or timm's arrays."""
    return classes_among({name: array.shape for name, array in arrays.items()})
