"""Weight files of the papers and of timm load, and are written again."""

import contextlib
import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers import (
    BACKEND,
    FILES,
    ROOT,
    Reference,
    assert_outputs,
    evaluate,
    variant_of,
)

import keras_nfnets
from keras_nfnets import VARIANTS
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights.names import collect, timm_targets

PUBLISHED = FILES / "weights" / "published_format_full.npz"


@pytest.fixture(scope="module")
def reference():
    return Reference("model_nfnet_plain")


def _model(reference, **changes):
    arguments = dict(classes=10, classifier_activation=None) | changes
    return keras_nfnets.NFNet(variant_of(reference.meta), **arguments)


@pytest.fixture(scope="module")
def model(reference):
    return _model(reference, weights=str(PUBLISHED))


def test_a_file_as_published_gives_the_papers_logits(model, reference):
    found = evaluate(model, reference["even/x"])
    # Ten times the float32 noise of the reference.
    assert_outputs(found, reference["even/logits"], rate=1e-5)


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors"])
def test_there_and_back_is_exact(model, reference, tmp_path, name):
    weight_files.write(model, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    copy = _model(reference, weights=tmp_path / name)
    for ours, theirs in zip(
        model.get_weights(), copy.get_weights(), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()


def test_frozen_weights_are_written_and_read_as_others(reference, model):
    frozen = _model(reference)
    frozen.trainable = False
    arrays = haiku_files.read(PUBLISHED)
    weight_files.load_arrays(frozen, arrays)
    for ours, theirs in zip(
        frozen.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_papers_arrays_come_back_to_the_byte(model, tmp_path):
    weight_files.write(model, tmp_path / "f.npz")
    before = haiku_files.read(PUBLISHED)
    after = haiku_files.read(tmp_path / "f.npz")
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert array.tobytes() == after[name].tobytes()


def test_classifier_of_another_size_stays_fresh(reference, model):
    with pytest.warns(UserWarning, match="classifier stays fresh"):
        other = _model(reference, classes=3, weights=PUBLISHED)
    np.testing.assert_array_equal(
        other.get_layer("head").conv.kernel, model.get_layer("head").conv.kernel
    )
    assert other.get_layer("head").classifier.units == 3


def test_classifier_of_another_size_without_its_bias_is_refused(model):
    arrays = collect(timm_targets(model))
    del arrays["head.fc.bias"]
    arrays["head.fc.weight"] = arrays["head.fc.weight"][:3]
    with pytest.raises(ValueError, match="'head.fc.bias' is not in the file"):
        weight_files.load_arrays(model, arrays)


def test_without_its_top_a_model_takes_the_rest(reference, model):
    features = _model(reference, include_top=False, weights=PUBLISHED)
    np.testing.assert_array_equal(
        features.get_layer("head").conv.kernel,
        model.get_layer("head").conv.kernel,
    )


def test_file_of_another_variant_names_those_that_fit(
    reference, model, monkeypatch
):
    variant = variant_of(reference.meta)
    monkeypatch.setitem(VARIANTS, "the_one", variant)
    other = dataclasses.replace(variant, depths=(1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"not in.* may be of: the_one\."):
        keras_nfnets.NFNet(other, classes=10, weights=PUBLISHED)


def test_torch_archive_under_a_safetensors_name_is_refused(model, tmp_path):
    path = tmp_path / "f.safetensors"
    path.write_bytes(b"PK\x03\x04 and so on" * 9)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        weight_files.load(model, path)


def test_unknown_ending_is_refused(model, tmp_path):
    path = tmp_path / "f.pkl"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="must end in"):
        weight_files.load(model, path)


@pytest.fixture(scope="module")
def saved(reference, tmp_path_factory):
    """The model with 10 classes in every kind of file."""
    folder = tmp_path_factory.mktemp("saved")
    model = _model(reference, weights=PUBLISHED)
    model.save_weights(folder / "f.weights.h5")
    model.compile("sgd", "mse")  # its state is in the file too
    model.save(folder / "f.keras")
    weight_files.write(model, folder / "f.npz")
    weight_files.write(model, folder / "f.safetensors")
    return folder


KINDS = ["f.weights.h5", "f.keras", "f.npz", "f.safetensors"]
once = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="files alone: one backend is enough"
)


@once
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_knows_its_classes(saved, name):
    assert weight_files.classes_in(saved / name) == 10


@once
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_keeps_another_classifier_fresh(
    reference, model, saved, name
):
    with pytest.warns(UserWarning, match="stays fresh: the file's has 10 cl"):
        other = _model(reference, classes=3, weights=saved / name)
    ours = {v.path: v for v in other.weights}
    for variable in model.weights:
        if not variable.path.startswith("head/classifier/"):
            np.testing.assert_array_equal(ours[variable.path], variable)
    bias = other.get_layer("head").classifier.bias
    assert bias.shape == (3,) and not np.any(bias)


@once
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_goes_into_a_model_without_its_top(
    reference, model, saved, name
):
    other = _model(reference, include_top=False, weights=saved / name)
    ours = {v.path: v for v in model.weights}
    for variable in other.weights:
        np.testing.assert_array_equal(ours[variable.path], variable)


@once
@pytest.mark.parametrize("depths", [(1, 2, 2, 2), (1, 2, 1, 1)])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_names_the_variant_that_fits(
    reference, saved, name, depths, monkeypatch
):
    variant = variant_of(reference.meta)
    monkeypatch.setitem(VARIANTS, "the_one", variant)
    other = dataclasses.replace(variant, depths=depths)
    with pytest.raises(ValueError, match="may be of: the_one"):
        keras_nfnets.NFNet(other, classes=10, weights=saved / name)


@once
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("what", ["empty", "cut", "text", "other"])
def test_bad_files_are_named(model, saved, tmp_path, name, what):
    other = KINDS[KINDS.index(name) - 1]
    content = {
        "empty": b"",
        "cut": (saved / name).read_bytes()[:5000],
        "text": b"<!doctype html>" * 99,
        "other": (saved / other).read_bytes(),
    }[what]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a") as caught:
        weight_files.load(model, path)
    assert str(path) in str(caught.value)


@once
@pytest.mark.parametrize("name", KINDS)
def test_folder_or_nothing_in_place_of_a_file(model, tmp_path, name):
    with pytest.raises(FileNotFoundError, match="`weights` must be a file"):
        weight_files.load(model, tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="must be a file, not a folder"):
        weight_files.load(model, tmp_path / name)


@contextlib.contextmanager
def _without_privileges():
    """Root may read everything, so that it becomes nobody for a while."""
    root = os.getuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@once
@pytest.mark.parametrize("name", KINDS)
def test_file_that_may_not_be_read(model, saved, name):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, name)
        path.write_bytes((saved / name).read_bytes())
        path.chmod(0)
        with _without_privileges():
            with pytest.raises(PermissionError, match=name):
                weight_files.load(model, path)


def test_torch_file_is_for_the_tool(reference, tmp_path):
    path = tmp_path / "f.pth"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="keras-nfnets convert` reads .pth"):
        _model(reference, weights=path)


TOOL = ROOT / "tools" / "convert_weights.py"


def _tool():
    spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _convert(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *arguments],
        capture_output=True,
        text=True,
    )


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "tensorflow", reason="its default is run")
def test_tool_converts_out_and_refuses_the_wrong_network(tmp_path, capsys):
    pico = keras_nfnets.NFNet("nfnet_pico", classes=7)
    ours, theirs = tmp_path / "ours.weights.h5", tmp_path / "their.safetensors"
    pico.save_weights(ours)
    options = ["--variant", "nfnet_pico", "--to", "timm"]
    # The other call is a process of its own.
    assert _tool().main([str(ours), str(theirs), *options]) == 0
    assert "stages.0.0.conv1.weight" in capsys.readouterr().out
    copy = keras_nfnets.NFNet("nfnet_pico", classes=7, weights=theirs)
    for a, b in zip(pico.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    back = tmp_path / "back.weights.h5"
    result = _convert(PUBLISHED, back, "--variant", "nfnet_pico")
    assert result.returncode == 2
    # TensorFlow first prints lines about the machine.
    last = result.stderr.splitlines()[-1]
    assert last.startswith("keras-nfnets: error: `arrays` must")
    assert not back.exists()


def test_file_that_stops_early_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(arrays, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        weight_files.write(model, tmp_path / "f.safetensors")
    assert list(tmp_path.iterdir()) == []


class _Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.skipif(BACKEND != "torch", reason="needs PyTorch")
def test_tool_reads_torch_files_of_tensors_alone(tmp_path):
    import torch

    pico = keras_nfnets.NFNet("nfnet_pico", classes=7)
    arrays = collect(timm_targets(pico))
    state = {name: torch.tensor(array) for name, array in arrays.items()}
    torch.save(state, tmp_path / "good.pth")
    marker = tmp_path / "evil_marker"
    torch.save({"state_dict": _Evil(marker)}, tmp_path / "evil.pth")
    options = ["--variant", "nfnet_pico"]
    result = _convert(
        tmp_path / "good.pth", tmp_path / "good.weights.h5", *options
    )
    assert result.returncode == 0, result.stderr
    copy = keras_nfnets.NFNet("nfnet_pico", classes=7)
    copy.load_weights(tmp_path / "good.weights.h5")
    for a, b in zip(pico.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    result = _convert(
        tmp_path / "evil.pth", tmp_path / "evil.weights.h5", *options
    )
    assert result.returncode == 2
    assert "is not a file of tensors alone" in result.stderr
    assert not marker.exists()
    assert not (tmp_path / "evil.weights.h5").exists()
