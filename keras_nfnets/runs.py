"""The folder of a training run: its layout, and writing and reading it.

Every file is written under a temporary name and then renamed, so that what has
its final name is whole.
"""

import csv
import dataclasses
import json
import platform
import shutil
import sys
from pathlib import Path

import keras
import numpy as np

from keras_nfnets.checks import check_not_negative, check_positive
from keras_nfnets.extras import require
from keras_nfnets.files import replacing


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the course of a run; `config.json` holds it.

    The defaults are for `nfnet_pico` on the digits. In a run of a few hundred
    steps the papers' AGC would leave the residual branches closed: a skip gain
    starts at zero, where it may move by `clipping * epsilon` a step. So the
    skip gains are not clipped here. `clipping` is larger than for the papers'
    batches of 4096, as they find that small batches take more.

    Args:
        variant: String, a key of `VARIANTS`. Defaults to `"nfnet_pico"`.
        data: String, a key of `keras_nfnets.data.DATASETS`. Defaults to
            `"digits"`.
        size: Integer, side of the images in pixels. Defaults to `32`.
        epochs: Integer. Defaults to `15`.
        batch_size: Integer, images per step. Defaults to `64`.
        learning_rate: Float, at the end of the warm-up. Defaults to `0.1`.
        warmup_epochs: Float, not above half of `epochs`. Defaults to `2.0`.
        momentum: Float. Defaults to `0.9`.
        l2: Float. Defaults to `2e-5`.
        label_smoothing: Float in [0, 1). Defaults to `0.1`.
        clipping: Float, see `AGC`. Defaults to `0.04`.
        epsilon: Float, see `AGC`. Defaults to `1e-3`.
        agc_exclude: Tuple of regular expressions, see `AGC`. Defaults to the
            skip gains and the classifier's kernel.
        seed: Integer, of the weights, the order of the images and dropout.
            Which images are held out does not depend on it. Defaults to `0`.

    Raises:
        ValueError: If a number that must be positive is not.

    Example:

    >>> settings = keras_nfnets.runs.Settings(epochs=5, seed=1)
    """

    variant: str = "nfnet_pico"
    data: str = "digits"
    size: int = 32
    epochs: int = 15
    batch_size: int = 64
    learning_rate: float = 0.1
    warmup_epochs: float = 2.0
    momentum: float = 0.9
    l2: float = 2e-5
    label_smoothing: float = 0.1
    clipping: float = 0.04
    epsilon: float = 1e-3
    agc_exclude: tuple = ("skip_gain/gain$", "head/classifier/kernel$")
    seed: int = 0

    def __post_init__(self):
        check_positive(
            size=self.size,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            clipping=self.clipping,
            epsilon=self.epsilon,
        )
        check_not_negative(seed=self.seed)
        object.__setattr__(self, "agc_exclude", tuple(self.agc_exclude))

    def warmup_steps(self, steps_per_epoch):
        """Returns the length of the warm-up, at most half of the run."""
        return min(self.warmup_epochs, self.epochs / 2) * steps_per_epoch


class Run:
    """A run folder: where its files are, and who may write them.

    Args:
        path: String or path of the folder.

    Example:

    >>> run = keras_nfnets.runs.Run("runs/digits")
    >>> model = keras.models.load_model(run.model)
    """

    def __init__(self, path):
        self.path = Path(path)
        self.model = self.path / "model.keras"
        self.last = self.path / "last.keras"
        self.saved_model = self.path / "saved_model"
        self.history = self.path / "history.csv"
        self.curves = self.path / "curves.png"
        self.config = self.path / "config.json"

    def claim(self, overwrite=False):
        """Makes the folder for a new run.

        Args:
            overwrite: Boolean, whether the files of a run that is there are
                removed. Other files stay. Defaults to `False`.

        Raises:
            FileExistsError: If there is something at the path, and
                `overwrite` is false.
        """
        if not overwrite:
            self.check_free()
        self.path.mkdir(parents=True, exist_ok=True)
        for file in (self.config, self.history, self.curves):
            file.unlink(missing_ok=True)
        for file in (self.model, self.last):
            file.unlink(missing_ok=True)
        if self.saved_model.is_dir():
            shutil.rmtree(self.saved_model)

    def check_free(self):
        """Raises a FileExistsError unless the path is free or empty."""
        if self.path.is_dir() and not any(self.path.iterdir()):
            return
        if self.path.exists():
            raise FileExistsError(
                "The run folder must be new or empty; add --overwrite to "
                "replace the run in it or --resume to continue it. "
                f"Received: {str(self.path)!r}"
            )

    def write_config(self, settings, data):
        """Writes `config.json`: what it takes to do the run again or use it.

        Args:
            settings: `Settings`.
            data: `keras_nfnets.data.Dataset`.
        """
        backend = keras.backend.backend()
        content = dict(
            settings=dataclasses.asdict(settings),
            class_names=data.class_names,
            mean=data.mean,
            std=data.std,
            train_images=len(data.train_images),
            test_images=len(data.test_images),
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

    def read_config(self):
        """Returns the dictionary of `config.json`.

        Raises:
            ValueError: If there is none, or it is not a run's.
        """
        try:
            config = json.loads(self.config.read_text())
            return {**config, "settings": Settings(**config["settings"])}
        except FileNotFoundError:
            problem = "there is no config.json"
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"its config.json cannot be used: {error}"
        raise ValueError(
            "The run must be a folder that `keras-nfnets train` wrote. "
            f"Received: {str(self.path)!r}, and {problem}"
        )

    def stored_settings(self, given):
        """Returns the settings of a run that is to be continued.

        Args:
            given: Dictionary of settings that were asked for.

        Raises:
            ValueError: If one of them is not what the run was started with.
        """
        settings = self.read_config()["settings"]
        for name, value in given.items():
            if getattr(settings, name) != value:
                raise ValueError(
                    f"`{name}` must be {getattr(settings, name)!r}, as the run "
                    f"was started with, to resume it. Received: {name}={value}"
                )
        return settings

    def read_history(self):
        """Returns `history.csv` as a list of dictionaries, one per epoch."""
        if not self.history.is_file():
            return []
        with self.history.open(newline="") as file:
            rows = [
                {name: float(value) for name, value in row.items()}
                for row in csv.DictReader(file)
            ]
        return [{**row, "epoch": int(row["epoch"])} for row in rows]

    def write_history(self, rows):
        """Writes `history.csv` from a list of dictionaries, one per epoch."""
        with replacing(self.history) as temporary:
            with temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)

    def draw_curves(self):
        """Draws `curves.png` from `history.csv`.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        rows = self.read_history()
        if not rows:
            return
        figure = require("matplotlib.figure").Figure(
            figsize=(12, 3.5), layout="constrained"
        )
        panels = ("loss", "accuracy", "agc_clipped")
        for axes, name in zip(figure.subplots(1, 3), panels, strict=True):
            for column, label in (
                (name, "training"),
                (f"val_{name}", "held-out"),
            ):
                if column in rows[0]:
                    axes.plot(
                        [row["epoch"] for row in rows],
                        [row[column] for row in rows],
                        marker=".",
                        label=label,
                    )
            axes.set(xlabel="epoch", title=name)
            axes.legend()
        figure.axes[-1].set(title="share of clipped units")
        with replacing(self.curves) as temporary:
            figure.savefig(temporary, dpi=120)
