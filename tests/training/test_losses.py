"""Crossentropy is the formula, for integers, rows, mixed images and pixels."""

import keras
import numpy as np
import pytest
from helpers import to_numpy

from keras_nfnets.training.losses import Crossentropy


def probabilities(*shape):
    return np.random.default_rng(0).dirichlet(np.ones(4), shape).astype("f4")


def by_formula(rows, y_pred, smoothing):
    rows = (1 - smoothing) * rows + smoothing / rows.shape[-1]
    return -(rows * np.log(y_pred)).sum(-1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_all_kinds_of_labels(smoothing, dtype):
    labels, y_pred = np.array([3, 0, 1], dtype), probabilities(3)
    rows = np.eye(4, dtype="float32")[labels.astype(int)]
    loss = Crossentropy(smoothing)
    expected = by_formula(rows, y_pred, smoothing)
    for given in (labels, labels[:, None], rows):
        found = to_numpy(loss(given, y_pred))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_mixed_images():
    rows, y_pred = np.float32([[0.25, 0, 0, 0.75]]), probabilities(1)
    found = to_numpy(Crossentropy(0.1)(rows, y_pred))
    np.testing.assert_allclose(found, by_formula(rows, y_pred, 0.1), rtol=1e-5)


def test_labels_of_pixels():
    labels, y_pred = np.array([[[0, 1], [2, 3]]]), probabilities(1, 2, 2)
    expected = by_formula(np.eye(4)[labels], y_pred, 0.1)
    for given in (labels, labels[..., None]):
        found = to_numpy(Crossentropy(0.1)(given, y_pred))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_logits():
    labels, y_pred = np.array([2]), probabilities(1)
    found = to_numpy(
        Crossentropy(0.1, from_logits=True)(labels, np.log(y_pred))
    )
    expected = by_formula(np.eye(4)[labels], y_pred, 0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("label", [-1, 4])
def test_integer_that_is_no_class_shows(label):
    loss = Crossentropy(0.1)(np.array([0, label]), probabilities(2))
    assert np.isnan(to_numpy(loss))


def test_saving(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile("sgd", Crossentropy(0.2, from_logits=True, reduction="sum"))
    model.fit(np.ones((4, 2)), np.array([0, 1, 2, 0]), verbose=0)
    model.save(tmp_path / "model.keras")
    loss = keras.saving.load_model(tmp_path / "model.keras").loss
    assert isinstance(loss, Crossentropy)
    assert loss.get_config() == model.loss.get_config()


def test_bad_smoothing_is_refused():
    with pytest.raises(ValueError, match="`label_smoothing` must be in"):
        Crossentropy(1.0)


def test_other_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="labels of 3 and a model of 4"):
        Crossentropy()(np.eye(3), np.full((3, 4), 0.25))
