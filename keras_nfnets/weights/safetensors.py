"""Reads and writes safetensors files, as timm publishes them."""

import stat
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from keras_nfnets.files import replacing
from keras_nfnets.weights.values import checked

# The types of real numbers. The format has Booleans and complex numbers too.
TYPES = {
    *("F64", "F32", "F16", "BF16"),
    *("I64", "I32", "I16", "I8"),
    *("U64", "U32", "U16", "U8"),
}


def read(path):
    """Reads the arrays of a safetensors file.

    Args:
        path: String or path of a `.safetensors` file.

    Returns:
        A dictionary from names to NumPy arrays of finite real numbers.
        bfloat16 becomes float32.

    Raises:
        ValueError: If the file is of another kind or is damaged, or if a
            value is not a finite number of float32.

    Example:

    >>> read("nfnet_l0.safetensors")["stem.conv1.weight"].shape
    (16, 3, 3, 3)
    """
    with Path(path).open("rb"):
        pass  # Raises the system's error, which safetensors would hide.
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: _array(file, name) for name in file.keys()}
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        problem = error
    raise ValueError(f"{str(path)!r} is not a safetensors file: {problem}")


def _array(file, name):
    """Returns one array, or raises if it is not of finite real numbers."""
    kind = file.get_slice(name).get_dtype()
    if kind not in TYPES:
        raise ValueError(
            f"{name!r} must be of one of the types {sorted(TYPES)}. "
            f"Received: {kind}"
        )
    array = file.get_tensor(name)
    # `assign` checks the values again, in the type of their variable.
    checked(name, array, "float32")
    return array.astype("float32") if kind == "BF16" else array


def write(path, arrays):
    """Writes arrays as safetensors.

    Args:
        path: String or path of the file.
        arrays: Dictionary from names to NumPy arrays.

    Raises:
        OSError: If the file cannot be written, as on a full disk.

    Example:

    >>> write("f0.safetensors", {"stem.conv1.gain": np.ones(16)})
    """
    # safetensors writes the memory of an array and ignores its strides.
    arrays = {n: np.asarray(a, order="C") for n, a in arrays.items()}
    with replacing(path) as temporary:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        try:
            safetensors.numpy.save_file(arrays, temporary)
        except safetensors.SafetensorError as error:
            raise OSError(f"{str(path)!r} cannot be written: {error}") from None
        # safetensors lets only the owner read its files.
        temporary.chmod(mode)
