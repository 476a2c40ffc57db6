"""Lists the arrays of an HDF5 file and refuses anything but plain arrays."""

import math

import h5py
import numpy as np

from keras_nfnets.weights.values import check_kind

# HDF5 lets a group contain itself. The papers' largest network has 9 levels and
# some 15,000 objects, with the optimizer and the averages.
MAX_LEVELS = 64
MAX_OBJECTS = 200_000


def datasets(group):
    """Returns all arrays under a group without reading them.

    Args:
        group: `h5py.Group`.

    Returns:
        A dictionary from names like `layers/head/vars/0` to `h5py.Dataset`.

    Raises:
        ValueError: If the group holds anything but groups and arrays of real
            numbers in the file itself, or if it holds too many of them.

    Example:

    >>> datasets(h5py.File("f0.weights.h5"))["layers/head/conv/vars/0"].shape
    (1, 1, 1536, 3072)
    """
    found, seen, pending = {}, 0, [("", group)]
    while pending:
        start, group = pending.pop()
        for key in group:
            name = f"{start}{key}"
            item = _member(group, key, name)
            if isinstance(item, h5py.Dataset):
                _check_array(name, item)
                found[name] = item
            else:
                pending.append((f"{name}/", item))
            seen += 1
            if seen > MAX_OBJECTS or name.count("/") > MAX_LEVELS:
                raise ValueError(
                    f"it has more than {MAX_OBJECTS} objects, or more than "
                    f"{MAX_LEVELS} levels of groups"
                )
    return found


def size_of(arrays):
    """Returns the number of bytes that arrays take in memory.

    Args:
        arrays: Dictionary from names to `h5py.Dataset`.
    """
    return sum(
        math.prod(item.shape) * item.dtype.itemsize for item in arrays.values()
    )


def values_of(item):
    """Returns the values of an array in the type that was saved.

    Args:
        item: `h5py.Dataset`.
    """
    return item[()].view(_type_of(item))


def _member(group, key, name):
    """Returns a group or array in the file itself, or raises."""
    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{_short(name)} is a link elsewhere")
    item = group[key]
    if not isinstance(item, h5py.Group | h5py.Dataset):
        raise ValueError(f"{_short(name)} is neither a group nor an array")
    return item


def _check_array(name, item):
    """Raises a ValueError unless an array holds real numbers, in this file."""
    if item.shape is None:
        raise ValueError(f"{_short(name)} is an array without a shape")
    if item.external or item.is_virtual:
        raise ValueError(f"{_short(name)} has its values in another file")
    check_kind(_short(name), _type_of(item))


def _type_of(item):
    """Returns the type that was saved, also where HDF5 does not have it."""
    # HDF5 has no bfloat16. Keras stores bytes and the name of the type.
    if item.dtype == "V2" and item.attrs.get("dtype") == "bfloat16":
        return np.dtype("bfloat16")
    return item.dtype


def _short(name):
    return name[:80]
