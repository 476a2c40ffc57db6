"""Callbacks that say how a training goes."""

import time

import keras

from keras_nfnets.annotations import Logs
from keras_nfnets.training.agc_report import is_detail


class Progress(keras.callbacks.Callback):
    """Measures a training's speed, and says once how long it will take.

    An epoch's logs get `images_per_second` and `learning_rate`, the one of the
    last step; callbacks that come later see both. The first step of a `fit` is
    left out, as it compiles. At the start of the second epoch that it sees, a
    line says how much time is left, with validation.

    Args:
        batch_size: Integer, images per step.
        total_steps: Integer, batches of the whole run. Defaults to `None`, for
            no such line.

    Example:

    >>> progress = keras_nfnets.callbacks.Progress(64, total_steps=15 * 22)
    >>> model.fit(dataset, epochs=15, callbacks=[progress])
    """

    def __init__(self, batch_size: int, total_steps: int | None = None) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.total_steps = total_steps
        self._epochs = 0
        self._trained: float | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._compiled = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._epochs == 1 and self.total_steps:
            self._say_time_left(epoch)
        self._epochs += 1
        self._started, self._steps = time.perf_counter(), 0
        self._trained = None

    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        if batch == 1 and not self._compiled:
            self._started, self._steps = time.perf_counter(), 0
            self._compiled = True
        self._steps += 1

    def on_test_begin(self, logs: Logs | None = None) -> None:
        # An accelerator may be at work still; its step counter is not there
        # before it is done.
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        now = time.perf_counter()
        trained = (self._trained or now) - self._started
        logs["learning_rate"] = float(rate)
        logs["images_per_second"] = self._steps * self.batch_size / trained
        self._seconds_per_step = (now - self._started) / self._steps

    def _say_time_left(self, epoch):
        left = self.total_steps - epoch * self.params["steps"]
        print(f"about {duration(left * self._seconds_per_step)} left")


def duration(seconds: float) -> str:
    """Returns "3 h 20 min", "20 min" or "40 s".

    Args:
        seconds: Float.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class ShortBar(keras.callbacks.Callback):
    """Keeps what a detailed `AGC` reports off the progress bar.

    Keras shows all that the callbacks have left in the logs. Put it last.

    Example:

    >>> model.compile(optimizer, loss, agc=keras_nfnets.AGC(detailed=True))
    >>> model.fit(x, y, callbacks=[keras_nfnets.callbacks.ShortBar()])
    """

    # It touches nothing but the logs that it is given, so Keras need not wait
    # for every step.
    async_safe = True

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._shorten(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._shorten(logs)

    def _shorten(self, logs):
        for name in [name for name in logs or {} if is_detail(name)]:
            del logs[name]
