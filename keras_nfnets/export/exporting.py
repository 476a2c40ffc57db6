"""Defines `export`, which writes a model for any runtime.

It checks the arguments, brings the model to the size that is asked for, has the
format write into a temporary folder, and compares the result with the model.
Only then the files move to their path.
"""

import warnings
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.export import comparison
from keras_nfnets.export.arguments import (
    calibration_batches,
    check_free,
    check_statistics,
    check_suffix,
)
from keras_nfnets.export.description import Description, check_names
from keras_nfnets.export.folding.graph import deep_graphs
from keras_nfnets.export.formats import FORMATS
from keras_nfnets.export.request import Request
from keras_nfnets.export.sizes import at_size
from keras_nfnets.extras import require
from keras_nfnets.files import placing
from keras_nfnets.image_size import Size


def export(
    model: keras.Model,
    path: FilePath,
    format: str = "saved_model",
    precision: str = "float32",
    size: Size | str | None = None,
    calibrate: np.ndarray | Iterable[np.ndarray] | None = None,
    overwrite: bool = False,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    description: Description | None = None,
) -> None:
    """Writes a model as a file that needs neither Keras nor this library.

    The folded model is written, see `fold`. The file takes images with the
    channels last, as the model does, and any number of them at once.

    The file is then loaded in its runtime, if that is installed, and must
    return what the model returns. `"float32"` may deviate by 1e-5 of the
    largest output and `"float16"` by 1e-2. `"int8"` may deviate by 0.25 of the
    outputs' root mean square, on the images that it was calibrated with. A
    model that itself computes in half precision is held to 2e-2 (float16) or
    1e-1 (bfloat16). The path stays as it is until the file has passed.

    Args:
        model: A functional or built sequential Keras model: of `NFNet`, or
            composed of this library's layers and Keras's own.
        path: String or path of the file to write; of a folder for
            `"saved_model"`. An `.xml` of OpenVINO gets a `.bin` beside it, and
            an ONNX file of over 1.5 GB gets one that ends in `.data`.
        format: String, `"saved_model"`, `"keras"`, `"onnx"`, `"openvino"` or
            `"litert"`. Defaults to `"saved_model"`.
        precision: String, `"float32"`, `"float16"` or `"int8"`. Inputs and
            outputs are float32 in all. Defaults to `"float32"`.
        size: Integer, side in pixels of the images that the file takes, a tuple
            `(height, width)`, or `"any"`. Defaults to `None`, the model's own.
        calibrate: Array of images as the file takes them, or an iterable of
            batches, for `"int8"`. Every activation gets the range of values
            that these images lead to. Defaults to `None`.
        overwrite: Boolean, whether what is at the path is replaced: a file, or
            the folder of a SavedModel. Defaults to `False`.
        mean: Float or sequence of floats, one per channel, that training
            subtracted from each pixel. With `mean` and `std` the file takes
            pixels in [0, 255]. Defaults to `0.0`.
        std: Float or sequence of floats, one per channel, that training divided
            each pixel by. Defaults to `1.0`.
        description: `Description` of a classifier, for the signatures of a
            SavedModel and for `keras_nfnets.Classifier`. It is written beside
            the file, with `.json` added to its name. Defaults to `None`.

    Raises:
        FileExistsError: If there is something at the path, and `overwrite` is
            false; or a folder that is no SavedModel.
        ImportError: If a package that the format needs is not installed.
        RuntimeError: If the file computes something else than the model.
        ValueError: If the format or the precision is unknown, if `mean` or
            `std` does not fit the channels or `std` is not positive, if
            `"int8"` has no images to calibrate with or these have another
            shape, if the description has not one name for each class, or if
            the format cannot hold some of the layers; they are named.

    Example:

    >>> keras_nfnets.export.export(
    ...     model, "digits", "saved_model", mean=0, std=255
    ... )
    """
    kind = _format(format, precision, calibrate)
    check_free(path, overwrite)
    for package in kind.packages:
        require(package, extra=kind.extra)
    model = at_size(model, size)
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    check_statistics(mean, std, shapes)
    if description is not None:
        check_names(description, model)
    batches = calibration_batches(calibrate, shapes)
    check_suffix(path, kind.suffix, format)
    with placing(path) as temporary, deep_graphs():
        request = Request(
            model,
            temporary,
            precision,
            mean,
            std,
            batches,
            description,
        )
        if description is not None:
            description.write(temporary)
        kind.write(request)
        _check(kind, request, path)


def _format(format, precision, calibrate):
    """Returns a format's row, or raises an error for what it does not take."""
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {sorted(FORMATS)}. "
            f"Received: format={format!r}"
        )
    kind = FORMATS[format]
    if precision not in kind.precisions:
        raise ValueError(
            f"`precision` must be one of {list(kind.precisions)} for "
            f"format={format!r}. Received: precision={precision!r}"
        )
    if precision == "int8" and calibrate is None:
        raise ValueError(
            "`calibrate` must be images, or batches of images, for "
            "precision='int8'. Received: calibrate=None"
        )
    return kind


def _check(kind, request, path):
    """Compares a file with the model, if its runtime is installed."""
    try:
        run = kind.load(request.path)
    except ImportError as error:
        warnings.warn(
            f"{str(path)!r} was written, and not compared with the model: "
            f"{error}",
            stacklevel=3,
        )
        return
    comparison.check(request, run)
