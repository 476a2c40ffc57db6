"""The folder of a training run: its layout, and writing and reading it.

Every file is written under a temporary name and then renamed, so that what has
its final name is whole.
"""

import csv
import json
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.data.sources import Source
from keras_nfnets.files import replacing
from keras_nfnets.runs.checkpoints import Checkpoints
from keras_nfnets.runs.curves import draw_curves
from keras_nfnets.runs.settings import Settings


class Run:
    """A run folder: where its files are, and who may write them.

    Args:
        path: String or path of the folder.

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

    def claim(self, overwrite: bool = False) -> None:
        """Makes the folder for a new run.

        Args:
            overwrite: Boolean, whether the files of a run that is there are
                removed. Other files stay. Defaults to `False`.

        Raises:
            FileExistsError: If there is something at the path, and
                `overwrite` is false.
        """
        if not overwrite or not self.path.is_dir():
            self.check_free()
        self.path.mkdir(parents=True, exist_ok=True)
        self._clear()

    def abandon(self) -> None:
        """Removes a run of which nothing can be used: it has no checkpoint."""
        if not self.checkpoints.steps():
            self._clear()
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def _clear(self):
        for file in (self.config, self.history, self.curves, self.model):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoints.path, self.logs, self.saved_model):
            if folder.is_dir():
                shutil.rmtree(folder)

    def check_free(self) -> None:
        """Raises a FileExistsError unless the path is free or empty."""
        if self.path.is_dir() and not any(self.path.iterdir()):
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

    def write_config(self, settings: Settings, source: Source) -> None:
        """Writes `config.json`: what it takes to do the run again or use it.

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
            ValueError: If there is none, or it is not a run's.
        """
        try:
            config = json.loads(self.config.read_text())
            settings = Settings.from_dict(config["settings"])
            return {**config, "settings": settings}
        except FileNotFoundError:
            problem = "there is no config.json"
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"its config.json cannot be used: {error}"
        raise ValueError(
            "The run must be a folder that `keras-nfnets train` wrote. "
            f"Received: {str(self.path)!r}, and {problem}"
        )

    def stored_settings(self, options: Mapping[str, Any]) -> Settings:
        """Returns the settings of a run that is to be continued.

        Args:
            options: Dictionary of what the user gave, by name in
                `keras_nfnets.options.OPTIONS`.

        Raises:
            ValueError: If something else was given than the run was started
                with, or the folder is not a run's.
        """
        settings = self.read_config()["settings"]
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
        """Raises a ValueError unless the run was started on these data.

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
        """Returns `history.csv` as a list of dictionaries, one per epoch."""
        if not self.history.is_file():
            return []
        with self.history.open(newline="") as file:
            rows = [
                {name: float(value) for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
        return [{**row, "epoch": int(row["epoch"])} for row in rows]

    def write_history(self, rows: list[dict[str, Any]]) -> None:
        """Writes `history.csv` from a list of dictionaries, one per epoch."""
        with replacing(self.history) as temporary:
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)

    def draw_curves(self) -> None:
        """Draws `curves.png` from `history.csv`.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        draw_curves(self.read_history(), self.curves)
