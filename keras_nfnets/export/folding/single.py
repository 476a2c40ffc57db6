"""Folds each layer that is not composed of others into stock layers.

A rule takes a `LayerFactory`, the layer and its inputs as a `Scaled`, and
returns a `Scaled`. The factor of a layer becomes the pending scale of its
outputs, and the next kernel takes it up.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_nfnets import layers
from keras_nfnets.export.folding.native import tanh_gelu
from keras_nfnets.export.folding.scaled import Scaled, array
from keras_nfnets.layers.activations import ACTIVATIONS, GAMMA, get

CONVOLUTIONS = {
    layers.WSConv1D: keras.layers.Conv1D,
    layers.WSConv2D: keras.layers.Conv2D,
    layers.WSConv3D: keras.layers.Conv3D,
    layers.WSConv2DTranspose: keras.layers.Conv2DTranspose,
    layers.WSDepthwiseConv2D: keras.layers.DepthwiseConv2D,
}
# The tanh form of GELU is `x * sigmoid(x * (SLOPE + CUBIC * x ** 2))`.
SLOPE = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * SLOPE
# The settings of a convolution that its outputs depend on.
GEOMETRY = (
    "filters",
    "kernel_size",
    "strides",
    "padding",
    "output_padding",
    "dilation_rate",
    "groups",
    "depth_multiplier",
    "use_bias",
)
# Our activations, as a layer takes them for its argument `activation`.
FUNCTIONS = {
    get(name, use_gamma): (name, use_gamma)
    for name in GAMMA
    for use_gamma in (False, True)
}


def vp_activation(make, layer, x):
    return _activated(make, x, layer.activation, layer.use_gamma, layer.beta)


def function(make, activation, x):
    """Folds the function that a layer has as its argument `activation`."""
    if activation is None or activation is keras.activations.linear:
        return x
    if activation in FUNCTIONS:
        return _activated(make, x, *FUNCTIONS[activation])
    return Scaled(
        make(keras.layers.Activation, make.materialize(x), activation)
    )


def _activated(make, x, name, use_gamma, beta=1.0):
    scale = beta * (GAMMA[name] if use_gamma else 1.0)
    if isinstance(x.tensor, list):
        parts = [_stock_activation(make, part, name) for part in x.tensor]
        return Scaled(parts, scale)
    return Scaled(_stock_activation(make, make.materialize(x), name), scale)


def _stock_activation(make, x, name):
    """Calls the stock layers that compute an activation."""
    if name == "identity":
        return x
    if name == "gelu":
        if make.native:
            return make(keras.layers.Activation, x, tanh_gelu)
        return _gelu(make, x)
    if name == "leaky_relu":
        return make(keras.layers.LeakyReLU, x, negative_slope=0.01)
    return make(keras.layers.Activation, x, ACTIVATIONS[name].keras_name)


def _gelu(make, x):
    """Returns the tanh form of GELU, from as few stock layers as possible.

    `(1 + tanh(z)) / 2` is `sigmoid(2 z)`. This takes less time than
    `keras.ops.gelu(x, approximate=True)` (`benchmarks/NOTES.md`).
    """
    z = make.scope("square").multiply(x, x)
    z = make.scope("slope", x.dtype)(keras.layers.Rescaling, z, CUBIC, SLOPE)
    z = make.scope("cubic").multiply(x, z)
    gate = make.scope("gate")(keras.layers.Activation, z, "sigmoid")
    return make.multiply(x, gate)


def ws_convolution(make, layer, x):
    x = convolution(make, layer, x)
    x = Scaled(make.join(x.tensor), x.scale)
    return function(make.scope("activation"), layer.activation, x)


def convolution(make, layer, x, scale=1.0, parts=1):
    """Folds a standardized convolution without its activation.

    Args:
        make: A `LayerFactory`.
        layer: The convolution.
        x: A `Scaled` of one tensor, or of a list with a part for each group.
        scale: Float, a factor of the outputs. Defaults to `1.0`.
        parts: Integer, the number of parts of the outputs if the convolution
            is not grouped. Defaults to `1`.

    Returns:
        A `Scaled` without a pending scale. It has a part for each group if
        `make.splits` them.
    """
    config = layer.get_config()
    settings = {key: config[key] for key in GEOMETRY if key in config}
    weights = [array(layer.standardize(layer.kernel)) * (x.scale * scale)]
    if layer.use_bias:
        weights.append(array(layer.bias) * scale)
    tensors = x.tensor if isinstance(x.tensor, list) else [x.tensor]
    if settings["padding"] == "symmetric":
        # With stride 1 both pad the same pixels.
        settings["padding"] = "same" if set(layer.strides) == {1} else "valid"
        tensors = [_pad(make.scope("pad"), layer, part) for part in tensors]
    if make.splits(settings.get("groups", 1)):
        parts = settings["groups"]
        settings["groups"] = 1
        if len(tensors) == 1:
            tensors = ops.split(tensors[0], parts, axis=-1)
    # The weights are replaced at once, and random ones would take seconds.
    settings[layer.kernel_initializer_argument] = "zeros"
    kind = CONVOLUTIONS[type(layer)]
    if parts == 1:
        return Scaled(make(kind, *tensors, weights=weights, **settings))
    settings["filters"] //= parts
    tensors = tensors if len(tensors) == parts else tensors * parts
    weights = zip(*(np.split(w, parts, axis=-1) for w in weights), strict=True)
    return Scaled(
        [
            make.scope(f"part{i}")(kind, part, weights=arrays, **settings)
            for i, (part, arrays) in enumerate(
                zip(tensors, weights, strict=True)
            )
        ]
    )


def _pad(make, layer, x):
    """Pads as `padding="symmetric"` does before a strided convolution."""
    if set(layer.strides) == {1} or set(layer.kernel_size) == {1}:
        return x
    sides = [
        rate * (size // 2)
        for size, rate in zip(
            layer.kernel_size, layer.dilation_rate, strict=True
        )
    ]
    return make(keras.layers.ZeroPadding2D, x, sides)


def dense(make, layer, x, **settings):
    """Folds a dense layer without its activation."""
    weights = [array(layer.kernel) * x.scale]
    if layer.use_bias:
        weights.append(array(layer.bias))
    outputs = make(
        keras.layers.Dense,
        x.tensor,
        layer.units,
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        weights=weights,
        **settings,
    )
    return Scaled(outputs)


def squeeze_excite(make, layer, x, scale=1.0):
    """Folds squeeze-excite: a pooled mean, two dense layers, a gate."""
    mean = make.scope("mean")(
        keras.layers.GlobalAveragePooling2D, x.tensor, keepdims=True
    )
    reduce, expand = make.for_layer(layer.reduce), make.for_layer(layer.expand)
    hidden = dense(reduce, layer.reduce, Scaled(mean, x.scale))
    hidden = function(reduce.scope("activation"), layer.activation, hidden)
    gate = dense(expand, layer.expand, hidden, activation="sigmoid").tensor
    return _gated(make, x, gate, scale * layer.scale)


def efficient_channel_attention(make, layer, x, scale=1.0):
    """Folds ECA: a pooled mean, a 1D convolution over channels, a gate."""
    channels = x.tensor.shape[-1]
    gate = make.scope("mean")(keras.layers.GlobalAveragePooling2D, x.tensor)
    gate = make.scope("column")(keras.layers.Reshape, gate, (channels, 1))
    gate = make.for_layer(layer.conv)(
        keras.layers.Conv1D,
        gate,
        filters=1,
        kernel_size=layer.conv.kernel_size,
        padding="same",
        activation="sigmoid",
        use_bias=False,
        weights=[array(layer.conv.kernel) * x.scale],
    )
    gate = make.scope("gate")(keras.layers.Reshape, gate, (1, 1, channels))
    return _gated(make, x, gate, scale * layer.scale)


def _gated(make, x, gate, scale):
    # The kernel before cannot take up the scale, since the gate depends on its
    # outputs. The gate can, and it has one number for each channel.
    gate = make.materialize(Scaled(gate, scale * x.scale))
    return Scaled(make.multiply(x.tensor, gate))


def stochastic_depth(make, layer, x):
    return x


def skip_gain(make, layer, x):
    return x.times(array(layer.gain))
