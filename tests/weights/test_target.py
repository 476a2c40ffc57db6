"""Arrays move between the axes of a source and those of a model and back."""

import numpy as np
import pytest
from helpers import BACKEND

from keras_nfnets.weights.names import TIMM_AXES
from keras_nfnets.weights.target import rearranged

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="NumPy alone: one backend is enough"
)
SIZES = {"H": 5, "W": 7, "I": 3, "O": 2, "1": 1}


def array_of(axes):
    """Returns an array whose values tell where each of them comes from."""
    shape = [SIZES[axis] for axis in axes]
    return np.arange(np.prod(shape)).reshape(shape)


def at(array, axes, place):
    return array[tuple(place.get(axis, 0) for axis in axes)]


@pytest.mark.parametrize("ours, theirs", sorted({row[1:] for row in TIMM_AXES}))
def test_each_value_keeps_its_place_by_name(ours, theirs):
    array = array_of(ours)
    moved = rearranged(array, ours, theirs)
    assert moved.shape == tuple(SIZES[axis] for axis in theirs)
    for place in np.ndindex(*array.shape):
        named = dict(zip(ours, place, strict=True))
        assert at(moved, theirs, named) == array[place]
    np.testing.assert_array_equal(rearranged(moved, theirs, ours), array)


def test_pytorch_s_convolution_becomes_keras_s():
    kernel = array_of("OIHW")
    expected = np.einsum("oihw->hwio", kernel)
    np.testing.assert_array_equal(rearranged(kernel, "OIHW", "HWIO"), expected)
