"""The rules of folding for the layers that are built of others."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nfnets import layers
from keras_nfnets.export.folding import single
from keras_nfnets.export.folding.scaled import Scaled, array
from keras_nfnets.export.folding.single import (
    convolution,
    dense,
    efficient_channel_attention,
    squeeze_excite,
    vp_activation,
)


def stem(make, layer, x):
    first, *others = layer.convs
    held = make.held_back(layer.act.activation)
    x = convolution(make.of(first), first, x, held=held)
    for conv in others:
        x = vp_activation(make.of(layer.act), layer.act, x)
        x = convolution(make.of(conv), conv, x, held=held)
    if not layer.pool:
        return x
    pooled = _max_pool(make.under("pool"), layer.padding, x.tensor)
    return Scaled(pooled, x.scale)


def _max_pool(make, padding, x):
    if padding == "symmetric":
        sides = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = ops.pad(x, sides, constant_values=-math.inf)
        padding = "valid"
    return make(keras.layers.MaxPooling2D, x, 3, 2, padding=padding)


def nf_block(make, layer, x):
    held = make.held_back(layer.act_in.activation)
    inputs = x if x.scale == held else Scaled(make.whole(x))
    activated = vp_activation(make.of(layer.act_in), layer.act_in, inputs)
    # What goes from block to block is as the activations take it best.
    held = held if layer.projects else inputs.scale
    scale = layer.alpha / held
    if layer.use_skip_gain:
        scale *= float(array(layer.skip_gain.gain))
    branch = _branch(make, layer, activated, scale)
    shortcut = _shortcut(make, layer, inputs, activated, held)
    tensors = [branch.tensor, shortcut.tensor]
    return Scaled(make.under("add")(keras.layers.Add, tensors), held)


def _branch(make, layer, x, scale):
    """Returns the branch times `scale`, which its last layer takes up."""

    def act(x):
        return vp_activation(make.of(layer.act), layer.act, x)

    held = make.held_back(layer.act.activation)

    def conv(sublayer, x, scale=1.0, parts=1, held=1.0):
        return convolution(make.of(sublayer), sublayer, x, scale, parts, held)

    def joined(x):
        return Scaled(make.of(layer.act).join(x.tensor), x.scale)

    # The groups stay apart from the first convolution to the last spatial one.
    groups = layer.conv1.groups
    parts = groups if make.splits(groups) else 1
    x = conv(layer.conv0, x, parts=parts, held=held)
    x = conv(layer.conv1, act(x), held=held)
    if layer.two_convs:
        x = conv(layer.conv1b, act(x), held=held)
    if not layer.attention:
        return conv(layer.conv2, joined(act(x)), scale)
    if layer.attention_inside:
        x = act(_attend(make, layer, joined(x)))
        return conv(layer.conv2, x, scale)
    return _attend(make, layer, conv(layer.conv2, joined(act(x))), scale)


def _attend(make, layer, x, scale=1.0):
    if layer.attention == "eca":
        rule, attention = efficient_channel_attention, layer.eca
    else:
        rule, attention = squeeze_excite, layer.squeeze_excite
    return rule(make.of(attention), attention, x, scale)


def _shortcut(make, layer, inputs, activated, held):
    if not layer.projects:
        return inputs
    if layer.shortcut == "pool" and layer.strides > 1:
        pooled = make.of(layer.pool)(
            keras.layers.AveragePooling2D,
            activated.tensor,
            2,
            layer.strides,
            padding="same",
        )
        activated = Scaled(pooled, activated.scale)
    conv = layer.conv_shortcut
    return convolution(make.of(conv), conv, activated, held=held)


def head(make, layer, x):
    if layer.conv:
        held = make.held_back(layer.act.activation)
        x = convolution(make.of(layer.conv), layer.conv, x, held=held)
    x = vp_activation(make.of(layer.act), layer.act, x)
    if layer.pooling is None:
        return x
    pool = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }[layer.pooling]
    x = Scaled(make.under("pool")(pool, x.tensor), x.scale)
    if layer.classes is None:
        return x
    logits = dense(make.of(layer.classifier), layer.classifier, x).tensor
    # In float32 under any policy, as the head does.
    make = make.under("predictions", "float32")
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
