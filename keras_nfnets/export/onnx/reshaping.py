"""Converts reshapes, which read the numbers in the order of Keras.

A reshape depends on the order in memory, and the graph has its channels on axis
1. The tensor is brought into the order of Keras, reshaped, and brought back.
Where at most one axis is longer than 1, as after a global pooling, the order in
memory is the same and both transpositions are left out.
"""


def reshape(graph, layer, x):
    """Converts `Reshape` to the operator of that name.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer.
        x: `Value` of any shape.

    Returns:
        String, the name of the output.
    """
    return reshaped(graph, x, layer.target_shape, layer.name)


def flatten(graph, layer, x):
    """Converts `Flatten` to a `Reshape` in the order of Keras.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer.
        x: `Value` of any shape.

    Returns:
        String, the name of the output, of shape `(batch, numbers)`.
    """
    return reshaped(graph, x, (-1,), layer.name)


def reshaped(graph, x, shape, name):
    """Adds a reshape to a shape with the channels last.

    Args:
        graph: The `Graph` to add to.
        x: `Value` with its channels on axis 1 in the graph.
        shape: Tuple of integers as `keras.layers.Reshape` takes it: without the
            batch, and with at most one `-1`.
        name: String, the start of the nodes' names.

    Returns:
        String, the name of the output, in the order of the graph.
    """
    y = x.name
    moves = _order_matters(x.shape[1:]) or _order_matters(shape)
    if moves:
        y = graph.channels_last(y, x.rank, name)
    rank = len(shape) + 1
    wanted = (shape[-1], *shape[:-1]) if not moves and shape else shape
    # ONNX's 0 keeps the batch axis. Keras's -1 may stand in another place.
    wanted = graph.integers([0, *wanted], f"{name}/shape")
    y = graph.add("Reshape", [y, wanted], name)
    return graph.channels_first(y, rank, name) if moves else y


def _order_matters(shape):
    """Returns whether a shape has more than one axis longer than 1."""
    return sum(side != 1 for side in shape) > 1
