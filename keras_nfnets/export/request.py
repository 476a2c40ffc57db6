"""What is asked of a format, and what every format is described by."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_nfnets.export.description import Description


@dataclasses.dataclass(frozen=True)
class Request:
    """A model that is to be written, and how.

    Args:
        model: A functional Keras model, at the size that is asked for.
        path: `Path` of the file or folder to write.
        precision: String, `"float32"`, `"float16"` or `"int8"`.
        mean: Float or sequence of floats, taken from each channel of pixels.
        std: Float or sequence of floats, divides them.
        calibrate: List of arrays, batches of images as the file takes them,
            or `None`.
        description: `Description` of a classifier, or `None`.
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
        """Whether the file takes pixels and normalizes them."""
        return bool(np.any(np.not_equal(self.mean, 0.0))) or bool(
            np.any(np.not_equal(self.std, 1.0))
        )

    def normalized(self, images):
        """Returns images as the model takes them, from those of the file."""
        mean, std = np.float32(self.mean), np.float32(self.std)
        return (images - mean) / std if self.normalizes else images

    def with_normalization(self, model):
        """Returns a folded model with what normalizes pixels before it."""
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
    """A kind of file.

    Args:
        suffix: String, how the names of its files end.
        precisions: Tuple of strings, in which it can be written.
        write: Function of a `Request`.
        load: Function of a path, that returns a function from a list of
            arrays, one for each input, to a list of arrays, one for each
            output as Keras flattens them. Raises ImportError without the
            runtime.
        packages: Tuple of strings, modules that writing needs.
        extra: String, the extra of this library that installs them.
    """

    suffix: str
    precisions: tuple[str, ...]
    write: Callable[[Request], None]
    load: Callable[[Path], Callable[[list], list]]
    packages: tuple[str, ...] = ()
    extra: str = ""
