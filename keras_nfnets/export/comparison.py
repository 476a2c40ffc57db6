"""Compares what a written file computes with what the model computes.

`check` runs both on the same images: the first that were given for calibration,
or drawn ones. Each output must be within a bound that depends on the precision,
relative to the size of the output.
"""

import numpy as np
from keras import tree

from keras_nfnets.graph import is_functional

# The allowed deviation by precision, relative to the largest output. float16
# keeps 11 bits and int8 keeps 7 or 8, and every layer rounds. int8 is compared
# by root mean squares instead. Its bound, far above what rounding gives
# (`benchmarks/NOTES.md`), finds a file that computes something else. It does
# not vouch for single outputs, nor for the accuracy.
BOUNDS = {"float32": 1e-5, "float16": 1e-2, "int8": 0.25}
# The rounding of a model that computes in half precision. Its file may compute
# in float32, and differs by so much.
MODEL_BOUNDS = {"float16": 2e-2, "bfloat16": 1e-1}
# The sides in pixels of drawn images where the model takes any: one is even and
# one is odd.
SIDES = (64, 75)


def check(request, run):
    """Raises an error unless a file computes what the model computes.

    Args:
        request: The `Request` that the file was written for.
        run: Function from a list of input arrays to a list of output arrays,
            see `Format.load`.

    Raises:
        RuntimeError: If an output has another shape, deviates by more than the
            bound, or is not a number.
    """
    inputs = _inputs(request)
    normalized = [request.normalized(x) if x.ndim == 4 else x for x in inputs]
    packed = tree.pack_sequence_as(request.model.input, normalized)
    outputs = request.model.predict_on_batch(packed)
    expected = named(outputs)
    actual = run(inputs)
    bound = _bound(request)
    for (name, ours), theirs in zip(expected.items(), actual, strict=True):
        arrays = np.asarray(ours, "float32"), np.asarray(theirs, "float32")
        _compare(name, *arrays, bound, request.precision)


def named(outputs):
    """Returns a model's outputs by the names that files give them.

    Args:
        outputs: What a model returns: a tensor, or a list, tuple or dictionary
            of them.

    Returns:
        A dictionary. The keys are those of a dictionary, sorted, as Keras
        flattens it; `"outputs"` for a single output; else `"outputs_0"` and so
        on.

    Example:

    >>> list(named([1.0, 2.0]))
    ['outputs_0', 'outputs_1']
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
            "The file was removed, since it is not the model: "
            f"output {name!r} must have the shape {expected.shape}. "
            f"Received: shape={actual.shape}"
        )
    size = _root_mean_square if precision == "int8" else _largest
    deviation = size(expected - actual)
    # `not <=` is true for NaN as well, where `>` is not.
    if not deviation <= bound * size(expected):
        raise RuntimeError(
            "The file was removed, since it computes something else than "
            f"the model: output {name!r} must deviate by at most "
            f"{bound:g} of its size {size(expected):g}. Received: "
            f"deviation={deviation:g}"
        )


def _largest(x):
    """Returns the largest absolute value."""
    return np.abs(x).max()


def _root_mean_square(x):
    """Returns the root of the mean of the squares."""
    return np.sqrt(np.mean(np.square(x)))


def _bound(request):
    """Returns the allowed deviation, relative to the size of an output.

    It is that of the precision, or that of the model's own rounding if more.
    """
    dtypes = _compute_dtypes(request.model)
    own = [MODEL_BOUNDS.get(dtype, 0.0) for dtype in dtypes]
    return max(BOUNDS[request.precision], *own)


def _compute_dtypes(model):
    """Returns the set of dtypes that a model's layers compute in."""
    dtypes = set()
    for layer in model.layers:
        dtypes.add(layer.compute_dtype)
        if is_functional(layer):
            dtypes |= _compute_dtypes(layer)
    return dtypes


def _inputs(request):
    """Returns one array for each input of the model, as the file takes them."""
    if request.calibrate and len(request.model.inputs) == 1:
        return [request.calibrate[0][:8]]
    return [
        _sample(request, tuple(tensor.shape)) for tensor in request.model.inputs
    ]


def _sample(request, shape):
    """Returns two drawn inputs of a shape: images if it has four axes."""
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
        A float32 array of that shape with whole numbers in [0, 255].

    Example:

    >>> pixels((2, 64, 64, 3), np.random.default_rng(0)).shape
    (2, 64, 64, 3)
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
