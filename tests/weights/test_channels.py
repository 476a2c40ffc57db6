"""A first kernel for RGB is fitted to networks for other channels."""

import warnings

import numpy as np
import pytest
from helpers import tiny_variant, to_numpy

import keras_nfnets
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights.channels import fit_channels, fits

KINDS = ("f.weights.h5", "f.keras", "f.npz", "f.safetensors")


@pytest.fixture(scope="module")
def rgb(tmp_path_factory):
    """A network for RGB, and the folder with its files."""
    folder = tmp_path_factory.mktemp("rgb")
    model = keras_nfnets.NFNet(tiny_variant(depths=(1,)), classes=3)
    return model, save(model, folder)


def save(model, folder):
    model.save_weights(folder / "f.weights.h5")
    model.save(folder / "f.keras")
    weight_files.write(model, folder / "f.npz")
    weight_files.write(model, folder / "f.safetensors")
    return folder


def build(channels, **arguments):
    shape = (None, None, channels)
    arguments = dict(classes=3) | arguments
    return keras_nfnets.NFNet(
        tiny_variant(depths=(1,)), input_shape=shape, **arguments
    )


def expected(kernel, channels):
    """timm's rule, channel by channel."""
    if channels == 1:
        return (kernel[:, :, 0] + kernel[:, :, 1] + kernel[:, :, 2])[:, :, None]
    parts = [kernel[:, :, i % 3] * (3 / channels) for i in range(channels)]
    return np.stack(parts, axis=2)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_is_fitted(rgb, name, channels):
    model, folder = rgb
    with pytest.warns(UserWarning, match=f"3 channels and .* of {channels}"):
        other = build(channels, weights=folder / name)
    ours = {v.path: to_numpy(v) for v in other.weights}
    for variable in model.weights:
        value = to_numpy(variable)
        if variable.path == "stem/conv0/kernel":
            value = expected(value, channels)
        # float32 rounds a product and two sums.
        np.testing.assert_allclose(ours[variable.path], value, 1e-6, 1e-7)


def test_with_other_classes_both_are_said(rgb):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other = build(1, classes=2, weights=rgb[1] / "f.keras")
    said = " ".join(str(w.message) for w in caught)
    assert "classifier stays fresh" in said and "kernel was fitted" in said
    # The warning names the line that asked for the model.
    assert {w.filename for w in caught} == {__file__}
    assert not to_numpy(other.get_layer("head").classifier.bias).any()


@pytest.mark.parametrize("name", KINDS)
def test_only_rgb_is_fitted(tmp_path_factory, name):
    folder = save(build(1), tmp_path_factory.mktemp("grey"))
    with pytest.raises(ValueError, match="of the same network|model's shapes"):
        build(4, weights=folder / name)


def test_refused_channels_are_shown(tmp_path_factory):
    folder = save(build(1), tmp_path_factory.mktemp("grey"))
    kernel = r"\(3, 3, {}, 4\)"
    message = f"{kernel.format(1)} where the model has {kernel.format(4)}"
    with pytest.raises(ValueError, match=message):
        build(4, weights=folder / "f.keras")


def test_fits_is_about_channels_alone():
    assert fits((3, 3, 3, 16), (3, 3, 1, 16))
    assert not fits((3, 3, 3, 16), (3, 3, 3, 16))
    assert not fits((3, 3, 3, 16), (3, 3, 1, 8))
    assert not fits((3, 3, 3, 16), (7, 7, 1, 16))
    assert not fits((3, 3, 1, 16), (3, 3, 3, 16))
    assert not fits((3, 16), (1, 16))


def test_types_stay():
    kernel = np.ones((1, 1, 3, 2), "float32")
    for channels in (1, 2, 6):
        assert fit_channels(kernel, channels).dtype == "float32"
