"""Defines the papers' cross-entropy, for integer labels and for soft labels."""

from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_rate


@keras.saving.register_keras_serializable("keras_nfnets")
class Crossentropy(keras.losses.CategoricalCrossentropy):
    """Cross-entropy with label smoothing, of integers or of soft labels.

    With C classes, a soft label y becomes
    `(1 - label_smoothing) * y + label_smoothing / C`.

    Labels are integers `(batch,)` or `(batch, 1)`, from 0 to C - 1, or soft
    labels `(batch, C)`. A soft label has the fraction of each class in the
    image: a one-hot vector, or several fractions after MixUp and CutMix.
    Keras has one loss for each of the two, and smooths soft labels only. An
    integer outside of the classes makes the loss NaN.

    Args:
        label_smoothing: Float in [0, 1). Defaults to `0.0`.
        from_logits: Boolean, whether the model returns logits rather than
            probabilities. Defaults to `False`.
        **kwargs: `axis`, `reduction` and `dtype` of
            `keras.losses.CategoricalCrossentropy`.

    Raises:
        ValueError: If `label_smoothing` is outside [0, 1). When it is called:
            if soft labels have another number of classes than the model.

    Example:

    >>> loss = keras_nfnets.losses.Crossentropy(label_smoothing=0.1)
    >>> labels, outputs = keras.ops.array([1]), keras.ops.array([[0.5, 0.5]])
    >>> round(float(loss(labels, outputs)), 4)
    0.6931
    >>> model.compile("sgd", loss, metrics=["accuracy"])

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        from_logits: bool = False,
        name: str = "crossentropy",
        **kwargs: Any,
    ) -> None:
        check_rate(label_smoothing=label_smoothing)
        super().__init__(
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            name=name,
            **kwargs,
        )

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns the loss of each sample, `(batch,)`.

        Args:
            y_true: Integers `(batch,)` or `(batch, 1)`, or soft labels
                `(batch, classes)`.
            y_pred: Tensor `(batch, classes)`, the model's outputs.
        """
        same_rank = len(y_true.shape) == len(y_pred.shape)
        if not same_rank or y_true.shape[-1] == 1:
            labels = ops.squeeze(y_true, -1) if same_rank else y_true
            y_true = _one_hot(labels, y_pred.shape[-1])
        if y_true.shape[-1] != y_pred.shape[-1]:
            raise ValueError(
                "Labels and model must have the same number of classes. "
                f"Received: labels of {y_true.shape[-1]} and a model of "
                f"{y_pred.shape[-1]}"
            )
        return super().call(y_true, y_pred)


def _one_hot(labels, classes):
    """Returns integers as one-hot vectors, and NaN for an unknown class.

    For an unknown class some backends raise. Others return zeros, which would
    hide the mistake.
    """
    is_class = (labels >= 0) & (labels < classes)
    labels = ops.cast(ops.where(is_class, labels, 0), "int32")
    one_hot = ops.one_hot(labels, classes)
    return ops.where(ops.expand_dims(is_class, -1), one_hot, float("nan"))
