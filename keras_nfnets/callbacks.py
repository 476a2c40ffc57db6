"""Callbacks that write a run folder while `fit` goes on."""

import math
import shutil
import signal

import keras

from keras_nfnets.files import replacing


class History(keras.callbacks.Callback):
    """Writes `history.csv` of a run after every epoch.

    Unlike `keras.callbacks.CSVLogger` it writes the whole file under another
    name and renames it, and drops what a continued run will do again.

    Args:
        run: `keras_nfnets.runs.Run`.
        initial_epoch: Integer, epochs that are kept of the file that is
            there. Defaults to `0`.

    Example:

    >>> model.fit(x, y, callbacks=[keras_nfnets.callbacks.History(run)])
    """

    def __init__(self, run, initial_epoch=0):
        super().__init__()
        self.run = run
        self.rows = run.read_history()[:initial_epoch]

    def best(self, name):
        """Returns the largest value of a column so far, or minus infinity."""
        return max((row[name] for row in self.rows), default=-math.inf)

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **values})
        self.run.write_history(self.rows)


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best and the last model of a run, each as a whole file.

    `keras.callbacks.ModelCheckpoint` writes in place: a run that is stopped
    meanwhile has neither the old file nor the new one. Both files are there
    from the first step on. The best is renamed before the last, so that a run
    that was stopped in between does the epoch again.

    Args:
        run: `keras_nfnets.runs.Run`.
        monitor: String, the value of an epoch that is best when largest.
            Defaults to `"val_accuracy"`.
        best: Float, the best value of the epochs before. Defaults to
            minus infinity.

    Raises:
        ValueError: If an epoch does not report `monitor`.

    Example:

    >>> model.fit(x, y, callbacks=[keras_nfnets.callbacks.Checkpoint(run)])
    """

    def __init__(self, run, monitor="val_accuracy", best=-math.inf):
        super().__init__()
        self.run = run
        self.monitor = monitor
        self.best = best

    def on_train_begin(self, logs=None):
        if not self.run.last.exists():
            self._save(is_best=True)

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor not in (logs or {}):
            raise ValueError(
                f"`monitor` must be one of {sorted(logs or {})}. "
                f"Received: monitor={self.monitor!r}"
            )
        value = float(logs[self.monitor])
        self._save(is_best=value > self.best)
        self.best = max(self.best, value)

    def _save(self, is_best):
        with replacing(self.run.last) as last:
            self.model.save(last)
            if is_best:
                with replacing(self.run.model) as best:
                    shutil.copyfile(last, best)


class Interrupt(keras.callbacks.Callback):
    """Makes sure that Ctrl-C ends a training, as a context around `fit`.

    Python raises `KeyboardInterrupt` in whatever runs at the moment. In a
    finalizer, or a function that C code called, it is dropped, and training
    would go on. This raises it again at the end of the step.

    Example:

    >>> with keras_nfnets.callbacks.Interrupt() as interrupt:
    ...     model.fit(x, y, callbacks=[interrupt])
    """

    def __init__(self):
        super().__init__()
        self.received = False

    def __enter__(self):
        self._previous = signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGINT, self._previous)

    def on_train_batch_end(self, batch, logs=None):
        if self.received:
            raise KeyboardInterrupt

    def _receive(self, *_):
        self.received = True
        raise KeyboardInterrupt
