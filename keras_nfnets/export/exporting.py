"""One function that writes a model for any runtime."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_nfnets.annotations import FilePath
from keras_nfnets.export import comparison
from keras_nfnets.export.description import Description
from keras_nfnets.export.formats import FORMATS
from keras_nfnets.export.request import Request
from keras_nfnets.export.sizes import at_size
from keras_nfnets.extras import require
from keras_nfnets.files import placing


def export(
    model: keras.Model,
    path: FilePath,
    format: str = "saved_model",
    precision: str = "float32",
    size: int | str | None = None,
    calibrate: np.ndarray | Iterable[np.ndarray] | None = None,
    overwrite: bool = False,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    description: Description | None = None,
) -> None:
    """Writes a model as a file that needs neither Keras nor this library.

    What is written is the folded model, see `fold`. It takes images with the
    channels last, as the model does, and any number of them at once. Once it
    is written it is loaded in its runtime, if that is installed, and must
    return what the model returns: to 1e-5 of the largest output for
    `"float32"`, to 1e-2 for `"float16"`, and for `"int8"` to 0.25 of the
    outputs' root mean square, on the images that it was calibrated with. Until
    then nothing is at the path. A model that computes in half precision itself
    is held to 2e-2 (float16) or 1e-1 (bfloat16).

    Args:
        model: A functional or built sequential Keras model: of `NFNet`, or
            composed of this library's layers and Keras's own.
        path: String or path of the file to write; of a folder for
            `"saved_model"`. Beside an `.xml` of OpenVINO stands its `.bin`,
            and beside an ONNX file of over 1.5 GB one that ends in `.data`.
        format: String, `"saved_model"`, `"keras"`, `"onnx"`, `"openvino"` or
            `"litert"`. Defaults to `"saved_model"`.
        precision: String, `"float32"`, `"float16"` or `"int8"`. Inputs and
            outputs are float32 in all. Defaults to `"float32"`.
        size: Integer, side in pixels of the images that the file takes, or
            `"any"`. Defaults to `None`, the model's own.
        calibrate: Array of images as the file takes them, or an iterable of
            batches, for `"int8"`: the range of every activation is that which
            they lead to. Defaults to `None`.
        overwrite: Boolean, whether what is at the path is replaced. Defaults
            to `False`.
        mean: Float or sequence of floats, one per channel, what the model's
            training took from each pixel: the file takes pixels in [0, 255].
            Defaults to `0.0`.
        std: Float or sequence of floats, what it divided by. Defaults to
            `1.0`.
        description: `Description` of a classifier, for signatures of a
            SavedModel and for `keras_nfnets.Classifier`. It is written beside
            the file, with `.json` added to its name. Defaults to `None`.

    Raises:
        FileExistsError: If there is something at the path, and `overwrite` is
            false.
        ImportError: If a package is not installed that the format needs.
        RuntimeError: If the file computes something else than the model.
        ValueError: If the format or the precision is unknown, `"int8"` has
            nothing to calibrate with, or layers have no way to the format;
            they are named.

    Example:

    >>> model = keras_nfnets.NFNet("nfnet_f0", weights="F0_haiku.npz")
    >>> keras_nfnets.export.export(model, "f0.onnx", "onnx", size=256)
    """
    kind = _format(format, precision, calibrate)
    _check_free(path, overwrite)
    for package in kind.packages:
        require(package, extra=kind.extra)
    if not np.all(np.asarray(std) > 0):
        raise ValueError(f"`std` must be positive. Received: std={std}")
    model = at_size(model, size)
    with placing(path) as temporary:
        request = Request(
            model,
            temporary,
            precision,
            mean,
            std,
            _batches(calibrate),
            description,
        )
        if description is not None:
            description.write(temporary)
        kind.write(request)
        _check(kind, request, path)


def _format(format, precision, calibrate):
    """Returns a format's row, or raises for what it does not take."""
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


def _check_free(path, overwrite):
    if Path(path).exists() and not overwrite:
        raise FileExistsError(
            "`path` must be free, or `overwrite` true. "
            f"Received: path={str(path)!r}, which exists"
        )


def _batches(calibrate):
    """Returns the images to calibrate with as a list of batches."""
    if calibrate is None:
        return None
    if hasattr(calibrate, "ndim"):
        # A batch at a time: all activations of one are held at once.
        calibrate = np.array_split(calibrate, -(-len(calibrate) // 8))
    batches = [np.asarray(batch, "float32") for batch in calibrate]
    if not batches or any(batch.ndim < 2 for batch in batches):
        raise ValueError(
            "`calibrate` must be images, or batches of images, and not empty. "
            f"Received: shapes={[batch.shape for batch in batches]}"
        )
    return batches


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
