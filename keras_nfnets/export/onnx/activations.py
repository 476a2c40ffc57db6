"""Maps the activations of Keras to operators of ONNX.

`PLAIN` holds those that one operator computes, with its attributes. `COMPOSED`
holds those that take several. The tanh form of GELU is known by its function,
since Keras has no name for it.
"""

import keras

from keras_nfnets.export.folding.native import tanh_gelu

# By the name of the function in `keras.activations`.
PLAIN = {
    "celu": ("Celu", {}),
    "elu": ("Elu", {}),
    "exponential": ("Exp", {}),
    "gelu": ("Gelu", dict(approximate="none")),
    "hard_sigmoid": ("HardSigmoid", dict(alpha=1 / 6, beta=0.5)),
    "hard_silu": ("HardSwish", {}),
    "leaky_relu": ("LeakyRelu", dict(alpha=0.2)),
    "log_softmax": ("LogSoftmax", dict(axis=1)),
    "mish": ("Mish", {}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", dict(axis=1)),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "tanh": ("Tanh", {}),
}


def _silu(graph, x, name):
    """Adds `x * sigmoid(x)`. ONNX has no operator for it before opset 24."""
    gate = graph.add("Sigmoid", [x], name)
    return graph.add("Mul", [x, gate], name)


def _relu6(graph, x, name):
    """Adds `min(max(x, 0), 6)`."""
    bounds = [graph.weight(v, f"{name}/{v}") for v in (0, 6)]
    return graph.add("Clip", [x, *bounds], name)


def _log_sigmoid(graph, x, name):
    """Adds `log(sigmoid(x))`, which is `-softplus(-x)`."""
    x = graph.add("Neg", [x], name)
    x = graph.add("Softplus", [x], name)
    return graph.add("Neg", [x], name)


COMPOSED = {"log_sigmoid": _log_sigmoid, "relu6": _relu6, "silu": _silu}


def is_known(function):
    """Returns whether an activation can be written as ONNX.

    Args:
        function: A layer's activation, as Keras holds it: a function or `None`.

    Returns:
        A boolean. It is `False` for a user's function, even one with the name
        of an activation of Keras.

    Example:

    >>> is_known(keras.activations.silu), is_known(lambda x: x)
    (True, False)
    """
    if function is None or function is tanh_gelu:
        return True
    name = getattr(function, "__name__", "")
    if function is not getattr(keras.activations, name, None):
        return False
    return name == "linear" or name in PLAIN or name in COMPOSED


def activate(graph, function, x, name):
    """Adds an activation after a tensor.

    Args:
        graph: The `Graph` to add to.
        function: The activation, for which `is_known` is true. `None` and
            `keras.activations.linear` add no node.
        x: String, the name of the tensor. Its channels are on axis 1, so
            softmax is over that axis.
        name: String, the start of the nodes' names.

    Returns:
        String, the name of the activated tensor.
    """
    if function is None or function is keras.activations.linear:
        return x
    if function is tanh_gelu:
        return graph.add("Gelu", [x], name, approximate="tanh")
    return by_name(graph, function.__name__, x, name)


def by_name(graph, kind, x, name):
    """Adds an activation that is given by its name in `keras.activations`.

    Args:
        graph: The `Graph` to add to.
        kind: String, a key of `PLAIN` or of `COMPOSED`.
        x: String or `Value`, the tensor.
        name: String, the start of the nodes' names.

    Returns:
        String, the name of the activated tensor.
    """
    if kind in COMPOSED:
        return COMPOSED[kind](graph, x, name)
    operation, attributes = PLAIN[kind]
    return graph.add(operation, [x], name, **attributes)
