"""Activations as ONNX's operations."""

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
    gate = graph.add("Sigmoid", [x], name)
    return graph.add("Mul", [x, gate], name)


def _relu6(graph, x, name):
    bounds = [graph.weight(v, f"{name}/{v}") for v in (0, 6)]
    return graph.add("Clip", [x, *bounds], name)


def _log_sigmoid(graph, x, name):
    x = graph.add("Neg", [x], name)
    x = graph.add("Softplus", [x], name)
    return graph.add("Neg", [x], name)


COMPOSED = {"log_sigmoid": _log_sigmoid, "relu6": _relu6, "silu": _silu}


def is_known(function):
    """Whether a layer's activation has a way to ONNX."""
    if function is None or function is tanh_gelu:
        return True
    name = getattr(function, "__name__", "")
    if function is not getattr(keras.activations, name, None):
        return False
    return name == "linear" or name in PLAIN or name in COMPOSED


def activate(graph, function, x, name):
    """Adds an activation behind a tensor and returns what comes out."""
    if function is None or function is keras.activations.linear:
        return x
    if function is tanh_gelu:
        return graph.add("Gelu", [x], name, approximate="tanh")
    return by_name(graph, function.__name__, x, name)


def by_name(graph, kind, x, name):
    if kind in COMPOSED:
        return COMPOSED[kind](graph, x, name)
    operation, attributes = PLAIN[kind]
    return graph.add(operation, [x], name, **attributes)
