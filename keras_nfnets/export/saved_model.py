"""Models as files that need no Keras to run."""

import os
import tempfile
from collections.abc import Sequence

import keras
import numpy as np

from keras_nfnets.annotations import FilePath, Shape
from keras_nfnets.checks import MAX_PIXELS, check_whole
from keras_nfnets.data.crop import Crop
from keras_nfnets.export import folding
from keras_nfnets.export.description import Description
from keras_nfnets.export.signatures import add_signatures
from keras_nfnets.extras import require
from keras_nfnets.files import replacing


def export_saved_model(
    model: keras.Model,
    path: FilePath,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    fold: bool = True,
    input_shape: Shape | None = None,
    class_names: Sequence[str] | None = None,
    crop: Crop | None = None,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Writes a TensorFlow SavedModel that takes pixels as they are in files.

    `tensorflow` alone loads it; neither Keras nor this library is needed.
    What is at the path is replaced once the new one is complete. From the JAX
    backend it runs on the kind of device it was written on; from TensorFlow
    it runs on all.

    Args:
        model: A built Keras model with one input of images.
        path: String or path of the folder to write.
        mean: Float or sequence of floats, one per channel, what the model's
            training took from each pixel. Defaults to `0.0`.
        std: Float or sequence of floats, one per channel, what it divided
            by. Defaults to `1.0`.
        fold: Boolean, whether what runs is the folded model, see `fold`. A
            layer that folding does not know stays as it is, and so does a
            subclassed model as a whole. Defaults to `True`.
        input_shape: Tuple `(height, width, channels)` of the images, of which
            sides may be `None`. Defaults to `None`, the model's.
        class_names: Sequence of strings, in the order of the outputs. They
            and the crop are also written into a file beside the folder, whose
            name has `.json` added. Defaults to `None`: `"class 0"` and so on,
            and no such file.
        crop: `keras_nfnets.data.crop.Crop`, which part of an image file the
            network sees. Defaults to `None`, the whole, squashed to the
            model's size. Without one, and of a model for any size, there are
            no signatures of files.
        max_pixels: Integer, how many pixels an image file may have. Defaults
            to `MAX_PIXELS`.

    Input shape:
        Of the endpoint `serve`: `(batch, height, width, channels)`, float32
        or uint8 in [0, 255].

    Output shape:
        As the model's. `docs/serving.md` has the signatures of a classifier.

    Raises:
        RuntimeError: If the Keras backend is neither TensorFlow nor JAX.
        ImportError: If TensorFlow is not installed beside JAX.
        ValueError: If a value of `std` is not positive, or `class_names` are
            not as many as the outputs.

    Example:

    >>> keras_nfnets.export.export_saved_model(model, "saved_model")
    >>> tf.saved_model.load("saved_model").serve(images)
    """
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise RuntimeError(
            "A SavedModel is written with the backend 'tensorflow' or 'jax'; "
            "set KERAS_BACKEND=tensorflow and load the same model there. "
            f"Received: backend={keras.backend.backend()!r}"
        )
    require("tensorflow", extra="tensorflow")
    offset, scale = np.float32(mean), np.float32(std)
    if not np.all(scale > 0):
        raise ValueError(f"`std` must be positive. Received: std={scale}")
    check_whole(max_pixels=max_pixels)
    shape = input_shape or model.input_shape[1:]
    description = _description(model, shape, class_names, crop)
    if fold and folding.is_functional(model):
        model = folding.fold(model, keep_unknown=True)
    serving = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Rescaling(1 / scale, -offset / scale),
            model,
        ]
    )
    with replacing(path) as temporary:
        with tempfile.TemporaryDirectory() as folder:
            bare = os.path.join(folder, "model")
            serving.export(bare, "tf_saved_model", verbose=False)
            add_signatures(bare, temporary, shape, description, max_pixels)
    if class_names is not None and description.crop is not None:
        description.write(path)


def _description(model, shape, class_names, crop):
    """Returns the `Description` of a classifier, None of another model."""
    outputs = model.output_shape
    if not (isinstance(outputs, tuple) and len(outputs) == 2):
        if class_names is None:
            return None
        raise ValueError(
            "`class_names` must be given for a model that returns a number "
            f"for each class. Received: output_shape={outputs}"
        )
    count = outputs[-1]
    if class_names is None:
        class_names = [f"class {i}" for i in range(count)]
    if len(class_names) != count:
        raise ValueError(
            "`class_names` must be as many as the model's outputs, "
            f"{count}. Received: {len(class_names)} names"
        )
    height, width, channels = shape
    if crop is None and height is not None and height == width:
        crop = Crop(height, height)
    return Description(list(class_names), crop, channels)
