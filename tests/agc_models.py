"""Small models, data and a formula for tests of AGC under `fit`."""

import keras
import numpy as np
from helpers import (
    to_numpy,
)

import keras_nfnets
from keras_nfnets.training.agc_rules import inner_optimizer

CLIPPING = 0.01


def image_data(samples=32, size=32, classes=5):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, size, size, 3)).astype("float32")
    return x, rng.integers(0, classes, samples)


def dense_model(cls=keras_nfnets.AGCModel, dtype=None):
    """Small, and with every kind of unit that a Dense model has."""
    inputs = keras.Input((8,))
    x = keras.layers.Dense(6, "tanh", dtype=dtype, name="hidden")(inputs)
    outputs = keras.layers.Dense(3, dtype=dtype, name="top")(x)
    model = cls(inputs, outputs)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=v.shape) for v in model.weights])
    return model


def dense_data(samples=32):
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(samples, 8)).astype("float32"),
        rng.normal(size=(samples, 3)).astype("float32") * 10,
    )


def by_hand(x, y, steps, rate=0.1, batch=8, clipping=CLIPPING, epsilon=1e-3):
    """SGD with AGC on `dense_model`, in float64 numpy."""
    w, b, v, c = (to_numpy(p).astype("float64") for p in dense_model().weights)
    for start in range(0, steps * batch, batch):
        xs, ys = (a[start : start + batch].astype("float64") for a in (x, y))
        h = np.tanh(xs @ w + b)
        d_out = 2 * (h @ v + c - ys) / ys.size
        d_h = (d_out @ v.T) * (1 - h**2)
        grads = [xs.T @ d_h, d_h.sum(0), h.T @ d_out, d_out.sum(0)]
        axes = [(0,), (0,), None, (0,)]  # the top's kernel is not clipped
        for p, g, axis in zip((w, b, v, c), grads, axes, strict=True):
            factor = 1.0
            if axis is not None:
                norm = np.sqrt((g**2).sum(axis, keepdims=True))
                weight = np.sqrt((p**2).sum(axis, keepdims=True))
                limit = clipping * np.maximum(weight, epsilon)
                factor = np.minimum(1, limit / np.maximum(norm, 1e-6))
            p -= rate * g * factor
    return [w, b, v, c]


def assert_weights(model, expected, atol=1e-6):
    for variable, array in zip(model.weights, expected, strict=True):
        np.testing.assert_allclose(to_numpy(variable), array, atol=atol)


def clipped_paths(model):
    """The paths of the variables that the optimizer clips."""
    units = inner_optimizer(model.optimizer).rules.units
    variables = model.trainable_variables
    return [v.path for v, u in zip(variables, units, strict=True) if u]
