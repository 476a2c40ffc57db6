"""What stands in an ONNX graph for each of Keras's layers.

A converter takes the graph, the layer, and the layer's inputs as `Value`s; it
returns the name of a tensor, or a `Value` that is yet to be padded.
"""

import keras
import numpy as np

from keras_nfnets.export.folding.scaled import array
from keras_nfnets.export.onnx.activations import activate, by_name
from keras_nfnets.export.onnx.geometry import geometry
from keras_nfnets.export.onnx.graph import Value
from keras_nfnets.export.onnx.reshaping import flatten, reshape


def convolution(graph, layer, x):
    kernel = array(layer.kernel)
    # (sides, inputs, outputs) to (outputs, inputs, sides).
    kernel = np.moveaxis(kernel, (-1, -2), (0, 1))
    attributes = geometry(layer, layer.kernel_size, x, layer.dilation_rate)
    return _convolved(graph, layer, x, kernel, layer.groups, attributes)


def depthwise(graph, layer, x):
    kernel = array(layer.kernel)
    sides, channels = kernel.shape[:-2], kernel.shape[-2]
    # (sides, channels, multiplier) to (channels * multiplier, 1, sides).
    kernel = np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *sides)
    attributes = geometry(layer, layer.kernel_size, x, layer.dilation_rate)
    return _convolved(graph, layer, x, kernel, channels, attributes)


def transposed(graph, layer, x):
    name, strides = layer.name, layer.strides
    if layer.output_padding is not None or set(layer.dilation_rate) != {1}:
        raise ValueError(
            f"`{name}` must have neither dilation nor output padding, to be "
            f"written as ONNX. Received: dilation_rate={layer.dilation_rate}, "
            f"output_padding={layer.output_padding}"
        )
    # (sides, outputs, inputs) to (inputs, outputs, sides).
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


def _convolved(graph, layer, x, kernel, groups, attributes):
    """Adds a convolution, with its padding, bias and activation."""
    # Padding of its own beside the inputs', or another value than zero.
    own = layer.padding != "valid" or x.fill != 0.0
    name = layer.name
    inputs = [graph.padded(x, name) if own else x]
    if own and x.pads is not None and layer.padding == "valid":
        attributes.pop("pads")
    inputs.append(graph.weight(kernel, f"{name}/kernel"))
    if layer.use_bias:
        inputs.append(graph.weight(array(layer.bias), f"{name}/bias"))
    y = graph.add("Conv", inputs, name, group=groups, **attributes)
    return activate(graph, layer.activation, y, f"{name}/activation")


def dense(graph, layer, x):
    kernel, name = array(layer.kernel).T, layer.name
    bias = []
    if layer.use_bias:
        bias = [graph.weight(array(layer.bias), f"{name}/bias")]
    if x.rank == 2:
        kernel = graph.weight(kernel, f"{name}/kernel")
        y = graph.add("Gemm", [x, kernel, *bias], name, transB=1)
    else:
        # Over the channels of every pixel.
        kernel = kernel.reshape(kernel.shape + (1,) * (x.rank - 2))
        kernel = graph.weight(kernel, f"{name}/kernel")
        y = graph.add("Conv", [x, kernel, *bias], name)
    return activate(graph, layer.activation, y, f"{name}/activation")


def activation(graph, layer, x):
    return activate(graph, layer.activation, x.name, layer.name)


def relu(graph, layer, x):
    if layer.threshold != 0.0:
        raise ValueError(
            f"`{layer.name}` must have the threshold 0, to be written as "
            f"ONNX. Received: threshold={layer.threshold}"
        )
    slope = float(layer.negative_slope)
    y = graph.add("LeakyRelu", [x], layer.name, alpha=slope)
    if layer.max_value is None:
        return y
    most = graph.weight(layer.max_value, f"{layer.name}/max_value")
    return graph.add("Min", [y, most], layer.name)


def leaky_relu(graph, layer, x):
    slope = float(layer.negative_slope)
    return graph.add("LeakyRelu", [x], layer.name, alpha=slope)


def elu(graph, layer, x):
    return graph.add("Elu", [x], layer.name, alpha=float(layer.alpha))


def softmax(graph, layer, x):
    if layer.axis not in (-1, x.rank - 1):
        raise ValueError(
            f"`{layer.name}` must have the last axis, to be written as ONNX. "
            f"Received: axis={layer.axis}"
        )
    return by_name(graph, "softmax", x, layer.name)


def merge(kind):
    def merged(graph, layer, inputs):
        if len({x.rank for x in inputs}) > 1:
            raise ValueError(
                f"The inputs of `{layer.name}` must have as many axes each, "
                "to be written as ONNX. "
                f"Received: shapes={[x.shape for x in inputs]}"
            )
        y, *others = inputs
        for other in others:
            y = graph.add(kind, [y, other], layer.name)
        return y

    return merged


def concatenate(graph, layer, inputs):
    rank = inputs[0].rank
    axis = layer.axis % rank
    if rank > 2 and axis > 0:
        axis = 1 if axis == rank - 1 else axis + 1
    return graph.add("Concat", inputs, layer.name, axis=axis)


def global_pooling(kind):
    def pooled(graph, layer, x):
        y = graph.add(kind, [x], layer.name)
        if layer.keepdims:
            return y
        return graph.add("Flatten", [y], layer.name, axis=1)

    return pooled


def pooling(kind, fill, **attributes):
    """Returns the converter of a pooling that ignores pads of this value."""

    def pooled(graph, layer, x):
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
    sides = layer.padding
    sides = [sides] if isinstance(sides[0], int) else sides
    return Value(graph.padded(x, layer.name), pads=tuple(map(tuple, sides)))


def rescaling(graph, layer, x):
    name, y = layer.name, x
    for kind, numbers, neutral in (
        ("Mul", layer.scale, 1.0),
        ("Add", layer.offset, 0.0),
    ):
        if np.all(np.equal(numbers, neutral)):
            continue
        number = graph.channels(numbers, x.rank, f"{name}/{kind}/number")
        y = graph.add(kind, [y, number], name)
    return y if isinstance(y, str) else y.name


def normalization(graph, layer, x):
    name = layer.name
    mean, variance = array(layer.mean), array(layer.variance)
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    if layer.invert or mean.size not in (1, x.shape[-1]):
        raise ValueError(
            f"`{name}` must normalize the last axis, and not invert, to be "
            f"written as ONNX. Received: axis={layer.axis}"
        )
    mean = graph.channels(mean, x.rank, f"{name}/mean")
    deviation = graph.channels(deviation, x.rank, f"{name}/deviation")
    y = graph.add("Sub", [x, mean], name)
    return graph.add("Div", [y, deviation], name)


def batch_normalization(graph, layer, x):
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    scale = array(layer.gamma) if layer.scale else np.ones_like(mean)
    shift = array(layer.beta) if layer.center else np.zeros_like(mean)
    inputs = [
        graph.weight(values, f"{layer.name}/{name}")
        for name, values in dict(
            gamma=scale, beta=shift, mean=mean, variance=variance
        ).items()
    ]
    epsilon = float(layer.epsilon)
    return graph.add(
        "BatchNormalization", [x, *inputs], layer.name, epsilon=epsilon
    )


def nothing(graph, layer, x):
    return x


_K = keras.layers
CONVERTERS = {
    _K.Activation: activation,
    _K.Add: merge("Add"),
    _K.AveragePooling1D: pooling("AveragePool", None),
    _K.AveragePooling2D: pooling("AveragePool", None),
    _K.AveragePooling3D: pooling("AveragePool", None),
    _K.BatchNormalization: batch_normalization,
    _K.Concatenate: concatenate,
    _K.Conv1D: convolution,
    _K.Conv2D: convolution,
    _K.Conv3D: convolution,
    _K.Conv1DTranspose: transposed,
    _K.Conv2DTranspose: transposed,
    _K.Dense: dense,
    _K.DepthwiseConv2D: depthwise,
    _K.ELU: elu,
    _K.Flatten: flatten,
    _K.GlobalAveragePooling1D: global_pooling("GlobalAveragePool"),
    _K.GlobalAveragePooling2D: global_pooling("GlobalAveragePool"),
    _K.GlobalAveragePooling3D: global_pooling("GlobalAveragePool"),
    _K.GlobalMaxPooling1D: global_pooling("GlobalMaxPool"),
    _K.GlobalMaxPooling2D: global_pooling("GlobalMaxPool"),
    _K.GlobalMaxPooling3D: global_pooling("GlobalMaxPool"),
    _K.Identity: nothing,
    _K.LeakyReLU: leaky_relu,
    _K.MaxPooling1D: pooling("MaxPool", float("-inf")),
    _K.MaxPooling2D: pooling("MaxPool", float("-inf")),
    _K.MaxPooling3D: pooling("MaxPool", float("-inf")),
    _K.Maximum: merge("Max"),
    _K.Minimum: merge("Min"),
    _K.Multiply: merge("Mul"),
    _K.Normalization: normalization,
    _K.ReLU: relu,
    _K.Rescaling: rescaling,
    _K.Reshape: reshape,
    _K.Softmax: softmax,
    _K.Subtract: merge("Sub"),
    _K.ZeroPadding1D: zero_padding,
    _K.ZeroPadding2D: zero_padding,
    _K.ZeroPadding3D: zero_padding,
}
