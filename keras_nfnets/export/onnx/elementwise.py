"""Converts activations and the layers that merge several tensors.

They compute each number from the numbers in the same place, so the order of the
axes does not matter to most of them. `Softmax` and `Concatenate` name an axis,
which is counted in the graph's order.
"""

from keras_nfnets.export.onnx.activations import activate, by_name


def activation(graph, layer, x):
    """Converts `Activation` to the operators in `activations`.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer.
        x: `Value` of any shape.

    Returns:
        String, the name of the output. It is that of the input for a linear
        activation.
    """
    return activate(graph, layer.activation, x.name, layer.name)


def relu(graph, layer, x):
    """Converts `ReLU` to `LeakyRelu`, with a `Min` for its greatest value.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its `negative_slope`, which is 0 for plain ReLU,
            becomes `alpha`.
        x: `Value` of any shape.

    Returns:
        String, the name of the output.

    Raises:
        ValueError: If the layer has a threshold other than 0.
    """
    if layer.threshold != 0.0:
        raise ValueError(
            f"`{layer.name}` must have the threshold 0 to be written as "
            f"ONNX. Received: threshold={layer.threshold}"
        )
    slope = float(layer.negative_slope)
    y = graph.add("LeakyRelu", [x], layer.name, alpha=slope)
    if layer.max_value is None:
        return y
    most = graph.weight(layer.max_value, f"{layer.name}/max_value")
    return graph.add("Min", [y, most], layer.name)


def leaky_relu(graph, layer, x):
    """Converts `LeakyReLU` to the operator of that name.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its `negative_slope` becomes `alpha`.
        x: `Value` of any shape.

    Returns:
        String, the name of the output.
    """
    slope = float(layer.negative_slope)
    return graph.add("LeakyRelu", [x], layer.name, alpha=slope)


def elu(graph, layer, x):
    """Converts `ELU` to the operator of that name.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its `alpha` is the attribute of the same name.
        x: `Value` of any shape.

    Returns:
        String, the name of the output.
    """
    return graph.add("Elu", [x], layer.name, alpha=float(layer.alpha))


def softmax(graph, layer, x):
    """Converts `Softmax` over the channels, which are axis 1 in the graph.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer.
        x: `Value` of shape `(batch, ..., channels)` in Keras.

    Returns:
        String, the name of the output.

    Raises:
        ValueError: If the layer is over another axis than the last one.
    """
    if layer.axis not in (-1, x.rank - 1):
        raise ValueError(
            f"`{layer.name}` must act on the last axis to be written as "
            f"ONNX. "
            f"Received: axis={layer.axis}"
        )
    return by_name(graph, "softmax", x, layer.name)


def merge(kind):
    """Returns the converter of a layer that merges its inputs in order.

    `Add`, `Subtract`, `Multiply`, `Maximum` and `Minimum` become one node fewer
    than they have inputs. Axes of size 1 are broadcast by both.

    Args:
        kind: String, the ONNX operator of two tensors, such as `"Add"`.

    Returns:
        A converter. It raises a ValueError if the inputs have different numbers
        of axes: NumPy's rule for missing axes would meet the channels on axis
        1.
    """

    def merged(graph, layer, inputs):
        """Converts a layer that merges a list of `Value`s."""
        if len({x.rank for x in inputs}) > 1:
            raise ValueError(
                f"The inputs of `{layer.name}` must have equally many axes to "
                "be written as ONNX. "
                f"Received: shapes={[x.shape for x in inputs]}"
            )
        y, *others = inputs
        for other in others:
            y = graph.add(kind, [y, other], layer.name)
        return y

    return merged


def concatenate(graph, layer, inputs):
    """Converts `Concatenate` to `Concat`.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its axis is counted with the channels last, the
            attribute with the channels on axis 1.
        inputs: List of `Value`s with equally many axes.

    Returns:
        String, the name of the output.
    """
    rank = inputs[0].rank
    axis = layer.axis % rank
    if rank > 2 and axis > 0:
        axis = 1 if axis == rank - 1 else axis + 1
    return graph.add("Concat", inputs, layer.name, axis=axis)


def identity(graph, layer, x):
    """Converts `Identity` to no node at all.

    Args:
        graph: The `Graph`, which stays as it is.
        layer: The Keras layer.
        x: `Value` of any shape.

    Returns:
        The `Value` that was given.
    """
    return x
