"""Shows the progress of a training: its speed, the time left, a short bar."""

import time

import keras

from keras_nfnets.annotations import Logs
from keras_nfnets.callbacks.throughput import Throughput
from keras_nfnets.training.agc_report import is_detail


class Progress(Throughput):
    """Measures a training's speed, and says once how long it will take.

    An epoch's logs get `images_per_second`, see `Throughput`, and
    `learning_rate`, the rate of the last step. Callbacks that stand later in
    the list see both. At the start of the second epoch that it sees, over all
    calls of `fit`, it prints the time that is left, including validation.

    Args:
        batch_size: Integer, images per step.
        total_steps: Integer, batches of the whole run. Defaults to `None`, for
            no such line.

    Example:

    >>> progress = keras_nfnets.callbacks.Progress(16, total_steps=3 * 4)
    >>> model.fit(x, y, batch_size=16, epochs=3, callbacks=[progress])
    """

    def __init__(self, batch_size: int, total_steps: int | None = None) -> None:
        super().__init__(batch_size)
        self.total_steps = total_steps
        self._epochs = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the clock. Prints the time left at the second call."""
        if self._epochs == 1 and self.total_steps:
            self._say_time_left(epoch)
        self._epochs += 1
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Adds `learning_rate` and `images_per_second` to the logs."""
        logs = {} if logs is None else logs
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        logs["learning_rate"] = float(rate)
        logs["images_per_second"] = self._rates()["images_per_second"]
        seconds = time.perf_counter() - self._started
        self._seconds_per_step = seconds / self._steps()

    def _say_time_left(self, epoch):
        left = self.total_steps - epoch * self.params["steps"]
        print(f"about {duration(left * self._seconds_per_step)} left")


def duration(seconds: float) -> str:
    """Returns a time in words, such as "3 h 20 min", "20 min" or "40 s".

    Args:
        seconds: Float, at least 0.

    Example:

    >>> keras_nfnets.monitors.duration(12000)
    '3 h 20 min'
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class HideAGCDetails(keras.callbacks.ProgbarLogger):
    """Shows a progress bar without the details that AGC reports.

    `AGC(detailed=True)` adds a fraction of clipped units for each part of the
    network to the logs, and Keras's bar shows all logs. This bar takes the
    place of Keras's own and leaves the details out. `history` and other
    callbacks still get them. Put it last, so that it shows what other callbacks
    add.

    Example:

    >>> agc = keras_nfnets.AGC(detailed=True)
    >>> model.compile("sgd", "sparse_categorical_crossentropy", agc=agc)
    >>> model.fit(x, y, callbacks=[keras_nfnets.callbacks.HideAGCDetails()])
    """

    # As for its own bar, Keras need not wait for each step to end.
    async_safe = True

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Shows a step's logs without the details of AGC."""
        super().on_train_batch_end(batch, _shortened(logs))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Shows an epoch's logs without the details of AGC."""
        super().on_epoch_end(epoch, _shortened(logs))


def _shortened(logs):
    return {n: value for n, value in (logs or {}).items() if not is_detail(n)}
