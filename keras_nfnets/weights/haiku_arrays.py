"""Represents the contents of the papers' weight files by inert objects.

The files are pickles of dictionaries of arrays. They name functions of NumPy,
Haiku, dill and JAX that would rebuild the arrays. Such a name becomes a
`Symbol` here, and `call` builds an `Array` from a symbol and its arguments,
without running the function.
"""

import enum
import math

import numpy as np

DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


class Symbol(enum.Enum):
    """Names a function or class that a file may name.

    Its value lists the modules that have the function, in all versions of the
    software. A symbol can only be compared; it gives no access to the function.
    """

    MAPPING = (
        "haiku._src.data_structures FlatMapping",
        "haiku._src.data_structures frozendict",
        "collections OrderedDict",
    )
    NDARRAY = ("numpy ndarray",)
    DTYPE = ("numpy dtype",)
    BFLOAT16 = ("ml_dtypes bfloat16",)
    RECONSTRUCT = (
        "numpy.core.multiarray _reconstruct",
        "numpy._core.multiarray _reconstruct",
    )
    SCALAR = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
    FROM_BUFFER = (
        "numpy.core.numeric _frombuffer",
        "numpy._core.numeric _frombuffer",
    )
    CREATE_ARRAY = ("dill._dill _create_array",)
    JAX_ARRAY = ("jax._src.array _reconstruct_array",)
    ENCODE = ("_codecs encode",)
    IMPORT_MODULE = ("dill._dill _import_module",)
    GET_ATTRIBUTE = ("dill._dill _get_attr",)
    # A file reaches this module through `IMPORT_MODULE` only.
    UMATH = ()


GLOBALS = {place: symbol for symbol in Symbol for place in symbol.value}


class Dtype:
    """Represents a dtype by a code such as `"f4"`.

    Args:
        code: String of `DTYPES`, or `Symbol.BFLOAT16`.

    Raises:
        ValueError: If the dtype is not one of real numbers.
    """

    def __init__(self, code):
        if code not in DTYPES and code is not Symbol.BFLOAT16:
            raise ValueError(f"dtype {show(code)} is not allowed")
        self.bfloat16 = code is Symbol.BFLOAT16
        self.code = "u2" if self.bfloat16 else code
        self.order = None

    def build(self, state):
        """Sets the byte order from the state of a pickled dtype.

        Args:
            state: Tuple, as NumPy pickles it.

        Raises:
            ValueError: If the state is any other, or the second one.
        """
        sizes = (2, 2, 64) if self.bfloat16 else (-1, -1, 0)
        orders = ("|",) if self.code in ("i1", "u1") else ("<", ">")
        match state:
            case (3, str() as order, None, None, None, *rest):
                known = order in orders and tuple(rest) == sizes
                if known and self.order is None:
                    self.order = order
                    return
        raise ValueError("a dtype's state is not a number's, or not its first")


class Array:
    """Represents an array, which is empty until `build` fills it."""

    def __init__(self):
        self.data = None

    def build(self, state):
        """Sets shape and bytes from the state of a pickled array.

        Args:
            state: Tuple of a version, the shape, a `Dtype`, whether the order
                is Fortran's, and the bytes.

        Returns:
            This array.

        Raises:
            ValueError: If the state is any other, or does not fit its own
                shape.
        """
        match state:
            case (1, tuple(), Dtype(), bool(), bytearray()):
                _, shape, dtype, fortran, data = state
            case _:
                raise ValueError("an array's state is not that of numbers")
        if self.data is not None:
            raise ValueError("an array is filled twice")
        if dtype.order is None:
            raise ValueError("a dtype has no byte order yet")
        if len(shape) > 32 or any(type(n) is not int or n < 1 for n in shape):
            raise ValueError("a shape is not of at most 32 positive integers")
        numbers = np.dtype(dtype.order + dtype.code)
        needed = math.prod(shape) * numbers.itemsize
        if needed != len(data):
            raise ValueError(
                f"an array of shape {shape} and dtype {numbers} has "
                f"{len(data)} bytes instead of {needed}"
            )
        self.data = data
        self.bfloat16 = dtype.bfloat16
        self.view = np.frombuffer(data, numbers)
        self.view = self.view.reshape(shape, order="F" if fortran else "C")
        return self

    def native(self):
        """Returns the numbers as a NumPy array in the machine's byte order.

        bfloat16 becomes float32, of which it is the upper half.
        """
        if self.bfloat16:
            return native_order((self.view.astype("u4") << 16).view("f4"))
        return native_order(self.view)


def symbol_of(module, name):
    """Returns the `Symbol` of a global that a file names.

    Args:
        module: String, such as `"numpy"`.
        name: String, such as `"ndarray"`.

    Raises:
        ValueError: If it is in no list of `Symbol`.
    """
    if type(module) is not str or type(name) is not str:
        raise ValueError("a global's name is not of strings")
    if f"{module} {name}" not in GLOBALS:
        raise ValueError(f"global {show(f'{module}.{name}')} is not allowed")
    return GLOBALS[f"{module} {name}"]


def call(function, arguments):
    """Returns the value that the named function would have built.

    Args:
        function: `Symbol`.
        arguments: Tuple of values.

    Raises:
        ValueError: If the files do not need this call.
    """
    match function, arguments:
        case Symbol.MAPPING, ():
            return {}
        case Symbol.MAPPING, (dict() as content,):
            return content
        case Symbol.DTYPE, (str() | Symbol.BFLOAT16 as code, 0, 1):
            return Dtype(code)
        case Symbol.RECONSTRUCT, (Symbol.NDARRAY, (0,), bytearray()):
            return Array()
        case Symbol.CREATE_ARRAY, (Symbol.RECONSTRUCT, new, state, None):
            return call(Symbol.RECONSTRUCT, new).build(state)
        case Symbol.JAX_ARRAY, (Symbol.RECONSTRUCT, new, state, dict()):
            return call(Symbol.RECONSTRUCT, new).build(state)
        case Symbol.FROM_BUFFER, (data, dtype, shape, "C" | "F" as order):
            state = (1, shape, dtype, order == "F", data)
            return Array().build(state)
        case Symbol.SCALAR, (dtype, data):
            return Array().build((1, (), dtype, False, data))
        # The published files use dill's import for nothing else.
        case Symbol.IMPORT_MODULE, (
            "numpy.core._multiarray_umath" | "numpy._core._multiarray_umath",
        ):
            return Symbol.UMATH
        case Symbol.GET_ATTRIBUTE, (Symbol.UMATH, "_reconstruct"):
            return Symbol.RECONSTRUCT
    raise ValueError(f"a call of {show(function)} is not allowed")


def native_order(array):
    """Returns a contiguous array in the machine's byte order."""
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def show(value):
    """Describes a value in an error, briefly whatever its size."""
    if type(value) is str:
        return repr(value[:80])
    if isinstance(value, Symbol):
        return value.name
    return f"a value of type {type(value).__name__.strip('_').lower()}"
