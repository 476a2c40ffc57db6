"""Folds stem, block and head, which are composed of other layers.

Each rule calls the rules of the sublayers, in the order of the layer's own
`call`. `RULES` at the end maps every class of this library to its rule.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nfnets import layers
from keras_nfnets.export.folding import single
from keras_nfnets.export.folding.attention import (
    efficient_channel_attention,
    squeeze_excite,
)
from keras_nfnets.export.folding.scaled import Scaled, array
from keras_nfnets.export.folding.single import (
    convolution,
    dense,
    vp_activation,
)


def stem(make, layer, x):
    """Folds the stem: convolutions with activations between, and a pooling.

    Args:
        make: The `LayerFactory` of the stem.
        layer: The `layers.Stem`.
        x: `Scaled` images, `(batch, height, width, channels)`.

    Returns:
        A `Scaled` without a pending scale, smaller by the strides of the
        convolutions and of the pooling.
    """
    first, *others = layer.convs
    x = convolution(make.for_layer(first), first, x)
    for conv in others:
        x = vp_activation(make.for_layer(layer.act), layer.act, x)
        x = convolution(make.for_layer(conv), conv, x)
    if not layer.pool:
        return x
    # A convolution leaves no scale pending, so `x` is its tensor alone.
    return Scaled(_max_pool(make.scope("pool"), layer.padding, x.tensor))


def _max_pool(make, padding, x):
    """Adds the stem's 3x3 pooling with stride 2.

    `"symmetric"` adds one pixel on every side, which must not become the
    maximum: it is filled with `-inf`.
    """
    if padding == "symmetric":
        sides = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = ops.pad(x, sides, constant_values=-math.inf)
        padding = "valid"
    return make(keras.layers.MaxPooling2D, x, 3, 2, padding=padding)


def nf_block(make, layer, x):
    """Folds a block of shortcut and branch.

    The block computes `shortcut + alpha * gain * branch`. The last layer of the
    branch takes up `alpha` and the skip gain. The sum needs both inputs without
    a pending scale, so the scale of the block's inputs is multiplied out before
    it.

    Args:
        make: The `LayerFactory` of the block.
        layer: The `layers.NFBlock`.
        x: `Scaled`, `(batch, height, width, channels)`.

    Returns:
        A `Scaled` with the scale 1. Stochastic depth is left out.

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4.1 and Figure 3
    """
    inputs = Scaled(make.materialize(x))
    act_in = layer.act_in
    activated = vp_activation(make.for_layer(act_in), act_in, inputs)
    scale = layer.alpha
    if layer.use_skip_gain:
        scale *= float(array(layer.skip_gain.gain))
    branch = _branch(make, layer, activated, scale)
    shortcut = _shortcut(make, layer, inputs, activated)
    tensors = [branch.tensor, shortcut.tensor]
    return Scaled(make.scope("add")(keras.layers.Add, tensors))


def _branch(make, layer, x, scale):
    """Returns the branch times `scale`, which its last layer takes up.

    Where groups are split, the tensor is a list with one part for each group,
    from the first convolution to the last activation before `conv2`. With the
    attention inside, the parts are joined before the attention already.
    """

    def act(x):
        return vp_activation(make.for_layer(layer.act), layer.act, x)

    def conv(sublayer, x, scale=1.0, parts=1):
        return convolution(make.for_layer(sublayer), sublayer, x, scale, parts)

    def joined(x):
        return Scaled(make.for_layer(layer.act).join(x.tensor), x.scale)

    # `conv0` makes one part for each group, so that no split is needed.
    groups = layer.conv1.groups
    x = conv(layer.conv0, x, parts=groups if make.splits(groups) else 1)
    x = conv(layer.conv1, act(x))
    if layer.two_convs:
        x = conv(layer.conv1b, act(x))
    if not layer.attention:
        return conv(layer.conv2, joined(act(x)), scale)
    if layer.attention_inside:
        x = act(_attend(make, layer, joined(x)))
        return conv(layer.conv2, x, scale)
    x = joined(act(x))
    features = conv(layer.conv2, x)
    return _attend(make, layer, features, scale, (layer.conv2, x))


def _attend(make, layer, x, scale=1.0, before=None):
    """Applies the block's channel attention by its rule.

    `before` is the convolution that computes `x`, and its inputs.
    """
    if layer.attention == "eca":
        make = make.for_layer(layer.eca)
        return efficient_channel_attention(make, layer.eca, x, scale)
    attention = layer.squeeze_excite
    make = make.for_layer(attention)
    return squeeze_excite(make, attention, x, scale, before)


def _shortcut(make, layer, inputs, activated):
    """Returns a block's inputs, or their projection after the activation."""
    if not layer.projects:
        return inputs
    if layer.shortcut == "pool" and layer.strides > 1:
        pooled = make.for_layer(layer.pool)(
            keras.layers.AveragePooling2D,
            activated.tensor,
            2,
            layer.strides,
            padding="same",
        )
        activated = Scaled(pooled, activated.scale)
    conv = layer.conv_shortcut
    return convolution(make.for_layer(conv), conv, activated)


def head(make, layer, x):
    """Folds the head: a convolution, an activation, a pooling, a classifier.

    Parts that the head lacks are left out. A maximum or a mean leaves the scale
    of its inputs pending for the classifier's kernel.

    Args:
        make: The `LayerFactory` of the head.
        layer: The `layers.Head`.
        x: `Scaled`, `(batch, height, width, channels)`.

    Returns:
        A `Scaled`: predictions `(batch, classes)` in float32, pooled features
        `(batch, channels)`, or features with both sides.
    """
    if layer.conv:
        x = convolution(make.for_layer(layer.conv), layer.conv, x)
    x = vp_activation(make.for_layer(layer.act), layer.act, x)
    if layer.pooling is None:
        return x
    pool = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }[layer.pooling]
    x = Scaled(make.scope("pool")(pool, x.tensor), x.scale)
    if layer.classes is None:
        return x
    logits = dense(make.for_layer(layer.classifier), layer.classifier, x).tensor
    # The head predicts in float32 under any policy.
    make = make.scope("predictions", "float32")
    return Scaled(
        make(keras.layers.Activation, logits, layer.classifier_activation)
    )


RULES: dict[type, Callable[..., Any]] = {
    layers.VPActivation: vp_activation,
    layers.SqueezeExcite: squeeze_excite,
    layers.EfficientChannelAttention: efficient_channel_attention,
    layers.StochasticDepth: single.stochastic_depth,
    layers.SkipGain: single.skip_gain,
    layers.Stem: stem,
    layers.NFBlock: nf_block,
    layers.Head: head,
    **dict.fromkeys(single.CONVOLUTIONS, single.ws_convolution),
}
