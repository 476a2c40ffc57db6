"""Distorted bytes are those of the papers' code, whatever computes them."""

import importlib.util
import re
import warnings

import numpy as np
import pytest
from helpers import Reference

from keras_nfnets.data import byte_images, distort
from keras_nfnets.data.operations import OPERATIONS
from keras_nfnets.recipes.rules import MAX_MAGNITUDE

REFERENCE = Reference("randaugment")
CASES = REFERENCE.meta["cases"]


def snake_case(name):
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


@pytest.fixture(
    params=[
        "numpy",
        pytest.param(
            "opencv",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("cv2") is None, reason="needs OpenCV"
            ),
        ),
    ]
)
def engine(request, monkeypatch):
    """NumPy or OpenCV as what computes."""
    if request.param == "numpy":
        monkeypatch.setattr(byte_images, "opencv", lambda: None)


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, "uint8")


def test_bytes_are_the_papers(engine):
    assert {snake_case(case["op"]) for case in CASES} == (
        set(OPERATIONS) - {"cutout"}
    )
    for case in CASES:
        found = distort(
            REFERENCE[case["image"]],
            snake_case(case["op"]),
            case["magnitude"],
            case["sign"],
        )
        np.testing.assert_array_equal(
            found, REFERENCE[case["key"]], err_msg=case["key"]
        )


@pytest.mark.parametrize("shape", [(3, 24, 40, 3), (2, 33, 17, 1), (1, 1, 3)])
@pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="needs OpenCV"
)
def test_opencv_and_numpy_give_the_same_bytes(shape, monkeypatch):
    images = noise(shape)
    images[:1] //= 3
    found = {}
    for name in OPERATIONS:
        for magnitude in (0, 1, 7.5, 12, 40):
            found[name, magnitude] = distort(images, name, magnitude, -1)
    monkeypatch.setattr(byte_images, "opencv", lambda: None)
    for (name, magnitude), expected in found.items():
        assert expected.shape == shape and expected.dtype == "uint8"
        np.testing.assert_array_equal(
            distort(images, name, magnitude, -1), expected, err_msg=name
        )


def test_geometry_and_grey_are_tensorflows(engine):
    tf = pytest.importorskip("tensorflow")
    image = noise((40, 56, 3))
    sheared = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=[[1, 0, 0, -0.45, 1, 0, 0, 0.0]],
        output_shape=[40, 56],
        fill_value=128.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    np.testing.assert_array_equal(
        distort(image, "shear_y", 15, sign=-1), sheared[0]
    )
    grey = np.float32(tf.image.rgb_to_grayscale(image))
    blended = grey + np.float32(1.9) * (image - grey)
    np.testing.assert_array_equal(
        distort(image, "color", 10), np.clip(blended, 0, 255).astype("uint8")
    )


def test_images_of_a_batch_do_not_meet(engine):
    images = noise((3, 20, 20, 3))
    images[1] //= 4
    for name in sorted(set(OPERATIONS) - {"cutout"}):
        together = distort(images, name, 10)
        for image, expected in zip(images, together, strict=True):
            np.testing.assert_array_equal(distort(image, name, 10), expected)


@pytest.mark.parametrize(
    "name, magnitude, expected",
    [
        ("invert", 5, [255, 155, 55, 0]),
        ("solarize", 5, [0, 100, 55, 0]),
        ("solarize", 10, [255, 155, 55, 0]),
        ("solarize", 15, [0, 100, 55, 0]),
        ("solarize_add", 10, [110, 210, 200, 255]),
        ("solarize_add", 15, [165, 255, 200, 255]),
        ("posterize", 5, [0, 64, 192, 192]),
        ("posterize", 10, [0, 96, 192, 240]),
        ("brightness", 5, [0, 100, 200, 255]),
        ("brightness", 10, [0, 190, 255, 255]),
        # 1.9 x, as four pixels by 256 are 0.
        ("contrast", 10, [0, 190, 255, 255]),
    ],
)
def test_operations_of_a_pixel(name, magnitude, expected):
    image = np.uint8([0, 100, 200, 255]).reshape(2, 2, 1)
    found = distort(image, name, magnitude).ravel()
    np.testing.assert_array_equal(found, expected)


def test_corrected_operations():
    image = np.uint8([0, 100, 200, 255]).reshape(2, 2, 1)
    solarized = distort(image, "solarize", 10, corrected=True)
    np.testing.assert_array_equal(solarized, image)
    # About the mean, 139, by 1.9.
    contrast = distort(image, "contrast", 10, corrected=True).ravel()
    np.testing.assert_array_equal(contrast, [0, 64, 254, 255])


def test_cutout_is_a_grey_square_anywhere():
    images = np.zeros((64, 100, 120, 3), "uint8")
    grey = distort(images, "cutout", 5) == 128
    # Of 40 pixels a side, cut at the border; the centre is a pixel.
    heights = grey.any(axis=(2, 3)).sum(axis=1)
    widths = grey.any(axis=(1, 3)).sum(axis=1)
    assert heights.max() == widths.max() == 40
    assert heights.min() < 30 and 20 <= heights.min()
    np.testing.assert_array_equal(
        grey.sum(axis=(1, 2, 3)), 3 * heights * widths
    )
    other = distort(images, "cutout", 5, seed=1) == 128
    assert len(np.unique(np.concatenate([grey, other]), axis=0)) > 120


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_the_largest_magnitude_is_computed(operation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = distort(noise((5, 7, 3)), operation, MAX_MAGNITUDE)
    # A shift out of the image leaves grey alone.
    if operation in ("translate_x", "translate_y", "cutout"):
        assert (found == 128).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(images=np.zeros((4, 4, 3))), "`images` must be of dtype uint8"),
        (dict(images=noise((4, 4))), r"`images` must be .*shape=\(4, 4\)"),
        (dict(images=noise((1, 0, 4, 3))), "`images` must have a pixel"),
        (dict(images=noise((1, 2**15, 1))), "`images` must have sides of"),
        (dict(operation=["rotate"]), "`operation` must be one of"),
        (dict(operation="rotat"), "Did you mean 'rotate'.*='rotat'"),
        (dict(magnitude=-1), "`magnitude` must not be negative.*=-1"),
        (dict(magnitude=float("nan")), "`magnitude` must not be.*nan"),
        (dict(magnitude=float("inf")), "`magnitude` must not be above"),
        (dict(magnitude="5"), "`magnitude` must .*magnitude='5'"),
        (dict(sign=0), "`sign` must be 1 or -1. Received: sign=0"),
        (dict(seed=-1), "`seed` must be"),
    ],
)
def test_bad_arguments(arguments, message):
    good = dict(images=noise((4, 4, 3)), operation="rotate", magnitude=5)
    with pytest.raises(ValueError, match=message):
        distort(**good | arguments)
