"""Surgery refuses what it cannot convert, with the reason."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_nfnets import surgery


def model_of(*chain, name="net"):
    inputs = x = keras.Input((8, 8, 3))
    for layer in chain:
        x = layer(x)
    return keras.Model(inputs, x, name=name)


class Own(keras.Model):
    def call(self, x):
        return x


def conv(name=None, filters=3):
    return layers.Conv2D(filters, 3, padding="same", name=name)


def shared():
    layer = conv("twice")
    return model_of(layer, layers.BatchNormalization(), layer)


def nested():
    return model_of(
        model_of(conv(), name="inside"), layers.BatchNormalization()
    )


def unbuilt():
    return keras.Sequential([conv(), layers.BatchNormalization()], name="seq")


BOTH = [
    (Own, "class Own"),
    (unbuilt, "'seq' .* not built"),
    (shared, "'twice' .*shared"),
    (nested, "'inside' .*inside"),
]


@pytest.mark.parametrize(("make", "message"), BOTH)
@pytest.mark.parametrize("cut", [surgery.normalizer_free, surgery.standardize])
def test_models_without_a_plain_graph(cut, make, message):
    with pytest.raises(ValueError, match=message):
        cut(make())


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([conv()], "'net' without one"),
        ([layers.BatchNormalization(name="first"), conv()], "'first' behind"),
        (
            [
                conv(),
                layers.Flatten(),
                layers.Dense(4),
                layers.BatchNormalization(name="late"),
            ],
            "'late' behind",
        ),
        (
            [conv(), layers.GroupNormalization(3, name="group")],
            r"'group' \(GroupNormalization\)",
        ),
        (
            [
                conv(),
                layers.BatchNormalization(),
                layers.LayerNormalization(name="ln"),
            ],
            r"'ln' \(LayerNormalization\)",
        ),
    ],
)
def test_normalizers_that_have_no_place(chain, message):
    with pytest.raises(ValueError, match=message):
        surgery.normalizer_free(model_of(*chain))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(activation="mish"), "activation='mish'"),
        (dict(alpha=0.0), "alpha=0.0"),
        (dict(input_std=-1.0), "input_std=-1.0"),
    ],
)
def test_arguments(arguments, message):
    model = model_of(conv(), layers.BatchNormalization())
    with pytest.raises(ValueError, match=message):
        surgery.normalizer_free(model, **arguments)


def test_data_for_several_inputs():
    pair = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    x = layers.BatchNormalization()(conv()(layers.Concatenate()(pair)))
    model = keras.Model(pair, x)
    assert surgery.normalizer_free(model)[1].calibration is None
    with pytest.raises(ValueError, match="with 2 inputs"):
        surgery.normalizer_free(model, data=np.zeros((1, 8, 8, 3)))


def test_nothing_to_standardize():
    with pytest.raises(ValueError, match="nothing to do.*'net'"):
        surgery.standardize(model_of(layers.Flatten(), layers.Dense(3)))


@pytest.mark.parametrize(
    "data", [np.zeros((2, 8, 8, 3)), np.ones((0, 8, 8, 3))]
)
def test_data_must_vary(data):
    model = model_of(conv(), layers.BatchNormalization())
    with pytest.raises(ValueError, match="`data` must have more than one"):
        surgery.normalizer_free(model, data=data)
