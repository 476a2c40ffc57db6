"""Converts poolings, and the zero padding before them.

Keras ignores the pixels that `padding="same"` adds: they count neither in a
mean nor as a maximum. ONNX's `AveragePool` (with its default
`count_include_pad=0`) and `MaxPool` ignore them as well. The pixels of a
padding layer before a pooling count in both.
"""

from keras_nfnets.export.onnx.geometry import geometry
from keras_nfnets.export.onnx.graph import Value


def global_pooling(kind):
    """Returns the converter of a pooling over all positions.

    Args:
        kind: String, `"GlobalAveragePool"` or `"GlobalMaxPool"`.

    Returns:
        A converter. ONNX keeps the pooled axes with size 1. Unless the layer
        has `keepdims`, a `Flatten` to `(batch, channels)` follows.
    """

    def pooled(graph, layer, x):
        """Converts a layer of global pooling."""
        y = graph.add(kind, [x], layer.name)
        if layer.keepdims:
            return y
        return graph.add("Flatten", [y], layer.name, axis=1)

    return pooled


def pooling(kind, fill, **attributes):
    """Returns the converter of a pooling over windows.

    A pending padding becomes the attribute `pads` if its pixels have the value
    that the operator ignores. Otherwise a `Pad` stands before the pooling.

    Args:
        kind: String, `"AveragePool"` or `"MaxPool"`.
        fill: Float, the value that may be padded with without a change of the
            result: `-inf` for a maximum. `None` if there is none.
        **attributes: Further attributes of the node.

    Returns:
        A converter of the layers with `pool_size`, `strides` and `padding`.
    """

    def pooled(graph, layer, x):
        """Converts a layer of pooling over windows."""
        window = geometry(layer, layer.pool_size, x)
        inputs = [x]
        if x.pads is not None and (x.fill != fill or layer.padding != "valid"):
            inputs = [graph.padded(x, layer.name)]
            if layer.padding == "valid":
                window.pop("pads")
        size = list(layer.pool_size)
        return graph.add(
            kind,
            inputs,
            layer.name,
            kernel_shape=size,
            **window,
            **attributes,
        )

    return pooled


def zero_padding(graph, layer, x):
    """Converts `ZeroPadding1D`, `2D` and `3D` to a pending padding.

    A convolution after it takes the padding up as its attribute `pads`. Another
    layer has it added as a `Pad` (`Graph.padded`).

    Args:
        graph: The `Graph`, which gets a node only if `x` has a pending padding.
        layer: The Keras layer. Its padding is a pair for 1D, or a pair for each
            side: pixels before and after.
        x: `Value` of shape `(batch, *sides, channels)` in Keras.

    Returns:
        A `Value` with that padding pending.
    """
    sides = layer.padding
    sides = [sides] if isinstance(sides[0], int) else sides
    return Value(graph.padded(x, layer.name), pads=tuple(map(tuple, sides)))
