"""Weight files are read right, and strangers' files do nothing."""

import ast
import json
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import BACKEND, FILES, Reference

from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights import haiku_arrays, pickle_machine

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="NumPy alone: one backend is enough"
)
WEIGHTS = FILES / "weights"
EXPECTED = Reference("weights_expected")
MANIFEST = json.loads((WEIGHTS / "manifest.json").read_text())
BENIGN = [n for n, row in MANIFEST.items() if row["kind"].startswith("benign")]

# What each hostile file is refused for, so that none is for another reason.
REFUSED = {
    "bad_build_on_class.npz": "opcode POP is not allowed",
    "bad_empty.npz": "it is empty",
    "bad_flat_values.npz": "'NFNet/~/linear' is a value of type array, no dict",
    "bad_garbage.npz": "it is not a pickle",
    "bad_int_key.npz": "a key is a value of type int",
    "bad_no_stop.npz": "0 bytes are left where 1 are needed",
    "bad_object_array_of_none.npz": "dtype 'O8' is not allowed",
    "bad_shape_bytes_mismatch.npz": r"shape \(7,\) .* 24 bytes instead of 28",
    "bad_str_array.npz": "dtype 'U1' is not allowed",
    "bad_string_leaf.npz": "'NFNet/~/linear::w' is 'no array', no array",
    "bad_top_level_list.npz": "opcode EMPTY_LIST is not allowed",
    "bad_truncated.npz": "360 bytes are left where 1152 are needed",
    "evil_array_slot.npz": "global 'posix.system'",
    "evil_create_array.npz": "global 'posix.system'",
    "evil_dill_get_attr_builtin.npz": "a call of GET_ATTRIBUTE",
    "evil_dill_import_os.npz": "a call of IMPORT_MODULE",
    "evil_dotted_name.npz": "global 'numpy.f2py.os.system'",
    "evil_eval_module_value.npz": "global 'builtins.eval'",
    "evil_flatmapping_arg.npz": "global 'posix.system'",
    "evil_getattr_import.npz": "global 'builtins.getattr'",
    "evil_numpy_runstring.npz": "global 'numpy.testing._private.utils.runstr",
    "evil_object_array.npz": "dtype 'O8' is not allowed",
    "evil_os_system_top.npz": r"global 'posix.system' .*\(at byte 2\)",
    "evil_real_npz_object.npz": "it is a zip archive",
}


def expected_of(name):
    if name == "published_format_full.npz":
        return Reference("model_nfnet_plain").under("params/")
    if name == "bfloat16_np2.npz":
        return EXPECTED.under("bfloat16/")
    extra = EXPECTED.under("shared_extra/") if name.startswith("shared") else {}
    return {**EXPECTED.under("small/"), **extra}


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


def test_every_file_is_tested():
    files = {path.name for path in WEIGHTS.glob("*.npz")}
    assert files == set(MANIFEST) == {*BENIGN, *REFUSED}


@pytest.mark.parametrize("name", BENIGN)
def test_benign_files_are_read(name):
    actual = haiku_files.read(WEIGHTS / name)
    expected = expected_of(name)
    if name == "float64_np2.npz":
        expected = {k: v.astype("float64") for k, v in expected.items()}
    assert_same(actual, expected)


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=REFUSED[name]) as caught:
        haiku_files.read(WEIGHTS / name)
    assert f"{name}' is not a weight file of the papers: " in str(caught.value)
    assert not list(tmp_path.iterdir()), "a hostile file left a trace"


def test_reader_names_nothing_that_runs_a_file():
    imported, used, names = set(), set(), set()
    for module in (haiku_arrays, haiku_files, pickle_machine):
        tree = ast.parse(Path(module.__file__).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
            elif isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Name):
                    used.add(f"{node.value.id}.{node.attr}")
            elif isinstance(node, ast.Name):
                names.add(node.id)
    assert {name for name in imported if "keras_nfnets" in name} == {
        "keras_nfnets.files",
        "keras_nfnets.weights.haiku_arrays",
        "keras_nfnets.weights.pickle_machine",
    }
    others = {name.split(".")[0] for name in imported}
    assert others - set(sys.stdlib_module_names) == {"keras_nfnets", "numpy"}
    assert "importlib" not in others
    assert {n for n in used if n.startswith("pickle.")} == {"pickle.dump"}
    assert not names & {"eval", "exec", "compile", "getattr", "__import__"}


def test_what_is_written_is_read_back(tmp_path):
    base = np.arange(24, dtype="float32").reshape(2, 3, 4) - 7.5
    again = np.ones(70_000)
    arrays = {
        "NFNet/~/stem_conv0::w": base,
        "NFNet/~/stem_conv0::gain": np.asfortranarray(base),
        "NFNet/~/nf_block::skip_gain": np.float32(-0.0),
        "NFNet/~/strided::w": base[:, ::2],
        "NFNet/~/big_endian::w": base.astype(">f8"),
        "module with :: in it::b": np.array([np.finfo("float32").tiny]),
        **{f"NFNet/~/{c}::w": np.ones(3, c) for c in haiku_arrays.DTYPES},
        **{f"NFNet/~/again::{i}": again for i in range(5)},
    }
    path = tmp_path / "weights.npz"
    haiku_files.write(path, arrays)
    read = haiku_files.read(path)
    assert_same(read, {key: np.asarray(a) for key, a in arrays.items()})
    # Each array has its own bytes, so that the bound on shared ones allows any.
    assert path.stat().st_size > sum(a.nbytes for a in read.values())
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_plain(tmp_path):
    path = tmp_path / "weights.npz"
    haiku_files.write(path, {"a/b::w": np.ones(2, "f4"), "a/b::b": 1.5})
    content = path.read_bytes()
    assert content[:2] == b"\x80\x04"
    named = {a for _, a, _ in pickletools.genops(content) if type(a) is str}
    assert named <= {
        *("a/b", "w", "b", "f4", "f8", "<", "numpy", "dtype", "ndarray"),
        *("_reconstruct", "numpy.core.multiarray", "numpy._core.multiarray"),
    }
    assert haiku_files.read(path)["a/b::b"] == 1.5


@pytest.mark.parametrize(
    "key, value",
    [
        ("no separator", 1.0),
        ("a::w", np.nan),
        ("a::w", np.array([1, np.inf], "float16")),
        ("a::w", np.array([None])),
        ("a::w", "text"),
        ("a::w", True),
        ("a::w", 1j),
        ("a::w", np.zeros((0, 3))),
        ("a::w", np.longdouble(1)),
        ("a::w", np.zeros(2, "V4")),
    ],
)
def test_only_what_can_be_read_is_written(key, value, tmp_path):
    path = tmp_path / "weights.npz"
    path.write_text("from before")
    with pytest.raises(ValueError, match=f"must .*{key}"):
        haiku_files.write(path, {"good::w": 1.0, key: value})
    assert path.read_text() == "from before"


def test_failed_write_leaves_the_file_of_before(tmp_path, monkeypatch):
    def fail(content, file, protocol):
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "weights.npz"
    path.write_text("from before")
    monkeypatch.setattr(pickle, "dump", fail)
    with pytest.raises(OSError, match="disk full"):
        haiku_files.write(path, {"a::w": 1.0})
    assert path.read_text() == "from before"
    assert list(tmp_path.iterdir()) == [path]


def test_names_of_one_array_do_not_share_memory():
    arrays = haiku_files.read(WEIGHTS / "shared_array_np2.npz")
    first = arrays["NFNet/~/linear::b"]
    second = arrays["NFNet/~/nf_extra::b"]
    np.testing.assert_array_equal(first, second)
    first += 1
    assert (first != second).all()


def test_reading_takes_no_second_copy(tmp_path):
    path = tmp_path / "weights.npz"
    arrays = {f"m{i}::w": np.ones((256, 1024), "f4") for i in range(16)}
    haiku_files.write(path, arrays)
    tracemalloc.start()
    try:
        haiku_files.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size <= peak < 1.1 * path.stat().st_size


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz"):
        haiku_files.read(tmp_path / "none.npz")


def test_only_files_are_opened(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(ValueError, match="must be a file. Received: path="):
            haiku_files.read(path)


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


# Opcodes of protocol 4, to write by hand what no pickler would.
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
    path = tmp_path / "hostile.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        haiku_files.read(path)


def read_bytes(tmp_path, content):
    path = tmp_path / "by_hand.npz"
    path.write_bytes(content)
    return haiku_files.read(path)


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
DEEP = EMPTY + b"\x85" * 100_000

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
    "nan": (array(content=struct.pack("<f", np.nan)), "'m::w' has values not"),
    "inf": (array(content=struct.pack("<f", -np.inf)), "'m::w' has values not"),
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


@pytest.mark.parametrize("name", LEAVES)
def test_arrays_by_hand_are_refused(name, tmp_path):
    leaf, match = LEAVES[name]
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


def test_lack_of_memory_is_told(tmp_path, monkeypatch):
    def lack(*args):
        raise MemoryError

    monkeypatch.setattr(haiku_arrays.np, "frombuffer", lack)
    refuse(tmp_path, file_of(array()), "does not fit into memory")


def test_every_cut_is_refused(tmp_path):
    content = file_of(array())
    for length in range(len(content)):
        refuse(tmp_path, content[:length], "is not a weight file")


def corrupted(rng, contents):
    """One of the files after flips, a cut or a splice."""
    content = bytearray(contents[rng.integers(len(contents))])
    start, end = sorted(rng.integers(len(content), size=2))
    match rng.integers(4):
        case 0:
            for _ in range(rng.integers(1, 4)):
                content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        case 1:
            content[rng.integers(len(content))] = rng.integers(256)
        case 2:
            del content[start : min(end, start + rng.integers(1, 200))]
        case 3:
            other = contents[rng.integers(len(contents))]
            first = rng.integers(len(other))
            content[start:start] = other[first : first + rng.integers(1, 200)]
    return bytes(content)


def test_corrupt_files_are_refused_or_read(tmp_path):
    rng = np.random.default_rng(0)
    names = [
        "published_format_small.npz",
        "dill_flatmap_np2.npz",
        "pickle_dict_p2_np118.npz",
        "pickle_dict_p5_np2.npz",
        "bfloat16_np2.npz",
    ]
    contents = [(WEIGHTS / name).read_bytes() for name in names]
    path, read = tmp_path / "corrupt.npz", 0
    for _ in range(2000):
        path.write_bytes(corrupted(rng, contents))
        try:
            arrays = haiku_files.read(path)
        except ValueError:
            continue
        read += 1
        assert all(type(key) is str and "::" in key for key in arrays)
        for array in arrays.values():
            assert array.dtype.kind in "fiu" and array.dtype.isnative
            assert np.isfinite(array).all()
    # Flips in the numbers alone do no harm; the rest was refused.
    assert 200 < read < 1800
