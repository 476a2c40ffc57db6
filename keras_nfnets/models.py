"""One functional-API loop for every network of the table."""

import difflib
import math
from pathlib import Path

import keras

from keras_nfnets.layers.block import NFBlock
from keras_nfnets.layers.head import Head
from keras_nfnets.layers.stem import Stem
from keras_nfnets.training import AGCModel
from keras_nfnets.variants import VARIANTS, Variant

# The stem and three of the stages halve the image: 2 ** 5.
MIN_SIZE = 32


def NFNet(
    variant,
    include_top=True,
    weights=None,
    input_shape=(None, None, 3),
    classes=1000,
    classifier_activation="softmax",
    dropout=None,
    stochastic_depth=0.0,
    pooling=None,
    name=None,
):
    """Builds a normalizer-free network as a functional `AGCModel`.

    The model expects images as `preprocess_input` returns them.

    Args:
        variant: String, a key of `VARIANTS`, or a `Variant`.
        include_top: Boolean, whether the model ends in a classifier. Defaults
            to `True`.
        weights: String, path of a `.weights.h5` or `.keras` file of the same
            network, or `None` for fresh weights. Defaults to `None`.
        input_shape: Tuple `(height, width, channels)` in pixels, `None` for a
            side that may vary. Defaults to `(None, None, 3)`.
        classes: Integer, number of classes. Defaults to `1000`.
        classifier_activation: Activation of the classifier; `None` returns
            logits. Defaults to `"softmax"`.
        dropout: Float in [0, 1), rate before the classifier. Defaults to
            `None`, the variant's published rate.
        stochastic_depth: Float in [0, 1). Block i of n drops its branch at
            the rate `stochastic_depth * i / n`. The papers train with 0.25.
            Defaults to `0.0`.
        pooling: String, `"avg"`, `"max"` or `None`: what a model without its
            top returns, and how one with a top pools (`None` is `"avg"`
            there). Defaults to `None`.
        name: String, the model's name. Defaults to the variant's name.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, classes)`; without the top `(batch, features)`, or
        `(batch, ceil(height / 32), ceil(width / 32), features)` without
        pooling too.

    Raises:
        ValueError: If `variant` is unknown, `input_shape` is not three sizes
            of which a known side is at least 32 pixels, a rate is outside
            [0, 1), or `keras.config.image_data_format()` is
            `"channels_first"`.
        FileNotFoundError: If `weights` names a file that is not there.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_f0", input_shape=(192, 192, 3))
    >>> model.compile("sgd", "sparse_categorical_crossentropy")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171)
    """
    variant, variant_name = resolve_variant(variant)
    _check_input(input_shape)
    _check_rate("stochastic_depth", stochastic_depth)
    dropout = variant.dropout if dropout is None else dropout
    _check_rate("dropout", dropout)

    inputs = keras.Input(input_shape)
    x = Stem(
        variant.stem_widths,
        activation=variant.activation,
        epsilon=variant.epsilon,
        name="stem",
    )(inputs)
    for arguments in block_arguments(variant, stochastic_depth):
        x = NFBlock(**arguments)(x)
    outputs = Head(
        variant.head_width,
        classes=classes if include_top else None,
        pooling=pooling or "avg" if include_top else pooling,
        dropout=dropout,
        activation=variant.activation,
        classifier_activation=classifier_activation,
        epsilon=variant.epsilon,
        name="head",
    )(x)
    model = AGCModel(inputs, outputs, name=name or variant_name)
    if weights is not None:
        _load(model, weights)
    return model


def block_arguments(variant, stochastic_depth=0.0):
    """Yields the arguments of every `NFBlock` of a network, in order.

    This is the signal propagation of the papers: `beta` is one over the
    standard deviation expected at a block's input. A block that projects its
    shortcut starts again from one, after its own `beta` was taken.

    Args:
        variant: A `Variant`.
        stochastic_depth: Float, the rate that the last block comes near.
            Defaults to `0.0`.

    Returns:
        A generator of dictionaries.

    Example:

    >>> betas = [a["beta"] for a in block_arguments(VARIANTS["nfnet_f0"])]

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 2 and Appendix C
    """
    expected_std = 1.0
    index, total = 0, sum(variant.depths)
    for stage, depth in enumerate(variant.depths):
        for block in range(depth):
            yield dict(
                filters=variant.widths[stage],
                strides=2 if stage > 0 and block == 0 else 1,
                expansion=variant.expansions[stage],
                group_width=variant.group_widths[stage],
                kernel_size=variant.kernel_size,
                alpha=variant.alpha,
                beta=1.0 / expected_std,
                se_ratio=variant.se_ratio,
                activation=variant.activation,
                two_convs=variant.two_convs,
                big_width=variant.big_widths[stage],
                stochastic_depth=stochastic_depth * index / total,
                epsilon=variant.epsilon,
                name=f"stage{stage + 1}_block{block}",
            )
            if block == 0:
                expected_std = 1.0
            expected_std = math.sqrt(expected_std**2 + variant.alpha**2)
            index += 1


def preprocess_input(x):
    """Normalizes images as the published networks expect them.

    Args:
        x: Tensor or array of RGB values in [0, 255].

    Returns:
        A tensor of the same shape: ImageNet's mean subtracted and its
        standard deviation divided out, per channel.

    Example:

    >>> y = model(keras_nfnets.preprocess_input(images))
    """
    mean = keras.ops.convert_to_tensor([123.675, 116.28, 103.53])
    std = keras.ops.convert_to_tensor([58.395, 57.12, 57.375])
    return (keras.ops.cast(x, "float32") - mean) / std


def resolve_variant(variant):
    """Returns the `Variant` and its name; a ValueError lists near matches."""
    if isinstance(variant, Variant):
        return variant, "nfnet"
    if variant in VARIANTS:
        return VARIANTS[variant], variant
    near = difflib.get_close_matches(
        str(variant).lower(), VARIANTS, n=3, cutoff=0.7
    )
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(
        f"`variant` must be a Variant or one of {sorted(VARIANTS)}. {hint}"
        f"Received: variant={variant!r}"
    )


def _check_input(input_shape):
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "The image data format must be 'channels_last'; set it with "
            "`keras.config.set_image_data_format`. Received: "
            f"{keras.config.image_data_format()!r}"
        )
    if len(input_shape) != 3 or input_shape[-1] is None:
        raise ValueError(
            "`input_shape` must be (height, width, channels) with known "
            f"channels. Received: input_shape={input_shape}"
        )
    if any(side is not None and side < MIN_SIZE for side in input_shape[:2]):
        raise ValueError(
            f"`input_shape` must be at least {MIN_SIZE} pixels a side. "
            f"Received: input_shape={input_shape}"
        )


def _check_rate(name, rate):
    if not 0 <= rate < 1:
        raise ValueError(f"`{name}` must be in [0, 1). Received: {name}={rate}")


def _load(model, weights):
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f"`weights` must be the path of a file. Received: {weights!r}"
        )
    model.load_weights(weights)
