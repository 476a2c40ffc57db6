"""Reading and writing weights in the format of the papers' published files.

`F0_haiku.npz` and its like are pickles of Haiku's parameters. Unpickling runs
what a file says, so nothing here does: `read` follows the few opcodes that
such files need, on values that can do nothing, and refuses all else. No step
recurses, so nesting costs nothing, and none makes more bytes than the file
has, so a small file cannot ask for much.
"""

import enum
import math
import os
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.files import replacing

# An array takes about 25 steps, and the papers' largest network has 1,700.
MAX_STEPS = 1_000_000
# Up to this size, names and shared arrays may outgrow their file.
SMALL = 2**24

DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}

# What other files that carry the same name begin with.
FORMATS = {
    b"PK": "a zip archive, as true .npz and PyTorch files are",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "an .npy file",
    b"{": "a JSON file",
}


def read(path: FilePath) -> dict[str, np.ndarray]:
    """Reads a weight file of the papers, without trusting it.

    Args:
        path: String or path of a file such as `F0_haiku.npz`.

    Returns:
        Dictionary from `"module::name"` to NumPy array. The arrays are
        contiguous, of native byte order and finite, and share no memory.
        bfloat16 becomes float32.

    Raises:
        ValueError: If the file is not a dictionary of dictionaries of arrays,
            or holds anything that such a file has no need of.
        FileNotFoundError: If there is no such file.

    Example:

    >>> arrays = keras_nfnets.haiku_files.read("F0_haiku.npz")
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
            return _flatten(_Machine(file, size).run(), size)
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
        ValueError: If `read` would not give the same back.

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


class _Symbol(enum.Enum):
    """What a file may name, by the places where the files' software has it.

    A member is only ever compared: it cannot be called or looked into.
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
    # This one a file cannot name, only import.
    UMATH = ()


_MARK = object()
GLOBALS = {place: symbol for symbol in _Symbol for place in symbol.value}

CONSTANTS = {
    "MARK": _MARK,
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
# How many bytes the number after an opcode has.
INTEGERS = {"BININT1": 1, "BININT2": 2, "BININT": 4}
BYTES = {"SHORT_BINBYTES": 1, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
STRINGS = {"SHORT_BINUNICODE": 1, "BINUNICODE": 4, "BINUNICODE8": 8}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Dtype:
    """A dtype by its code; `build` gives it a byte order."""

    def __init__(self, code):
        if code not in DTYPES and code is not _Symbol.BFLOAT16:
            raise ValueError(f"dtype {_show(code)} is not allowed")
        self.bfloat16 = code is _Symbol.BFLOAT16
        self.code = "u2" if self.bfloat16 else code
        self.order = None

    def build(self, state):
        sizes = (2, 2, 64) if self.bfloat16 else (-1, -1, 0)
        orders = ("|",) if self.code in ("i1", "u1") else ("<", ">")
        match state:
            case (3, str() as order, None, None, None, *rest):
                known = order in orders and tuple(rest) == sizes
                if known and self.order is None:
                    self.order = order
                    return
        raise ValueError("a dtype's state is not a number's, or not its first")


class _Array:
    """An array that `build` fills."""

    def __init__(self):
        self.data = None

    def build(self, state):
        match state:
            case (1, tuple(), _Dtype(), bool(), bytearray()):
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
        if self.bfloat16:
            return _native((self.view.astype("u4") << 16).view("f4"))
        return _native(self.view)


class _Machine:
    """Follows a pickle's opcodes as far as weight files need them.

    Values are None, Booleans, integers, strings, bytes as `bytearray`, tuples,
    dictionaries, `_Symbol`, `_Dtype` and `_Array`.
    """

    def __init__(self, file, size):
        self.file = file
        self.size = size
        self.position = self.start = 0
        self.stack = []
        self.memo = {}
        self.encoded = 0

    def run(self):
        """Returns the one value that the file describes."""
        try:
            self.check_format()
            for _ in range(MAX_STEPS):
                self.start = self.position
                code = chr(self.take(1)[0])
                if code == ".":
                    return self.result()
                known = pickletools.code2op.get(code)
                self.step(known.name if known else repr(code))
            raise ValueError(f"it takes more than {MAX_STEPS} steps")
        except ValueError as error:
            raise ValueError(f"{error} (at byte {self.start})") from None

    def check_format(self):
        head = self.file.read(9)
        self.file.seek(0)
        if not head:
            raise ValueError("it is empty")
        for start, kind in FORMATS.items():
            if head.startswith(start):
                raise ValueError(f"it is {kind}")
        if head[0] != 0x80 or head[1:2] not in (b"\2", b"\3", b"\4", b"\5"):
            kind = ", but of safetensors" if head[8:] == b"{" else ""
            raise ValueError(f"it is not a pickle of protocol 2 to 5{kind}")

    def result(self):
        (value,) = self.pop(1)
        if self.stack:
            raise ValueError("values are left over at its end")
        if self.position != self.size:
            left = self.size - self.position
            raise ValueError(f"{left} bytes follow its end")
        return value

    def step(self, name):
        match name:
            case "PROTO" if self.start == 0:
                self.take(1)
            case "FRAME":
                self.check_left(self.number(8))
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.top()
            case "BINPUT" | "LONG_BINPUT":
                self.memo[self.index(name)] = self.top()
            case "REDUCE":
                function, arguments = self.pop(2)
                self.stack.append(self.call(function, arguments))
            case "BUILD":
                (state,) = self.pop(1)
                if not isinstance(self.top(), _Dtype | _Array):
                    raise ValueError(f"{_show(self.top())} is given a state")
                self.top().build(state)
            case "SETITEM":
                self.set_items(self.pop(2))
            case "SETITEMS":
                self.set_items(self.pop_to_mark())
            case _:
                self.stack.append(self.value(name))

    def value(self, name):
        """Returns what an opcode puts on the stack."""
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in INTEGERS:
            return self.number(INTEGERS[name], signed=name == "BININT")
        if name in BYTES:
            return self.take(self.number(BYTES[name]))
        if name in STRINGS:
            return self.take(self.number(STRINGS[name])).decode()
        if name in TUPLES:
            return tuple(self.pop(TUPLES[name]))
        match name:
            case "EMPTY_DICT":
                return {}
            case "TUPLE":
                return tuple(self.pop_to_mark())
            case "BINGET" | "LONG_BINGET":
                index = self.index(name)
                if index in self.memo:
                    return self.memo[index]
                raise ValueError(f"value {index} is used before it is there")
            case "GLOBAL":
                return _symbol(self.line(), self.line())
            case "STACK_GLOBAL":
                return _symbol(*self.pop(2))
        raise ValueError(f"opcode {name} is not allowed")

    def call(self, function, arguments):
        """Returns what the software of such files would have made."""
        match function, arguments:
            case _Symbol.MAPPING, ():
                return {}
            case _Symbol.MAPPING, (dict() as content,):
                return content
            case _Symbol.DTYPE, (str() | _Symbol.BFLOAT16 as code, 0, 1):
                return _Dtype(code)
            case _Symbol.RECONSTRUCT, (_Symbol.NDARRAY, (0,), bytearray()):
                return _Array()
            case _Symbol.CREATE_ARRAY, (_Symbol.RECONSTRUCT, new, state, None):
                return self.call(_Symbol.RECONSTRUCT, new).build(state)
            case _Symbol.JAX_ARRAY, (_Symbol.RECONSTRUCT, new, state, dict()):
                return self.call(_Symbol.RECONSTRUCT, new).build(state)
            case _Symbol.FROM_BUFFER, (data, dtype, shape, "C" | "F" as order):
                state = (1, shape, dtype, order == "F", data)
                return _Array().build(state)
            case _Symbol.SCALAR, (dtype, data):
                return _Array().build((1, (), dtype, False, data))
            case _Symbol.ENCODE, (str() as text, "latin1"):
                return self.encode(text)
            # Dill fetched nothing else so for the published files.
            case _Symbol.IMPORT_MODULE, (
                "numpy.core._multiarray_umath"
                | "numpy._core._multiarray_umath",
            ):
                return _Symbol.UMATH
            case _Symbol.GET_ATTRIBUTE, (_Symbol.UMATH, "_reconstruct"):
                return _Symbol.RECONSTRUCT
        raise ValueError(f"a call of {_show(function)} is not allowed")

    def encode(self, text):
        # One string may be encoded again and again.
        self.encoded += len(text)
        if self.encoded > self.size:
            raise ValueError("it encodes more bytes than it has")
        return bytearray(text.encode("latin1"))

    def set_items(self, items):
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            raise ValueError(f"{_show(target)} is given {len(items)} items")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise ValueError(f"a key is {_show(key)}")
            if key in target:
                raise ValueError(f"{_show(key)} is there twice")
            target[key] = value

    def top(self):
        (value,) = self.pop(1)
        self.stack.append(value)
        return value

    def pop(self, count):
        values = self.stack[-count:]
        if len(values) < count or any(v is _MARK for v in values):
            raise ValueError("a value is missing")
        del self.stack[-count:]
        return values

    def pop_to_mark(self):
        for index in reversed(range(len(self.stack))):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise ValueError("a mark is missing")

    def index(self, name):
        index = self.number(4 if name.startswith("LONG") else 1)
        if index >= MAX_STEPS:
            raise ValueError(f"value {index} is past the last one allowed")
        return index

    def number(self, count, signed=False):
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self):
        line = self.file.readline(100)
        self.position += len(line)
        if not line.endswith(b"\n"):
            raise ValueError("a global's name has no end")
        return line[:-1].decode()

    def take(self, count):
        self.check_left(count)
        data = bytearray(count)
        if self.file.readinto(data) != count:
            raise ValueError("it shrank while being read")
        self.position += count
        return data

    def check_left(self, count):
        left = self.size - self.position
        if count > left:
            raise ValueError(f"{left} bytes are left where {count} are needed")


def _symbol(module, name):
    if type(module) is not str or type(name) is not str:
        raise ValueError("a global's name is not of strings")
    if f"{module} {name}" not in GLOBALS:
        raise ValueError(f"global {_show(f'{module}.{name}')} is not allowed")
    return GLOBALS[f"{module} {name}"]


def _flatten(content, size):
    """Returns `"module::name"` to array from a file's value."""
    arrays, seen = {}, set()
    # An honest file may hold an array under two names.
    room = max(2 * size, SMALL)
    for module, values in _items("it", content):
        # Dictionaries in two places could make more arrays than steps.
        if id(values) in seen:
            raise ValueError(f"{_show(module)} is the same as another module")
        seen.add(id(values))
        for name, array in _items(_show(module), values):
            key = f"{module}::{name}"
            if key in arrays:
                raise ValueError(f"{_show(key)} is there twice")
            if not isinstance(array, _Array) or array.data is None:
                raise ValueError(f"{_show(key)} is {_show(array)}, no array")
            room -= len(key) + len(array.data) * (1 + array.bfloat16)
            if room < 0:
                raise ValueError("its arrays, named often, outgrow the file")
            native = array.native()
            if not np.isfinite(native).all():
                raise ValueError(f"{_show(key)} has values not finite")
            # The caller may change one of two names in place.
            arrays[key] = native.copy() if id(array.data) in seen else native
            seen.add(id(array.data))
    return arrays


def _items(name, value):
    if type(value) is not dict:
        raise ValueError(f"{name} is {_show(value)}, no dictionary")
    return value.items()


def _writable(key, array):
    array = np.asarray(array)
    code = f"{array.dtype.kind}{array.dtype.itemsize}"
    if code not in DTYPES or not array.size or not np.isfinite(array).all():
        raise ValueError(
            "`arrays` must hold finite floats or integers of 64 bits at most. "
            f"Received: {key!r} of shape {array.shape} and dtype {array.dtype}"
        )
    # A new view, as pickle notes one array under two names only once.
    return _native(array).view()


def _native(array):
    """Returns a contiguous array of the machine's byte order."""
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _show(value):
    """Quotes a string, and names the kind of what may be endless."""
    if type(value) is str:
        return repr(value[:80])
    if isinstance(value, _Symbol):
        return value.name
    return f"a value of type {type(value).__name__.strip('_').lower()}"
