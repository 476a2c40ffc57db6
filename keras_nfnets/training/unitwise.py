"""The arithmetic of adaptive gradient clipping: norms of units, and limits."""

import itertools
import math

import keras
from keras import ops

from keras_nfnets.training.agc_report import Units


def clip_units(gradients, variables, clipping, epsilon, axes=None):
    """As `adaptive_clip`, and returns what it found, a `Units` or `None`.

    The norms of all units stand in one vector, so that what is done per unit
    takes a handful of operations however many variables there are.
    """
    clipped = [
        None if g is None else ops.convert_to_tensor(g) for g in gradients
    ]
    present = [i for i, g in enumerate(clipped) if g is not None]
    if not present:
        return clipped, None
    axes = axes or [None] * len(gradients)
    # The shapes of weights, as a gradient's may not be known while tracing.
    layouts = {i: _layout(variables[i].shape, axes[i]) for i in present}

    def matrix(x, i):
        return ops.reshape(ops.convert_to_tensor(x), layouts[i][0])

    matrices = {i: matrix(clipped[i], i) for i in present}
    norms = [square_sum(matrices[i], layouts[i][1]) for i in present]
    weights = [
        square_sum(matrix(variables[i], i), layouts[i][1]) for i in present
    ]
    norm = ops.sqrt(ops.concatenate([ops.reshape(n, (-1,)) for n in norms]))
    weight = ops.sqrt(ops.concatenate([ops.reshape(w, (-1,)) for w in weights]))
    limit = clipping * ops.maximum(weight, epsilon)
    clips = norm > limit
    factor = ops.where(clips, limit / ops.maximum(norm, 1e-6), 1.0)
    ends = list(itertools.accumulate(math.prod(n.shape) for n in norms))
    parts = ops.split(factor, ends)[:-1]
    for i, part, n in zip(present, parts, norms, strict=True):
        part = ops.cast(ops.reshape(part, n.shape), clipped[i].dtype)
        clipped[i] = ops.reshape(matrices[i] * part, variables[i].shape)
    counts = {
        i: math.prod(n.shape) for i, n in zip(present, norms, strict=True)
    }
    return clipped, Units(clips, norm, weight, weight > epsilon, counts)


def unitwise_norm(x, axes=None):
    """Returns the L2 norm of each unit's part of a weight or gradient.

    A unit is one output neuron: axis 0 is reduced for `(inputs, outputs)` and
    for rank 3, axes 0 to 2 for `(height, width, inputs, outputs)`. What
    squeezes to a vector or a scalar (a gain, a bias) is one unit as a whole.

    Args:
        x: Tensor or variable.
        axes: Tuple of integers, the axes that make one unit, where the layer
            is not one of the papers'. Defaults to `None`, the rule above.

    Returns:
        A float32 tensor (float64 for float64) that broadcasts against `x`.

    Raises:
        ValueError: If `axes` is `None` and the rank is above 4.

    Example:

    >>> keras_nfnets.agc.unitwise_norm(keras.ops.ones((3, 3, 16, 8))).shape
    (1, 1, 1, 8)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3
    """
    x = ops.convert_to_tensor(x)
    axes = axes_of_shape(x.shape) if axes is None else axes
    return ops.sqrt(square_sum(x, axes))


def is_vector(shape):
    """Whether a shape squeezes to a vector or a scalar."""
    return sum(size > 1 for size in shape) <= 1


def axes_of_shape(shape):
    """Returns the axes that make one unit by the papers' rule for the rank."""
    rank = len(shape)
    if is_vector(shape):
        return tuple(range(rank))
    if rank in (2, 3):
        return (0,)
    if rank == 4:
        return (0, 1, 2)
    raise ValueError(
        "AGC knows the unit of ranks 0 to 4; name the axes or exclude the "
        f"variable. Received: shape={tuple(shape)}"
    )


def square_sum(x, axes=None):
    """Returns the sum of squares over axes, or over all; in float32 at least.

    Axes that are summed over stay, of size one, but not where all are.
    """
    if keras.backend.standardize_dtype(x.dtype) != "float64":
        x = ops.cast(x, "float32")
    return ops.sum(ops.square(x), axis=axes, keepdims=axes is not None)


def _layout(shape, axes):
    """Returns the shape in which to clip a kernel, and the unit's axes there.

    A matrix, with the inputs of a unit in one column, where that moves
    nothing. For a TPU, XLA would otherwise copy the kernels of grouped
    convolutions into another layout.
    """
    shape = tuple(shape)
    axes = axes_of_shape(shape) if axes is None else tuple(axes)
    if len(axes) > 1 and axes == tuple(range(len(shape) - 1)):
        return (math.prod(shape[:-1]), shape[-1]), (0,)
    return shape, axes
