"""Computes norms of units, and clips by them."""

import functools
import itertools
import math

import keras
from keras import ops

from keras_nfnets.layers.device import on_tensorflow_cpu
from keras_nfnets.training.agc_report import ClipStatistics


def clip_units(gradients, variables, clipping, epsilon, axes=None):
    """As `adaptive_clip`, and returns `ClipStatistics` or `None` too.

    The norms of all units stand in one vector, so that what is done per unit
    takes a handful of operations however many variables there are.
    """
    clipped = [
        None if g is None else _dense(g, v)
        for g, v in zip(gradients, variables, strict=True)
    ]
    present = [i for i, g in enumerate(clipped) if g is not None]
    if not present:
        return clipped, None
    axes = axes or [None] * len(gradients)
    # The shapes of weights, as a gradient's may not be known while tracing.
    shapes = {i: tuple(variables[i].shape) for i in present}
    layouts = {i: _layout(shapes[i], axes[i]) for i in present}

    def laid_out(x, i):
        x, shape = ops.convert_to_tensor(x), layouts[i][0]
        return x if shape == shapes[i] else ops.reshape(x, shape)

    laid = {i: laid_out(clipped[i], i) for i in present}
    weights = {i: laid_out(variables[i], i) for i in present}
    norm, weight = (_norms(each, layouts) for each in (laid, weights))
    limit = clipping * ops.maximum(weight, epsilon)
    clips = norm > limit
    factor = ops.where(clips, limit / ops.maximum(norm, 1e-6), 1.0)
    counts = {i: math.prod(_unit_shape(*layouts[i])) for i in present}
    ends = list(itertools.accumulate(counts.values()))
    parts = ops.split(factor, ends)[:-1]
    for i, part in zip(present, parts, strict=True):
        if _is_sparse(gradients[i]):
            unit = axes_of_shape(shapes[i]) if axes[i] is None else axes[i]
            part = ops.reshape(part, _unit_shape(shapes[i], unit))
            clipped[i] = _scaled_rows(gradients[i], part)
            continue
        if not _has_units_last(*layouts[i]):
            part = ops.reshape(part, _unit_shape(*layouts[i]))
        new = laid[i] * ops.cast(part, clipped[i].dtype)
        same = layouts[i][0] == shapes[i]
        clipped[i] = new if same else ops.reshape(new, shapes[i])
    return clipped, ClipStatistics(
        clips, norm, weight, weight > epsilon, counts
    )


def _dense(gradient, variable):
    """Sums the rows of an embedding's gradient, one for each use of it.

    Keras's operations would square each by itself.
    """
    if _is_sparse(gradient):
        return ops.reshape(gradient, tuple(variable.shape))
    return ops.convert_to_tensor(gradient)


def _is_sparse(gradient):
    return hasattr(gradient, "dense_shape")  # of tf.IndexedSlices


def _scaled_rows(gradient, factor):
    """Returns a sparse gradient times a factor for each row, or for all."""
    if factor.shape[0] > 1:
        factor = ops.take(factor, gradient.indices, axis=0)
    values = gradient.values * ops.cast(factor, gradient.values.dtype)
    return type(gradient)(values, gradient.indices, gradient.dense_shape)


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


def _norms(arrays, layouts):
    """Returns one vector with the norms of all units.

    Without a reshape where the units stand last: TensorFlow takes long for a
    graph of many small operations.
    """
    euclidean = _fused_norm() if on_tensorflow_cpu() else _norm
    vectors = []
    for i, array in arrays.items():
        shape, axes = layouts[i]
        if keras.backend.standardize_dtype(array.dtype) != "float64":
            array = ops.cast(array, "float32")
        norm = euclidean(array, axes, len(axes) == len(shape))
        flat = _has_units_last(shape, axes)
        vectors.append(norm if flat else ops.reshape(norm, (-1,)))
    return ops.concatenate(vectors)


def _norm(array, axes, keepdims):
    return ops.sqrt(ops.sum(ops.square(array), axis=axes, keepdims=keepdims))


def _fused_norm():
    """Returns `_norm` in one of TensorFlow's own operations.

    The axes of many kernels are one constant of the graph.
    """
    import tensorflow as tf

    constant = functools.cache(functools.partial(tf.constant, dtype="int32"))

    def norm(array, axes, keepdims):
        return tf.raw_ops.EuclideanNorm(
            input=array, axis=constant(axes), keep_dims=keepdims
        )

    return norm


def _has_units_last(shape, axes):
    """Whether a vector of what is per unit broadcasts against the array."""
    return axes == tuple(range(max(len(shape) - 1, 1))) and len(shape) > 0


def _unit_shape(shape, axes):
    return tuple(1 if i in axes else size for i, size in enumerate(shape))


def _layout(shape, axes):
    """Returns the shape in which to clip a kernel, and the unit's axes there.

    A matrix, with the inputs of a unit in one column, where that moves
    nothing. For a TPU, XLA would otherwise copy the kernels of grouped
    convolutions into another layout. TensorFlow's own kernels need none, and
    one reshape less in the graph of each.
    """
    axes = axes_of_shape(shape) if axes is None else tuple(axes)
    if not len(shape) > 2 or axes != tuple(range(len(shape) - 1)):
        return shape, axes
    if on_tensorflow_cpu():
        return shape, axes
    return (math.prod(shape[:-1]), shape[-1]), (0,)
