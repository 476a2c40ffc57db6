"""Converts the layers with a kernel: convolutions and dense layers.

ONNX has the output channels of a kernel first and its sides last; Keras has the
sides first. `D` stands below for the one, two or three sides of a kernel.
Groups and dilations stay attributes of one `Conv`, since ONNX runtimes have
kernels for both.
"""

import numpy as np

from keras_nfnets.export.folding.scaled import array
from keras_nfnets.export.onnx.activations import activate
from keras_nfnets.export.onnx.geometry import geometry


def convolution(graph, layer, x):
    """Converts `Conv1D`, `Conv2D` and `Conv3D` to `Conv`.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its kernel `(*D, inputs / groups, outputs)`
            becomes `(outputs, inputs / groups, *D)`.
        x: `Value` of shape `(batch, *sides, inputs)` in Keras. A pending zero
            padding becomes the attribute `pads`.

    Returns:
        String, the name of the output after bias and activation.
    """
    kernel = array(layer.kernel)
    kernel = np.moveaxis(kernel, (-1, -2), (0, 1))
    attributes = geometry(layer, layer.kernel_size, x, layer.dilation_rate)
    return _convolved(graph, layer, x, kernel, layer.groups, attributes)


def depthwise(graph, layer, x):
    """Converts `DepthwiseConv2D` to a `Conv` with a group for each channel.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its kernel `(height, width, channels,
            multiplier)` becomes `(channels * multiplier, 1, height, width)`:
            the outputs of one channel are neighbours in both.
        x: `Value` of shape `(batch, height, width, channels)` in Keras.

    Returns:
        String, the name of the output after bias and activation.
    """
    kernel = array(layer.kernel)
    sides, channels = kernel.shape[:-2], kernel.shape[-2]
    kernel = np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *sides)
    attributes = geometry(layer, layer.kernel_size, x, layer.dilation_rate)
    return _convolved(graph, layer, x, kernel, channels, attributes)


def transposed(graph, layer, x):
    """Converts `Conv1DTranspose` and `Conv2DTranspose` to `ConvTranspose`.

    With strides `s` and a kernel of side `k`, Keras makes `s * side` pixels of
    a side for `"same"`, and `s * (side - 1) + max(k, s)` for `"valid"`. ONNX
    makes `s * (side - 1) + k`. It is told to cut off `k - s` pixels by `pads`
    for `"same"`, and to add `s - k` by `output_padding` where the kernel is
    shorter than its stride.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its kernel `(*D, outputs, inputs)` becomes
            `(inputs, outputs, *D)`.
        x: `Value` of shape `(batch, *sides, inputs)` in Keras. A pending
            padding becomes a `Pad`.

    Returns:
        String, the name of the output after bias and activation.

    Raises:
        ValueError: If the layer has a dilation or an `output_padding`.
    """
    name, strides = layer.name, layer.strides
    if layer.output_padding is not None or set(layer.dilation_rate) != {1}:
        raise ValueError(
            f"`{name}` must have neither dilation nor output padding to be "
            f"written as ONNX. Received: dilation_rate={layer.dilation_rate}, "
            f"output_padding={layer.output_padding}"
        )
    kernel = np.moveaxis(array(layer.kernel), (-1, -2), (0, 1))
    inputs = [graph.padded(x, name), graph.weight(kernel, f"{name}/kernel")]
    if layer.use_bias:
        inputs.append(graph.weight(array(layer.bias), f"{name}/bias"))
    spare = np.subtract(layer.kernel_size, strides)
    attributes = dict(output_padding=[int(n) for n in np.maximum(-spare, 0)])
    if layer.padding == "same":
        spare = np.maximum(spare, 0)
        pads = [*(spare // 2), *(spare - spare // 2)]
        attributes["pads"] = [int(n) for n in pads]
    y = graph.add(
        "ConvTranspose", inputs, name, strides=list(strides), **attributes
    )
    return activate(graph, layer.activation, y, f"{name}/activation")


def dense(graph, layer, x):
    """Converts `Dense` to `Gemm`, or to a `Conv` with a kernel of side 1.

    `Gemm` takes matrices alone. A dense layer on inputs of more axes acts on
    the channels of each position, as a 1x1 convolution does; so no
    transposition is needed.

    Args:
        graph: The `Graph` to add to.
        layer: The Keras layer. Its kernel `(inputs, units)` becomes `(units,
            inputs)`, with further axes of size 1 for `Conv`.
        x: `Value` of shape `(batch, inputs)` or `(batch, *sides, inputs)` in
            Keras.

    Returns:
        String, the name of the output after bias and activation.
    """
    kernel, name = array(layer.kernel).T, layer.name
    bias = []
    if layer.use_bias:
        bias = [graph.weight(array(layer.bias), f"{name}/bias")]
    if x.rank == 2:
        kernel = graph.weight(kernel, f"{name}/kernel")
        y = graph.add("Gemm", [x, kernel, *bias], name, transB=1)
    else:
        # The same product at every position is a convolution of width 1.
        kernel = kernel.reshape(kernel.shape + (1,) * (x.rank - 2))
        kernel = graph.weight(kernel, f"{name}/kernel")
        y = graph.add("Conv", [x, kernel, *bias], name)
    return activate(graph, layer.activation, y, f"{name}/activation")


def _convolved(graph, layer, x, kernel, groups, attributes):
    """Adds a `Conv` with its padding, bias and activation."""
    # `Conv` pads once, and with zeros only. A pending padding that its `pads`
    # cannot express becomes a `Pad` before it.
    needs_pad = layer.padding != "valid" or x.fill != 0.0
    name = layer.name
    inputs = [graph.padded(x, name) if needs_pad else x]
    if needs_pad and x.pads is not None and layer.padding == "valid":
        attributes.pop("pads")
    inputs.append(graph.weight(kernel, f"{name}/kernel"))
    if layer.use_bias:
        inputs.append(graph.weight(array(layer.bias), f"{name}/bias"))
    y = graph.add("Conv", inputs, name, group=groups, **attributes)
    return activate(graph, layer.activation, y, f"{name}/activation")
