"""Writes a run folder while `fit` goes on.

`History` writes the numbers of each epoch. `Checkpoint` saves the best model
and the state to resume from. `ResumedMetrics` restores the metrics of an
unfinished epoch. `Signals` ends a training on Ctrl-C and on SIGTERM.
"""

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

    The whole file is written under a temporary name and then renamed, so it is
    never half written. `keras.callbacks.CSVLogger` appends to the file instead.

    Args:
        run: `keras_nfnets.runs.Run`.
        rows: Iterable of dictionaries, one per earlier epoch, as a checkpoint
            has them. Defaults to none.

    Example:

    >>> run = keras_nfnets.runs.Run("runs/digits")
    >>> model.fit(x, y, callbacks=[keras_nfnets.runs.History(run)])
    """

    def __init__(self, run: Run, rows: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__()
        self.run = run
        self.rows = list(rows)

    def best(self, name: str) -> float:
        """Returns the largest value of a column so far, or minus infinity.

        Args:
            name: String, a column of the history such as `"val_accuracy"`.
        """
        return max((row[name] for row in self.rows), default=-math.inf)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Appends the logs of the epoch, and writes the file."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values})
        self.run.write_history(self.rows)


class Checkpoint(keras.callbacks.Callback):
    """Saves the best model of a run, and the state to resume the run from.

    Both files are written under temporary names and then renamed. A run that is
    killed meanwhile keeps its old files; with
    `keras.callbacks.ModelCheckpoint`, which writes in place, it would have
    neither. The best model is renamed before the checkpoint. If the run is
    killed in between, it resumes before the epoch and does it again.

    Args:
        run: `keras_nfnets.runs.Run`.
        steps_per_epoch: Integer, batches in a whole epoch.
        step: Integer, batches that the run has seen before. Defaults to `0`.
        monitor: String, the value in the logs of an epoch whose largest value
            marks the best model. Defaults to `"val_accuracy"`.
        best: Float, the best value of earlier epochs. Defaults to minus
            infinity.
        averages: `AveragedWeights`, to save the model with its averaged
            weights, or `None`. Defaults to `None`.
        writes: Boolean, whether this process writes. Of several processes one
            does. Defaults to `True`.
        history: `History` whose rows go into the checkpoints, or `None`.
            Defaults to `None`.

    Attributes:
        terminate: Boolean. Once it is true, the training ends with `Terminated`
            before the next step, after a checkpoint.

    Raises:
        ValueError: If an epoch does not report `monitor`.
        Terminated: After a checkpoint, once `terminate` was set.

    Example:

    >>> run = keras_nfnets.runs.Run("runs/digits")
    >>> checkpoint = keras_nfnets.runs.Checkpoint(run, steps_per_epoch=4)
    >>> data = dict(x=x, y=y, batch_size=16, validation_data=(x, y))
    >>> model.fit(**data, callbacks=[checkpoint])
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
        """Saves a new run before its first step."""
        if self.step == 0:
            self._save_best(True)
            self._save()

    # Keras would wait for each batch to end if this were `on_train_batch_end`.
    def on_train_batch_begin(
        self, batch: int, logs: Logs | None = None
    ) -> None:
        """Counts the step, or ends the training after a checkpoint."""
        if self.terminate:
            if self.step % self.steps_per_epoch:
                self._save()
            raise Terminated
        self.step += 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves the model if it is the best so far, then a checkpoint.

        Raises:
            ValueError: If the logs do not have `monitor`.
            Terminated: If `terminate` was set.
        """
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
        """Writes a checkpoint with the rows of the history."""
        if self.writes:
            with undistributed():
                rows = self.history.rows if self.history else ()
                self.run.checkpoints.save(self.model, self.step, rows)

    def _save_best(self, is_best):
        """Saves the best model, with averaged weights if there are averages."""
        # Every process has to swap, also those that do not write: JAX checks
        # that all processes put the same values on their devices.
        with self.averages or contextlib.nullcontext():
            if is_best and self.writes:
                with undistributed(), replacing(self.run.model) as best:
                    self.model.save(best)


class ResumedMetrics(keras.callbacks.Callback):
    """Restores the metrics of the epoch in which a run was stopped.

    Without it, the metrics of the first epoch after resuming would cover only
    the steps after the stop.

    Args:
        metrics: List that a checkpoint has under `metrics`, or `None`.

    Example:

    >>> run = keras_nfnets.runs.Run("runs/digits")
    >>> model, state = run.checkpoints.load()
    >>> resumed = keras_nfnets.runs.ResumedMetrics(state["metrics"])
    """

    def __init__(self, metrics: Sequence[Any] | None) -> None:
        super().__init__()
        self.metrics = metrics

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Restores the metrics at the first epoch, after Keras's reset."""
        if self.metrics:
            restore_metrics(self.model, self.metrics)
            self.metrics = None


class Signals(keras.callbacks.Callback):
    """Ends a training on Ctrl-C or SIGTERM, as a context around `fit`.

    On Ctrl-C Python raises `KeyboardInterrupt` in the code that runs at the
    moment. A finalizer, or a function called from C, drops it, and the training
    would go on. This callback raises it again before the next step.

    SIGTERM announces that a machine will be taken away. The training then
    writes a checkpoint and ends with `Terminated`.

    It works in the main thread only, since Python allows signal handlers there.

    Args:
        checkpoint: `Checkpoint` of the same `fit`.

    Example:

    >>> run = keras_nfnets.runs.Run("runs/digits")
    >>> checkpoint = keras_nfnets.runs.Checkpoint(run, steps_per_epoch=4)
    >>> data = dict(x=x, y=y, batch_size=16, validation_data=(x, y))
    >>> with keras_nfnets.runs.Signals(checkpoint) as signals:
    ...     model.fit(**data, callbacks=[checkpoint, signals])
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
        """Raises a `KeyboardInterrupt` that was dropped."""
        if self.interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_):
        self.interrupted = True
        raise KeyboardInterrupt

    def _terminate(self, *_):
        self.checkpoint.terminate = True
