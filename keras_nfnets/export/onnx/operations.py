"""What stands in an ONNX graph for operations of `keras.ops`.

Keras has no public names for their classes: they are known by their names.
"""

import numpy as np

from keras_nfnets.export.onnx.activations import COMPOSED, PLAIN, by_name
from keras_nfnets.export.onnx.graph import Value

BINARY = {
    "Add": "Add",
    "Divide": "Div",
    "Maximum": "Max",
    "Minimum": "Min",
    "Multiply": "Mul",
    "Subtract": "Sub",
    "TrueDivide": "Div",
}
# By the class of the operation, its activation in `keras.activations`.
UNARY = {
    kind.replace("_", "").capitalize(): kind
    for kind in (*PLAIN, *COMPOSED)
    # Whose operations have arguments of their own.
    if kind not in ("celu", "elu", "gelu", "leaky_relu")
    if not kind.endswith("softmax")
}
NAMES = {"Exp": "exponential", "Silu": "silu", "Relu6": "relu6"}
UNARY = {key.lower(): kind for key, kind in UNARY.items()} | {
    key.lower(): kind for key, kind in NAMES.items()
}


def is_known(operation):
    kind = type(operation).__name__
    return kind in BINARY or kind == "Pad" or kind.lower() in UNARY


def convert(graph, operation, *args, **kwargs):
    """Adds an operation; `args` are `Value`s, and numbers between them."""
    kind = type(operation).__name__
    if kind == "Pad":
        return _pad(graph, operation, *args, **kwargs)
    if kind in BINARY:
        return _binary(graph, operation, *args)
    return by_name(graph, UNARY[kind.lower()], args[0], operation.name)


def _binary(graph, operation, *args):
    """Adds an operation of two tensors, or of a tensor and a number."""
    name = operation.name
    rank = max(x.rank for x in args if isinstance(x, Value))
    inputs = []
    for x in args:
        if isinstance(x, Value) and x.rank == rank:
            inputs.append(x)
        elif not isinstance(x, Value) and np.ndim(x) == 0:
            inputs.append(graph.weight(x, f"{name}/number"))
        else:
            raise ValueError(
                f"The inputs of `{name}` must be tensors with as many axes "
                "each, or numbers, to be written as ONNX. "
                f"Received: {type(x).__name__} of shape {np.shape(x)}"
            )
    return graph.add(BINARY[type(operation).__name__], inputs, name)


def _pad(graph, operation, x, constant_values=0.0):
    """Hands on a padding, for the convolution behind it to take up."""
    ends, *sides, channels = operation.pad_width
    if any(ends) or any(channels) or operation.mode != "constant":
        raise ValueError(
            f"`{operation.name}` must pad with a number, and pixels alone, to "
            f"be written as ONNX. Received: pad_width={operation.pad_width}, "
            f"mode={operation.mode!r}"
        )
    pads = tuple(map(tuple, sides))
    fill = float(constant_values or 0.0)
    return Value(graph.padded(x, operation.name), pads=pads, fill=fill)
