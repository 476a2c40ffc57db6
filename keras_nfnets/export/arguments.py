"""Checks what `export` is asked for, before anything is written."""

from pathlib import Path

import numpy as np


def check_free(path, overwrite):
    """Raises a FileExistsError if something at a path must not be replaced.

    Of folders only an empty one and that of a SavedModel are replaced.

    Args:
        path: String or path.
        overwrite: Boolean, whether an earlier file may be replaced.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            "`path` must be free, or `overwrite` true. "
            f"Received: path={str(path)!r}, which exists"
        )
    is_export = (path / "saved_model.pb").is_file()
    if path.is_dir() and any(path.iterdir()) and not is_export:
        raise FileExistsError(
            "`path` must not be a folder that holds other things than a "
            f"SavedModel, also with `overwrite`. Received: path={str(path)!r}"
        )


def check_suffix(path, suffix, format):
    """Raises a ValueError unless a file's name ends as its format says.

    A `Classifier` and the writers of some formats go by the suffix.

    Args:
        path: String or path.
        suffix: String, such as `".onnx"`, or `""` for a folder.
        format: String, the name of the format.
    """
    if suffix and Path(path).suffix != suffix:
        raise ValueError(
            f"`path` must end in {suffix!r} for format={format!r}. "
            f"Received: path={str(path)!r}"
        )


def check_statistics(mean, std, shapes):
    """Raises a ValueError unless pixels can be normalized by mean and std.

    Args:
        mean: Float or sequence of floats.
        std: Float or sequence of floats.
        shapes: List of tuples, the shapes of the model's inputs.
    """
    channels = shapes[0][-1]
    for name, value in (("mean", mean), ("std", std)):
        if not _are_levels(value, channels):
            raise ValueError(
                f"`{name}` must be a finite number, or one for each of the "
                f"{channels} channels. Received: {name}={value!r}"
            )
    if not np.all(np.asarray(std) > 0):
        raise ValueError(f"`std` must be positive. Received: std={std}")
    if len(shapes) > 1 and (np.any(mean) or np.any(np.not_equal(std, 1))):
        raise ValueError(
            "`mean` must be 0 and `std` 1 for a model with several inputs. "
            f"Received: mean={mean}, std={std} and {len(shapes)} inputs"
        )


def _are_levels(value, channels):
    """Tells whether a value is a finite number, or one for each channel."""
    try:
        numbers = np.asarray(value)
    except ValueError:  # of rows of different lengths
        return False
    fits = numbers.shape in ((), (1,), (channels,))
    fits = fits and numbers.dtype.kind in "iuf"
    return fits and bool(np.isfinite(numbers).all())


def calibration_batches(calibrate, shapes):
    """Returns the images to calibrate with as a list of batches.

    Args:
        calibrate: Array of images, an iterable of batches, or `None`.
        shapes: List of tuples, the shapes of the model's inputs.

    Returns:
        A list of float32 arrays, or `None` for `None`.

    Raises:
        ValueError: If there is no image, one has another shape than the
            model's or is not finite, or the model has several inputs.
    """
    if calibrate is None:
        return None
    if len(shapes) > 1:
        raise ValueError(
            "`model` must have one input to be calibrated. "
            f"Received: model with {len(shapes)} inputs"
        )
    if hasattr(calibrate, "ndim") and len(calibrate):
        # Calibration holds all activations of a batch: batches are small.
        calibrate = np.array_split(calibrate, -(-len(calibrate) // 8))
    try:
        batches = [np.asarray(batch, "float32") for batch in calibrate]
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`calibrate` must be images, or batches of images. "
            f"Received: calibrate={type(calibrate).__name__} ({error})"
        ) from None
    if not batches or not all(_fits(batch, shapes[0]) for batch in batches):
        found = sorted({batch.shape for batch in batches}, key=str)[:5]
        raise ValueError(
            "`calibrate` must be images, or batches of images, of the shape "
            f"{tuple(shapes[0])}, and not empty. Received: shapes={found}"
        )
    if not all(np.isfinite(batch).all() for batch in batches):
        raise ValueError(
            "`calibrate` must hold finite values. Received: NaN or infinity"
        )
    return batches


def _fits(batch, shape):
    """Tells whether a batch is not empty, and of a shape with free sizes."""
    return (
        batch.size > 0
        and batch.ndim == len(shape)
        and all(
            want in (None, have)
            for want, have in zip(shape[1:], batch.shape[1:], strict=True)
        )
    )
