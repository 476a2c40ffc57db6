"""The rules of folding: what takes the place of each layer that is not a block.

A rule takes a `Maker`, the layer, and a `Scaled`, and returns a `Scaled`. What
a layer multiplies its outputs by it hands on, for a kernel to take up.
"""

import functools

import keras
import numpy as np
from keras import ops

from keras_nfnets import layers
from keras_nfnets.export.folding.native import tanh_gelu
from keras_nfnets.export.folding.scaled import (
    CUBIC,
    INPUT_SCALES,
    SLOPE,
    Scaled,
    array,
)
from keras_nfnets.layers.activations import GAMMA, get

CONVOLUTIONS = {
    layers.WSConv1D: keras.layers.Conv1D,
    layers.WSConv2D: keras.layers.Conv2D,
    layers.WSConv3D: keras.layers.Conv3D,
    layers.WSConv2DTranspose: keras.layers.Conv2DTranspose,
    layers.WSDepthwiseConv2D: keras.layers.DepthwiseConv2D,
}
# What of a convolution's configuration its outputs depend on.
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
# Our activations as functions, as layers take them for an argument.
FUNCTIONS = {
    get(name, use_gamma): (name, use_gamma)
    for name in GAMMA
    for use_gamma in (False, True)
}


def vp_activation(make, layer, x):
    return _activated(make, x, layer.activation, layer.use_gamma, layer.beta)


def function(make, activation, x):
    """The rule for what stands as `activation` among a layer's arguments."""
    if activation is None or activation is keras.activations.linear:
        return x
    if activation in FUNCTIONS:
        return _activated(make, x, *FUNCTIONS[activation])
    return Scaled(make(keras.layers.Activation, make.whole(x), activation))


def _activated(make, x, name, use_gamma, beta=1.0):
    scale = beta * (GAMMA[name] if use_gamma else 1.0)
    if name == "gelu" and x.scale == make.held_back(name) != 1.0:
        apply, scale = _gelu_of_scaled, scale * x.scale
    else:
        x = x if isinstance(x.tensor, list) else Scaled(make.whole(x))
        apply = functools.partial(_stock_activation, name=name)
    if isinstance(x.tensor, list):
        return Scaled([apply(make, part) for part in x.tensor], scale)
    return Scaled(apply(make, x.tensor), scale)


def _stock_activation(make, x, name):
    if name == "identity":
        return x
    if name == "gelu":
        if make.native:
            return make(keras.layers.Activation, x, tanh_gelu)
        return _gelu(make, x)
    if name == "leaky_relu":
        return make(keras.layers.LeakyReLU, x, negative_slope=0.01)
    # Keras's GELU by that name is that of the error function.
    name = {"gelu_erf": "gelu", "soft_sign": "softsign"}.get(name, name)
    return make(keras.layers.Activation, x, name)


def _gelu(make, x):
    """The tanh form, of as few operations as stock layers have for it.

    `(1 + tanh(z)) / 2` is `sigmoid(2 z)`. On TensorFlow, 2 CPU cores, 4 M
    values: 20 ms, against 25 ms for `keras.ops.gelu(x, approximate=True)`.
    """
    z = make.under("square").multiply(x, x)
    z = make.under("slope", x.dtype)(keras.layers.Rescaling, z, CUBIC, SLOPE)
    return _gelu_gated(make, x, z)


def _gelu_of_scaled(make, y):
    """The same of inputs times `INPUT_SCALES["gelu"]`, and so its outputs.

    One pass over the values less, of six.
    """
    z = make.under("square").multiply(y, y)
    return _gelu_gated(make, y, ops.add(z, SLOPE / INPUT_SCALES["gelu"]))


def _gelu_gated(make, x, z):
    z = make.under("cubic").multiply(x, z)
    gate = make.under("gate")(keras.layers.Activation, z, "sigmoid")
    return make.multiply(x, gate)


def ws_convolution(make, layer, x):
    x = convolution(make, layer, x)
    x = Scaled(make.join(x.tensor), x.scale)
    return function(make.under("activation"), layer.activation, x)


def convolution(make, layer, x, scale=1.0, parts=1, held=1.0):
    """Folds a standardized convolution, without its activation.

    Args:
        make: A `Maker`.
        layer: The convolution.
        x: A `Scaled`, in one part or in one per group.
        scale: Float, multiplies the outputs. Defaults to `1.0`.
        parts: Integer, in how many parts the outputs of an ungrouped
            convolution come. Defaults to `1`.
        held: Float, the `scale` of what is returned: what comes next is to
            multiply by it. Defaults to `1.0`.

    Returns:
        A `Scaled`, in one part per group if `make.splits` them.
    """
    config = layer.get_config()
    scale = scale / held
    settings = {key: config[key] for key in GEOMETRY if key in config}
    weights = [array(layer.standardize(layer.kernel)) * (x.scale * scale)]
    if layer.use_bias:
        weights.append(array(layer.bias) * scale)
    tensors = x.tensor if isinstance(x.tensor, list) else [x.tensor]
    if settings["padding"] == "symmetric":
        # With stride 1 the same pixels.
        settings["padding"] = "same" if set(layer.strides) == {1} else "valid"
        tensors = [_pad(make.under("pad"), layer, part) for part in tensors]
    if make.splits(settings.get("groups", 1)):
        parts = settings["groups"]
        settings["groups"] = 1
        if len(tensors) == 1:
            tensors = ops.split(tensors[0], parts, axis=-1)
    # Its weights are set or read; to draw them first would take seconds.
    settings[layer.kernel_initializer_argument] = "zeros"
    kind = CONVOLUTIONS[type(layer)]
    if parts == 1:
        outputs = make(kind, *tensors, weights=weights, **settings)
        return Scaled(outputs, held)
    settings["filters"] //= parts
    tensors = tensors if len(tensors) == parts else tensors * parts
    weights = zip(*(np.split(w, parts, axis=-1) for w in weights), strict=True)
    return Scaled(
        [
            make.under(f"part{i}")(kind, part, weights=arrays, **settings)
            for i, (part, arrays) in enumerate(
                zip(tensors, weights, strict=True)
            )
        ],
        held,
    )


def _pad(make, layer, x):
    """Pads as `padding="symmetric"` does, if the stride asks for it."""
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
    """Folds a dense layer, without its activation."""
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
    mean = make.under("mean")(
        keras.layers.GlobalAveragePooling2D, x.tensor, keepdims=True
    )
    reduce, expand = make.of(layer.reduce), make.of(layer.expand)
    hidden = dense(reduce, layer.reduce, Scaled(mean, x.scale))
    hidden = function(reduce.under("activation"), layer.activation, hidden)
    gate = dense(expand, layer.expand, hidden, activation="sigmoid").tensor
    return _gated(make, x, gate, scale * layer.scale)


def efficient_channel_attention(make, layer, x, scale=1.0):
    channels = x.tensor.shape[-1]
    gate = make.under("mean")(keras.layers.GlobalAveragePooling2D, x.tensor)
    gate = make.under("column")(keras.layers.Reshape, gate, (channels, 1))
    gate = make.of(layer.conv)(
        keras.layers.Conv1D,
        gate,
        filters=1,
        kernel_size=layer.conv.kernel_size,
        padding="same",
        activation="sigmoid",
        use_bias=False,
        weights=[array(layer.conv.kernel) * x.scale],
    )
    gate = make.under("gate")(keras.layers.Reshape, gate, (1, 1, channels))
    return _gated(make, x, gate, scale * layer.scale)


def _gated(make, x, gate, scale):
    # Not in the kernel before, since the gate depends on what that returns.
    # One number per channel is quickly multiplied.
    gate = make.whole(Scaled(gate, scale * x.scale))
    return Scaled(make.multiply(x.tensor, gate))


def stochastic_depth(make, layer, x):
    return x


def skip_gain(make, layer, x):
    return x.times(array(layer.gain))
