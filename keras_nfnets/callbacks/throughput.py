"""Measures images per second of a training."""

import time

import keras

from keras_nfnets.annotations import Logs


class Throughput(keras.callbacks.Callback):
    """Measures how many steps, and images, a training does in a second.

    An epoch's logs get `steps_per_second`, and `images_per_second` where the
    batch size is known; callbacks that come later see them. The first call of
    a step in a `fit` is left out, as it compiles. Where an epoch is that call
    alone, the first epoch has it in. Time for validation is not counted.

    With `steps_per_execution` the first call is that many steps. Where the
    length of an epoch is not known, as of a generator, the last call counts
    in full.

    Args:
        batch_size: Integer, images per step on all replicas together.
            Defaults to `None`, for steps alone.

    Example:

    >>> throughput = keras_nfnets.callbacks.Throughput(batch_size=64)
    >>> history = model.fit(x, y, batch_size=64, callbacks=[throughput])
    >>> history.history["images_per_second"]
    """

    def __init__(self, batch_size: int | None = None) -> None:
        super().__init__()
        self.batch_size = batch_size

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._compiled = False
        self._steps_per_call = getattr(self.model, "steps_per_execution", 1)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._start(0)

    # Not at the end of a batch, as Keras would wait for each batch to end.
    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        if batch > 0 and not self._compiled:
            self._start(batch)
            self._compiled = True
        self._end = batch + self._steps_per_call

    def on_test_begin(self, logs: Logs | None = None) -> None:
        # An accelerator may be at work still; its step counter is not there
        # before it is done.
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            keras.ops.convert_to_numpy(optimizer.iterations)
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs.update(self._rates())

    def _start(self, step):
        self._started, self._trained = time.perf_counter(), None
        self._first = self._end = step

    def _steps(self):
        # The last call of an epoch may have fewer steps than the others.
        whole = self.params.get("steps")
        return (min(self._end, whole) if whole else self._end) - self._first

    def _rates(self):
        seconds = (self._trained or time.perf_counter()) - self._started
        rates = {"steps_per_second": self._steps() / seconds}
        if self.batch_size:
            rates["images_per_second"] = (
                self.batch_size * rates["steps_per_second"]
            )
        return rates
