"""Reading and writing arrays as safetensors."""

import stat
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from keras_nfnets.files import replacing
from keras_nfnets.weights.values import checked

# Those of safetensors' types that NumPy has, but for Booleans and complex.
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
        A dictionary from names to NumPy arrays of real, finite numbers.
        bfloat16 becomes float32.

    Raises:
        ValueError: If the file is another, damaged, or holds other values.

    Example:

    >>> read("nfnet_l0.safetensors")["stem.conv1.weight"].shape
    (16, 3, 3, 3)
    """
    with Path(path).open("rb"):
        pass  # safetensors does not say why it could not
    try:
        with safetensors.safe_open(path, framework="np") as file:
            return {name: _array(file, name) for name in file.keys()}
    except (safetensors.SafetensorError, ValueError, OverflowError) as error:
        problem = error
    raise ValueError(f"{str(path)!r} is not a safetensors file: {problem}")


def _array(file, name):
    kind = file.get_slice(name).get_dtype()
    if kind not in TYPES:
        raise ValueError(
            f"{name!r} must be of one of the types {sorted(TYPES)}. "
            f"Received: {kind}"
        )
    array = file.get_tensor(name)
    # The type is the file's; what it is assigned to has a word in it later.
    checked(name, array, "float32")
    return array.astype("float32") if kind == "BF16" else array


def write(path, arrays):
    """Writes arrays as safetensors.

    Args:
        path: String or path of the file.
        arrays: Dictionary from names to NumPy arrays.

    Raises:
        OSError: If it cannot be written, as on a full disk.

    Example:

    >>> write("f0.safetensors", {"stem.conv1.gain": np.ones(16)})
    """
    # It writes the memory of an array as it lies there.
    arrays = {n: np.asarray(a, order="C") for n, a in arrays.items()}
    with replacing(path) as temporary:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        try:
            safetensors.numpy.save_file(arrays, temporary)
        except safetensors.SafetensorError as error:
            raise OSError(f"{str(path)!r} cannot be written: {error}") from None
        # It writes files that none but their owner can read.
        temporary.chmod(mode)
