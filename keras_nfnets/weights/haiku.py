"""Reads and writes weight files in the format of the papers.

`F0_haiku.npz` and the other published files are pickles of Haiku's parameters,
in spite of their suffix. Unpickling would run any function that a file names,
so `read` does not unpickle. `pickle_machine` interprets the opcodes, and the
functions here check the arrays that it finds.
"""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.files import replacing
from keras_nfnets.weights.haiku_arrays import DTYPES, Array, native_order, show
from keras_nfnets.weights.pickle_machine import Machine

# Bytes that the arrays of any file may take, however small the file is.
SMALL = 2**24


def read(path: FilePath) -> dict[str, np.ndarray]:
    """Reads a weight file of the papers without running what it names.

    Args:
        path: String or path of a file such as `F0_haiku.npz`.

    Returns:
        Dictionary from `"module::name"` to NumPy array. The arrays are
        contiguous, of native byte order and finite, and share no memory.
        bfloat16 becomes float32.

    Raises:
        ValueError: If the file is not a dictionary of dictionaries of arrays,
            or if it holds anything else.
        FileNotFoundError: If there is no such file.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_pico")
    >>> keras_nfnets.weight_files.write(model, "pico_haiku.npz")
    >>> arrays = keras_nfnets.haiku_files.read("pico_haiku.npz")
    >>> arrays["NFNet/~/stem_conv0::w"].shape
    (3, 3, 3, 16)
    """
    path = Path(path)
    # Opening a pipe would wait for its writer.
    if path.exists() and not path.is_file():
        raise ValueError(f"`path` must be a file. Received: path={str(path)!r}")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            return _flatten(Machine(file, size).run(), size)
        except (ValueError, MemoryError) as error:
            problem = str(error) or "it does not fit into memory"
    raise ValueError(
        f"{str(path)!r} is not a weight file of the papers: {problem}"
    )


def write(path: FilePath, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes weights as a pickle of plain dictionaries of NumPy arrays.

    Args:
        path: String or path of the file.
        arrays: Dictionary from `"module::name"` to array of finite floats or
            integers.

    Raises:
        ValueError: If `read` could not read the file back.

    Example:

    >>> keras_nfnets.haiku_files.write(
    ...     "small.npz", {"NFNet/~/nf_block::skip_gain": np.float32(0.5)}
    ... )
    """
    modules: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        module, separator, name = key.partition("::")
        if not separator:
            raise ValueError(
                "The keys of `arrays` must be like 'module::name'. "
                f"Received: key={key!r}"
            )
        modules.setdefault(module, {})[name] = _writable(key, array)
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(modules, file, protocol=4)


def _flatten(content, size):
    """Returns the arrays of a file's value by `"module::name"`."""
    arrays, seen = {}, set()
    # A well-formed file may hold an array under two names.
    room = max(2 * size, SMALL)
    for module, values in _items("it", content):
        # A shared dictionary could yield more arrays than the file has steps.
        if id(values) in seen:
            raise ValueError(f"{show(module)} is the same as another module")
        seen.add(id(values))
        for name, array in _items(show(module), values):
            key = f"{module}::{name}"
            if key in arrays:
                raise ValueError(f"{show(key)} is there twice")
            if not isinstance(array, Array) or array.data is None:
                raise ValueError(f"{show(key)} is {show(array)}, no array")
            room -= len(key) + len(array.data) * (1 + array.bfloat16)
            if room < 0:
                raise ValueError(
                    "it names its arrays so often that they outgrow the file"
                )
            numbers = array.native()
            if not np.isfinite(numbers).all():
                raise ValueError(f"{show(key)} has values that are not finite")
            # Arrays must not share memory: a caller may change one in place.
            repeated = id(array.data) in seen
            arrays[key] = numbers.copy() if repeated else numbers
            seen.add(id(array.data))
    return arrays


def _items(name, value):
    """Returns the items of a dictionary, or raises for anything else."""
    if type(value) is not dict:
        raise ValueError(f"{name} is {show(value)}, no dictionary")
    return value.items()


def _writable(key, array):
    """Returns the array to pickle, or raises if `read` would refuse it."""
    array = np.asarray(array)
    code = f"{array.dtype.kind}{array.dtype.itemsize}"
    if code not in DTYPES or not array.size or not np.isfinite(array).all():
        raise ValueError(
            "`arrays` must hold finite floats or integers of 64 bits at most. "
            f"Received: {key!r} of shape {array.shape} and dtype {array.dtype}"
        )
    # Pickle writes an object only once, and each view is an object.
    return native_order(array).view()
