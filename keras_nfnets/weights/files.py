"""Weight files, ours and other people's, by what their names end in."""

import contextlib
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import safetensors.numpy

from keras_nfnets.annotations import FilePath
from keras_nfnets.files import check_is_file, replacing
from keras_nfnets.variants.complexity import complexity
from keras_nfnets.variants.table import VARIANTS
from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights import keras as keras_files
from keras_nfnets.weights.names import (
    Slot,
    assign,
    collect,
    haiku_slots,
    timm_slots,
)

# What a model may do without, by the papers' names and by timm's.
_CLASSIFIER = r"^[^/]+/~/linear::[wb]$|^head\.fc\."
_HEAD = rf"{_CLASSIFIER}|^[^/]+/~/final_conv::|^final_conv\."


def load(model: keras.Model, path: FilePath) -> None:
    """Reads a weight file of any known kind into a model.

    A model without its classifier, or of features, takes what it has. A
    classifier with another number of classes is left fresh, with a warning.

    Args:
        model: A model as `keras_nfnets.NFNet` returns it.
        path: String or path of a `.weights.h5`, `.keras`, `.npz` (the
            papers') or `.safetensors` (timm's) file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of no known kind, damaged, or not of this
            network; the message says of which it may be.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_f0")
    >>> keras_nfnets.weight_files.load(model, "F0_haiku.npz")
    """
    check_is_file(path, "weights")
    if str(path).endswith(keras_files.ENDINGS):
        _load_own(model, path)
    else:
        load_arrays(model, read(path))


def _load_own(model, path):
    ours = {v.path: tuple(v.shape) for v in model.weights}
    stored = keras_files.shapes(path)
    theirs = {
        name: shape
        for name, shape in stored.items()
        if not name.startswith(_parts_without(ours))
    }
    classes, bias = _classes(stored), ours.get("head/classifier/bias")
    fresh = None not in (classes, bias) and bias != (classes,)
    if Counter(_shapes(theirs, fresh)) != Counter(_shapes(ours, fresh)):
        raise ValueError(
            "`weights` must be of the same network: the arrays in "
            f"{str(path)!r} have other shapes.{_hint(stored)}"
        )
    classifier = model.get_layer("head").classifier if fresh else None
    with _left_alone(classifier):
        model.load_weights(path)
    if fresh:
        _warn_of_classes(classes)


def _parts_without(ours):
    """Returns the starts of the names of what a model does without."""
    parts = ("head/classifier/", "head/conv/")
    return tuple(p for p in parts if not any(n.startswith(p) for n in ours))


def _shapes(shapes, fresh):
    return (
        shape
        for name, shape in shapes.items()
        if not (fresh and name.startswith("head/classifier/"))
    )


@contextlib.contextmanager
def _left_alone(layer):
    """While open, Keras's loading leaves the layer's weights as they are."""
    if layer is None:
        yield
        return
    layer.load_own_variables = lambda store: None
    try:
        yield
    finally:
        del layer.load_own_variables


def load_arrays(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """As `load`, from a dictionary of the papers' or timm's arrays."""
    slots = slots_for(model, arrays)
    apart = [name for name in arrays if re.search(_HEAD, name)]
    fresh = [
        n for n in apart if n in slots and _has_other_classes(n, slots, arrays)
    ]
    for name in fresh:
        del slots[name]
    rest = {n: a for n, a in arrays.items() if n in slots or n not in apart}
    try:
        assign(slots, rest)
    except ValueError as error:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"{error}.{_hint(shapes)}") from None
    if fresh:
        _warn_of_classes(classes_of(arrays))


def _warn_of_classes(classes):
    warnings.warn(
        f"The classifier stays fresh: the file's has {classes} classes and "
        "the model's another number.",
        stacklevel=4,
    )


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
        ValueError: If the file is of another kind, or damaged.

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
    with path.open("rb"):
        pass  # safetensors does not say why it could not
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} is not a safetensors file: {error}"
        ) from None


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
        with replacing(path) as temporary:
            write_arrays(collect(timm_slots(model)), temporary)
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
    try:
        safetensors.numpy.save_file(arrays, path)
    except safetensors.SafetensorError as error:
        raise OSError(f"{str(path)!r} cannot be written: {error}") from None


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
        return _classes(keras_files.shapes(path))
    return classes_of(read(path))


def classes_of(arrays: Mapping[str, np.ndarray]) -> int | None:
    """As `classes_in`, from a dictionary of the papers' or timm's arrays."""
    return _classes({name: array.shape for name, array in arrays.items()})


def fitting_variants(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Returns the names of the variants with as many weights as these.

    Args:
        shapes: Dictionary from names, of any source, to tuples.

    Example:

    >>> keras_nfnets.weight_files.fitting_variants({"a": (71489284,)})
    ['nfnet_f0', 'dm_nfnet_f0']
    """
    total = sum(math.prod(shape) for shape in shapes.values())
    classes = _classes(shapes) or 1000
    return [
        name
        for name in VARIANTS
        if total == sum(p.parameters for p in complexity(name, 64, classes))
    ]


def _classes(shapes):
    for name, shape in shapes.items():
        own = name.startswith("head/classifier/")
        if (own or re.search(_CLASSIFIER, name)) and len(shape) == 1:
            return shape[0]
    return None


def _hint(shapes):
    names = fitting_variants(shapes)
    return f" The file may be of: {', '.join(names)}." if names else ""
