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
# Pixels of a side and number of images. At 32 pixels the last maps are of a
# single one: too few values to calibrate on for EfficientNetB0, and all border
# for the poolings of DenseNet121.
SHAPES = {"DenseNet121": (64, 4), "EfficientNetB0": (64, 16)}
SHAPE = (32, 16)
# Blocks that join a branch: sums, or concatenations of DenseNet.
BLOCKS = {
    "ResNet50": 16,
    "ResNet50V2": 16,
    "DenseNet121": 58,
    "MobileNetV2": 10,
    "EfficientNetB0": 9,
}


def build(name):
    size, _ = SHAPES.get(name, SHAPE)
    return getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10
    )


def convolutions(model):
    return count(model, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


@pytest.mark.long
@pytest.mark.parametrize("name", BLOCKS)
def test_application(name):
    model = build(name)
    assert count(model, keras.layers.BatchNormalization) > 0
    free, report = surgery.normalizer_free(model, activation=None)
    assert count(free, keras.layers.BatchNormalization) == 0
    left = [row for row in report.unchanged if row.kind == "Conv2D"]
    # The dense layers of channel attention are 1x1 convolutions there.
    assert all("_se_" in row.name for row in left)
    assert count(free, WSConv2D, WSDepthwiseConv2D) == convolutions(
        model
    ) - len(left)
    assert not any("unknown" in row.change for row in report.rows)
    # What amplifies errors of the plan is calibrated, and says so.
    assert bool(report.calibration) == (name == "EfficientNetB0")
    assert_signal_is_as_planned(free, report, name)


def test_application_with_standardized_convolutions():
    model = build("MobileNetV2")
    plain, report = surgery.standardize(model)
    convs = convolutions(model)
    assert count(plain, WSConv2D, WSDepthwiseConv2D) == convs
    assert len(report.changed) == convs
    norms = count(plain, keras.layers.BatchNormalization)
    assert norms == count(model, keras.layers.BatchNormalization) > 0


def count(model, *kinds):
    return sum(isinstance(layer, kinds) for layer in model.layers)


def assert_signal_is_as_planned(model, report, name):
    """The bound is the issue's; the plan is that of skip gains of one."""
    for layer in model.layers:
        if isinstance(layer, SkipGain):
            assert float(keras.ops.convert_to_numpy(layer.gain)) == 0.0
            layer.gain.assign(1.0)
    size, images = SHAPES.get(name, SHAPE)
    # Other images than those that EfficientNetB0 is calibrated on.
    rng = np.random.default_rng(1)
    x = rng.normal(size=(images, size, size, 3)).astype("float32")
    _, *rows = signal_propagation(model, x)
    assert len(rows) == BLOCKS[name]
    for row in rows:
        ratio = row["avg_var"] / report.variances[row["name"]]
        assert 0.5 < ratio < 2, row
        if row["res_avg_var"] is not None:
            assert 0.5 < row["res_avg_var"] < 2, row
