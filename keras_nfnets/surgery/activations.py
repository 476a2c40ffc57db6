"""Replaces Keras's activations by variance-preserving ones."""

import keras

from keras_nfnets.layers import VPActivation
from keras_nfnets.layers.activations import ACTIVATIONS, GAMMA, get
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery.rules import GATES, activated

# These bound a gate or a classifier, and stay.
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
    """Returns what a layer of `LAYERS` computes, as a function.

    It is Keras's own function where there is one of the same values, so that
    `NAMES` has it, and else the layer itself.
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
    """Returns layers that preserve variance in place of an activation.

    Args:
        function: Function of one tensor.
        before: `Signal`, what it is given.
        name: String, of the layer. Defaults to `None`.
        forced: String, a name in `GAMMA` that is used instead of the
            function's. Defaults to `None`.

    Returns:
        A tuple of the layer in place of the function, or `None` for a function
        that is not in `GAMMA`; the factor that is left to multiply by; the
        signal after both; and a description.
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
    """Raises a ValueError unless this is a name in `GAMMA`, or `None`."""
    if activation is not None and activation not in GAMMA:
        raise ValueError(
            f"`activation` must be None or one of {sorted(GAMMA)}. "
            f"Received: activation={activation!r}"
        )
