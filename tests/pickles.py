"""Pickles by hand, opcode by opcode, to write what no pickler would."""

import struct

import numpy as np
import pytest

from keras_nfnets.weights import haiku as haiku_files


def assert_same(actual, expected):
    """Same names, and byte for byte the same arrays."""
    assert set(actual) == set(expected)
    for key, array in actual.items():
        assert type(array) is np.ndarray
        assert array.dtype.isnative and array.flags.c_contiguous
        assert array.dtype == expected[key].dtype.newbyteorder("=")
        assert array.shape == expected[key].shape
        # The same bytes, so that -0.0 is not 0.0.
        assert array.tobytes() == expected[key].astype(array.dtype).tobytes()


# Opcodes of protocol 4.
START = b"\x80\x04"
NONE, FALSE, TRUE, DICT, EMPTY = b"N", b"\x89", b"\x88", b"}", b")"
REDUCE, BUILD, SET, STOP, MEMOIZE = b"R", b"b", b"s", b".", b"\x94"


def get(index):
    return b"h" + bytes([index])


def string(text):
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def raw(content):
    return b"B" + struct.pack("<I", len(content)) + content


def named(module, name):
    return string(module) + string(name) + b"\x93"


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def call(function, *arguments):
    return function + tuple_of(*arguments) + REDUCE


NDARRAY = named("numpy", "ndarray")
RECONSTRUCT = named("numpy._core.multiarray", "_reconstruct")
FLATMAPPING = named("haiku._src.data_structures", "FlatMapping")


def bare_dtype(code="f4"):
    return call(named("numpy", "dtype"), string(code), FALSE, TRUE)


def dtype_state(order="<", middle=NONE * 3, end=(-1, -1, 0), version=3):
    ends = map(number, end)
    return tuple_of(number(version), string(order), middle, *ends) + BUILD


def dtype(code="f4", **kwargs):
    return bare_dtype(code) + dtype_state(**kwargs)


def new(kind=NDARRAY, shape=b"K\x00\x85"):
    return call(RECONSTRUCT, kind, shape, raw(b"b"))


ONE = number(1)


def state(shape=(ONE,), content=bytes(4), of=None, order=FALSE):
    of = of or dtype()
    return tuple_of(number(1), tuple_of(*shape), of, order, raw(content))


def array(*args, **kwargs):
    return new() + state(*args, **kwargs) + BUILD


def file_of(leaf):
    """A file with one array, `m::w`."""
    return (
        START + DICT + string("m") + DICT + string("w") + leaf + SET * 2 + STOP
    )


def refuse(tmp_path, content, match):
    """The file is refused, for what `match` says."""
    path = tmp_path / "hostile.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        haiku_files.read(path)


def read_bytes(tmp_path, content):
    path = tmp_path / "by_hand.npz"
    path.write_bytes(content)
    return haiku_files.read(path)


DEEP = EMPTY + b"\x85" * 100_000
