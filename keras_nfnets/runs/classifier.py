"""Classifies images with the model of a run, preset, variant or exported file.

`Classifier` reads images and names classes; `networks` opens the network, and
its description says how images are cropped and what the classes are called.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import check_positive_integer, printable
from keras_nfnets.data import pixels
from keras_nfnets.data.images import (
    decode_content,
    decode_file,
    named_errors,
)
from keras_nfnets.image_size import Size
from keras_nfnets.models.preset_model import PresetModel
from keras_nfnets.runs import networks


class Classifier:
    """Names what images show.

    Image files are decoded and cropped in the same way as for evaluation,
    whichever runtime runs the network.

    Args:
        model: String or path: the folder of a run, a preset (a folder or
            `"hf://OWNER/NAME"`), or what `keras-nfnets export` wrote: the
            folder of a SavedModel or a file that ends in `.keras`, `.onnx`,
            `.xml` (OpenVINO) or `.tflite`. Or a `PresetModel`. Defaults to
            `None`, to use `variant` and `weights`.
        variant: String, a key of `VARIANTS`, in place of `model`. Defaults to
            `None`.
        weights: String, the variant's weights, as for `NFNet`. Defaults to
            `None`.
        size: Integer, side of the variant's crop in pixels, or a tuple
            `(height, width)`. Defaults to `None`, its test size.
        runtime: String, `"keras"`, `"tensorflow"`, `"onnx"`, `"openvino"` or
            `"litert"`. For the folder of a run, it selects which of the
            exported files there is used. Defaults to `None`: Keras for the
            folder of a run, and the runtime of the file otherwise.
        max_pixels: Integer, the largest number of pixels of an image file.
            Defaults to `None`, the limit of the model's training.

    Attributes:
        description: The classes' names, the crop and the number of channels.

    Raises:
        FileNotFoundError: If there is no such model.
        ImportError: If the runtime is not installed; the extra is named.
        ValueError: If arguments contradict each other, or the model cannot be
            used, or not in this runtime.

    Example:

    >>> photos = keras_nfnets.Classifier("runs/digits")
    >>> [[(first, probability), second]] = photos.classify("seven.png", top=2)
    """

    def __init__(
        self,
        model: FilePath | PresetModel | None = None,
        variant: str | None = None,
        weights: FilePath | None = None,
        size: Size | None = None,
        runtime: str | None = None,
        max_pixels: int | None = None,
    ) -> None:
        if (model is None) == (variant is None) or (variant is None) != (
            weights is None
        ):
            raise ValueError(
                "either `model` or both of `variant` and `weights` must be "
                f"given. Received: model={model!r}, variant={variant!r}, "
                f"weights={weights!r}"
            )
        self._network = _network(model, variant, weights, size, runtime)
        self.description = self._network.description
        if max_pixels is not None:
            check_positive_integer(max_pixels=max_pixels)
            self.description = dataclasses.replace(
                self.description, max_pixels=max_pixels
            )

    def read(self, image: Any) -> np.ndarray:
        """Returns an image as the network sees it, before normalization.

        Args:
            image: String or path of a PNG or JPEG file, bytes of its content,
                or an array `(height, width)` or `(height, width, channels)`
                of 1 or 3 channels (RGB) with values in [0, 255]; also an image
                of Pillow in mode `"L"` or `"RGB"`.

        Returns:
            A float32 array `(height, width, channels)` with values in [0, 255].

        Raises:
            ValueError: If it cannot be read, or is so narrow that it would
                have more than `max_pixels` pixels once it covers the crop.
        """
        channels = self.description.channels
        limit = self.description.max_pixels
        name = "image"
        if isinstance(image, (bytes, bytearray, memoryview)):
            name = "bytes"
            image = decode_content(bytes(image), channels, limit, name)
        elif isinstance(image, (str, os.PathLike)):
            name = printable(image)
            image = decode_file(image, channels, limit)
        else:
            image = _with_channels(_values(image), channels)
        with named_errors(name):
            return self.description.crop.of(image, limit).numpy()

    def predict(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the probabilities of the classes for images from `read`.

        Args:
            images: Sequence of arrays `(height, width, channels)` that `read`
                returned, or one array `(batch, height, width, channels)`.

        Returns:
            A float32 array `(batch, classes)`.

        Example:

        >>> photos = keras_nfnets.Classifier("runs/digits")
        >>> images = [photos.read("seven.png"), photos.read("cat.png")]
        >>> photos.predict(images).shape
        (2, 10)
        """
        if not len(images):
            return np.zeros((0, len(self.description.class_names)), "float32")
        batch = np.stack([np.asarray(image, "float32") for image in images])
        return np.asarray(self._network.run(batch), "float32")

    def name(
        self, probabilities: np.ndarray, top: int = 5
    ) -> list[tuple[str, float]]:
        """Returns the most probable classes of one image.

        Args:
            probabilities: Array `(classes,)`.
            top: Integer, how many; all, if there are fewer. Defaults to `5`.

        Returns:
            A list of tuples `(name, probability)`, the most probable first.
        """
        check_positive_integer(top=top)
        order = np.argsort(-probabilities, kind="stable")[:top]
        names = self.description.class_names
        return [(names[i], float(probabilities[i])) for i in order]

    def classify(
        self, images: Any, top: int = 5, batch_size: int = 8
    ) -> list[list[tuple[str, float]]]:
        """Names the most probable classes of images.

        Args:
            images: One image as `read` takes it, an array of several with the
                shape `(batch, height, width, channels)`, or a list of images.
            top: Integer, how many classes; all, if there are fewer. Defaults to
                `5`.
            batch_size: Integer, how many images the network sees at once.
                Defaults to `8`.

        Returns:
            A list with one list per image, also for a single image. Each holds
            tuples `(name, probability)`, the most probable first.

        Raises:
            ValueError: If one cannot be read.
        """
        check_positive_integer(top=top, batch_size=batch_size)
        if not isinstance(images, (list, tuple)):
            several = getattr(images, "ndim", 0) == 4
            images = list(images) if several else [images]
        found = []
        for start in range(0, len(images), batch_size):
            batch = [self.read(x) for x in images[start : start + batch_size]]
            found += [self.name(row, top) for row in self.predict(batch)]
        return found


def _network(model, variant, weights, size, runtime):
    """Returns the network of a classifier's arguments."""
    if model is None:
        if runtime not in (None, "keras"):
            raise ValueError(
                "`runtime` must be 'keras' for a `variant`, which "
                "`keras-nfnets export` writes for others. "
                f"Received: runtime={runtime!r}"
            )
        return networks.of_variant(variant, weights, size)
    if size is not None:
        raise ValueError(
            f"`size` must be given with `variant` alone. Received: size={size}"
        )
    if isinstance(model, PresetModel):
        return networks.of_preset(model, runtime)
    return networks.of_path(model, runtime)


def _values(image):
    """Returns an image as an array, uint8 or float32 and without NaN."""
    mode = getattr(image, "mode", "RGB")
    if mode not in ("L", "RGB"):
        # The values of a palette's image, for one, are no colours.
        raise ValueError(
            "`image` must have the mode 'L' or 'RGB', as Pillow's "
            f"image.convert('RGB') has. Received: mode={mode!r}"
        )
    values = np.asarray(image)
    if values.dtype == np.uint8:
        return values
    whole = values.dtype.kind in "iu"
    if not (whole or "float" in values.dtype.name):
        raise ValueError(
            "`image` must be a path, bytes or an array of numbers. "
            f"Received: {type(image).__name__} of dtype {values.dtype}"
        )
    # Resizing may have carried floats out of [0, 255], but not integers.
    low, high = (0, 255) if whole else (-np.inf, np.inf)
    values = values.astype("float32")
    inside = np.isfinite(values) & (values >= low) & (values <= high)
    if not inside.all():
        raise ValueError(
            "`image` must have finite values in [0, 255]. "
            f"Received: {values[~inside][0]}"
        )
    return values


def _with_channels(image, channels):
    """Returns an array with the network's number of channels."""
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or not image.size:
        raise ValueError(
            "`image` must have the shape (height, width) or (height, width, "
            f"channels), with 1 or 3 channels. Received: shape={image.shape}"
        )
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, -1)
    if image.dtype != np.uint8:
        image = np.clip(np.round(image), 0, 255).astype("uint8")
    return pixels.grey(image).numpy()
