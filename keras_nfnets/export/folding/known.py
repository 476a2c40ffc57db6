"""Finds the layers of a model that folding does not know.

Folding knows the layers of `RULES` and Keras's own, as long as no argument of
theirs is an object of the user's, such as an activation.
"""

import keras

from keras_nfnets.export.folding.composite import RULES
from keras_nfnets.export.folding.single import FUNCTIONS
from keras_nfnets.graph import is_functional, is_stock

# Stock layers that are linear in their first weight. A scale of their inputs
# can be folded into it.
LINEAR = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv2DTranspose,
    keras.layers.Dense,
    keras.layers.DepthwiseConv2D,
)


def operations(model):
    """Returns the layers and operations of a functional or sequential model.

    Args:
        model: A functional or sequential model.

    Returns:
        A list. The operations of `keras.ops` in a functional model are among
        its items; those of models inside it are not.
    """
    if isinstance(model, keras.Sequential):
        return model.layers
    return model.operations


def unknown(model, is_known, prefix=""):
    """Yields the names and classes of layers that are not known.

    Models inside the model are searched as well.

    Args:
        model: A functional or sequential model.
        is_known: Function of a layer or operation that returns a boolean.
        prefix: String, the start of the names. Defaults to `""`.

    Yields:
        Strings such as `"backbone/norm (GroupNormalization)"`.
    """
    for layer in operations(model):
        name = f"{prefix}{layer.name}"
        if is_functional(layer):
            yield from unknown(layer, is_known, f"{name}/")
        elif not is_known(layer):
            yield f"{name} ({type(layer).__name__})"


def our_function(layer):
    """Returns a stock layer's activation if it is one of this library's.

    Args:
        layer: A layer.

    Returns:
        The activation, a key of `FUNCTIONS`, or `None`.
    """
    if type(layer) not in (*LINEAR, keras.layers.Activation):
        return None
    return layer.activation if layer.activation in FUNCTIONS else None


def can_be_folded(layer):
    """Returns whether a layer and its activations can be folded or copied.

    Args:
        layer: A layer or operation.

    Returns:
        A boolean. It is `False` for a layer of ours whose activation is neither
        this library's nor Keras's, and for a stock layer with an argument of
        another package's class.
    """
    if type(layer) in RULES:
        names = ("activation", "classifier_activation")
        functions = (getattr(layer, name, None) for name in names)
        return all(
            function in FUNCTIONS or is_stock(function)
            for function in functions
            if callable(function)
        )
    if not is_stock(type(layer)):
        return False
    config = keras.saving.serialize_keras_object(layer)
    if our_function(layer) is not None:
        del config["config"]["activation"]
    return not _names_others(config)


def _names_others(config):
    """Returns whether a serialized object contains one that is not Keras's."""
    if isinstance(config, dict):
        module = config.get("module") if "class_name" in config else None
        if module is not None and module.partition(".")[0] != "keras":
            return True
        config = list(config.values())
    return isinstance(config, list | tuple) and any(map(_names_others, config))
