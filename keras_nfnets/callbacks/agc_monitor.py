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
from keras_nfnets.training.agc_step import has_agc

COLUMNS = ("epoch", "layer", "agc_clipped", "agc_ratio")


class AGCMonitor(keras.callbacks.Callback):
    """Records for each layer how much AGC clips there.

    Two numbers are means over the steps of an epoch. `agc_clipped` is the
    share of the layer's units that were clipped, counted as in
    `keras_nfnets.AGC`: of units whose weights are above the floor.
    `agc_ratio` is the norm of the layer's gradient before clipping, over that
    of its weights, or over `epsilon` where that is larger. A layer here is
    what the paths of variables name, as `stage1_block1/conv1`; what `exclude`
    leaves out of clipping is in neither number.

    It works in `fit` of an `AGCModel` and of any model whose optimizer
    `optimizers.with_agc` made. The numbers are not in the logs, so not in
    `history`. An optimizer that was monitored goes on to keep them after
    `fit`; without this callback a step computes nothing for them. A step that
    was traced or compiled before is traced once more.

    The files are written after every epoch, and the picture after `fit`. Of
    several processes all need the callback, and one of them the paths.

    Args:
        csv: String or path of a CSV file, a row for each epoch and layer.
            A number that no step has is empty. A file that is there is
            replaced. Defaults to `None`, for none.
        picture: String or path of a picture, see `draw_agc`. Defaults to
            `None`, for none.
        log_dir: String or path of a folder for TensorBoard, with the tags
            `agc_clipped/<layer>` and `agc_ratio/<layer>`. Defaults to `None`,
            for none.
        optimizer: The optimizer to look at, where a model has several.
            Defaults to `None`, the one that the model was compiled with.

    Attributes:
        rows: List of dictionaries, with `epoch` (from 1), `layer`,
            `agc_clipped` and `agc_ratio`: floats, or `None` where no step
            has the number. A `fit` that does an epoch again replaces it and
            what comes after it.

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
        # What is missing is said before the training, not after it.
        if log_dir is not None:
            self._summary = require("tensorboard.summary")
        if picture is not None:
            require("matplotlib.figure")

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        optimizer = self._watched()
        if not has_agc(optimizer):
            raise ValueError(
                "`model` must train with AGC: as an AGCModel, or with an "
                "optimizer of keras_nfnets.optimizers.with_agc, which "
                "`optimizer` may name. "
                f"Received: model={model!r} with optimizer={optimizer!r}"
            )
        strategy = getattr(model, "distribute_strategy", None)
        with strategy.scope() if strategy else contextlib.nullcontext():
            if agc_layers.watch(optimizer):
                model.train_function = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        agc_layers.reset(self._watched())

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
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
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self.picture is not None:
            draw_agc(self.rows, self.picture)

    def _watched(self):
        # On JAX, asking for the model brings the values of variables back.
        model = self.model
        if self.optimizer is not None:
            return self.optimizer
        return getattr(model, "optimizer", None)

    def _write_csv(self):
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
