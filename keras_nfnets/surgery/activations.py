"""Replaces Keras's activations by variance-preserving ones.

`function_of` reads what an activation layer computes, and
`variance_preserving` returns the layer that computes it at variance one.
"""

import keras

from keras_nfnets.layers import VPActivation
from keras_nfnets.layers.activations import ACTIVATIONS, GAMMA, get
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery.rules import GATES, activated

# These stay: they compute a gate, or the probabilities of a classifier.
KEPT = (
    *GATES,
    keras.activations.linear,
    keras.activations.log_softmax,
    keras.activations.softmax,
)
# Our names of Keras's functions.
NAMES = {
    getattr(keras.activations, row.keras_name): name
    for name, row in ACTIVATIONS.items()
    if row.keras_name and getattr(keras.activations, row.keras_name) not in KEPT
}
LAYERS = (
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
)


def function_of(layer):
    """Returns what an activation layer computes, as a function.

    Layers such as `ReLU(max_value=6)` compute the same as one of Keras's
    functions. That function is returned, since `NAMES` knows it.

    Args:
        layer: A layer of a class in `LAYERS`.

    Returns:
        A function of one tensor. It is the layer itself where no function of
        Keras has the same values.

    Example:

    >>> function_of(keras.layers.ReLU(max_value=6)).__name__
    'relu6'
    """
    if isinstance(layer, keras.layers.Activation):
        return layer.activation
    if isinstance(layer, keras.layers.ReLU):
        plain = not (layer.negative_slope or layer.threshold)
        if plain and layer.max_value is None:
            return keras.activations.relu
        if plain and layer.max_value == 6:
            return keras.activations.relu6
    if isinstance(layer, keras.layers.ELU) and layer.alpha == 1:
        return keras.activations.elu
    return layer


def variance_preserving(function, before, name=None, forced=None):
    """Returns the layer that preserves variance in place of an activation.

    Args:
        function: Function of one tensor.
        before: `Signal` that the activation receives.
        name: String, name of the layer. Defaults to `None`.
        forced: String, a name in `GAMMA` that is used instead of the
            function's. Defaults to `None`.

    Returns:
        A tuple of four: the layer, or `None` for a function that is not in
        `GAMMA`; the factor that brings the variance to one, which a returned
        layer already contains; the `Signal` after both; and a description.
    """
    key = forced or NAMES.get(function)
    after = activated(get(key) if key else function, before)
    factor = 1 / after.std if after.variance > 0 else 1.0
    if signals.is_one(factor):
        factor = 1.0
    after = signals.scaled(after, factor)
    if key is None:
        return None, factor, after, f"kept, then Rescaling({factor:.4g})"
    layer = VPActivation(key, beta=factor, name=name)
    change = f"VPActivation({key!r}"
    change += ")" if factor == 1 else f", beta={factor:.4g})"
    return layer, factor, after, change


def check_name(activation):
    """Raises a ValueError unless this is a name in `GAMMA`, or `None`.

    Args:
        activation: Value of the argument `activation`.
    """
    if activation is not None and activation not in GAMMA:
        raise ValueError(
            f"`activation` must be None or one of {sorted(GAMMA)}. "
            f"Received: activation={activation!r}"
        )
