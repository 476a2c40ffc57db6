"""Computes AGC: the norms of units, the clip of Equation 3, and a whole step.

`unitwise_norm` computes the norms of one variable's units. `unitwise_clip` is
the paper's Equation 3, on vectors of norms. `clip_units` applies it to the
gradients of a whole step: it concatenates the norms of all variables, clips
once, and splits the factors again.

Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3.
"""

import functools
import itertools

import keras
from keras import ops

from keras_nfnets.layers.device import on_tensorflow_cpu
from keras_nfnets.training.agc_report import ClipStatistics
from keras_nfnets.training.unit_layout import UnitLayout, axes_of_shape


def unitwise_norm(x, axes=None):
    """Returns the L2 norm of each unit's part of a weight or gradient.

    A unit is one output neuron. The norm is taken over these axes:

    - `(inputs, outputs)`, and any rank 3: axis 0.
    - `(height, width, inputs, outputs)`: axes 0 to 2.
    - A vector or a scalar, such as a gain or a bias: all axes.

    Args:
        x: Tensor or variable.
        axes: Tuple of integers, the axes that make one unit, for a layer that
            the papers do not have. Defaults to `None`, the rule above.

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


def unitwise_clip(gradient_norms, weight_norms, clipping, epsilon):
    """Returns the factor by which AGC multiplies the gradient of each unit.

    Args:
        gradient_norms: Tensor, the norm of each unit's gradient.
        weight_norms: Tensor of the same shape, the norm of each unit's
            weights.
        clipping: Float, largest allowed ratio of the two.
        epsilon: Float, floor under `weight_norms`.

    Returns:
        Two tensors of that shape: the factors, which are 1 where a unit is not
        clipped, and booleans, which are true where a unit is clipped.

    Example:

    >>> gradients, weights = keras.ops.array([1.0, 0.1]), keras.ops.ones(2)
    >>> factors, _ = unitwise_clip(gradients, weights, 0.2, 1e-3)
    >>> [round(float(factor), 2) for factor in factors]
    [0.2, 1.0]

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Equation 3
    """
    limits = clipping * ops.maximum(weight_norms, epsilon)
    clipped = gradient_norms > limits
    # The papers' code has the floor of 1e-6. It changes the result only if
    # `clipping * epsilon` is smaller.
    factors = limits / ops.maximum(gradient_norms, 1e-6)
    return ops.where(clipped, factors, 1.0), clipped


def clip_units(gradients, variables, clipping, epsilon, axes=None):
    """Clips the gradients of a step, each unit by the norm of its weights.

    Args:
        gradients: List of tensors, or `None` where there is no gradient.
        variables: List of variables or tensors, one per gradient.
        clipping: Float, as in `AGC`.
        epsilon: Float, as in `AGC`.
        axes: List of tuples of integers, the axes of each variable that make
            one unit. Defaults to `None`, the papers' rule for each rank.

    Returns:
        A list of gradients with the same dtypes, and `ClipStatistics`, or
        `None` if there is no gradient at all.
    """
    axes = axes or [None] * len(gradients)
    present = [i for i, g in enumerate(gradients) if g is not None]
    if not present:
        return list(gradients), None
    # A gradient's shape may be unknown while tracing, that of weights is not.
    layouts = {i: UnitLayout.of(variables[i], axes[i]) for i in present}
    arranged = {
        i: layout.arrange(_dense(gradients[i], layout.shape))
        for i, layout in layouts.items()
    }
    weights = {i: layouts[i].arrange(variables[i]) for i in present}
    gradient_norms = _norms_of_all(arranged, layouts)
    weight_norms = _norms_of_all(weights, layouts)
    factors, clipped = unitwise_clip(
        gradient_norms, weight_norms, clipping, epsilon
    )
    result = list(gradients)
    for i, own in _split(factors, layouts).items():
        if _is_sparse(gradients[i]):
            result[i] = layouts[i].scale_rows(gradients[i], own)
        else:
            result[i] = layouts[i].scale(arranged[i], own)
    return result, ClipStatistics(
        clipped,
        gradient_norms,
        weight_norms,
        weight_norms > epsilon,
        {i: layout.count for i, layout in layouts.items()},
    )


def square_sum(x, axes=None):
    """Returns the sum of squares, in float32 at least.

    Args:
        x: Tensor or variable.
        axes: Tuple of integers, the axes to sum over, which keep size 1.
            Defaults to `None`: the sum over all axes, a scalar.

    Returns:
        A float32 tensor (float64 for float64).
    """
    x = _at_least_float32(x)
    return ops.sum(ops.square(x), axis=axes, keepdims=axes is not None)


def _at_least_float32(x):
    """Casts to float32, in which squares of float16 do not overflow."""
    if keras.backend.standardize_dtype(x.dtype) == "float64":
        return x
    return ops.cast(x, "float32")


def _is_sparse(gradient):
    """Returns whether a gradient is a `tf.IndexedSlices`, an embedding's."""
    return hasattr(gradient, "dense_shape")


def _dense(gradient, shape):
    """Returns a dense gradient, in which the rows of one token are summed.

    A sparse gradient has a row for each use of a token. Keras's operations
    would square each row by itself, and the norm would be wrong.
    """
    if _is_sparse(gradient):
        return ops.reshape(gradient, shape)
    return gradient


def _norms_of_all(arranged, layouts):
    """Returns the norms of all units of all variables as one vector.

    Args:
        arranged: Dictionary of tensors, from `UnitLayout.arrange`.
        layouts: Dictionary of `UnitLayout`s by the same keys.

    Returns:
        A float32 vector, in the order of the keys.
    """
    norm = _fused_norm() if on_tensorflow_cpu() else _norm
    vectors = []
    for i, tensor in arranged.items():
        shape, axes = layouts[i].arranged
        one_unit = len(axes) == len(shape)
        norms = norm(_at_least_float32(tensor), axes, one_unit)
        # Most norms are vectors already, and need no operation of the graph.
        flat = layouts[i].broadcasts
        vectors.append(norms if flat else ops.reshape(norms, (-1,)))
    return ops.concatenate(vectors)


def _split(vector, layouts):
    """Splits a vector over all units into one vector for each variable."""
    counts = [layout.count for layout in layouts.values()]
    parts = ops.split(vector, list(itertools.accumulate(counts)))[:-1]
    return dict(zip(layouts, parts, strict=True))


def _norm(tensor, axes, keepdims):
    """Returns the L2 norm over these axes, with plain operations."""
    return ops.sqrt(ops.sum(ops.square(tensor), axis=axes, keepdims=keepdims))


def _fused_norm():
    """Returns a function as `_norm`, with one operation of TensorFlow.

    The function makes a constant of the graph for each tuple of axes, and uses
    it for all variables with these axes.
    """
    import tensorflow as tf

    constant = functools.cache(functools.partial(tf.constant, dtype="int32"))

    def norm(tensor, axes, keepdims):
        return tf.raw_ops.EuclideanNorm(
            input=tensor, axis=constant(axes), keep_dims=keepdims
        )

    return norm
