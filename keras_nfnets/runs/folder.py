"""Names the files of a run folder, and reads and writes them.

Every file is written under a temporary name and then renamed, so a file with
its final name is complete.
"""

import json
import platform
import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.data.sources import Source
from keras_nfnets.files import check_is_file, replacing
from keras_nfnets.options import EXPORTS
from keras_nfnets.runs.checkpoints import Checkpoints
from keras_nfnets.runs.curves import draw_curves
from keras_nfnets.runs.earlier import is_earlier
from keras_nfnets.runs.lock import locked
from keras_nfnets.runs.settings import Settings
from keras_nfnets.runs.stored import (
    CONFIG,
    read_object,
    read_table,
    write_table,
)
from keras_nfnets.weights import keras as keras_files


class Run:
    """Names the files of a run folder, and controls who may write them.

    Args:
        path: String or path of the folder.

    Attributes:
        model: Path of the best model.
        checkpoints: `Checkpoints` to resume from.
        saved_model: Path of the exported SavedModel.
        history, curves, logs, config: Paths of the other files.

    Example:

    >>> run = keras_nfnets.runs.Run("runs/digits")
    >>> model = keras.models.load_model(run.model)
    """

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.saved_model = self.path / "saved_model"
        self.history = self.path / "history.csv"
        self.curves = self.path / "curves.png"
        self.logs = self.path / "logs"
        self.config = self.path / "config.json"
        self.lock_file = self.path / ".lock"

    def claim(self, overwrite: bool = False) -> None:
        """Makes the folder for a new run.

        Args:
            overwrite: Boolean, whether the files of an existing run are
                removed. Other files stay. Defaults to `False`.

        Raises:
            FileExistsError: If there is something at the path, and
                `overwrite` is false.
            BlockingIOError: If another process is writing the run in it.
        """
        if not overwrite or not self.path.is_dir():
            self.check_free()
        self.path.mkdir(parents=True, exist_ok=True)
        with self.lock():
            self._clear()

    def lock(self) -> AbstractContextManager[None]:
        """Returns a context in which no other process writes the folder.

        Raises:
            BlockingIOError: If another process is writing it.
        """
        return locked(self.lock_file)

    def abandon(self) -> None:
        """Removes the files of a run that has no checkpoint yet."""
        if not self.checkpoints.steps():
            self._clear()
            self.lock_file.unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def _clear(self):
        """Removes what a run has written."""
        for file in (self.config, self.history, self.curves, self.model):
            file.unlink(missing_ok=True)
        for name in EXPORTS.values():
            # Beside an export stand its description (.json), and its weights
            # (.data of ONNX, .bin of OpenVINO).
            for suffix in ("", ".json", ".data"):
                self._remove_file(self.path / f"{name}{suffix}")
            self._remove_file((self.path / name).with_suffix(".bin"))
        for folder in (self.checkpoints.path, self.logs, self.saved_model):
            if folder.is_dir():
                shutil.rmtree(folder)

    def _remove_file(self, path):
        if not path.is_dir():
            path.unlink(missing_ok=True)

    def check_free(self) -> None:
        """Raises a FileExistsError unless the path is free or empty."""
        if self.path.is_dir() and self._is_empty():
            return
        if self.path.is_file():
            raise FileExistsError(
                "The run folder must be a folder, new or empty. "
                f"Received: {str(self.path)!r}, a file"
            )
        if self.path.exists():
            raise FileExistsError(
                "The run folder must be new or empty; add --overwrite to "
                "replace the run in it or --resume to continue it. "
                f"Received: {str(self.path)!r}"
            )

    def _is_empty(self):
        # A process that was killed leaves its lock file.
        return not {path.name for path in self.path.iterdir()} - {".lock"}

    def write_config(self, settings: Settings, source: Source) -> None:
        """Writes `config.json`, with which the run can be repeated or used.

        Args:
            settings: `keras_nfnets.runs.Settings`.
            source: `keras_nfnets.data.Source`.
        """
        backend = keras.backend.backend()
        content = dict(
            settings=settings.to_dict(),
            class_names=source.class_names,
            mean=source.mean,
            std=source.std,
            train_images=source.train_count,
            test_images=source.test_count,
            backend=backend,
            versions={
                "python": platform.python_version(),
                "keras": keras.__version__,
                "numpy": np.__version__,
                backend: sys.modules[backend].__version__,
            },
        )
        with replacing(self.config) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")

    def read_config(self) -> dict[str, Any]:
        """Returns the dictionary of `config.json`.

        Raises:
            ValueError: If the file is missing or is not a run's. The field is
                named.
        """
        try:
            config = read_object(self.config, CONFIG)
            if len(config["mean"]) != len(config["std"]):
                raise ValueError("`mean` and `std` must be of one length")
            settings = Settings.from_dict(config["settings"])
            return {**config, "settings": settings}
        except FileNotFoundError:
            problem = "there is no config.json"
        except (OSError, ValueError) as error:
            problem = f"its config.json cannot be used: {error}"
        raise ValueError(
            "The run must be a folder that `keras-nfnets train` wrote. "
            f"Received: {str(self.path)!r}, and {problem}"
        )

    def load(self) -> tuple[dict[str, Any], keras.Model]:
        """Loads the best model.

        Returns:
            A tuple of the dictionary of `config.json` and the Keras model.

        Raises:
            FileNotFoundError: If there is no model.
            ValueError: If a file is damaged, or the two are not of the same
                run.
        """
        config = self.read_config()
        model = keras_files.load_model(self.model)
        wanted = (len(config["mean"]), len(config["class_names"]))
        found = (_channels(model, "inputs"), _channels(model, "outputs"))
        if found != wanted:
            raise ValueError(
                f"{str(self.model)!r} must be of the run that its config.json "
                f"tells of: {wanted[0]} channels and {wanted[1]} classes. "
                f"Received: {found[0]} and {found[1]}"
            )
        return config, model

    def check_model(self) -> None:
        """Raises an error unless the best model can be read.

        Raises:
            FileNotFoundError: If it is missing.
            ValueError: If it is damaged.
        """
        try:
            check_is_file(self.model, "model")
            keras_files.check(self.model)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(
                "A run that is resumed must have its best model so far, which "
                "no checkpoint holds: put it back, or start again with "
                f"--overwrite. {error}"
            ) from None

    def stored_settings(self, options: Mapping[str, Any]) -> Settings:
        """Returns the settings of a run that is to be resumed.

        Args:
            options: Dictionary from names in `keras_nfnets.options.OPTIONS` to
                the values that the user gave.

        Raises:
            ValueError: If an option differs from the run's, or the folder is
                not a run's, or is one of an earlier version.
        """
        settings = self.read_config()["settings"]
        if is_earlier(read_object(self.config, CONFIG)["settings"]):
            raise ValueError(
                "A run of an earlier version can be used but not resumed, as "
                "its images were mixed in another way. "
                f"Received: {str(self.path)!r}, whose config.json has the "
                "field `mixup_share`"
            )
        other = settings.differences(options)
        if other:
            had = ", ".join(f"{name}={own!r}" for name, own in other.items())
            got = ", ".join(f"{name}={options[name]!r}" for name in other)
            raise ValueError(
                "A run that is resumed must have the settings it was started "
                f"with: {had}. Received: {got}"
            )
        return settings

    def check_source(self, source: Source) -> None:
        """Raises a ValueError unless the run was started on the same data.

        Args:
            source: `keras_nfnets.data.Source`.
        """
        config = self.read_config()
        had = (tuple(config["class_names"]), config["train_images"])
        found = (tuple(source.class_names), source.train_count)
        if had != found:
            raise ValueError(
                "A run that is resumed must have the data it was started "
                f"with: {had[1]} training images of {len(had[0])} classes. "
                f"Received: {found[1]} of {len(found[0])}, or classes of "
                "other names"
            )

    def read_history(self) -> list[dict[str, Any]]:
        """Returns `history.csv` as a list of dictionaries, one per epoch.

        Raises:
            ValueError: If it is damaged; line and column are named.
        """
        if not self.history.exists():
            return []
        return read_table(self.history)

    def write_history(self, rows: list[dict[str, Any]]) -> None:
        """Writes `history.csv` from a list of dictionaries, one per epoch."""
        with replacing(self.history) as temporary:
            write_table(temporary, rows)

    def draw_curves(self) -> None:
        """Draws `curves.png` from `history.csv`.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        draw_curves(self.read_history(), self.curves)


def _channels(model, ends):
    """Returns the last dimension of a model's one input or output."""
    tensors = getattr(model, ends, None) or []
    shapes = [tuple(tensor.shape) for tensor in tensors]
    return shapes[0][-1] if len(shapes) == 1 and shapes[0] else None
