"""Defines the head: from the last stage to features or classes.

`Head` ends at one of three places: at the feature map (`pooling=None`), at
pooled features (`classes=None`), or at the classifier.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.layers.composite import Composite


@keras.saving.register_keras_serializable("keras_nfnets")
class Head(Composite):
    """The last 1x1 convolution, activation, pooling, dropout and classifier.

    Args:
        filters: Integer, output channels of the convolution, or `None` for no
            convolution. Defaults to `3072`.
        classes: Integer, units of the classifier, or `None` to end the head
            after pooling. Defaults to `1000`.
        pooling: String, `"avg"` or `"max"` over all pixels, or `None` for no
            pooling, which needs `classes=None`. Defaults to `"avg"`.
        dropout: Float in [0, 1), dropout rate before the classifier. Defaults
            to `0.0`.
        classifier_activation: Function, or the name of one in Keras, applied
            to the logits in float32 under any dtype policy. `None` returns
            the logits. Defaults to `"softmax"`.
        classifier_std: Float, standard deviation of the classifier's initial
            kernel. Defaults to `0.01`.
        activation: String, a name in `keras_nfnets.activations.GAMMA`: the
            activation after the convolution. Defaults to `"gelu"`.
        padding: String, as for `NFBlock`. The head's 1x1 convolution gives
            the same result with each. Defaults to `"same"`.
        epsilon: Float, see `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` or `"add"`, see `WSConv2D`. Defaults
            to `"floor"`.
        gamma_in_kernel: Boolean, whether the activation's gamma multiplies
            the standardized kernel instead of the activation. Defaults to
            `False`.
        conv_trainable: Boolean, whether the convolution is trained. Setting
            `head.conv.trainable` does the same later. Defaults to `True`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        - With classes: `(batch, classes)`, in float32.
        - Without classes: `(batch, filters)`.
        - Without classes and pooling: `(batch, height, width, filters)`.

    Raises:
        ValueError: If `pooling` is unknown, or `None` while `classes` is
            given, or `classes` is not positive, or `activation` is unknown.

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
        activation: str = "gelu",
        padding: str = "same",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma_in_kernel: bool = False,
        conv_trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            activation=activation,
            padding=padding,
            epsilon=epsilon,
            epsilon_rule=epsilon_rule,
            gamma_in_kernel=gamma_in_kernel,
            **kwargs,
        )
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
        self.conv_trainable = conv_trainable
        self.conv = self._conv(filters, 1, "conv") if filters else None
        self.act = self._act("act")
        if classes is not None:
            self._make_classifier()

    def _make_classifier(self):
        """Makes the dropout and the dense layer behind the pooling."""
        self.drop = keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name="dropout"
        )
        self.classifier = keras.layers.Dense(
            self.classes,
            kernel_initializer=keras.initializers.RandomNormal(
                stddev=self.classifier_std
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
        if self.conv and not self.conv_trainable:
            self.conv.trainable = False
        self._keep_frozen()
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Returns the feature map, pooled features, or classes of images.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.
            training: Boolean, whether dropout is on. Defaults to `False`.
        """
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
        """Returns a symbolic output: float32 with a classifier.

        Keras would infer the compute dtype, which `call` casts away.
        """
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
            conv_trainable=self._trains_conv(),
        )
        return config

    def _trains_conv(self):
        """Returns whether the convolution is trained once the head is."""
        if self.conv and self.trainable:
            return self.conv.trainable
        return self.conv_trainable
