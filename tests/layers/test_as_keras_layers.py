"""The layers do what Keras's own do: its basic tests, LoRA, subclasses."""

import inspect

import keras
import numpy as np
import pytest
from helpers import BACKEND, to_numpy

from keras_nfnets import layers

IMAGES = (2, 8, 8, 6)
# Each public layer: its arguments, the shape of its inputs, how many weights
# it has that train, and how many generators of random numbers.
ROWS = [
    ("VPActivation", dict(activation="silu"), IMAGES, 0, 0),
    ("SqueezeExcite", dict(ratio=0.5), IMAGES, 4, 0),
    ("EfficientChannelAttention", dict(), IMAGES, 1, 0),
    ("StochasticDepth", dict(rate=0.5), IMAGES, 0, 1),
    ("SkipGain", dict(initializer="ones"), IMAGES, 1, 0),
    ("WSConv1D", dict(filters=4, kernel_size=3), (2, 8, 6), 3, 0),
    ("WSConv2D", dict(filters=4, kernel_size=3), IMAGES, 3, 0),
    ("WSConv3D", dict(filters=4, kernel_size=2), (2, 3, 4, 4, 6), 3, 0),
    ("WSConv1D", dict(filters=4, kernel_size=3, lora_rank=2), (2, 8, 6), 4, 0),
    ("WSConv2D", dict(filters=4, kernel_size=3, lora_rank=2), IMAGES, 4, 0),
    (
        "WSConv3D",
        dict(filters=4, kernel_size=2, lora_rank=2, use_bias=False),
        (2, 3, 4, 4, 6),
        3,
        0,
    ),
    ("WSConv2DTranspose", dict(filters=4, kernel_size=3), IMAGES, 3, 0),
    ("WSDepthwiseConv2D", dict(kernel_size=3), IMAGES, 3, 0),
    ("Stem", dict(filters=(4, 6), strides=(2, 1)), IMAGES, 6, 0),
    ("NFBlock", dict(filters=6, group_width=3), IMAGES, 17, 0),
    ("Head", dict(filters=6, classes=3, dropout=0.1), IMAGES, 5, 1),
]


def test_every_public_layer_has_a_row():
    assert {name for name, *_ in ROWS} == set(layers.__all__)


@pytest.mark.parametrize("name, arguments", [row[:2] for row in ROWS])
def test_arguments_are_spelled_out(name, arguments):
    """`**kwargs` holds what every layer of Keras takes, and LoRA as there."""
    layer = getattr(layers, name)
    in_kwargs = {*keras.layers.Layer().get_config(), "lora_rank", "lora_alpha"}
    own = layer(**arguments).get_config().keys() - in_kwargs
    assert own <= inspect.signature(layer).parameters.keys()


@pytest.fixture(scope="module")
def case():
    """Keras's own test case, which holds its tests of a layer."""
    from keras.src import testing

    class Case(testing.TestCase):
        def runTest(self):
            """Is what unittest wants of a case."""

    return Case()


@pytest.mark.filterwarnings("ignore")  # Keras's tests of a step have their own
@pytest.mark.parametrize("name, arguments, shape, trainable, seeds", ROWS)
def test_keras_tests_of_a_layer(case, name, arguments, shape, trainable, seeds):
    layer = getattr(layers, name)
    with_lora = "lora_rank" in arguments
    case.run_layer_test(
        layer,
        arguments,
        input_shape=shape,
        expected_output_shape=tuple(
            layer(**arguments).compute_output_shape(shape)
        ),
        expected_num_trainable_weights=trainable,
        expected_num_non_trainable_weights=int(with_lora),
        expected_num_seed_generators=seeds,
        expected_num_losses=0,
        custom_objects={},
    )


CONVOLUTIONS = [
    (layers.WSConv1D, (2, 8, 6)),
    (layers.WSConv2D, (2, 8, 8, 6)),
    (layers.WSConv3D, (2, 3, 4, 4, 6)),
]


def standardized(kernel, gain):
    """The formula of `WSConv2D`, in NumPy."""
    axes = tuple(range(kernel.ndim - 1))
    fan_in = np.prod(kernel.shape[:-1])
    centered = kernel - kernel.mean(axes, keepdims=True)
    variance = kernel.var(axes, keepdims=True)
    return gain * centered / np.sqrt(np.maximum(fan_in * variance, 1e-4))


@pytest.mark.parametrize("how", ["argument", "enable_lora"])
@pytest.mark.parametrize(
    "convolution, shape", CONVOLUTIONS, ids=lambda x: getattr(x, "__name__", "")
)
def test_lora_is_added_before_standardization(
    convolution, shape, how, tmp_path
):
    rank = dict(lora_rank=2) if how == "argument" else {}
    layer = convolution(4, 2, lora_alpha=3, gain_initializer="uniform", **rank)
    inputs = keras.Input(shape[1:])
    model = keras.Model(inputs, layer(inputs))
    if how == "enable_lora":
        layer.enable_lora(2, lora_alpha=3)
    names = [v.name for v in layer.trainable_variables]
    assert names == ["bias", "gain", "lora_kernel_a", "lora_kernel_b"]
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    lora = to_numpy(layer.lora_kernel_a) @ to_numpy(layer.lora_kernel_b)
    kernel = to_numpy(layer._kernel) + 3 / 2 * lora
    np.testing.assert_allclose(
        to_numpy(layer.standardize(layer.kernel)),
        standardized(kernel, to_numpy(layer.gain)),
        rtol=1e-4,  # float32, and a difference from a mean
        atol=1e-5,
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].lora_enabled
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_allclose(
        to_numpy(loaded(x)), to_numpy(model(x)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.skipif(BACKEND == "torch", reason="the order is Keras's")
def test_weights_keep_their_order():
    layer = layers.WSConv2D(4, 3)
    layer.build((None, 8, 8, 6))
    assert [v.name for v in layer.weights] == ["kernel", "bias", "gain"]


@pytest.mark.parametrize(
    "layer, arguments",
    [(layers.VPActivation, ("silu",)), (layers.StochasticDepth, (0.0,))],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_subclass_gets_its_build_called(layer, arguments):
    class Scaled(layer):
        def build(self, input_shape):
            self.scale = self.add_weight(
                name="scale", shape=(input_shape[-1],), initializer="ones"
            )

        def call(self, inputs):
            return super().call(inputs) * self.scale

    assert layer(*arguments).built
    scaled = Scaled(*arguments)
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(
        to_numpy(scaled(x)), to_numpy(layer(*arguments)(x))
    )
    assert scaled.scale.shape == (3,)
