"""A folded model computes the same with Keras's own layers alone."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from folded_models import TINY, images, kinds, own_network, randomize
from helpers import BACKEND, evaluate, to_numpy

from keras_nfnets import AGCModel, NFNet, layers
from keras_nfnets.export import export_saved_model, fold
from keras_nfnets.export.folding.scaled import LayerFactory, Scaled
from keras_nfnets.export.folding.single import vp_activation
from keras_nfnets.layers import activations

# Measured differences are 1e-7 to 7e-7, which is float32 rounding.
RATE = 1e-5
LOAD = """
import sys
import keras
import numpy as np
model = keras.saving.load_model(sys.argv[1])
y = model(np.load(sys.argv[2]))
np.save(sys.argv[3], keras.ops.convert_to_numpy(y))
sys.exit("keras_nfnets" in sys.modules)
"""


KINDS = kinds()
if BACKEND != "tensorflow":
    # The rules do not depend on the backend, and each model compiles for 1 s.
    KINDS = {name: KINDS[name] for name in ("nfnet_f0", "nf_regnet_b0_timm")}


def assert_same(folded, model, x, rate=RATE):
    expected, actual = evaluate(model, x), evaluate(folded, x)
    bound = rate * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)
    assert np.ptp(expected) > 0
    assert actual.dtype == expected.dtype


def assert_stock(model):
    assert type(model).__module__.startswith("keras.")
    assert "keras_nfnets" not in json.dumps(model.get_config())


@pytest.mark.parametrize("name", KINDS)
def test_logits_of_every_kind_of_variant(name):
    model = NFNet(KINDS[name], classes=5, classifier_activation=None)
    folded = fold(randomize(model))
    assert_stock(folded)
    assert_same(folded, model, images(2, 37, 48, 3))
    assert folded.count_params() < model.count_params()
    assert folded.input_shape == (None, None, None, 3)


def test_squeeze_excite_reads_what_the_last_convolution_reads():
    folded = fold(NFNet(KINDS["nfnet_f0"], classes=5))
    layers_by_name = {layer.name: layer for layer in folded.layers}
    end = "_squeeze_excite_mean"
    means = [name for name in layers_by_name if name.endswith(end)]
    assert means
    for name in means:
        conv = layers_by_name[f"{name.removesuffix(end)}_conv2"]
        assert layers_by_name[name].input is conv.input


@pytest.mark.parametrize(
    "arguments",
    [
        dict(include_top=False),
        dict(include_top=False, pooling="avg"),
        dict(pooling="max", classes=3, dropout=0.5, stochastic_depth=0.5),
    ],
)
def test_tops(arguments):
    model = randomize(NFNet(TINY, input_shape=(33, 32, 3), **arguments))
    folded = fold(model)
    assert_stock(folded)
    assert folded.output_shape == model.output_shape
    assert_same(folded, model, images(2, 33, 32, 3))


@pytest.mark.long
def test_saved_model_loads_with_keras_alone(tmp_path):
    model = randomize(NFNet(TINY, classes=5))
    path, x, y = (str(tmp_path / f) for f in ("m.keras", "x.npy", "y.npy"))
    fold(model).save(path)
    np.save(x, images(2, 32, 32, 3))
    subprocess.run([sys.executable, "-c", LOAD, path, x, y], check=True)
    expected = evaluate(model, np.load(x))
    np.testing.assert_allclose(np.load(y), expected, atol=RATE)


def test_the_weights_are_copies():
    model = randomize(NFNet(TINY, classes=5))
    folded, x = fold(model), images(1, 32, 32, 3)
    before = evaluate(folded, x)
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    np.testing.assert_array_equal(evaluate(folded, x), before)


# float16 keeps 11 bits and bfloat16 8. Each of some 30 layers rounds.
@pytest.mark.parametrize(
    "policy, rate", [("mixed_float16", 0.02), ("mixed_bfloat16", 0.1)]
)
def test_mixed_precision(policy, rate):
    keras.config.set_dtype_policy(policy)
    model = randomize(NFNet(TINY, classes=5, classifier_activation=None))
    keras.config.set_dtype_policy("float32")
    folded = fold(model)
    kept = {layer.compute_dtype for layer in folded.layers[1:-1]}
    assert kept == {policy.removeprefix("mixed_")}
    assert {v.dtype for v in folded.weights} == {"float32"}
    assert_same(folded, model, images(2, 32, 32, 3), rate)


def test_network_of_ones_own():
    model = randomize(own_network())
    folded, x = fold(model), images(2, 45, 38, 3)
    assert_stock(folded)
    expected, actual = (evaluate(m, x) for m in (model, folded))
    assert sorted(actual) == ["classes", "features"]
    for name, value in expected.items():
        bound = RATE * np.abs(value).max()
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=bound)


@pytest.mark.parametrize(
    "shape, layer",
    [
        ((12, 4), layers.WSConv1D(6, 3, padding="causal", groups=2)),
        ((5, 6, 7, 2), layers.WSConv3D(4, 3, strides=2, padding="same")),
        ((7, 7, 2), layers.WSConv2D(4, 3, dilation_rate=2, use_bias=False)),
        ((7, 7, 34), layers.WSConv2D(34, 3, groups=17)),
        ((9, 9, 2), layers.WSDepthwiseConv2D(3, 2, depth_multiplier=2)),
    ],
    ids=["1d", "3d", "dilated", "many_groups", "depthwise"],
)
def test_convolution_takes_up_what_stands_before(shape, layer):
    before = layers.VPActivation("selu", beta=0.5)
    stack = [keras.Input(shape), before, layer, layers.VPActivation("tanh")]
    model = randomize(keras.Sequential(stack))
    folded = fold(model)
    assert_stock(folded)
    names = [type(other).__name__ for other in folded.layers]
    assert names.count("Rescaling") == 1  # after the last activation only
    assert_same(folded, model, images(2, *shape))


def test_a_pending_scale_of_parts_is_multiplied_out():
    inputs = [keras.Input((5,)), keras.Input((5,))]
    make = LayerFactory(set(), "act", "float32")
    act = layers.VPActivation("silu", beta=0.5)
    y = vp_activation(make, act, Scaled(inputs, 3.0))
    x = [images(4, 5), 2 * images(4, 5)]
    for part, array in zip(
        evaluate(keras.Model(inputs, y.tensor), x), x, strict=True
    ):
        expected = to_numpy(act(keras.ops.convert_to_tensor(3 * array)))
        np.testing.assert_allclose(y.scale * part, expected, rtol=1e-5)


@pytest.mark.parametrize("name", activations.GAMMA)
def test_activations(name):
    inputs = keras.Input((50,))
    x = layers.VPActivation(name)(inputs)
    x = layers.VPActivation(name, use_gamma=False)(x)
    model = keras.Model(inputs, x)
    folded = fold(model)
    assert_stock(folded)
    assert_same(folded, model, 5 * images(4, 50))


def test_models_inside_models_and_layers_called_twice():
    backbone = NFNet(TINY, include_top=False, pooling="avg")
    dense = keras.layers.Dense(4, name="dense")
    inputs = [keras.Input((32, 32, 3), name=name) for name in "ab"]
    normalize = keras.layers.Normalization(mean=(1, 2, 3), variance=(4, 5, 6))
    x = [dense(backbone(normalize(x))) for x in inputs]
    top = keras.Sequential(
        [keras.Input((8,)), layers.VPActivation(), keras.layers.Dense(2)]
    )
    model = keras.Model(inputs, top(keras.layers.Concatenate()(x)))
    folded = fold(randomize(model))
    assert_stock(folded)
    x = [images(2, 32, 32, 3), 2 * images(2, 32, 32, 3)]
    expected, actual = (evaluate(m, x) for m in (model, folded))
    np.testing.assert_allclose(actual, expected, rtol=RATE, atol=RATE)


def test_dropout_that_is_always_on_stays():
    inputs = keras.Input((4,))
    outputs = keras.layers.Dropout(0.5)(inputs, training=True)
    folded = fold(keras.Model(inputs, outputs))
    assert isinstance(folded.layers[-1], keras.layers.Dropout)


class Custom(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1.0


def with_unknown_layers():
    inputs = keras.Input((8, 8, 3))
    x = layers.WSConv2D(4, 3, name="conv")(inputs)
    x = Custom(name="plus")(layers.VPActivation("relu")(x))
    inside = keras.Sequential([keras.Input((6, 6, 4)), Custom(name="deep")])
    inside.name = "inside"
    x = inside(x)
    x = keras.layers.Dense(2, _square, name="square")(x)
    return randomize(keras.Model(inputs, layers.VPActivation()(x)))


@keras.saving.register_keras_serializable("tests")
def _square(x):
    return keras.ops.square(x)


def test_unknown_layers_are_named():
    with pytest.raises(ValueError) as error:
        fold(with_unknown_layers())
    names = "plus (Custom), inside/deep (Custom), square (Dense)"
    assert str(error.value).endswith(f"with {names}")


def test_unknown_layers_are_kept_if_asked():
    model = with_unknown_layers()
    folded = fold(model, keep_unknown=True)
    assert_same(folded, model, images(2, 8, 8, 3))
    assert folded.get_layer("plus") is model.get_layer("plus")
    assert type(folded.get_layer("conv")) is keras.layers.Conv2D


class Subclassed(AGCModel):
    def __init__(self):
        super().__init__()
        self.conv = layers.WSConv2D(2, 1)

    def call(self, inputs):
        return self.conv(inputs)


class WithItsOwnCall(AGCModel):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


def test_only_a_graph_can_be_folded():
    inputs = keras.Input((4, 4, 2))
    for model in (
        Subclassed(),
        WithItsOwnCall(inputs, layers.WSConv2D(2, 1)(inputs)),
        keras.Sequential([layers.WSConv2D(2, 1)]),
    ):
        with pytest.raises(ValueError, match=type(model).__name__):
            fold(model)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="writes a SavedModel")
def test_export_keeps_what_cannot_be_folded(tmp_path):
    import tensorflow as tf

    inputs = keras.Input((8, 8, 3))
    own_call = WithItsOwnCall(inputs, layers.WSConv2D(2, 1)(inputs))
    x = images(2, 8, 8, 3)
    for number, model in enumerate((with_unknown_layers(), own_call)):
        export_saved_model(model, tmp_path / str(number))
        loaded = tf.saved_model.load(str(tmp_path / str(number)))
        np.testing.assert_allclose(
            loaded.serve(x), evaluate(model, x), rtol=RATE, atol=RATE
        )
