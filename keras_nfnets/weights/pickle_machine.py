"""Interprets pickles of weight files without running what they name.

Unpickling calls any function that a file names. This machine knows only the
opcodes that weight files need, works on inert values and refuses the rest. No
step recurses, so deep nesting is harmless. No step makes more bytes than the
file has, so a small file cannot fill the memory.
"""

import pickletools

from keras_nfnets.weights.haiku_arrays import (
    Array,
    Dtype,
    Symbol,
    call,
    show,
    symbol_of,
)

# An array takes about 25 steps. The papers' largest network has 1,700 arrays.
MAX_STEPS = 1_000_000

# The first bytes of other kinds of files that may carry the same ending.
FORMATS = {
    b"PK": "a zip archive, as true .npz and PyTorch files are",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "an .npy file",
    b"{": "a JSON file",
}

_MARK = object()
CONSTANTS = {
    "MARK": _MARK,
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
# The number of bytes of the integer that follows an opcode.
INTEGERS = {"BININT1": 1, "BININT2": 2, "BININT": 4}
BYTES = {"SHORT_BINBYTES": 1, "BINBYTES": 4, "BINBYTES8": 8, "BYTEARRAY8": 8}
STRINGS = {"SHORT_BINUNICODE": 1, "BINUNICODE": 4, "BINUNICODE8": 8}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Executes the opcodes that the pickles of weight files need.

    A pickle is a program for a machine with a stack and a memo. Opcodes push
    values on the stack, combine those on top, and store values in the memo to
    push them again. A value is None, a Boolean, an integer, a string, a
    `bytearray`, a tuple, a dictionary, a `Symbol`, a `Dtype` or an `Array`.

    Args:
        file: File, open for reading bytes.
        size: Integer, the number of bytes of the file.

    Example:

    >>> with open("F0_haiku.npz", "rb") as file:
    ...     modules = Machine(file, os.path.getsize("F0_haiku.npz")).run()
    >>> modules["NFNet/~/stem_conv0"]["w"].native().shape
    (3, 3, 3, 16)
    """

    def __init__(self, file, size):
        self.file = file
        self.size = size
        self.position = self.start = 0
        self.stack = []
        self.memo = {}
        # The characters that `encode` has turned into bytes so far.
        self.encoded = 0

    def run(self):
        """Returns the value that the file describes.

        Raises:
            ValueError: If the file is no pickle, is damaged, or has an opcode,
                a function or a type that weight files do not need. The message
                names the byte.
        """
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
        """Raises a ValueError if the first bytes are not those of a pickle."""
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
        """Returns the value at the end, if nothing else is left."""
        (value,) = self.pop(1)
        if self.stack:
            raise ValueError("values are left over at its end")
        if self.position != self.size:
            left = self.size - self.position
            raise ValueError(f"{left} bytes follow its end")
        return value

    def step(self, name):
        """Executes the opcode of this name."""
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
                if not isinstance(self.top(), Dtype | Array):
                    raise ValueError(f"{show(self.top())} is given a state")
                self.top().build(state)
            case "SETITEM":
                self.set_items(self.pop(2))
            case "SETITEMS":
                self.set_items(self.pop_to_mark())
            case _:
                self.stack.append(self.value(name))

    def value(self, name):
        """Returns the value that an opcode pushes on the stack."""
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
                return symbol_of(self.line(), self.line())
            case "STACK_GLOBAL":
                return symbol_of(*self.pop(2))
        raise ValueError(f"opcode {name} is not allowed")

    def call(self, function, arguments):
        """Calls a function of `haiku_arrays`, or encodes a string."""
        match function, arguments:
            case Symbol.ENCODE, (str() as text, "latin1"):
                return self.encode(text)
        return call(function, arguments)

    def encode(self, text):
        """Returns the bytes that a protocol below 3 stores as a string.

        A file can encode one string many times, so all results are counted.
        """
        self.encoded += len(text)
        if self.encoded > self.size:
            raise ValueError("it encodes more bytes than it has")
        return bytearray(text.encode("latin1"))

    def set_items(self, items):
        """Adds alternating keys and values to the dictionary on top."""
        target = self.top()
        if type(target) is not dict or len(items) % 2:
            raise ValueError(f"{show(target)} is given {len(items)} items")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise ValueError(f"a key is {show(key)}")
            if key in target:
                raise ValueError(f"{show(key)} is there twice")
            target[key] = value

    def top(self):
        """Returns the value on top of the stack and leaves it there."""
        (value,) = self.pop(1)
        self.stack.append(value)
        return value

    def pop(self, count):
        """Takes values from the stack, but none across a mark."""
        values = self.stack[-count:]
        if len(values) < count or any(v is _MARK for v in values):
            raise ValueError("a value is missing")
        del self.stack[-count:]
        return values

    def pop_to_mark(self):
        """Takes all values above the last mark, and the mark."""
        for index in reversed(range(len(self.stack))):
            if self.stack[index] is _MARK:
                values = self.stack[index + 1 :]
                del self.stack[index:]
                return values
        raise ValueError("a mark is missing")

    def index(self, name):
        """Returns an index into the memo, of one byte or four."""
        index = self.number(4 if name.startswith("LONG") else 1)
        if index >= MAX_STEPS:
            raise ValueError(f"value {index} is past the last one allowed")
        return index

    def number(self, count, signed=False):
        """Reads a little-endian integer of so many bytes."""
        return int.from_bytes(self.take(count), "little", signed=signed)

    def line(self):
        """Reads a line of text, without its end."""
        line = self.file.readline(100)
        self.position += len(line)
        if not line.endswith(b"\n"):
            raise ValueError("a global's name has no end")
        return line[:-1].decode()

    def take(self, count):
        """Reads so many bytes, as a `bytearray`."""
        self.check_left(count)
        data = bytearray(count)
        if self.file.readinto(data) != count:
            raise ValueError("it shrank while being read")
        self.position += count
        return data

    def check_left(self, count):
        """Raises a ValueError if the file has fewer bytes left."""
        left = self.size - self.position
        if count > left:
            raise ValueError(f"{left} bytes are left where {count} are needed")
