"""A value that is not a finite real number is refused from any kind of file."""

import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
import safetensors.numpy
from helpers import BACKEND, tiny_variant, to_numpy

import keras_nfnets
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights import keras as keras_files
from keras_nfnets.weights.names import collect, haiku_targets, timm_targets
from keras_nfnets.weights.values import checked

KINDS = ("h5", "keras", "npz", "safetensors")
# The type and the first value of an array, by the mistake in it.
BAD = {
    "nan": ("float32", np.nan),
    "inf": ("float32", np.inf),
    "half -inf": ("float16", -np.inf),
    "too large": ("float64", 1e300),
    "complex": ("complex64", 1 + 2j),
    "boolean": ("bool", True),
}
# The papers' reader says "not allowed", and that of safetensors "of one".
REFUSED = "finite|real numbers|is not allowed|of one of the types"


@pytest.fixture(scope="module")
def model():
    return keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=3)


def write(model, path, change):
    """Writes a file of any kind in which `change` was applied to the last."""
    kind = path.suffix[1:]
    if kind == "safetensors":
        arrays = collect(timm_targets(model))
        arrays["head.fc.bias"] = change(arrays["head.fc.bias"])
        safetensors.numpy.save_file(arrays, path)
    elif kind == "npz":
        modules = {}
        for key, array in collect(haiku_targets(model)).items():
            module, _, name = key.partition("::")
            array = change(array) if key == "NFNet/~/linear::b" else array
            modules.setdefault(module, {})[name] = array
        path.write_bytes(pickle.dumps(modules, protocol=4))
    else:
        weights = path.with_name("inner.weights.h5")
        model.save_weights(weights)
        with h5py.File(weights, "a") as file:
            group = file["layers/head/classifier/vars"]
            array = change(group["1"][()])
            del group["1"]
            group["1"] = array
        if kind == "h5":
            weights.rename(path)
        else:
            model.save(path)
            replace_member(path, "model.weights.h5", weights.read_bytes())


def replace_member(path, name, content):
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for other, old in members.items():
            archive.writestr(other, content if other == name else old)


def path_of(folder, kind):
    return folder / ("f.weights.h5" if kind == "h5" else f"f.{kind}")


def with_first(kind):
    dtype, value = BAD[kind]

    def change(array):
        array = array.astype(dtype)
        array.flat[0] = value
        return array

    return change


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", BAD)
def test_bad_values_are_refused_and_change_nothing(model, tmp_path, kind, bad):
    path = path_of(tmp_path, kind)
    write(model, path, with_first(bad))
    before = [to_numpy(v).tobytes() for v in model.weights]
    with pytest.raises(ValueError, match=REFUSED):
        weight_files.load(model, path)
    assert [to_numpy(v).tobytes() for v in model.weights] == before


@pytest.mark.parametrize("kind", KINDS)
def test_float64_that_fits_is_rounded(model, tmp_path, kind):
    path = path_of(tmp_path, kind)
    exact = np.array([0.1, -2.5, 1e38])
    write(model, path, lambda array: exact)
    copy = keras_nfnets.NFNet(
        tiny_variant(depths=(1,)), classes=3, weights=path
    )
    found = to_numpy(copy.get_layer("head").classifier.bias)
    np.testing.assert_array_equal(found, exact.astype("float32"))


@pytest.mark.parametrize("bad", BAD)
def test_whole_models_are_checked_alike(model, tmp_path, bad):
    write(model, tmp_path / "f.keras", with_first(bad))
    with pytest.raises(ValueError, match="finite values|real numbers"):
        keras_files.load_model(tmp_path / "f.keras")


def test_whole_model_that_is_good_is_loaded(model, tmp_path):
    model.save(tmp_path / "f.keras")
    copy = keras_files.load_model(tmp_path / "f.keras")
    for ours, theirs in zip(model.weights, copy.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs))


def test_the_weights_own_type_decides():
    near = np.float32([1, 70_000])
    np.testing.assert_array_equal(checked("x", near), near)
    with pytest.raises(ValueError, match="'x' .* float16. Received: 70000"):
        checked("x", near, "float16")
    # bfloat16 has the range of float32.
    assert float(checked("x", near, "bfloat16")[0]) == 1
    with pytest.raises(ValueError, match="finite values of float32"):
        checked("x", np.float64([3.5e38]))


def test_integers_are_numbers_and_strings_are_not():
    np.testing.assert_array_equal(checked("x", np.arange(3)), [0.0, 1.0, 2.0])
    assert checked("x", np.arange(3), "int32").dtype == "int32"
    with pytest.raises(ValueError, match="finite values of int32"):
        checked("x", np.float32([0.5]), "int32")
    for other in (
        ["a"],
        [b"a"],
        [None],
        np.zeros(1, "M8[s]"),
        np.zeros(1, "V4"),
    ):
        with pytest.raises(ValueError, match="'x' must hold real numbers"):
            checked("x", np.asarray(other))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="files know no backend")
def test_bfloat16_weights_come_back(tmp_path):
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, dtype="bfloat16")]
    )
    model.save(tmp_path / "f.keras")
    copy = keras_files.load_model(tmp_path / "f.keras")
    for ours, theirs in zip(model.weights, copy.weights, strict=True):
        assert theirs.dtype == "bfloat16"
        assert to_numpy(ours).tobytes() == to_numpy(theirs).tobytes()


def test_read_and_assign_check_too(tmp_path, model):
    arrays = {"stem.conv1.weight": np.float32([np.nan])}
    safetensors.numpy.save_file(arrays, tmp_path / "f.safetensors")
    with pytest.raises(ValueError, match="'stem.conv1.weight' must have fin"):
        keras_nfnets.weights.read(tmp_path / "f.safetensors")
    targets = timm_targets(model)
    arrays = collect(targets)
    before = {n: a.copy() for n, a in arrays.items()}
    last = list(arrays)[-1]
    for name, array in arrays.items():
        arrays[name] = array + np.float32(np.inf if name == last else 1)
    with pytest.raises(ValueError, match="must have finite values"):
        keras_nfnets.weights.assign(targets, arrays)
    for name, array in collect(targets).items():
        np.testing.assert_array_equal(array, before[name])
