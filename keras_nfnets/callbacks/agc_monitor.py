"""Records what AGC clips in each layer during training."""

import contextlib
import csv as csv_module
from typing import Any

import keras

from keras_nfnets.annotations import FilePath, Logs
from keras_nfnets.callbacks.agc_picture import draw_agc
from keras_nfnets.extras import require
from keras_nfnets.files import replacing
from keras_nfnets.training import agc_layers
from keras_nfnets.training.agc_rules import inner_optimizer
from keras_nfnets.training.agc_step import AGCOptimizer, attach_around, has_agc

COLUMNS = ("epoch", "layer", "agc_clipped", "agc_ratio")


class AGCMonitor(keras.callbacks.Callback):
    """Records for each layer how much AGC clips there.

    It keeps two numbers, each the mean over the steps of an epoch:

    - `agc_clipped` is the fraction of the layer's units that were clipped. As
      in `keras_nfnets.AGC`, only units whose weights are above the floor count.
    - `agc_ratio` is the norm of the layer's gradient before clipping, divided
      by the norm of its weights, or by `epsilon` where that is larger.

    A layer is a prefix of the paths of variables, as `stage1_block1/conv1`.
    Variables that `exclude` leaves unclipped are in neither number.

    The callback works with an `AGCModel`, and with any model whose optimizer
    `optimizers.with_agc` made. The numbers do not appear in the logs or in
    `history`. The first `fit` with this callback traces the step once more;
    afterwards the optimizer keeps the numbers, also without the callback.

    The files are written after every epoch, and the picture after `fit`. In a
    training by several processes every process needs the callback, and only one
    of them the paths.

    Args:
        csv: String or path of a CSV file, with one row per epoch and layer. A
            number that no step has is empty. An existing file is replaced.
            Defaults to `None`, for none.
        picture: String or path of a picture, see `draw_agc`. Defaults to
            `None`, for none.
        log_dir: String or path of a folder for TensorBoard, with the tags
            `agc_clipped/<layer>` and `agc_ratio/<layer>`. Defaults to `None`,
            for none.
        optimizer: The optimizer to monitor, where a model has several. Defaults
            to `None`, the one that the model was compiled with.

    Attributes:
        rows: List of dictionaries with `epoch` (from 1), `layer`, `agc_clipped`
            and `agc_ratio`. The two numbers are floats, or `None` where no step
            has them. A `fit` that repeats an epoch replaces the rows of that
            epoch and of all later ones.

    Raises:
        ValueError: If the optimizer has no AGC.
        ImportError: If TensorBoard or matplotlib is asked for and is not
            installed.

    Example:

    >>> monitor = keras_nfnets.callbacks.AGCMonitor(csv="agc.csv")
    >>> model.fit(x, y, epochs=5, callbacks=[monitor])
    >>> monitor.rows[0]["agc_clipped"]
    """

    def __init__(
        self,
        csv: FilePath | None = None,
        picture: FilePath | None = None,
        log_dir: FilePath | None = None,
        optimizer: keras.optimizers.Optimizer | None = None,
    ) -> None:
        super().__init__()
        self.csv = csv
        self.picture = picture
        self.log_dir = log_dir
        self.optimizer = optimizer
        self.rows: list[dict[str, Any]] = []
        self._writer = None
        # A missing package has to be named before the training, not after it.
        if log_dir is not None:
            self._summary = require("tensorboard.summary")
        if picture is not None:
            require("matplotlib.figure")

    def set_model(self, model: keras.Model) -> None:
        """Makes the optimizer keep the numbers, and has the step traced again.

        Raises:
            ValueError: If the optimizer has no AGC.
        """
        super().set_model(model)
        optimizer = self._watched()
        if not has_agc(optimizer):
            raise ValueError(
                "`model` must train with AGC: as an AGCModel, or with an "
                "optimizer of keras_nfnets.optimizers.with_agc, which "
                "`optimizer` may name. "
                f"Received: model={model!r} with optimizer={optimizer!r}"
            )
        if not isinstance(optimizer, AGCOptimizer):
            # Around AGC, a `LossScaleOptimizer` of Keras's own class would save
            # the means of layers, which are not there when it is loaded.
            attach_around(optimizer, inner_optimizer(optimizer).rules)
        strategy = getattr(model, "distribute_strategy", None)
        with strategy.scope() if strategy else contextlib.nullcontext():
            if agc_layers.watch(optimizer):
                model.train_function = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Sets the means of the last epoch to zero."""
        agc_layers.reset(self._watched())

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Appends the rows of the epoch, and writes them to the files."""
        found = [
            dict(zip(COLUMNS, (epoch + 1, layer, *values), strict=True))
            for layer, values in agc_layers.read(self._watched()).items()
        ]
        before = [row for row in self.rows if row["epoch"] <= epoch]
        self.rows = before + found
        if self.csv is not None:
            self._write_csv()
        if self.log_dir is not None:
            self._write_summary(found, epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Closes the TensorBoard file and draws the picture."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.picture is not None:
            draw_agc(self.rows, self.picture)

    def _watched(self):
        """Returns the optimizer that is monitored."""
        # On JAX, reading `self.model` copies the trained values into the
        # variables, also into those of `self.optimizer`.
        model = self.model
        if self.optimizer is not None:
            return self.optimizer
        return getattr(model, "optimizer", None)

    def _write_csv(self):
        """Writes all rows to the CSV file, which is replaced as a whole."""
        with replacing(self.csv) as temporary:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv_module.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(self.rows)

    def _write_summary(self, rows, epoch):
        """Writes an epoch's rows for TensorBoard, a scalar for each layer."""
        if self._writer is None:
            output = self._summary.DirectoryOutput(str(self.log_dir))
            self._writer = self._summary.Writer(output)
        for row in rows:
            for name in COLUMNS[2:]:
                if row[name] is not None:
                    # Keras's TensorBoard counts epochs from 0 as well.
                    self._writer.add_scalar(
                        f"{name}/{row['layer']}", row[name], epoch
                    )
        self._writer.flush()
