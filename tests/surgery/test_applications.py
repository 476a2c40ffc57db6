"""Five networks of keras.applications go through surgery."""

import keras
import numpy as np
import pytest
from helpers import BACKEND

from keras_nfnets import surgery
from keras_nfnets.callbacks import signal_propagation
from keras_nfnets.layers import SkipGain, WSConv2D, WSDepthwiseConv2D

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow",
    reason="they are large; smaller networks are cut on every backend",
)
X = np.random.default_rng(0).normal(size=(8, 64, 64, 3)).astype("float32")
# Blocks that join a branch: sums, or concatenations of DenseNet.
BLOCKS = {
    "ResNet50": 16,
    "ResNet50V2": 16,
    "DenseNet121": 58,
    "MobileNetV2": 10,
    "EfficientNetB0": 9,
}


@pytest.mark.parametrize("name", BLOCKS)
def test_application(name):
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(64, 64, 3), classes=10
    )
    convs = count(model, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    norms = count(model, keras.layers.BatchNormalization)

    plain, report = surgery.standardize(model)
    assert count(plain, WSConv2D, WSDepthwiseConv2D) == convs
    assert count(plain, keras.layers.BatchNormalization) == norms > 0
    assert len(report.changed) == convs

    free, report = surgery.normalizer_free(model)
    assert count(free, keras.layers.BatchNormalization) == 0
    left = [row for row in report.left if row.kind == "Conv2D"]
    # The dense layers of channel attention are 1x1 convolutions there.
    assert all("_se_" in row.name for row in left)
    assert count(free, WSConv2D, WSDepthwiseConv2D) == convs - len(left)
    assert not any("unknown" in row.change for row in report.rows)
    # What amplifies errors of the plan is calibrated, and says so.
    assert bool(report.calibration) == (name == "EfficientNetB0")
    assert_signal_is_as_planned(free, report, BLOCKS[name])


def count(model, *kinds):
    return sum(isinstance(layer, kinds) for layer in model.layers)


def assert_signal_is_as_planned(model, report, blocks):
    """The bound is the issue's; the plan is that of skip gains of one."""
    for layer in model.layers:
        if isinstance(layer, SkipGain):
            assert float(keras.ops.convert_to_numpy(layer.gain)) == 0.0
            layer.gain.assign(1.0)
    stem, *rows = signal_propagation(model, X)
    assert len(rows) == blocks
    for row in rows:
        ratio = row["avg_var"] / report.variances[row["name"]]
        assert 0.5 < ratio < 2, row
        if row["res_avg_var"] is not None:
            assert 0.5 < row["res_avg_var"] < 2, row
