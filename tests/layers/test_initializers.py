"""Weights are drawn alike on every backend, with the papers' variance."""

import keras
import numpy as np
import pytest
from helpers import to_numpy

from keras_nfnets.layers import WSConv2D
from keras_nfnets.layers.initializers import CHUNK, FanInNormal

stats = pytest.importorskip("scipy.stats")
SHAPE = (3, 3, 64, 128)  # more than one part


def test_distribution():
    values = to_numpy(FanInNormal(seed=3)(SHAPE)).ravel()
    assert values.size > CHUNK
    # A normal sample of this size is rejected once in a thousand seeds.
    test = stats.kstest(values * (3 * 3 * 64) ** 0.5, "norm")
    assert test.pvalue > 1e-3


def test_parts_differ():
    values = to_numpy(FanInNormal(seed=3)((CHUNK, 2))).ravel()
    # A few of them are equal, as there are not that many floats.
    assert (values[:CHUNK] != values[CHUNK:]).mean() > 0.999


def test_values_are_these_on_every_backend():
    values = to_numpy(FanInNormal(seed=0)((2, 2)))
    random = np.random.Generator(np.random.PCG64DXSM([0, 0]))
    expected = random.standard_normal(4, "float32").reshape(2, 2) / 2**0.5
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_seeds():
    keras.utils.set_random_seed(1)
    first, second = FanInNormal(), FanInNormal()
    assert (to_numpy(first(SHAPE)) == to_numpy(first(SHAPE))).all()
    assert (to_numpy(first(SHAPE)) != to_numpy(second(SHAPE))).any()
    keras.utils.set_random_seed(1)
    again = FanInNormal()
    assert (to_numpy(first(SHAPE)) == to_numpy(again(SHAPE))).all()


def test_scalar_and_dtype():
    assert FanInNormal()(()).shape == ()
    values = FanInNormal()((2, 3), "float16")
    assert keras.backend.standardize_dtype(values.dtype) == "float16"


def test_round_trip():
    layer = WSConv2D(4, 3, kernel_initializer=FanInNormal(seed=5))
    copy = WSConv2D.from_config(layer.get_config())
    assert isinstance(copy.kernel_initializer, FanInNormal)
    for conv in (layer, copy):
        conv.build((None, 8, 8, 2))
    np.testing.assert_array_equal(*map(to_numpy, (layer.kernel, copy.kernel)))


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_bad_seed(seed):
    with pytest.raises(ValueError, match="`seed` must be a non-negative"):
        FanInNormal(seed)
