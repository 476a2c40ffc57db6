"""Folds the channel attentions, whose gates take up every scale.

A gate has one number for each channel. It multiplies the features that it is
computed from, so the kernel before them cannot take up a scale: the gate would
change with it. The convolution before squeeze-excite is linear, so the mean of
its outputs is computed from the mean of its inputs.
"""

import keras

from keras_nfnets.export.folding.scaled import Scaled, array
from keras_nfnets.export.folding.single import dense, function


def squeeze_excite(make, layer, x, scale=1.0, before=None):
    """Folds squeeze-excite: a pooled mean, two dense layers, a gate.

    Args:
        make: The `LayerFactory` of the layer.
        layer: The `layers.SqueezeExcite`.
        x: `Scaled` features, `(batch, height, width, channels)`.
        scale: Float, a factor of the outputs. Defaults to `1.0`.
        before: Tuple of the 1x1 convolution that computes `x` and of its inputs
            as a `Scaled`. The mean is then taken of those, which have fewer
            channels in a bottleneck, and the first dense layer takes up the
            convolution. Defaults to `None`.

    Returns:
        A `Scaled` without a pending scale.

    Reference: [Hu et al., 2018](https://arxiv.org/abs/1709.01507)
    """
    reduce, expand = make.for_layer(layer.reduce), make.for_layer(layer.expand)
    weights = [array(layer.reduce.kernel), array(layer.reduce.bias)]
    pooled = x
    if before is not None:
        conv, pooled = before
        weights = _after(conv, *weights)
    mean = make.scope("mean")(
        keras.layers.GlobalAveragePooling2D, pooled.tensor, keepdims=True
    )
    mean = Scaled(mean, pooled.scale)
    hidden = dense(reduce, layer.reduce, mean, weights)
    hidden = function(reduce.scope("activation"), layer.activation, hidden)
    gate = dense(expand, layer.expand, hidden, activation="sigmoid").tensor
    return _gated(make, x, gate, scale * layer.scale)


def _after(conv, kernel, bias):
    """Returns the weights of a 1x1 convolution and a dense layer in one.

    Args:
        conv: The convolution `W x + b`.
        kernel: Array of the dense layer's kernel `V`.
        bias: Array of its bias `c`.

    Returns:
        List of the kernel `V W` and the bias `V b + c`, for inputs `x`.
    """
    if conv.use_bias:
        bias = bias + array(conv.bias) @ kernel
    return [array(conv.standardize(conv.kernel))[0, 0] @ kernel, bias]


def efficient_channel_attention(make, layer, x, scale=1.0):
    """Folds ECA: a pooled mean, a 1D convolution over channels, a gate.

    The mean `(batch, channels)` becomes a column `(batch, channels, 1)` for the
    convolution, and the gate `(batch, 1, 1, channels)`.

    Args:
        make: The `LayerFactory` of the layer.
        layer: The `layers.EfficientChannelAttention`.
        x: `Scaled` features, `(batch, height, width, channels)`.
        scale: Float, a factor of the outputs. Defaults to `1.0`.

    Returns:
        A `Scaled` without a pending scale.

    Reference: [Wang et al., 2020](https://arxiv.org/abs/1910.03151)
    """
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
    """Returns features times their gate, which takes up every scale."""
    gate = make.materialize(Scaled(gate, scale * x.scale))
    return Scaled(make.multiply(x.tensor, gate))
