"""Keeps the newest two checkpoints of a run, and resumes from one."""

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
    """A training was asked to end, and has written a checkpoint.

    Example:

    >>> try:
    ...     keras_nfnets.runs.train(run, settings)
    ... except keras_nfnets.runs.Terminated:
    ...     keras_nfnets.runs.train(run, settings, resume=True)
    """


class Checkpoints:
    """A folder of checkpoints, of which the last two are kept.

    Each is a folder of its own, written under a temporary name and then
    renamed: the model with optimizer and averages, and what Keras leaves out
    of a model's file: random states and the metrics of an unfinished epoch.

    Args:
        path: String or path of the folder.

    Example:

    >>> checkpoints = keras_nfnets.runs.Checkpoints("run/checkpoints")
    >>> model, state = checkpoints.load()
    """

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)

    def save(
        self,
        model: keras.Model,
        step: int,
        history: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Writes a checkpoint.

        Args:
            model: A compiled Keras model whose optimizer is built.
            step: Integer, batches that the run has seen. The optimizer counts
                fewer where the loss is scaled and a step overflowed.
            history: List of dictionaries of numbers, one per epoch so far.
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
        """Loads the newest checkpoint that is whole.

        One that is damaged is named on the standard error.

        Returns:
            A model with its random states, and a dictionary with the `step`,
            the `metrics` of the epoch so far, and the `history` of those
            before.

        Raises:
            ValueError: If there is none, or none that is whole.
        """
        for path in reversed(self.steps()):
            try:
                return _load(path)
            # What a damaged file raises depends on where it is damaged.
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
    state = read_object(path / "state.json", STATE)
    model = keras_files.load_model(path / "model.keras")
    _restore(random_states(model), state.pop("random"), "random")
    return model, state


def _restore(variables, values, name):
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

    Keras keeps them out of a model's file. On PyTorch its dropout draws from
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
    """Puts an unfinished epoch's metrics back.

    Args:
        model: A compiled Keras model.
        values: List that a checkpoint has under `metrics`.

    Raises:
        ValueError: If the model has another number of metrics.
    """
    _restore(model.metrics_variables, values, "metrics")
