"""RandAugment's operations keep the range, and each image draws its own."""

import numpy as np
import pytest
from small_data import photographs

from keras_nfnets.data.in_graph import Seeds
from keras_nfnets.data.randaugment import operations, randaugment

tf = pytest.importorskip("tensorflow")


def distorted(images, layers, magnitude, key=0):
    run = tf.function(randaugment(layers, magnitude))
    seeds = Seeds(tf.constant([key, key], tf.int64))
    return run(tf.constant(images), seeds).numpy()


def test_each_image_has_its_own_operations():
    images = photographs(1).repeat(32, axis=0)
    assert len(np.unique(distorted(images, 4, 15), axis=0)) > 28


def test_an_images_operations_do_not_depend_on_the_others():
    images = photographs(8)
    expected = distorted(images, 4, 15)
    images[:7] = 0
    np.testing.assert_array_equal(distorted(images, 4, 15)[7], expected[7])


def test_half_of_what_is_all_or_nothing_is_left_out():
    images = photographs(1, size=8).repeat(640, axis=0)
    difference = distorted(images, 1, 5) - images
    unchanged = np.abs(difference).max(axis=(1, 2, 3)) < 1e-3
    # Of 32 chances 7 leave an operation out, 8 are of operations that do
    # nothing at magnitude 5, and 1 stretches the contrast of an image that
    # has all of it. Four standard errors of 640 draws.
    assert unchanged.mean() == pytest.approx(16 / 32, abs=0.08)


def apply(name, magnitude, images, key=0):
    seeds = Seeds(tf.constant([key, 0], tf.int64))
    return np.asarray(operations(magnitude)[name](tf.constant(images), seeds))


@pytest.mark.parametrize("name", operations(5))
def test_operations_stay_in_range(name):
    black_and_white = np.zeros((1, 16, 16, 3), "float32")
    black_and_white[:, ::3] = 255
    constant = np.full((1, 16, 16, 3), 255, "float32")
    for images in (photographs(1, 16), black_and_white, constant):
        for magnitude in (0, 5, 10, 15, 40):
            result = apply(name, magnitude, images, key=magnitude)
            assert result.shape == images.shape
            assert result.dtype == np.float32
            # Roundings of an interpolation between numbers up to 255.
            assert -1e-3 < result.min() and result.max() < 255 + 1e-3


def test_equalize_is_of_each_channel():
    image = photographs(1, 16)
    result = apply("equalize", 5, image)
    for channel in range(3):
        before = image[0, ..., channel].astype(int)
        counts = np.bincount(before.ravel(), minlength=256)
        up_to = np.cumsum(counts)
        least = counts[before.min()]
        table = np.round((up_to - least) * 255 / (before.size - least))
        np.testing.assert_array_equal(result[0, ..., channel], table[before])


def test_equalize_leaves_one_value_as_it_is():
    image = np.full((1, 4, 4, 1), 77, "float32")
    np.testing.assert_array_equal(apply("equalize", 5, image), image)


@pytest.mark.parametrize(
    "name, magnitude, expected",
    [
        ("invert", 5, [255, 155, 55, 0]),
        ("solarize", 5, [0, 100, 55, 0]),
        ("solarize", 10, [0, 100, 200, 255]),
        ("solarize_add", 10, [110, 210, 200, 255]),
        ("solarize_add", 15, [165, 255, 200, 255]),
        ("posterize", 5, [0, 64, 192, 192]),
        ("posterize", 10, [0, 96, 192, 240]),
        ("brightness", 5, [0, 100, 200, 255]),
    ],
)
def test_operations_of_a_pixel(name, magnitude, expected):
    image = np.float32([0, 100, 200, 255]).reshape(1, 2, 2, 1)
    result = apply(name, magnitude, image).ravel()
    np.testing.assert_array_equal(result, np.float32(expected))


@pytest.mark.parametrize("name, axis", [("translate_x", 2), ("translate_y", 1)])
def test_shifts_are_even_up_to_the_magnitude(name, axis):
    image = np.zeros((1, 224, 224, 1), "float32")
    run = operations(10)[name]
    starts, ends = [], []
    for key in range(60):
        seeds = Seeds(tf.constant([key, 0], tf.int64))
        grey = np.asarray(run(tf.constant(image), seeds)) == 128
        grey = grey.all(axis=3 - axis).ravel()
        starts.append(grey[0] * grey.sum())
        ends.append(grey[-1] * grey.sum())
    for shifts in (starts, ends):
        # Half of them go the other way; the largest of 30 even draws up to
        # 100 is below 75 once in 5,000 times.
        assert 75 < max(shifts) <= 100
        assert 0.2 < np.mean(np.array(shifts) > 0) < 0.8


def test_cutout_is_a_grey_square():
    grey = apply("cutout", 10, np.zeros((1, 224, 224, 1), "float32")) == 128
    # The square's corner need not be at a pixel's.
    assert abs(grey.any(axis=(0, 1, 3)).sum() - 80) <= 1
    assert abs(grey.any(axis=(0, 2, 3)).sum() - 80) <= 1
