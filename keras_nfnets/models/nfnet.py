"""Builds every network of the table with one loop of the functional API.

`NFNet` reads a row of `VARIANTS`, and `_features` calls a `Stem` and one
`NFBlock` for each entry of `block_arguments`. A `Head` follows.
"""

from collections.abc import Callable

import keras

from keras_nfnets.annotations import FilePath, Shape, Tensor
from keras_nfnets.checks import check_rate
from keras_nfnets.layers.block import NFBlock
from keras_nfnets.layers.head import Head
from keras_nfnets.layers.stem import Stem
from keras_nfnets.training.model import AGCModel
from keras_nfnets.variants.plan import (
    MIN_SIZE,
    block_arguments,
    resolve_variant,
    shared_arguments,
)
from keras_nfnets.variants.table import Variant
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights.published import fetch


def NFNet(
    variant: str | Variant,
    include_top: bool = True,
    weights: FilePath | None = None,
    input_shape: Shape = (None, None, 3),
    classes: int = 1000,
    classifier_activation: str | Callable[[Tensor], Tensor] | None = "softmax",
    dropout: float | None = None,
    stochastic_depth: float = 0.0,
    pooling: str | None = None,
    name: str | None = None,
    features: bool = False,
    remat: bool = False,
) -> AGCModel:
    """Builds a normalizer-free network as a functional `AGCModel`.

    The model expects images as `preprocess_input` returns them.

    Args:
        variant: String, a key of `VARIANTS`, or a `Variant`.
        include_top: Boolean, whether the model ends in a classifier. Defaults
            to `True`.
        weights: String or path. `"imagenet"` stands for the published weights,
            which are downloaded once. A path is that of a file of the same
            network: ours (`.weights.h5`, `.keras`), the papers' (`.npz`) or
            timm's (`.safetensors`). A classifier of another size stays fresh,
            with a warning. Defaults to `None`, for fresh weights.
        input_shape: Tuple `(height, width, channels)` in pixels, `None` for a
            side that may vary. Defaults to `(None, None, 3)`.
        classes: Integer, number of classes. Defaults to `1000`.
        classifier_activation: String or function, activation of the classifier;
            `None` returns logits. Defaults to `"softmax"`.
        dropout: Float in [0, 1), rate before the classifier. Defaults to
            `None`, the variant's published rate.
        stochastic_depth: Float in [0, 1). Block i of n drops its branch at
            the rate `stochastic_depth * i / n`. The papers train with 0.25.
            Defaults to `0.0`.
        pooling: String, `"avg"` or `"max"`, the pooling before the classifier
            or, without the top, at the end. Defaults to `None`: `"avg"` before
            the classifier, and no pooling without the top.
        name: String, the model's name. Defaults to the variant's name.
        features: Boolean, whether the model returns the outputs of stem and
            stages in place of a head, for detection and segmentation. The
            arguments of the head are then ignored. Defaults to `False`.
        remat: Boolean, whether training computes the stem and each block again
            for its gradient instead of keeping what is inside it. That takes
            less memory and more time. Defaults to `False`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, classes)`. Without the top `(batch, features)`, or
        `(batch, ceil(height / 32), ceil(width / 32), features)` without
        pooling too. With `features` a dictionary from `"stem"`, `"stage1"` ..
        `"stage4"` to `(batch, ceil(height / stride), ceil(width / stride),
        channels)`, see `feature_strides`.

    Raises:
        ValueError: If `variant` is unknown; if `input_shape` is not three
            sizes, or a known side is below 32 pixels; if a rate is outside [0,
            1); if `keras.config.image_data_format()` is `"channels_first"`; or
            if `weights` is not a file of this network, or `"imagenet"` for one
            that nobody published.
        FileNotFoundError: If the file that `weights` names does not exist.
        OSError: If published weights cannot be fetched or kept.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_f0", input_shape=(192, 192, 3))
    >>> model.compile("sgd", "sparse_categorical_crossentropy")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171)
    """
    variant, variant_name = resolve_variant(variant)
    _check_input(input_shape)
    dropout = variant.dropout if dropout is None else dropout
    check_rate(stochastic_depth=stochastic_depth, dropout=dropout)

    if weights == "imagenet":
        weights = fetch(variant_name)
    inputs = keras.Input(input_shape)
    outputs = _features(variant, inputs, stochastic_depth, remat)
    if not features:
        outputs = Head(
            variant.head_width,
            classes=classes if include_top else None,
            pooling=pooling or "avg" if include_top else pooling,
            dropout=dropout,
            classifier_activation=classifier_activation,
            classifier_std=variant.classifier_std,
            name="head",
            **shared_arguments(variant),
        )(outputs[f"stage{len(variant.depths)}"])
    model = AGCModel(inputs, outputs, name=name or variant_name)
    if weights is not None:
        weight_files.load(model, weights)
    return model


def _features(variant, inputs, stochastic_depth, remat):
    """Returns the outputs of stem and stages, by name."""
    x = Stem(
        variant.stem_widths,
        variant.stem_strides,
        variant.stem_kernel_size,
        variant.stem_pool,
        remat=remat,
        name="stem",
        **shared_arguments(variant),
    )(inputs)
    outputs = {"stem": x}
    for arguments in block_arguments(variant, stochastic_depth):
        x = NFBlock(**arguments, remat=remat)(x)
        stage, _, _ = arguments["name"].partition("_")
        outputs[stage] = x
    return outputs


def _check_input(input_shape):
    """Raises a ValueError for a format or shape that no network takes."""
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
