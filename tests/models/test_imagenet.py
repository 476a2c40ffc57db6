"""Published networks get the images they expect, and classes have names."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy

import keras_nfnets
from keras_nfnets import VARIANTS, decode_predictions, evaluation_crop

# Where Keras keeps the list once it was fetched.
INDEX = keras.src.applications.imagenet_utils


def ramp(height, width):
    """An image whose red is the row and whose green is the column."""
    rows, columns = np.mgrid[:height, :width].astype("float32")
    return np.stack([rows, columns, rows * 0], axis=-1)


def test_papers_squash_to_32_pixels_more_and_crop():
    found = to_numpy(evaluation_crop(ramp(96, 192), "nfnet_f0", size=64))
    assert found.shape == (64, 64, 3)
    # To 96 pixels a side, of which the middle 64 stay: rows as they were,
    # columns of double width. Bicubic keeps straight lines inside.
    np.testing.assert_allclose(found[:, 0, 0], np.arange(16, 80), atol=1e-3)
    np.testing.assert_allclose(
        found[0, :, 1], np.arange(16, 80) * 2 + 0.5, atol=1e-3
    )


def test_timm_keeps_the_aspect_ratio():
    found = to_numpy(evaluation_crop(ramp(50, 120), "nf_resnet26_timm", 45))
    # 45 / 0.9 is the height, so nothing is resized and the middle cut out.
    np.testing.assert_allclose(found[:, 0, 0], np.arange(3, 48), atol=1e-3)
    np.testing.assert_allclose(found[0, :, 1], np.arange(38, 83), atol=1e-3)


def test_crop_of_a_batch_at_the_test_size():
    images = np.zeros((2, 40, 30, 3), "uint8")
    found = evaluation_crop(images, "test_nfnet")
    assert tuple(found.shape) == (2, 160, 160, 3)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


def test_antialiasing_is_timms_alone():
    image = np.zeros((256, 256, 3), "float32")
    image[::4] = 255
    papers = VARIANTS["nfnet_f0"]
    timm = dataclasses.replace(papers, test_crop=0.5)
    # Both squash by four. Antialiased, a row is the mean of four; if not, it
    # lies between the second and the third, and the first counts negatively.
    smooth = to_numpy(evaluation_crop(image, timm, 32))
    rough = to_numpy(evaluation_crop(image, papers, 32))
    np.testing.assert_allclose(smooth, 255 / 4, atol=3)
    # PyTorch's own bicubic kernel is a = -0.75, the others' -0.5.
    share = 3 / 32 if BACKEND == "torch" else 1 / 16
    np.testing.assert_allclose(rough, -255 * share, atol=1e-3)


@pytest.mark.parametrize("size", [0, -3])
def test_crop_of_no_size_is_refused(size):
    with pytest.raises(ValueError, match=f"`size` must be.*size={size}"):
        evaluation_crop(ramp(64, 64), "nfnet_f0", size)


def test_timms_small_one_expects_other_pixels():
    x = np.array([[[[0.0, 127.5, 255.0]]]], "float32")
    found = keras_nfnets.preprocess_input(x, "test_nfnet")
    np.testing.assert_allclose(to_numpy(found)[0, 0, 0], [-1, 0, 1])


@pytest.fixture
def names(monkeypatch):
    index = {str(i): [f"n{i:08}", f"name {i}"] for i in range(1000)}
    monkeypatch.setattr(INDEX, "CLASS_INDEX", json.loads(json.dumps(index)))


def test_names_of_the_most_probable(names):
    y = np.full((2, 1000), 1e-6, "float32")
    y[0, [3, 7]] = 0.2, 0.7
    y[1, 999] = 0.9
    first, second = decode_predictions(keras.ops.convert_to_tensor(y), top=2)
    assert [row[:2] for row in first] == [
        ("n00000007", "name 7"),
        ("n00000003", "name 3"),
    ]
    assert first[0][2] == np.float32(0.7)
    assert second[0][:2] == ("n00000999", "name 999")
    assert len(decode_predictions(y)[0]) == 5


@pytest.mark.parametrize("shape", [(1000,), (2, 10), (1, 1, 1000)])
def test_other_classes_have_no_names(names, shape):
    with pytest.raises(ValueError, match="`y` must have the shape"):
        decode_predictions(np.zeros(shape))


@pytest.mark.parametrize("top", [0, 1001])
def test_top_of_no_size_is_refused(names, top):
    with pytest.raises(ValueError, match=f"`top` must be.*top={top}"):
        decode_predictions(np.zeros((1, 1000)), top)


def test_without_network_it_says_what_to_put_where(monkeypatch):
    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure on https://...: None -- refused")

    monkeypatch.setattr(INDEX, "CLASS_INDEX", None)
    monkeypatch.setattr(INDEX.file_utils, "get_file", refuse)
    with pytest.raises(ConnectionError, match="put imagenet_class_index.json"):
        decode_predictions(np.zeros((1, 1000)))
