"""Files that open but hold no weights are refused early and by name."""

import json
import os
import stat
import struct
import tracemalloc
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
from keras_nfnets.weights.hdf5 import MAX_LEVELS, datasets
from keras_nfnets.weights.staging import all_or_nothing

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="files alone: one backend is enough"
)


@pytest.fixture(scope="module")
def model():
    return keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=2)


def state(model):
    return [to_numpy(v).tobytes() for v in model.weights]


@pytest.fixture
def refuse(model):
    """Loads a file that must be refused, and leave the model as it is."""

    def call(path, match):
        before = state(model)
        with pytest.raises(ValueError, match=match) as caught:
            weight_files.load(model, path)
        assert str(path) in str(caught.value)
        assert state(model) == before

    return call


def dataset_in_place_of_layers(file):
    file["layers"] = np.ones(3)


def null_dataspace(file):
    file["layers/head/vars/0"] = h5py.Empty("f4")


def soft_link(file):
    file["layers/head"] = h5py.SoftLink("/optimizer")


def external_link(file):
    file["layers/head"] = h5py.ExternalLink("other.h5", "/")


def external_values(file):
    external = [("/etc/hostname", 0, 4)]
    file.create_dataset("layers/0", (1,), "f4", external=external)


def virtual(file):
    layout = h5py.VirtualLayout((1,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (1,))
    file.create_virtual_dataset("layers/0", layout)


def strings(file):
    file["layers/0"] = np.array([b"a", b"b"])


def strings_of_any_length(file):
    file["layers/0"] = ["a", "b"]


def pairs(file):
    file["layers/0"] = np.zeros(2, [("a", "f4"), ("b", "f4")])


def references(file):
    file["layers/0"] = np.array([file.ref], h5py.ref_dtype)


def complex_numbers(file):
    file["layers/0"] = np.ones(2, "complex64")


def named_type(file):
    file["layers/0"] = np.dtype("f4")


def deep(file):
    group = file.create_group("layers")
    for _ in range(3000):
        group = group.create_group("a")


def circle(file):
    file["layers/a/b"] = file.create_group("layers/c")
    file["layers/c/again"] = file["layers"]


def huge(file):
    """Declares 4 GB and stores none of them."""
    file.create_dataset("layers/0", (10**9,), "f4", chunks=(10**6,))


def packed(file):
    """Declares 64 MB of zeros, and stores some kilobytes of them."""
    zeros = np.zeros(2**24, "f4")
    file.create_dataset(
        "layers/0", data=zeros, chunks=(2**20,), compression="gzip"
    )


def nothing(file):
    file.create_group("layers")


def no_layers(file):
    file["other"] = np.ones(3)


STRUCTURES = {
    dataset_in_place_of_layers: "no layers with weights",
    null_dataspace: "layers/head/vars/0 is an array without a shape",
    soft_link: "layers/head is a link elsewhere",
    external_link: "layers/head is a link elsewhere",
    external_values: "layers/0 has its values in another file",
    virtual: "layers/0 has its values in another file",
    strings: "'layers/0' must hold real numbers",
    strings_of_any_length: "'layers/0' must hold real numbers",
    pairs: "'layers/0' must hold real numbers",
    references: "'layers/0' must hold real numbers",
    complex_numbers: "'layers/0' must hold real numbers",
    named_type: "layers/0 is neither a group nor an array",
    deep: f"more than {MAX_LEVELS} levels",
    circle: f"more than {MAX_LEVELS} levels",
    huge: "its arrays would take 4,000,000,000 bytes, more than 100 times",
    packed: "its arrays would take 67,108,864 bytes, more than 100 times",
    nothing: "no layers with weights",
    no_layers: "no layers with weights",
}


@pytest.mark.parametrize("kind", [".weights.h5", ".keras"])
@pytest.mark.parametrize("build", STRUCTURES, ids=lambda b: b.__name__)
def test_structures(refuse, tmp_path, build, kind):
    inner, path = tmp_path / "inner.weights.h5", tmp_path / f"f{kind}"
    with h5py.File(inner, "w") as file:
        build(file)
    if kind == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(inner, "model.weights.h5")
    else:
        inner.rename(path)
    refuse(path, f"is not a weight file of Keras: .*{STRUCTURES[build]}")
    with pytest.raises(ValueError, match="is not a weight file of Keras"):
        weight_files.classes_in(path)


@pytest.mark.parametrize("member", ["model.weights.h5", "config.json", "a/b"])
@pytest.mark.parametrize("kind", ["DEFLATED", "BZIP2", "LZMA"])
def test_bombs_are_refused_by_their_headers(refuse, tmp_path, member, kind):
    path = tmp_path / "f.keras"
    method = getattr(zipfile, f"ZIP_{kind}")
    with zipfile.ZipFile(path, "w", method) as archive:
        with archive.open(member, "w") as file:
            for _ in range(32):
                file.write(bytes(2**20))
    assert path.stat().st_size < 2**16
    tracemalloc.start()
    try:
        refuse(path, "would take 33,554,432 bytes, more than 100 times")
        with pytest.raises(ValueError, match="more than 100 times"):
            keras_files.load_model(path)
        # The member has 32 MB, and none of them was unpacked.
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_compressed_by_hand_is_a_good_file(model, tmp_path):
    model.save(tmp_path / "f.keras")
    with zipfile.ZipFile(tmp_path / "f.keras") as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    path = tmp_path / "small.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    copy = keras_nfnets.NFNet(
        tiny_variant(depths=(1,)), classes=2, weights=path
    )
    assert state(copy) == state(model)
    assert state(keras_files.load_model(path)) == state(model)


@pytest.mark.parametrize(
    "kind", ["F8_E4M3", "F8_E5M2", "BOOL", "C64", "F4", "NEW"]
)
def test_safetensors_of_types_that_no_weight_has(refuse, tmp_path, kind):
    size = {"C64": 8, "F4": 0.5}.get(kind, 1)
    end = int(4 * size)
    entry = {"dtype": kind, "shape": [4], "data_offsets": [0, end]}
    header = json.dumps({"stem.conv1.weight": entry}).encode()
    path = tmp_path / "f.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(end))
    refuse(path, "is not a safetensors file: ")


def test_half_a_load_is_none(model, tmp_path):
    """Behind the stem, two kernels have each other's shape."""
    path = tmp_path / "f.weights.h5"
    keras.utils.set_random_seed(1)
    other = keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=2)
    other.save_weights(path)
    with h5py.File(path, "a") as file:
        first = file["layers/nf_block/conv0/vars"]
        second = file["layers/nf_block/conv1/vars"]
        kernels = first["0"][()], second["0"][()]
        for group, kernel in zip((second, first), kernels, strict=True):
            del group["0"]
            group["0"] = kernel
    before = state(model)
    with pytest.raises(ValueError, match="is not a weight file of Keras"):
        weight_files.load(model, path)
    assert state(model) == before != state(other)


def test_what_a_file_lacks_is_named(model, tmp_path, monkeypatch):
    """As where Keras warns, and leaves a layer fresh."""
    path = tmp_path / "f.weights.h5"
    model.save_weights(path)
    before = state(model)
    conv = model.get_layer("head").conv
    monkeypatch.setattr(conv, "load_own_variables", lambda store: None)
    with pytest.raises(ValueError, match="has nothing for 'head/conv/kernel'"):
        weight_files.load(model, path)
    assert state(model) == before


def test_variables_are_themselves_again(model):
    before = state(model)
    with pytest.raises(RuntimeError, match="too bad"):
        with all_or_nothing(model.weights, lambda v, array: array):
            model.weights[0].assign(np.ones(model.weights[0].shape))
            raise RuntimeError("too bad")
    assert state(model) == before
    assert not any("assign" in vars(v) for v in model.weights)


def test_datasets_are_listed_by_their_names(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a/b/0"] = np.ones((2, 3))
        file["c"] = np.float32(1)
        file.create_group("empty")
        found = {n: item.shape for n, item in datasets(file).items()}
    assert found == {"a/b/0": (2, 3), "c": ()}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("name", ["f.safetensors", "f.npz"])
def test_written_files_have_the_usual_mode(model, tmp_path, name, mask):
    before = os.umask(mask)
    try:
        weight_files.write(model, tmp_path / name)
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / name).stat().st_mode)
    assert mode == 0o666 & ~mask


def test_safetensors_of_transposed_arrays(tmp_path):
    array = np.arange(6, dtype="float32").reshape(2, 3).T
    weight_files.write_arrays({"a": array}, tmp_path / "f.safetensors")
    found = safetensors.numpy.load_file(tmp_path / "f.safetensors")["a"]
    np.testing.assert_array_equal(found, array)
