"""The papers' weight files are read and written; hostile files are refused."""

import ast
import json
import os
import pickle
import pickletools
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from helpers import BACKEND, FILES, Reference
from pickles import assert_same

from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights import haiku_arrays, pickle_machine

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="NumPy alone: one backend is enough"
)
WEIGHTS = FILES / "weights"
EXPECTED = Reference("weights_expected")
MANIFEST = json.loads((WEIGHTS / "manifest.json").read_text())
BENIGN = [n for n, row in MANIFEST.items() if row["kind"].startswith("benign")]

# The reason that each hostile file is refused for.
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
        "keras_nfnets.annotations",
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
    # Each array has its own bytes, so the bound on shared arrays never applies.
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
    for _ in range(500):  # `make fuzz` tries thousands
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
    # Only flips in the numbers are harmless. The others were refused.
    assert 50 < read < 450
