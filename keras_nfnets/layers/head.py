"""Defines the head: from the last stage to features or classes."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.layers.composite import Composite


@keras.saving.register_keras_serializable("keras_nfnets")
class Head(Composite):
    """The last 1x1 convolution, pooling, dropout and the classifier.

    Args:
        filters: Integer, channels of the convolution, or `None` for no
            convolution. Defaults to `3072`.
        classes: Integer, units of the classifier. `None` ends the head after
            pooling. Defaults to `1000`.
        pooling: String, `"avg"` or `"max"`, or `None` for no pooling (only
            without classes). Defaults to `"avg"`.
        dropout: Float in [0, 1), rate before the classifier. Defaults to
            `0.0`.
        classifier_activation: Activation of the classifier, computed in
            float32; `None` returns logits. Defaults to `"softmax"`.
        classifier_std: Float, standard deviation of the classifier's fresh
            kernel. Defaults to `0.01`.
        **kwargs: `activation`, `padding`, `epsilon`, `epsilon_rule` and
            `gamma_in_kernel` as for `NFBlock`, and those of
            `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, classes)`; without classes `(batch, filters)`, or
        `(batch, height, width, filters)` without pooling too.

    Raises:
        ValueError: If `pooling` is not one of the three, or is `None` with
            classes, or `classes` is not positive.

    Example:

    >>> layer = keras_nfnets.layers.Head(256, classes=10)
    >>> layer(keras.ops.ones((2, 4, 4, 128))).shape
    (2, 10)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4.1
    """

    def __init__(
        self,
        filters: int | None = 3072,
        classes: int | None = 1000,
        pooling: str | None = "avg",
        dropout: float = 0.0,
        classifier_activation: str
        | Callable[[Tensor], Tensor]
        | None = "softmax",
        classifier_std: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pooling not in ("avg", "max", None):
            raise ValueError(
                "`pooling` must be 'avg', 'max' or None. "
                f"Received: pooling={pooling!r}"
            )
        if classes is not None and pooling is None:
            raise ValueError(
                "`pooling` must be 'avg' or 'max' with a classifier. "
                f"Received: pooling=None, classes={classes}"
            )
        if classes is not None:
            check_positive(classes=classes)
        self.filters = filters
        self.classes = classes
        self.pooling = pooling
        self.dropout = dropout
        self.classifier_activation = keras.activations.get(
            classifier_activation
        )
        self.classifier_std = classifier_std
        self.conv = self._conv(filters, 1, "conv") if filters else None
        self.act = self._act("act")
        if classes is not None:
            self.drop = keras.layers.Dropout(
                dropout, dtype=self.dtype_policy, name="dropout"
            )
            self.classifier = keras.layers.Dense(
                classes,
                kernel_initializer=keras.initializers.RandomNormal(
                    stddev=classifier_std
                ),
                dtype=self.dtype_policy,
                name="classifier",
            )

    def build(self, input_shape: Shape) -> None:
        if self.conv:
            self.conv.build(input_shape)
        if self.classes is not None:
            features = self.filters or input_shape[-1]
            self.drop.build((input_shape[0], features))
            self.classifier.build((input_shape[0], features))
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        x = self.act(self.conv(inputs) if self.conv else inputs)
        if self.pooling is None:
            return x
        reduce = ops.mean if self.pooling == "avg" else ops.max
        x = reduce(x, axis=(1, 2))
        if self.classes is None:
            return x
        logits = self.classifier(self.drop(x, training=training))
        return self.classifier_activation(ops.cast(logits, "float32"))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.classes is not None:
            return (input_shape[0], self.classes)
        features = self.filters or input_shape[-1]
        if self.pooling is not None:
            return (input_shape[0], features)
        return (*input_shape[:-1], features)

    def compute_output_spec(
        self, inputs: Tensor, training: bool = False
    ) -> keras.KerasTensor:
        # The classifier's outputs are float32 whatever the compute dtype.
        dtype = self.compute_dtype if self.classes is None else "float32"
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            filters=self.filters,
            classes=self.classes,
            pooling=self.pooling,
            dropout=self.dropout,
            classifier_activation=keras.activations.serialize(
                self.classifier_activation
            ),
            classifier_std=self.classifier_std,
        )
        return config
