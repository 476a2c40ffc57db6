"""Keeps the newest two checkpoints of a run, and resumes from one.

A checkpoint is a folder `step-000000012` with `model.keras` (the weights, the
optimizer and the averages) and `state.json` (what Keras leaves out of that
file).
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.files import replacing
from keras_nfnets.runs.stored import STATE, read_object
from keras_nfnets.weights import keras as keras_files

KEPT = 2


class Terminated(Exception):
    """Says that a training was asked to end, and has written a checkpoint.

    Example:

    >>> settings = keras_nfnets.runs.from_options(epochs=5)
    >>> run = keras_nfnets.runs.Run("runs/new")
    >>> try:  # doctest: +SKIP
    ...     keras_nfnets.runs.train(run, settings)
    ... except keras_nfnets.runs.Terminated:
    ...     keras_nfnets.runs.train(run, settings, resume=True)
    """


class Checkpoints:
    """Writes and reads a folder of checkpoints, of which it keeps the last two.

    Each checkpoint is a folder, written under a temporary name and then
    renamed. It holds the model with its optimizer and averages, and what Keras
    leaves out of a model's file: random states and the metrics of an unfinished
    epoch.

    Args:
        path: String or path of the folder. It need not exist.

    Example:

    >>> checkpoints = keras_nfnets.runs.Checkpoints("checkpoints")
    >>> model.fit(x, y, batch_size=16, epochs=3)
    >>> checkpoints.save(model, step=12)
    >>> model, state = checkpoints.load()
    >>> state["step"]
    12
    """

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)

    def save(
        self,
        model: keras.Model,
        step: int,
        history: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Writes a checkpoint and removes all but the newest two.

        Args:
            model: A compiled Keras model whose optimizer is built.
            step: Integer, batches that the run has seen. With loss scaling the
                optimizer's own count is lower, since it skips steps that
                overflow.
            history: Iterable of dictionaries of numbers, one per epoch so far.
                Defaults to none.
        """
        content = dict(
            step=step,
            random=_to_lists(random_states(model)),
            metrics=_to_lists(model.metrics_variables),
            history=list(history),
        )
        self.path.mkdir(exist_ok=True)
        with replacing(self.path / f"step-{step:09}") as temporary:
            temporary.mkdir()
            model.save(temporary / "model.keras")
            (temporary / "state.json").write_text(json.dumps(content) + "\n")
        for old in self.steps()[:-KEPT]:
            shutil.rmtree(old)

    def steps(self) -> list[Path]:
        """Returns the folders of the checkpoints, the newest last."""
        return sorted(self.path.glob("step-*"))

    def load(self) -> tuple[keras.Model, dict[str, Any]]:
        """Loads the newest checkpoint that can be read.

        A damaged checkpoint is named on the standard error, and the one before
        it is tried.

        Returns: A tuple of the compiled model, whose random states are
        restored, and a dictionary:

            - `step`: Integer, batches that the run has seen.
            - `metrics`: List, the metrics of the unfinished epoch.
            - `history`: List of dictionaries, one per finished epoch.

        Raises:
            ValueError: If there is no checkpoint, or none that can be read.
        """
        for path in reversed(self.steps()):
            try:
                return _load(path)
            # The class of the error depends on where the file is damaged.
            except Exception as error:
                reason = " ".join(str(error).split())
                print(
                    f"keras-nfnets: {path} is damaged and left out: {reason}",
                    file=sys.stderr,
                )
        raise ValueError(
            "The run must have a whole checkpoint to go on from. "
            f"Received: {str(self.path)!r}, where there is none"
        )


def _load(path):
    """Reads the model and the state of one checkpoint, or raises."""
    state = read_object(path / "state.json", STATE)
    model = keras_files.load_model(path / "model.keras")
    _restore(random_states(model), state.pop("random"), "random")
    return model, state


def _restore(variables, values, name):
    """Assigns stored values to variables, and checks how many there are."""
    if len(values) != len(variables):
        raise ValueError(
            f"`{name}` in state.json must have {len(variables)} values. "
            f"Received: {len(values)}"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.asarray(value, variable.dtype))


def _to_lists(variables):
    return [keras.ops.convert_to_numpy(v).tolist() for v in variables]


def random_states(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables of a model's seed generators, in order.

    Keras leaves them out of a model's file. On PyTorch, dropout draws from
    PyTorch's own generator, which is not among them.

    Args:
        model: A built Keras model.

    Returns:
        A list of variables.

    Example:

    >>> for variable in random_states(model):
    ...     print(variable.path)
    """
    weights = {id(v) for v in model.weights}
    return [
        v
        for v in model.variables
        if id(v) not in weights and v.path.endswith("seed_generator_state")
    ]


def restore_metrics(model: keras.Model, values: Sequence[Any]) -> None:
    """Assigns the metrics of an unfinished epoch to a model.

    Args:
        model: A compiled Keras model.
        values: List that a checkpoint has under `metrics`.

    Raises:
        ValueError: If the model has another number of metrics.
    """
    _restore(model.metrics_variables, values, "metrics")
