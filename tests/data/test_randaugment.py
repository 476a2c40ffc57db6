"""Each image draws its own operations, and all that it drew are applied."""

import numpy as np
import pytest

from keras_nfnets.data import distort
from keras_nfnets.data.operations import OPERATIONS
from keras_nfnets.data.randaugment import randaugment

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 24, 32, 3), "uint8")
NAMES = list(OPERATIONS)


def distorted(images, draws, magnitude=10, corrected=False):
    run = randaugment(magnitude, corrected)
    return np.stack(list(map(run, images, draws.tolist())))


def draws_of(names, sign=0.0):
    """Draws that choose these operations, for one image."""
    return [
        ((NAMES.index(name) + 0.5) / len(NAMES), sign, 0.5, 0.5)
        for name in names
    ]


@pytest.mark.parametrize("sign", [1, -1])
def test_operations_are_applied_one_after_the_other(sign):
    chosen = [
        ("rotate", "equalize"),
        ("translate_x", "shear_y"),
        ("invert", "color"),
        ("solarize", "posterize"),
        ("sharpness", "sharpness"),
        ("contrast", "brightness"),
    ]
    draws = np.array([draws_of(names, 0.5 * (sign < 0)) for names in chosen])
    for image, names, found in zip(
        IMAGES, chosen, distorted(IMAGES, draws), strict=True
    ):
        for name in names:
            image = distort(image, name, 10, sign)
        np.testing.assert_array_equal(found, image)


def test_corrected_operations():
    draws = np.array([draws_of(["solarize"])] * 6)
    found = distorted(IMAGES, draws, corrected=True)
    np.testing.assert_array_equal(found, IMAGES)
    np.testing.assert_array_equal(distorted(IMAGES, draws), 255 - IMAGES)


def test_cutout_is_where_it_was_drawn():
    draws = np.array([draws_of(["cutout"])] * 6)
    draws[:, 0, 2:] = 0.0
    draws[0, 0, 2:] = 0.999
    grey = distorted(IMAGES // 4, draws, magnitude=2) == 128
    # Of 16 pixels a side, of which a quarter is inside.
    assert grey[1:, :8, :8].all() and not grey[1:, 8:].any()
    assert grey[0, -9:, -9:].all() and grey[0].sum() == 9 * 9 * 3


def test_nothing_is_computed_that_was_not_drawn(monkeypatch):
    applied = []
    for name, operation in OPERATIONS.items():
        monkeypatch.setitem(
            OPERATIONS,
            name,
            lambda image, draw, run=operation, name=name: (
                applied.append(name) or run(image, draw)
            ),
        )
    draws = np.random.default_rng(1).random((6, 4, 4))
    distorted(IMAGES, draws)
    expected = [NAMES[int(16 * number)] for number in draws[..., 0].ravel()]
    assert applied == expected
