"""Small models, data and a formula for tests of AGC under `fit`."""

import keras
import numpy as np
import numpy_model
from helpers import to_numpy

import keras_nfnets
from keras_nfnets.training.agc_rules import inner_optimizer

CLIPPING = 0.01


def image_data(samples=32, size=32, classes=5):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, size, size, 3)).astype("float32")
    return x, rng.integers(0, classes, samples)


def dense_model(cls=keras_nfnets.AGCModel, hidden=keras.layers.Dense):
    """The network of `numpy_model`, with its initial parameters."""
    inputs = keras.Input((8,))
    x = hidden(6, "tanh", name="hidden")(inputs)
    model = cls(inputs, keras.layers.Dense(3, name="top")(x))
    model.set_weights(numpy_model.initial_parameters())
    return model


def dense_data(samples=32):
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(samples, 8)).astype("float32"),
        rng.normal(size=(samples, 3)).astype("float32") * 10,
    )


def by_hand(x, y, steps, batch=8, sample_weights=None):
    """The weights of `dense_model` after steps of SGD with AGC, in NumPy."""
    arrays = [a for a in (x, y, sample_weights) if a is not None]
    return numpy_model.train(
        numpy_model.batches(batch, *arrays)[:steps], 0.1, CLIPPING
    )


def assert_weights(model, expected, atol=1e-6):
    for variable, array in zip(model.weights, expected, strict=True):
        np.testing.assert_allclose(to_numpy(variable), array, atol=atol)


def clipped_paths(model):
    """The paths of the variables that the optimizer clips."""
    units = inner_optimizer(model.optimizer).rules.units
    variables = model.trainable_variables
    return [v.path for v, u in zip(variables, units, strict=True) if u]
