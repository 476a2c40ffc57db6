"""Converts operations of `keras.ops` that a functional model holds.

A functional model has an operation where its author wrote `x + y` or
`keras.ops.silu(x)`. Keras has no public names for their classes. They are known
by the names of the classes: `BINARY` maps these to ONNX operators, and `UNARY`
maps them, in lower case, to activations. A padding stays pending, see `Value`.
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
# These operations have arguments that the activation of that name has not.
_PARAMETRIC = {"celu", "elu", "gelu", "leaky_relu", "log_softmax", "softmax"}
# The class of an operation in lower case, and the activation it computes.
UNARY = {
    kind.replace("_", ""): kind
    for kind in (*PLAIN, *COMPOSED)
    if kind not in _PARAMETRIC
} | {"exp": "exponential"}


def is_known(operation):
    """Returns whether an operation can be written as ONNX.

    Args:
        operation: A `keras.Operation` that is not a layer.

    Returns:
        A boolean.
    """
    kind = type(operation).__name__
    return kind in BINARY or kind == "Pad" or kind.lower() in UNARY


def convert(graph, operation, *args, **kwargs):
    """Adds the nodes of an operation.

    Args:
        graph: The `Graph` to add to.
        operation: A `keras.Operation` for which `is_known` is true.
        *args: What it was called with: a `Value` for each tensor, and numbers.
        **kwargs: Keyword arguments of the call.

    Returns:
        String, the name of the output, or a `Value` with a pending padding.

    Raises:
        ValueError: If the arguments have no form in ONNX: tensors of different
            ranks, or a padding that is not constant or not of spatial axes.
    """
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
                f"The inputs of `{name}` must be tensors with equally many "
                "axes, or numbers, to be written as ONNX. "
                f"Received: {type(x).__name__} of shape {np.shape(x)}"
            )
    return graph.add(BINARY[type(operation).__name__], inputs, name)


def _pad(graph, operation, x, constant_values=0.0):
    """Returns the input with a padding that the next layer applies."""
    ends, *sides, channels = operation.pad_width
    if any(ends) or any(channels) or operation.mode != "constant":
        raise ValueError(
            f"`{operation.name}` must pad the spatial axes alone, with a "
            "constant, to be written as ONNX. Received: "
            f"pad_width={operation.pad_width}, mode={operation.mode!r}"
        )
    pads = tuple(map(tuple, sides))
    fill = float(constant_values or 0.0)
    return Value(graph.padded(x, operation.name), pads=pads, fill=fill)
