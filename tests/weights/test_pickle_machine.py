"""The machine refuses opcodes, lengths and files that weights do not need."""

import struct

import numpy as np
import pytest
from helpers import BACKEND
from pickles import (
    DEEP,
    DICT,
    EMPTY,
    FLATMAPPING,
    MEMOIZE,
    NONE,
    REDUCE,
    SET,
    START,
    STOP,
    array,
    assert_same,
    call,
    dtype,
    file_of,
    get,
    named,
    number,
    raw,
    read_bytes,
    refuse,
    string,
    tuple_of,
)

from keras_nfnets.weights import pickle_machine

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="NumPy alone: one backend is enough"
)


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"PK\x03\x04" + bytes(100), "zip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x93NUMPY\x01\x00" + bytes(100), "npy"),
        (b'{"a": 1}', "JSON"),
        (struct.pack("<Q", 9) + b'{"a": {}}', "safetensors"),
        (b"\x80\x06N.", "not a pickle of protocol 2 to 5"),
        (b"\x80\x01N.", "not a pickle of protocol 2 to 5"),
        (b"\x80", "not a pickle"),
        (b"(dp0\n.", "not a pickle"),
    ],
)
def test_other_formats_are_told(content, kind, tmp_path):
    refuse(tmp_path, content, kind)


OPCODES = {
    # Lengths.
    "bytes_8": (b"\x8e" + struct.pack("<Q", 2**62), str(2**62)),
    "bytearray_8": (b"\x96" + struct.pack("<Q", 2**64 - 1), str(2**64 - 1)),
    "string_8": (b"\x8d" + struct.pack("<Q", 2**63), str(2**63)),
    "frame": (b"\x95" + struct.pack("<Q", 2**63), str(2**63)),
    "memo_put": (array() + b"r\xff\xff\xff\xff", "value 4294967295 is past"),
    "memo_get": (b"j\xff\xff\xff\xff", "value 4294967295 is past"),
    "memo_unknown": (get(7), "value 7 is used before"),
    "memo_mark": (b"(" + MEMOIZE, "a value is missing"),
    "not_utf8": (b"\x8c\x01\xff", "utf-8"),
    # Opcodes that make, run or fetch things.
    **{
        name: (content, f"opcode {name} is not allowed")
        for name, content in {
            "PROTO": START,
            "PERSID": b"Pid\n",
            "BINPERSID": NONE + b"Q",
            "INST": b"(iposix\nsystem\n",
            "OBJ": b"(" + FLATMAPPING + b"o",
            "NEWOBJ": FLATMAPPING + EMPTY + b"\x81",
            "NEWOBJ_EX": FLATMAPPING + EMPTY + DICT + b"\x92",
            "EXT1": b"\x82\x01",
            "EXT2": b"\x83\x01\x00",
            "EXT4": b"\x84\x01\x00\x00\x00",
            "LONG1": b"\x8a\x01\x01",
            "LONG4": b"\x8b\x01\x00\x00\x00\x01",
            "LONG": b"L1L\n",
            "INT": b"I1\n",
            "BINFLOAT": b"G" + bytes(8),
            "BINSTRING": b"T\x00\x00\x00\x00",
            "LIST": b"(l",
            "DICT": b"(d",
            "DUP": b"2",
            "POP": b"0",
            "POP_MARK": b"1",
            "EMPTY_SET": b"\x8f",
            "NEXT_BUFFER": b"\x97",
            "READONLY_BUFFER": b"\x98",
        }.items()
    },
    "no_opcode": (b"\xff", "opcode '\xff' is not allowed"),
}


@pytest.mark.parametrize("name", OPCODES)
def test_opcodes_by_hand_are_refused(name, tmp_path):
    leaf, match = OPCODES[name]
    refuse(tmp_path, file_of(leaf), match)


TWO = string("w") + array() + SET
FILE_ATTACKS = {
    "nothing": (START + STOP, "a value is missing"),
    "marks": (START + b"(" * 100_000 + STOP, "a value is missing"),
    "deep": (START + DEEP + STOP, "it is a value of type tuple, no dict"),
    "deep_key": (START + DICT + DEEP + NONE + SET + STOP, "a key is a value"),
    "number_module": (START + DICT + NONE + DICT + SET + STOP, "a key is a va"),
    "array": (START + array() + STOP, "it is a value of type array, no dict"),
    "left_over": (START + DICT + DICT + STOP, "values are left over"),
    "after": (file_of(array()) + b"x", "1 bytes follow its end"),
    "concatenated": (file_of(array()) * 2, "bytes follow its end"),
    "key_twice": (
        START + DICT + string("m") + DICT + TWO * 2 + SET + STOP,
        "'w' is there twice",
    ),
    "key_twice_at_once": (
        START + DICT + b"(" + (string("m") + DICT) * 2 + b"u" + STOP,
        "'m' is there twice",
    ),
    "module_in_name": (
        START
        + DICT
        + (string("a:") + DICT + string("w") + array() + SET * 2)
        + (string("a") + DICT + string(":w") + array() + SET * 2)
        + STOP,
        "'a:::w' is there twice",
    ),
    "self": (
        START + DICT + MEMOIZE + string("m") + get(0) + SET + STOP,
        "'m::m' is a value of type dict",
    ),
    "same_module": (
        START
        + DICT
        + (string("a") + DICT + MEMOIZE + TWO + SET)
        + (string("b") + get(0) + SET)
        + STOP,
        "'b' is the same as another module",
    ),
    "nested": (
        START + DICT + (string("m") + DICT) * 3 + SET * 3 + STOP,
        "'m::m' is a value of type dict",
    ),
    "nested_deep": (
        START + DICT + (string("m") + DICT) * 50_000 + SET * 50_000 + STOP,
        "'m::m' is a value of type dict",
    ),
    "no_mark": (START + DICT + b"u" + STOP, "a mark is missing"),
}


@pytest.mark.parametrize("name", FILE_ATTACKS)
def test_files_by_hand_are_refused(name, tmp_path):
    refuse(tmp_path, *FILE_ATTACKS[name])


def named_often(leaf, times):
    """A file with one memoized value under many names."""
    names = b"".join(string(f"n{i}") + get(0) for i in range(times))
    first = string("first") + leaf + MEMOIZE
    module = DICT + b"(" + first + names + b"u"
    return START + DICT + string("m") + module + SET + STOP


def test_result_is_bounded_by_the_file(tmp_path):
    leaf = array([number(2**16)], bytes(2**16), dtype("u1", order="|"))
    assert len(read_bytes(tmp_path, named_often(leaf, 100))) == 101
    refuse(tmp_path, named_often(leaf, 300), "outgrow the file")


def test_long_names_are_bounded_by_the_file(tmp_path):
    module = string("m" * 10**6) + DICT
    leaves = b"".join(string(f"{i}") + array() + SET for i in range(20))
    content = START + DICT + module + leaves + SET + STOP
    refuse(tmp_path, content, "outgrow the file")


def test_encoding_is_bounded_by_the_file(tmp_path):
    """Protocol 2 has bytes as text, which one file encodes repeatedly."""
    encode = named("_codecs", "encode") + MEMOIZE
    text = string("\0" * 4) + MEMOIZE
    again = get(0) + tuple_of(get(1), string("latin1")) + REDUCE
    encoded = call(encode, text, string("latin1"))
    good = array().replace(raw(bytes(4)), encoded)
    read = read_bytes(tmp_path, file_of(good))
    assert_same(read, {"m::w": np.zeros(1, "f4")})
    long = string("\0" * 10**6) + MEMOIZE
    bomb = call(encode, long, string("latin1")) + again * 10**4
    refuse(tmp_path, file_of(bomb), "encodes more bytes than it has")
    other = call(encode, text, string("utf-8"))
    refuse(tmp_path, file_of(other), "a call of ENCODE")


def test_steps_are_bounded(tmp_path, monkeypatch):
    content = START + NONE * 2000
    refuse(tmp_path, content, "0 bytes are left")
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 1000)
    refuse(tmp_path, content, "more than 1000 steps")


def test_every_cut_is_refused(tmp_path):
    content = file_of(array())
    for length in range(len(content)):
        refuse(tmp_path, content[:length], "is not a weight file")
