"""Reshapes, where Keras has the channels last and the graph does not."""


def reshape(graph, layer, x):
    return reshaped(graph, x, layer.target_shape, layer.name)


def flatten(graph, layer, x):
    return reshaped(graph, x, (-1,), layer.name)


def reshaped(graph, x, shape, name):
    """Reshapes as Keras does, for whom the channels are the last."""
    y = x.name
    moves = _has_order(x.shape[1:]) or _has_order(shape)
    if moves:
        y = graph.channels_last(y, x.rank, name)
    rank = len(shape) + 1
    wanted = (shape[-1], *shape[:-1]) if not moves and shape else shape
    # Of ONNX's 0 that keeps the batch, which Keras's -1 may not be.
    wanted = graph.integers([0, *wanted], f"{name}/shape")
    y = graph.add("Reshape", [y, wanted], name)
    return graph.channels_first(y, rank, name) if moves else y


def _has_order(shape):
    """Whether it matters which of the axes is first."""
    return sum(side != 1 for side in shape) > 1
