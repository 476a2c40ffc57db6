"""Only arrays of numbers are read, from the functions that rebuild them."""

import struct

import numpy as np
import pytest
from helpers import BACKEND
from pickles import (
    BUILD,
    DEEP,
    DICT,
    EMPTY,
    FALSE,
    FLATMAPPING,
    NDARRAY,
    NONE,
    RECONSTRUCT,
    REDUCE,
    SET,
    TRUE,
    array,
    assert_same,
    bare_dtype,
    call,
    dtype,
    dtype_state,
    file_of,
    named,
    new,
    number,
    raw,
    read_bytes,
    refuse,
    state,
    string,
    tuple_of,
)

from keras_nfnets.weights import haiku_arrays

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="NumPy alone: one backend is enough"
)


def test_file_by_hand_is_read(tmp_path):
    """Each attack below is this file with one thing changed."""
    leaf = array(content=struct.pack("<f", 2.5))
    read = read_bytes(tmp_path, file_of(leaf))
    assert_same(read, {"m::w": np.array([2.5], "f4")})


UMATH = "numpy.core._multiarray_umath"
IMPORT = named("dill._dill", "_import_module")
GET = named("dill._dill", "_get_attr")
CREATE = named("dill._dill", "_create_array")
JAX_ARRAY = named("jax._src.array", "_reconstruct_array")

LEAVES = {
    # Values of other kinds.
    "none": (NONE, "'m::w' is a value of type nonetype, no array"),
    "bytes": (raw(bytes(4)), "'m::w' is a value of type bytearray"),
    "class": (FLATMAPPING, "'m::w' is MAPPING"),
    "dtype": (dtype(), "'m::w' is a value of type dtype"),
    "empty_array": (new(), "'m::w' is a value of type array"),
    "deep_tuple": (DEEP, "'m::w' is a value of type tuple"),
    "deep_marks": (b"(" * 100_000, "a value is missing"),
    # Calls and states of what is no array.
    "reconstruct_class": (new(FLATMAPPING), "a call of RECONSTRUCT"),
    "reconstruct_shape": (new(shape=number(9) + b"\x85"), "call of RECONSTRU"),
    "call_dict": (DICT + EMPTY + REDUCE, "a call of a value of type dict"),
    "call_string": (call(string("eval"), NONE), "a call of 'eval'"),
    "call_array": (array() + EMPTY + REDUCE, "a call of a value of type array"),
    "call_deep": (FLATMAPPING + DEEP + REDUCE, "a call of MAPPING"),
    "build_dict": (DICT + DICT + BUILD, "type dict is given a state"),
    "build_class": (FLATMAPPING + DICT + BUILD, "MAPPING is given a state"),
    "build_deep": (new() + DEEP + BUILD, "an array's state"),
    "build_array_dict": (new() + DICT + BUILD, "an array's state"),
    "build_array_twice": (array() + state() + BUILD, "an array is filled tw"),
    "items_on_class": (FLATMAPPING + NONE * 2 + SET, "MAPPING is given 2"),
    "items_on_tuple": (EMPTY + NONE * 2 + SET, "type tuple is given 2 items"),
    "odd_items": (DICT + b"(" + string("a") + b"u", "is given 1 items"),
    "import_other": (call(IMPORT, string("os")), "a call of IMPORT_MODULE"),
    "import_safe": (call(IMPORT, string(UMATH), TRUE), "call of IMPORT_MODULE"),
    "get_other": (
        call(GET, call(IMPORT, string(UMATH)), string("eval")),
        "a call of GET_ATTRIBUTE",
    ),
    "get_of_class": (
        call(GET, FLATMAPPING, string("_reconstruct")),
        "a call of GET_ATTRIBUTE",
    ),
    "create_by_class": (
        call(CREATE, FLATMAPPING, EMPTY, state(), NONE),
        "a call of CREATE_ARRAY",
    ),
    "create_with_attributes": (
        call(
            CREATE,
            RECONSTRUCT,
            tuple_of(NDARRAY, tuple_of(number(0)), raw(b"b")),
            state(),
            DICT,
        ),
        "a call of CREATE_ARRAY",
    ),
    "jax_by_class": (
        call(JAX_ARRAY, FLATMAPPING, EMPTY, state(), DICT),
        "a call of JAX_ARRAY",
    ),
    "dtype_of_dict": (
        call(named("numpy", "dtype"), DICT, FALSE, TRUE),
        "a call of DTYPE",
    ),
    # Names.
    "join": (named("", "numpy ndarray"), "global '.numpy ndarray'"),
    "split": (named("numpy.core", "multiarray._reconstruct"), "global 'nump"),
    "blank": (named("numpy", "ndarray "), "global 'numpy.ndarray '"),
    "deep_name": (DEEP + string("system") + b"\x93", "is not of strings"),
    "number_name": (number(1) * 2 + b"\x93", "is not of strings"),
    "endless_line": (b"c" + b"a" * 200 + b"\nb\n", "name has no end"),
    "long_name": (named("a" * 10**6, "b"), "global 'a{80}' is not allowed"),
    # Dtypes.
    **{
        f"dtype_{code}": (array(of=dtype(code)), f"dtype '{code}' is not all")
        for code in ("O8", "V4", "S4", "U1", "c8", "b1", "f16", "m8", "f", "")
    },
    "dtype_equal": (array(of=dtype(order="=")), "a dtype's state"),
    "dtype_no_order": (array(of=dtype(order="|")), "a dtype's state"),
    "dtype_empty": (array(of=dtype(order="")), "a dtype's state"),
    "dtype_byte": (array(of=dtype("u1")), "a dtype's state"),
    "dtype_metadata": (array(of=dtype(version=4)), "a dtype's state"),
    "dtype_longer": (array(of=dtype(end=(-1, -1, 0, 0))), "a dtype's state"),
    "dtype_object_flag": (array(of=dtype(end=(-1, -1, 63))), "a dtype's state"),
    "dtype_size": (array(of=dtype(end=(8, 4, 0))), "a dtype's state"),
    "dtype_subarray": (
        array(of=dtype(middle=tuple_of(dtype(), number(9)) + NONE * 2)),
        "a dtype's state",
    ),
    "dtype_fields": (
        array(of=dtype(middle=NONE + tuple_of(string("f0")) + DICT)),
        "a dtype's state",
    ),
    "dtype_twice": (array(of=dtype() + dtype_state()), "a dtype's state"),
    "dtype_bare": (array(of=bare_dtype()), "a dtype has no byte order yet"),
    "dtype_class": (array(of=NDARRAY), "an array's state"),
    # Shapes.
    "shape_negative": (array([number(-1)]), "32 positive integers"),
    "shape_zero": (array([number(0)], b""), "32 positive integers"),
    "shape_bool": (array([TRUE]), "32 positive integers"),
    "shape_string": (array([string("1")]), "32 positive integers"),
    "shape_long": (array([number(1)] * 33), "32 positive integers"),
    "shape_longer": (array([number(2**31 - 1)] * 50_000), "32 positive int"),
    "shape_product": (
        array([number(2**16)] * 4),
        f"has 4 bytes instead of {2**66}",
    ),
    "shape_half": (array(content=bytes(6)), "has 6 bytes instead of 4"),
    "fortran_number": (array(order=number(0)), "an array's state"),
    # Numbers.
    "nan": (
        array(content=struct.pack("<f", np.nan)),
        "'m::w' has values that are not finite",
    ),
    "inf": (
        array(content=struct.pack("<f", -np.inf)),
        "'m::w' has values that are not finite",
    ),
}


@pytest.mark.parametrize("name", LEAVES)
def test_arrays_by_hand_are_refused(name, tmp_path):
    leaf, match = LEAVES[name]
    refuse(tmp_path, file_of(leaf), match)


def test_lack_of_memory_is_told(tmp_path, monkeypatch):
    def lack(*args):
        raise MemoryError

    monkeypatch.setattr(haiku_arrays.np, "frombuffer", lack)
    refuse(tmp_path, file_of(array()), "does not fit into memory")
