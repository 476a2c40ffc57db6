"""Attention, activation, stochastic depth and skip gain."""

import keras
import numpy as np
import pytest
from helpers import (
    Reference,
    assert_gradients,
    assert_outputs,
    gradients,
    to_numpy,
    weighted_sum,
)

from keras_nfnets import layers
from keras_nfnets.layers import activations

REFERENCE = Reference("blocks")

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


@pytest.mark.parametrize("name", sorted(REFERENCE.meta["se"]))
def test_gate_is_the_papers(name):
    case = REFERENCE.meta["se"][name]
    name_of_plain = case["activation"].removeprefix("plain_")
    if name_of_plain != case["activation"]:
        activation = name_of_plain
    else:
        activation = activations.get(case["activation"])
    layer = layers.SqueezeExcite(
        case["se_ratio"], case["hidden_ch"], case["out_ch"], activation
    )
    layer.build((None, *case["shape"][1:]))
    layer.call = layer.gate
    prefix = f"se_{name}"
    module = "squeeze_excite/~/linear"
    variables = {
        f"{module}::w": layer.reduce.kernel,
        f"{module}::b": layer.reduce.bias,
        f"{module}_1::w": layer.expand.kernel,
        f"{module}_1::b": layer.expand.bias,
    }
    for key, variable in variables.items():
        variable.assign(REFERENCE[f"{prefix}/params/{key}"])
    assert layer.reduce.units == case["hidden"]
    y, dx, grads = gradients(
        layer,
        REFERENCE[f"{prefix}/x"],
        weighted_sum(REFERENCE[f"{prefix}/cotangent"]),
    )
    assert_outputs(y, REFERENCE[f"{prefix}/y"])
    assert_gradients(dx, REFERENCE[f"{prefix}/dx"])
    for key, variable in variables.items():
        expected = REFERENCE[f"{prefix}/grads/{key}"]
        assert_gradients(grads[id(variable)], expected)


def test_fresh_gate_of_one_half_keeps_the_signal():
    layer = layers.SqueezeExcite()
    layer.build((None, 4, 4, 8))
    for variable in layer.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    x = keras.random.normal((2, 4, 4, 8), seed=1)
    np.testing.assert_array_equal(to_numpy(layer(x)), to_numpy(x))


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
