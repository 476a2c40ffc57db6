"""Compares what a written file computes with what the model does."""

import numpy as np
from keras import tree

from keras_nfnets.graph import is_functional

# Of the largest output, by precision. float16 keeps 11 bits and int8 8, and
# every layer rounds. For int8 that is of the outputs' root mean square, since
# the classes of a single image may be close to each other.
BOUNDS = {"float32": 1e-5, "float16": 1e-2, "int8": 0.25}
# What a model's own rounding comes to, which a file need not have.
OWN_BOUNDS = {"float16": 2e-2, "bfloat16": 1e-1}
# Sides in pixels where any will do: one even, one odd.
SIDES = (64, 75)


def check(request, run):
    """Raises unless a file computes what the model does.

    Args:
        request: The `Request` that it was written for.
        run: Function of the file, see `Format.load`.

    Raises:
        RuntimeError: If an output deviates by more than the bound.
    """
    inputs = _inputs(request)
    normalized = [request.normalized(x) if x.ndim == 4 else x for x in inputs]
    if len(inputs) == 1:
        normalized = normalized[0]
    outputs = request.model.predict_on_batch(normalized)
    expected = named(outputs)
    actual = run(inputs)
    bound = _bound(request)
    for (name, one), other in zip(expected.items(), actual, strict=True):
        one, other = np.asarray(one, "float32"), np.asarray(other, "float32")
        _compare(name, one, other, bound, request.precision)


def named(outputs):
    """Returns outputs by name: their own in a dictionary, or by number.

    Those of a dictionary come sorted, as Keras flattens it.
    """
    if isinstance(outputs, dict):
        return dict(sorted(outputs.items()))
    flat = tree.flatten(outputs)
    if len(flat) == 1:
        return {"outputs": flat[0]}
    return {f"outputs_{i}": value for i, value in enumerate(flat)}


def _compare(name, expected, actual, bound, precision):
    """Raises a RuntimeError if an output deviates from the model's."""
    if expected.shape != actual.shape:
        raise RuntimeError(
            "The file was written but is not what the model is, and was "
            f"removed: output {name!r} must have the shape {expected.shape}. "
            f"Received: shape={actual.shape}"
        )
    size = _mean_square if precision == "int8" else _largest
    deviation = size(expected - actual)
    # Not so if either is no number.
    if not deviation <= bound * size(expected):
        raise RuntimeError(
            "The file was written but computes something else than the "
            f"model, and was removed: output {name!r} must deviate by at most "
            f"{bound:g} of its size {size(expected):g}. Received: "
            f"deviation={deviation:g}"
        )


def _largest(x):
    return np.abs(x).max()


def _mean_square(x):
    return np.sqrt(np.mean(np.square(x)))


def _bound(request):
    dtypes = _compute_dtypes(request.model)
    own = [OWN_BOUNDS.get(dtype, 0.0) for dtype in dtypes]
    return max(BOUNDS[request.precision], *own)


def _compute_dtypes(model):
    dtypes = set()
    for layer in model.layers:
        dtypes.add(layer.compute_dtype)
        if is_functional(layer):
            dtypes |= _compute_dtypes(layer)
    return dtypes


def _inputs(request):
    if request.calibrate and len(request.model.inputs) == 1:
        return [request.calibrate[0][:8]]
    return [
        _sample(request, tuple(tensor.shape)) for tensor in request.model.inputs
    ]


def _sample(request, shape):
    """Returns two inputs of a shape: images where it is one of images."""
    draw = np.random.default_rng(0)
    if len(shape) != 4:
        sides = [side or SIDES[0] for side in shape[1:]]
        return draw.normal(size=(2, *sides)).astype("float32")
    sides = [side or free for side, free in zip(shape[1:3], SIDES, strict=True)]
    images = pixels((2, *sides, shape[3]), draw)
    return images if request.normalizes else (images - 127.5) / 64


def pixels(shape, draw):
    """Draws images that are smooth and noisy, as photographs are.

    Args:
        shape: Tuple `(batch, height, width, channels)`.
        draw: A `numpy.random.Generator`.

    Returns:
        A float32 array of whole numbers in [0, 255].
    """
    batch, height, width, channels = shape
    coarse = draw.uniform(0, 255, (batch, 6, 6, channels))
    for axis, side in ((1, height), (2, width)):
        places = np.linspace(0, 5, side)
        coarse = np.apply_along_axis(
            lambda row: np.interp(places, np.arange(6), row),  # noqa: B023
            axis,
            coarse,
        )
    noisy = coarse + draw.normal(0, 12, shape)
    return np.rint(np.clip(noisy, 0, 255)).astype("float32")
