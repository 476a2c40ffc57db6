"""Ends a training whose loss is not finite."""

import math

import keras

from keras_nfnets.annotations import Logs


class FiniteLoss(keras.callbacks.Callback):
    """Ends a training with an error once its loss is not finite.

    The error comes at the end of the epoch. Callbacks that stand later in the
    list do not see that epoch, so a checkpoint after this one stays good.
    `keras.callbacks.TerminateOnNaN` instead ends `fit` as if it had succeeded.

    Raises:
        ValueError: If an epoch's mean loss is NaN or infinite.

    Example:

    >>> model.fit(x, y, callbacks=[keras_nfnets.callbacks.FiniteLoss()])
    """

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Raises a ValueError if the epoch's mean loss is not finite."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise ValueError(
                "The loss must stay finite; a lower `learning_rate`, or a "
                "lower `clipping` of AGC, may keep it so. "
                f"Received: loss={loss} in epoch {epoch + 1}"
            )
