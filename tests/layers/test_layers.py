"""Every layer saves, loads, and knows its shapes and dtypes."""

import keras
import numpy as np
import pytest
from helpers import to_numpy

from keras_nfnets import layers

LAYERS = [
    layers.VPActivation("silu", beta=0.9),
    layers.SqueezeExcite(ratio=0.25, hidden=3, scale=1.5),
    layers.EfficientChannelAttention(kernel_size=5, scale=1.5),
    layers.StochasticDepth(0.5, scale_by_keep=True, seed=3),
    layers.SkipGain("ones"),
    layers.WSConv2D(6, 3, padding="same", groups=2),
    layers.WSConv2D(4, (3, 5), 2, "symmetric", epsilon_rule="add", gamma=1.7),
    layers.Stem((4, 6, 8, 6)),
    layers.Stem((4,), (2,), kernel_size=7, pool=True, padding="symmetric"),
    layers.NFBlock(6, group_width=3),
    layers.NFBlock(
        8,
        2,
        group_width=None,
        attention="eca",
        attention_inside=True,
        shortcut="stride",
        use_skip_gain=False,
        padding="symmetric",
        epsilon_rule="add",
        gamma_in_kernel=True,
    ),
    layers.Head(6, classes=None, pooling=None),
    layers.Head(None, classes=None),
]


@pytest.fixture(params=LAYERS, ids=lambda layer: type(layer).__name__)
def layer(request):
    return type(request.param).from_config(request.param.get_config())


def test_config_and_weights_round_trip(layer, tmp_path):
    inputs = keras.Input((8, 8, 6))
    model = keras.Model(inputs, layer(inputs))
    for i, variable in enumerate(model.trainable_variables):
        variable.assign(keras.random.normal(variable.shape, seed=i))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = keras.random.normal((2, 8, 8, 6), seed=1)
    np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(loaded(x)))


def test_output_shape_is_the_computed_one(layer):
    for shape in [(2, 8, 8, 6), (2, 9, 7, 6)]:
        copy = type(layer).from_config(layer.get_config())
        outputs = copy(np.ones(shape, "float32"))
        assert tuple(outputs.shape) == copy.compute_output_shape(shape)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_computes_in_half_and_keeps_float32(layer, policy):
    config = {**layer.get_config(), "dtype": policy}
    layer = type(layer).from_config(config)
    outputs = layer(np.ones((2, 8, 8, 6), "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == policy[6:]
    assert {v.dtype for v in layer.trainable_variables} <= {"float32"}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.StochasticDepth(1.0), r"`rate` must be in \[0, 1\)"),
        (lambda: layers.SqueezeExcite(ratio=0), "`ratio` must be positive"),
        (lambda: layers.SqueezeExcite(hidden=-1), "`hidden` must be positive"),
        (lambda: layers.VPActivation("swish"), "`activation` must be one of"),
        (lambda: layers.Stem((4, 4), (2,)), "must have the same length"),
        (lambda: layers.Head(4, pooling="sum"), "`pooling` must be"),
        (lambda: layers.Head(4, pooling=None), "with a classifier"),
        (lambda: layers.Head(4, classes=0), "`classes` must be positive"),
        (
            lambda: layers.NFBlock(8, group_width=16).build((1, 4, 4, 8)),
            "`group_width` must not exceed",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
