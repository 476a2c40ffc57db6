"""Measures variances where the plan of a network cannot know them.

ReLU is homogeneous: if the input's variance is twice the planned one, the
output's is twice the planned one too. Behind SiLU or GELU it is more than
twice, so an error of the plan grows with each layer. For such models
`calibration_for` returns a `Calibration`, which runs a batch through the new
layers while they are made and corrects the plan after each one.
"""

import keras
import numpy as np
from keras import ops

from keras_nfnets.callbacks.signal_picture import standard_normal
from keras_nfnets.surgery import activations
from keras_nfnets.surgery import signal as signals

# The growth (see `_growth`) up to which an activation needs no calibration.
STABLE = 1.05


def calibration_for(model, data, activation, input_std):
    """Returns a `Calibration`, or `None` for a model that needs none.

    Args:
        model: A functional `keras.Model`.
        data: Array, one batch of its inputs, or `None`.
        activation: String, the name of all its activations, or `None`.
        input_std: Float, standard deviation of the inputs.

    Raises:
        ValueError: If `data` is given for a model of several inputs, or has
            one value throughout.
    """
    if len(model.inputs) != 1:
        if data is not None:
            raise ValueError(
                "`data` must be None for a model of several inputs. Received: "
                f"model={model.name!r} with {len(model.inputs)} inputs"
            )
        return None
    if data is not None:
        _check_varies(data)
        return Calibration(data, f"on {len(data)} given inputs")
    if not _unstable(model, activation):
        return None
    data = standard_normal(model) * input_std
    return Calibration(data, f"on {len(data)} normal inputs")


def _check_varies(data):
    values = np.asarray(data)
    if not values.size or values.min() == values.max():
        raise ValueError(
            "`data` must have more than one value. Received: data with shape "
            f"{values.shape} and {'no value' if not values.size else 'one'}"
        )


def _unstable(model, activation):
    """Tells whether an activation amplifies errors of the plan."""
    functions = [
        activations.function_of(layer)
        for layer in model.operations
        if isinstance(layer, activations.LAYERS)
    ]
    functions = [f for f in functions if f not in activations.KEPT]
    if activation is not None:
        functions = [activations.get(activation)]
    return any(_growth(function) > STABLE for function in functions)


def _growth(function):
    """Returns d log(variance of f(x)) / d log(variance of x) at variance one.

    It is 1 for homogeneous functions such as ReLU.
    """
    step = 0.1
    after = [
        activations.activated(function, signals.normal(1 + sign * step))
        for sign in (-1, 1)
    ]
    low, high = (signal.variance for signal in after)
    return np.log(high / low) / np.log((1 + step) / (1 - step))


class Calibration:
    """Runs a batch through the layers of a new model as they are made.

    Args:
        data: Array, one batch of inputs.
        description: String, what a report says about the batch.
    """

    def __init__(self, data, description):
        self.data = ops.convert_to_tensor(data)
        self.description = description
        self.values = {}

    def measured(self, inputs, outputs, planned):
        """Returns the planned signal, scaled to the variance of the batch.

        Args:
            inputs: List of tensors of the new model.
            outputs: List of tensors that are computed from them.
            planned: `Signal`, the plan for the first of the outputs.
        """
        values = [self.values.get(id(x), self.data) for x in inputs]
        if any(x is y for x in inputs for y in outputs):
            return planned
        found = keras.Function(inputs, outputs)(values)
        for tensor, value in zip(outputs, found, strict=True):
            self.values[id(tensor)] = value
        if planned.pooled or not planned.variance:
            return planned
        value = np.asarray(ops.convert_to_numpy(found[0]), "float64")
        variance = value.var(tuple(range(value.ndim - 1))).mean()
        return signals.scaled(planned, np.sqrt(variance / planned.variance))
