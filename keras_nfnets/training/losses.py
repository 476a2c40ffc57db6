"""Defines the papers' cross-entropy, for labels of both kinds."""

from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_rate


@keras.saving.register_keras_serializable("keras_nfnets")
class Crossentropy(keras.losses.CategoricalCrossentropy):
    """Cross-entropy with label smoothing, of integers or of rows of shares.

    Of C classes, a label's row y becomes
    `(1 - label_smoothing) * y + label_smoothing / C`.

    Labels are integers `(batch,)` or `(batch, 1)`, from 0 to C - 1, or rows
    `(batch, C)` of what each class has in the image, as one-hot vectors and
    mixed images have them. Keras's own losses take one of the two each, and
    smooth the second only. An integer that is no class makes the loss NaN.

    Args:
        label_smoothing: Float in [0, 1). Defaults to `0.0`.
        from_logits: Boolean, whether the model returns logits rather than
            probabilities. Defaults to `False`.
        **kwargs: As for `keras.losses.CategoricalCrossentropy`.

    Raises:
        ValueError: If `label_smoothing` is outside [0, 1), or rows of labels
            have another number of classes than the model.

    Example:

    >>> loss = keras_nfnets.losses.Crossentropy(label_smoothing=0.1)
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
        same_rank = len(y_true.shape) == len(y_pred.shape)
        if not same_rank or y_true.shape[-1] == 1:
            labels = ops.squeeze(y_true, -1) if same_rank else y_true
            y_true = _rows(labels, y_pred.shape[-1])
        if y_true.shape[-1] != y_pred.shape[-1]:
            raise ValueError(
                "Labels and model must have the same number of classes. "
                f"Received: labels of {y_true.shape[-1]} and a model of "
                f"{y_pred.shape[-1]}"
            )
        return super().call(y_true, y_pred)


def _rows(labels, classes):
    """Returns integers as one-hot rows."""
    known = (labels >= 0) & (labels < classes)
    # Some backends raise for what is no class, some give a row of zeros, which
    # would train an image towards no class and say nothing.
    labels = ops.cast(ops.where(known, labels, 0), "int32")
    rows = ops.one_hot(labels, classes)
    return ops.where(ops.expand_dims(known, -1), rows, float("nan"))
