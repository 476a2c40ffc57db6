"""Folds each layer that is not composed of others into stock layers.

A rule takes a `LayerFactory`, the layer and its inputs as a `Scaled`, and
returns a `Scaled`. The factor of an activation becomes the pending scale of its
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
# The settings of a convolution that its outputs depend on, beside its weights.
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
# The functions that a layer may have as its argument `activation`, and their
# names and whether they include `gamma`.
FUNCTIONS = {
    get(name, use_gamma): (name, use_gamma)
    for name in GAMMA
    for use_gamma in (False, True)
}


def vp_activation(make, layer, x):
    """Folds a variance-preserving activation: `gamma` and `beta` stay pending.

    Args:
        make: The `LayerFactory` of the layer.
        layer: The `layers.VPActivation`.
        x: `Scaled` of one tensor or of parts. A pending scale is multiplied
            out, since the function is not linear.

    Returns:
        A `Scaled` of the plain function, with the scale `gamma * beta`.
    """
    return _activated(make, x, layer.activation, layer.use_gamma, layer.beta)


def function(make, activation, x):
    """Folds the function that a layer has as its argument `activation`.

    Args:
        make: A `LayerFactory`.
        activation: Function of a tensor, or `None` for none.
        x: `Scaled` of one tensor.

    Returns:
        A `Scaled`. For an activation of this library, its factor is pending.
    """
    if activation is None or activation is keras.activations.linear:
        return x
    if activation in FUNCTIONS:
        return _activated(make, x, *FUNCTIONS[activation])
    return Scaled(
        make(keras.layers.Activation, make.materialize(x), activation)
    )


def _activated(make, x, name, use_gamma, beta=1.0):
    """Returns an activation as a `Scaled` with its factor pending."""
    scale = beta * (GAMMA[name] if use_gamma else 1.0)
    if isinstance(x.tensor, list):
        parts = [make.materialize(Scaled(part, x.scale)) for part in x.tensor]
        parts = [_stock_activation(make, part, name) for part in parts]
        return Scaled(parts, scale)
    return Scaled(_stock_activation(make, make.materialize(x), name), scale)


def _stock_activation(make, x, name):
    """Calls the stock layers that compute an activation without its factor."""
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
    """Folds a convolution with weight standardization and its activation.

    Args:
        make: The `LayerFactory` of the layer.
        layer: The layer, of a class of `CONVOLUTIONS`.
        x: `Scaled` of one tensor, with the channels last.

    Returns:
        A `Scaled` of one tensor.
    """
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
        # With stride 1 "same" pads the same pixels. Else `_pad` has padded.
        settings["padding"] = "same" if set(layer.strides) == {1} else "valid"
        tensors = [_pad(make.scope("pad"), layer, part) for part in tensors]
    if make.splits(settings.get("groups", 1)):
        parts = settings["groups"]
        settings["groups"] = 1
        if len(tensors) == 1:
            tensors = ops.split(tensors[0], parts, axis=-1)
    # The weights are replaced at once; drawing random ones takes long.
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


def dense(make, layer, x, weights=None, **settings):
    """Folds a dense layer without its own activation.

    Args:
        make: The `LayerFactory` of the layer.
        layer: The `keras.layers.Dense`.
        x: `Scaled`, `(batch, ..., inputs)`. The kernel takes up its scale.
        weights: List of arrays, kernel and bias in place of the layer's.
            Defaults to `None`, the layer's.
        **settings: Arguments of the new `Dense`, such as `activation`.

    Returns:
        A `Scaled` without a pending scale.
    """
    if weights is None:
        weights = [array(layer.kernel)]
        if layer.use_bias:
            weights.append(array(layer.bias))
    weights = [weights[0] * x.scale, *weights[1:]]
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


def stochastic_depth(make, layer, x):
    """Folds stochastic depth, which is the identity at inference.

    Args:
        make: A `LayerFactory`.
        layer: The `layers.StochasticDepth`.
        x: `Scaled`.

    Returns:
        `x` itself.
    """
    return x


def skip_gain(make, layer, x):
    """Folds a skip gain into the pending scale.

    Args:
        make: A `LayerFactory`.
        layer: The `layers.SkipGain`.
        x: `Scaled`.

    Returns:
        A `Scaled` of the same tensor.

    Reference: [De and Smith, 2020](https://arxiv.org/abs/2002.10444)
    """
    return x.times(array(layer.gain))
