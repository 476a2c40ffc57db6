"""Defines what a format is asked for and what describes every format."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_nfnets.export.description import Description


@dataclasses.dataclass(frozen=True)
class Request:
    """Holds a model that is to be written, and how.

    Args:
        model: A functional Keras model, at the size that is asked for.
        path: `Path` of the file or folder to write.
        precision: String, `"float32"`, `"float16"` or `"int8"`. Defaults to
            `"float32"`.
        mean: Float or sequence of floats, subtracted from each channel of the
            pixels. Defaults to `0.0`.
        std: Float or sequence of floats that divides each channel. Defaults to
            `1.0`.
        calibrate: List of float32 arrays, batches of images as the file takes
            them. Defaults to `None`.
        description: `Description` of a classifier. Defaults to `None`.

    Example:

    >>> request = Request(model, Path("model.keras"), mean=127.5, std=127.5)
    >>> request.normalized(np.float32([0, 255]))
    array([-1.,  1.], dtype=float32)
    """

    model: keras.Model
    path: Path
    precision: str = "float32"
    mean: Any = 0.0
    std: Any = 1.0
    calibrate: list[np.ndarray] | None = None
    description: Description | None = None

    @property
    def normalizes(self):
        """Returns whether the file takes pixels and normalizes them."""
        return bool(np.any(np.not_equal(self.mean, 0.0))) or bool(
            np.any(np.not_equal(self.std, 1.0))
        )

    def normalized(self, images):
        """Returns images as the model takes them, from those of the file.

        Args:
            images: Array of shape `(..., channels)`.

        Returns:
            `(images - mean) / std`, an array of the same shape.
        """
        mean, std = np.float32(self.mean), np.float32(self.std)
        return (images - mean) / std if self.normalizes else images

    def with_normalization(self, model):
        """Puts the normalization of pixels before a model.

        Args:
            model: A folded model with one input.

        Returns:
            A `keras.Model` that starts with a `Rescaling`, or `model` itself if
            there is nothing to normalize.
        """
        if not self.normalizes:
            return model
        mean, std = np.float32(self.mean), np.float32(self.std)
        inputs = keras.Input(batch_shape=model.input_shape)
        rescale = keras.layers.Rescaling(
            (1 / std).tolist(), (-mean / std).tolist()
        )
        outputs = model(rescale(inputs))
        return keras.Model(inputs, outputs, name=model.name)


@dataclasses.dataclass(frozen=True)
class Format:
    """Describes a kind of file: how it is called, written and run.

    Args:
        suffix: String, the end of the names of its files.
        precisions: Tuple of strings, the precisions that it can be written in.
        write: Function of a `Request` that writes the file at its path.
        load: Function of a path. It returns a function from a list of arrays,
            one for each input, to a list of arrays, one for each output as
            Keras flattens them. It raises an ImportError if the runtime is not
            installed.
        packages: Tuple of strings, the modules that writing needs. Defaults to
            `()`.
        extra: String, the extra of this library that installs them. Defaults to
            `""`.

    Example:

    >>> kind = FORMATS["onnx"]
    >>> kind.write(Request(model, Path("model.onnx")))
    >>> (outputs,) = kind.load("model.onnx")([images])
    """

    suffix: str
    precisions: tuple[str, ...]
    write: Callable[[Request], None]
    load: Callable[[Path], Callable[[list], list]]
    packages: tuple[str, ...] = ()
    extra: str = ""
