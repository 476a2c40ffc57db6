"""Measures the speed of a training in steps and images per second."""

import time

import keras

from keras_nfnets.annotations import Logs


class Throughput(keras.callbacks.Callback):
    """Measures how many steps, and images, a training does in a second.

    An epoch's logs get `steps_per_second`, and `images_per_second` where the
    batch size is known. Callbacks that stand later in the list see them.

    The first call of the step in a `fit` compiles, so it is not counted. If it
    is the only call of the first epoch, it is counted there. Validation is not
    counted either.

    With `steps_per_execution` one call is that many steps. Where the length of
    an epoch is unknown, as with a generator, the last call counts as a full
    one.

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
        """Notes that the next call of the step compiles."""
        self._compiled = False
        self._steps_per_call = getattr(self.model, "steps_per_execution", 1)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the clock at the epoch's first step."""
        self._start(0)

    # Keras would wait for each batch to end if this were `on_train_batch_end`.
    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        """Starts the clock again after the call that compiled."""
        if batch > 0 and not self._compiled:
            self._start(batch)
            self._compiled = True
        self._end = batch + self._steps_per_call

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Stops the clock once the accelerator has done all steps."""
        # Reading the step counter waits for an accelerator to do all steps.
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            keras.ops.convert_to_numpy(optimizer.iterations)
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Adds the rates of the epoch to the logs."""
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
        """Returns the rates by their names in the logs."""
        seconds = (self._trained or time.perf_counter()) - self._started
        rates = {"steps_per_second": self._steps() / seconds}
        if self.batch_size:
            rates["images_per_second"] = (
                self.batch_size * rates["steps_per_second"]
            )
        return rates
