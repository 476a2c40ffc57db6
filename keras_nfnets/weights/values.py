"""Checks the values of arrays that become weights: their type and range."""

import numpy as np


def checked(name, array, dtype="float32"):
    """Returns an array in the type of a weight, or raises if it does not fit.

    Args:
        name: String, the array's name in an error.
        array: NumPy array.
        dtype: String, the weight's type. Defaults to `"float32"`.

    Returns:
        A NumPy array of the type `dtype`.

    Raises:
        ValueError: If the array does not hold real numbers, or if one of
            them is not finite or is outside the range of `dtype`.

    Example:

    >>> checked("stem/conv0/kernel", np.float64([0.5, 1e300]))
    Traceback (most recent call last):
    ValueError: 'stem/conv0/kernel' must have finite values of float32. ...
    """
    array = np.asarray(array)
    check_kind(name, array.dtype)
    # The check below reports an overflow, with the value.
    with np.errstate(all="ignore"):
        values = array.astype(dtype, copy=False)
    if np.dtype(dtype).kind in "iu":
        fit = values == array
    else:
        fit = np.isfinite(values)
    if not fit.all():
        first = array[~fit].flat[0]
        raise ValueError(
            f"{name!r} must have finite values of {dtype}. Received: {first} "
            f"and {np.count_nonzero(~fit) - 1} more of {array.size}"
        )
    return values


def check_kind(name, dtype):
    """Raises a ValueError unless a type holds real numbers.

    Args:
        name: String, the array's name in an error.
        dtype: NumPy dtype.
    """
    # NumPy's own types do not include bfloat16.
    if dtype.kind not in "fiu" and dtype.name != "bfloat16":
        raise ValueError(
            f"{name!r} must hold real numbers. Received: dtype={dtype}"
        )
