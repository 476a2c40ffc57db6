"""Bytes are normalized, and blurred for sharpness, as formulas say."""

import numpy as np
import pytest

from keras_nfnets.data import distort
from keras_nfnets.data.byte_images import aligned, normalize_lines


@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (0, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_arrays_are_aligned_for_tensorflow(shape, dtype):
    arrays = [aligned(shape, dtype) for _ in range(9)]
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
    assert all(array.shape == shape for array in arrays)
    assert all(array.dtype == dtype for array in arrays)
    assert not any(np.shares_memory(arrays[0], other) for other in arrays[1:])


def test_lines_are_normalized():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6), "uint8")
    mean = np.tile(np.float32([3, 60, 200]), 2)
    scale = np.tile(np.float32([0.1, 0.02, 0.5]), 2)
    expected = (images.astype("float32") - mean) * scale
    np.testing.assert_array_equal(
        normalize_lines(images, mean, scale), expected
    )


def test_sharpness_of_flat_parts():
    # All values, each in a square of 5 pixels: flat inside, not at its edges.
    values = np.arange(256, dtype="uint8").reshape(16, 16)
    image = np.kron(values, np.ones((5, 5), "uint8"))[..., None]
    kernel = np.float32([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / np.float32(13)
    blurred = image.copy()
    for y, x in np.ndindex(78, 78):
        window = image[y : y + 3, x : x + 3, 0].astype("float64")
        total = np.float32(0)
        # Fused: the product is exact, the sum is rounded to float32.
        for value, weight in zip(window.ravel(), kernel.ravel(), strict=True):
            total = np.float32(total + value * np.float64(weight))
        blurred[y + 1, x + 1] = int(total)
    low = blurred.astype("float32")
    expected = (image.astype("float32") - low) * np.float32(2.8) + low
    np.testing.assert_array_equal(
        distort(image, "sharpness", 15), np.clip(expected, 0, 255).astype("u1")
    )
