"""Stochastic depth and skip gain act on the branch as the papers say."""

import keras
import numpy as np
import pytest
from helpers import Reference, assert_outputs, to_numpy

from keras_nfnets import layers

REFERENCE = Reference("blocks")


@pytest.mark.parametrize("scale_by_keep", [False, True])
@pytest.mark.parametrize("name", ["a", "b"])
def test_stochastic_depth_is_the_papers(monkeypatch, name, scale_by_keep):
    prefix = f"stochdepth_{name}"
    mask = REFERENCE[f"{prefix}/mask"].reshape(-1, 1, 1, 1)
    rate = REFERENCE.meta["stochdepth"][name]["drop_rate"]
    # A draw that keeps just the samples that the reference kept.
    draw = keras.ops.convert_to_tensor(np.where(mask, 0.999, 0.0), "float32")
    monkeypatch.setattr(keras.random, "uniform", lambda *a, **k: draw)
    layer = layers.StochasticDepth(rate, scale_by_keep)
    x = REFERENCE[f"{prefix}/x"]
    key = int(scale_by_keep)
    assert_outputs(
        layer(x, training=True), REFERENCE[f"{prefix}/y_train_scale{key}"]
    )
    assert_outputs(
        layer(x, training=False), REFERENCE[f"{prefix}/y_eval_scale{key}"]
    )


def test_stochastic_depth_drops_whole_samples_at_its_rate():
    layer = layers.StochasticDepth(0.3, seed=1)
    x = np.ones((4000, 2, 2, 3), "float32")
    kept = to_numpy(layer(x, training=True)).mean(axis=(1, 2, 3))
    assert set(kept) == {0.0, 1.0}
    # Four standard deviations of a share among 4,000.
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.21 / 4000)


def test_fresh_skip_gain_is_zero():
    outputs = layers.SkipGain()(np.ones((2, 3), "float32"))
    np.testing.assert_array_equal(to_numpy(outputs), np.zeros((2, 3)))
