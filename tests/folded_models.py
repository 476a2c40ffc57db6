"""Small models for what folds and exports them."""

import dataclasses

import keras
import numpy as np

from keras_nfnets import VARIANTS, AGCModel, layers
from keras_nfnets.layers import activations


def tiny(variant):
    """The same kind of network, narrow and shallow, and nothing published."""
    width, expansion = 32, variant.expansions[0]
    group_width = variant.group_widths[0]
    if group_width is not None:
        # Two groups, which are split, or in NF-RegNets 18, which are not.
        group_width = int(width * expansion / 2) if expansion < 1 else 4
    return dataclasses.replace(
        variant,
        depths=(2,),  # with and without a projection
        widths=(width,),
        strides=(2,),
        stem_widths=(4, 6, 8, 16)[-len(variant.stem_widths) :],
        head_width=variant.head_width and 24,
        expansions=(expansion,),
        group_widths=(group_width,),
        big_widths=variant.big_widths[:1],
        dropout=0.0,
        train_size=32,
        test_size=32,
    )


def kinds():
    """One tiny variant for each kind in the table, by its first name."""
    rows = {}
    for name, variant in VARIANTS.items():
        rows.setdefault(tiny(variant), name)
    return {name: variant for variant, name in rows.items()}


TINY = tiny(VARIANTS["nfnet_f0"])


def randomize(model):
    """Gives gains, biases and skip gains values that do something."""
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("gain", "bias"):
            variable.assign(draw.normal(0.7, 0.3, variable.shape))
    return model


def images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def own_network():
    """Our layers and Keras's own in turns, and every kind of consumer."""
    vp_relu = activations.get("relu")
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 2, name="scale")(inputs)
    x = layers.Stem((4, 8), (2, 1), padding="symmetric")(x)
    x = layers.VPActivation("gelu", beta=0.5, name="conv")(x)
    x = keras.layers.AveragePooling2D(2)(x)
    y = layers.WSConv2D(12, 3, 2, "symmetric", groups=2, name="conv_part0")(x)
    z = keras.layers.Conv2D(12, 3, 2, "same", activation=vp_relu)(x)
    x = keras.layers.Add()([y, z])
    x = layers.WSConv2D(12, 3, padding="same", activation=vp_relu)(x)
    y = layers.EfficientChannelAttention()(x)
    y = layers.StochasticDepth(0.5)(layers.SkipGain()(y))
    x = keras.ops.tanh(keras.ops.add(x, y))
    x = layers.SqueezeExcite(activation=vp_relu)(x)
    x = keras.layers.Activation(vp_relu)(x)
    x = keras.layers.SpatialDropout2D(0.5)(x)
    x = layers.NFBlock(16, 2, group_width=4, attention=None)(x)
    x = layers.SkipGain(name="twice")(x)
    x = layers.WSDepthwiseConv2D(3, padding="same")(x)
    x = layers.WSConv2DTranspose(8, 3, strides=2, padding="same")(x)
    features = layers.VPActivation("silu")(x)
    classes = layers.Head(8, 3, dropout=0.5)(features)
    return AGCModel(inputs, {"features": features, "classes": classes})
