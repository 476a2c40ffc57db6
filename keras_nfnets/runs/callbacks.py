"""Writes a run folder while `fit` goes on."""

import contextlib
import math
import signal
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_nfnets.annotations import Logs
from keras_nfnets.callbacks import AveragedWeights
from keras_nfnets.files import replacing
from keras_nfnets.runs.checkpoints import Terminated, restore_metrics
from keras_nfnets.runs.folder import Run
from keras_nfnets.training.distribution import undistributed


class History(keras.callbacks.Callback):
    """Writes `history.csv` of a run after every epoch.

    Unlike `keras.callbacks.CSVLogger` it writes the whole file under another
    name and renames it.

    Args:
        run: `keras_nfnets.runs.Run`.
        rows: List of dictionaries, one per epoch before, as a checkpoint has
            them. Defaults to none.

    Example:

    >>> model.fit(x, y, callbacks=[keras_nfnets.runs.History(run)])
    """

    def __init__(self, run: Run, rows: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__()
        self.run = run
        self.rows = list(rows)

    def best(self, name: str) -> float:
        """Returns the largest value of a column so far, or minus infinity."""
        return max((row[name] for row in self.rows), default=-math.inf)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values})
        self.run.write_history(self.rows)


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best model of a run, and what the run can go on from.

    `keras.callbacks.ModelCheckpoint` writes in place: a run that is stopped
    meanwhile has neither the old file nor the new one. The best is renamed
    before the checkpoint, so that a run that was stopped in between does the
    epoch again.

    Args:
        run: `keras_nfnets.runs.Run`.
        steps_per_epoch: Integer, batches in a whole epoch.
        step: Integer, batches that the run has seen before. Defaults to `0`.
        monitor: String, the value of an epoch that is best when largest.
            Defaults to `"val_accuracy"`.
        best: Float, the best value of the epochs before. Defaults to
            minus infinity.
        averages: `AveragedWeights`, if it is their model that is best, or
            `None`. Defaults to `None`.
        writes: Boolean, whether this is the one of several processes that
            writes. Defaults to `True`.
        history: `History`, whose rows a checkpoint keeps, or `None`. Defaults
            to `None`.

    Raises:
        ValueError: If an epoch does not report `monitor`.
        Terminated: After a checkpoint, once `terminate` was set.

    Example:

    >>> checkpoint = keras_nfnets.runs.Checkpoint(run, steps_per_epoch=22)
    >>> model.fit(dataset, callbacks=[checkpoint])
    """

    def __init__(
        self,
        run: Run,
        steps_per_epoch: int,
        step: int = 0,
        monitor: str = "val_accuracy",
        best: float = -math.inf,
        averages: AveragedWeights | None = None,
        writes: bool = True,
        history: History | None = None,
    ) -> None:
        super().__init__()
        self.run = run
        self.steps_per_epoch = steps_per_epoch
        self.step = step
        self.monitor = monitor
        self.best = best
        self.averages = averages
        self.writes = writes
        self.history = history
        self.terminate = False

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self.step == 0:
            self._save_best(True)
            self._save()

    # Before a batch, as Keras would wait for each batch to end otherwise.
    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        if self.terminate:
            if self.step % self.steps_per_epoch:
                self._save()
            raise Terminated
        self.step += 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"`monitor` must be one of {sorted(logs)}. "
                f"Received: monitor={self.monitor!r}"
            )
        value = float(logs[self.monitor])
        self._save_best(value > self.best)
        self.best = max(self.best, value)
        self._save()
        if self.terminate:
            raise Terminated

    def _save(self):
        if self.writes:
            with undistributed():
                rows = self.history.rows if self.history else ()
                self.run.checkpoints.save(self.model, self.step, rows)

    def _save_best(self, is_best):
        # Processes swap together or not at all, since JAX compares what they
        # put on their devices.
        with self.averages or contextlib.nullcontext():
            if is_best and self.writes:
                with undistributed(), replacing(self.run.model) as best:
                    self.model.save(best)


class ResumedMetrics(keras.callbacks.Callback):
    """Lets the first epoch's metrics go on from where they stood.

    Args:
        metrics: List, as a checkpoint has it.

    Example:

    >>> model, state = run.checkpoints.load()
    >>> resumed = keras_nfnets.runs.ResumedMetrics(state["metrics"])
    """

    def __init__(self, metrics: Sequence[Any] | None) -> None:
        super().__init__()
        self.metrics = metrics

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.metrics:
            restore_metrics(self.model, self.metrics)
            self.metrics = None


class Signals(keras.callbacks.Callback):
    """Ends a training on Ctrl-C or SIGTERM, as a context around `fit`.

    Python raises `KeyboardInterrupt` in whatever runs at the moment. In a
    finalizer, or a function that C code called, it is dropped, and training
    would go on. This raises it again before the next step.

    SIGTERM, which a machine gets before it is taken away, has the checkpoint
    written first.

    Args:
        checkpoint: `Checkpoint`.

    Example:

    >>> with keras_nfnets.runs.Signals(checkpoint) as signals:
    ...     model.fit(x, y, callbacks=[checkpoint, signals])
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.interrupted = False

    def __enter__(self) -> "Signals":
        self._previous = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._terminate),
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_):
        self.interrupted = True
        raise KeyboardInterrupt

    def _terminate(self, *_):
        self.checkpoint.terminate = True
