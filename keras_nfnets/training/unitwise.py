"""Computes AGC: the norms of units, the clip of Equation 3, and a whole step.

`unitwise_norm` takes one variable. `unitwise_clip` is the paper's equation, on
norms. `clip_units` applies it to the gradients of a whole step.

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


def unitwise_clip(gradient_norms, weight_norms, clipping, epsilon):
    """Returns what AGC multiplies the gradient of each unit by.

    Args:
        gradient_norms: Tensor, a norm for each unit.
        weight_norms: Tensor of the same shape.
        clipping: Float, largest allowed ratio of the two.
        epsilon: Float, floor under `weight_norms`.

    Returns:
        Two tensors of that shape: the factors, 1 where a unit is not clipped,
        and booleans that are true where one is.

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Equation 3
    """
    limits = clipping * ops.maximum(weight_norms, epsilon)
    clipped = gradient_norms > limits
    # The floor is that of the papers' code. It matters only where
    # `clipping * epsilon` is below it.
    factors = limits / ops.maximum(gradient_norms, 1e-6)
    return ops.where(clipped, factors, 1.0), clipped


def clip_units(gradients, variables, clipping, epsilon, axes=None):
    """Clips the gradients of a step, each unit by the norm of its weights.

    Args:
        gradients: List of tensors, or `None` where there is no gradient.
        variables: List of variables or tensors, one per gradient.
        clipping: Float, as in `AGC`.
        epsilon: Float, as in `AGC`.
        axes: List with the axes of each variable that make one unit. Defaults
            to `None`, the papers' rule for each.

    Returns:
        A list of gradients with the same dtypes, and `ClipStatistics`, or
        `None` without any gradient.
    """
    axes = axes or [None] * len(gradients)
    present = [i for i, g in enumerate(gradients) if g is not None]
    if not present:
        return list(gradients), None
    # Of weights, as a gradient's shape may not be known while tracing.
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
        axes: Tuple of integers, the axes to sum over, which stay as axes of
            size one. Defaults to `None`: all are summed over, to a scalar.
    """
    x = _at_least_float32(x)
    return ops.sum(ops.square(x), axis=axes, keepdims=axes is not None)


def _at_least_float32(x):
    if keras.backend.standardize_dtype(x.dtype) == "float64":
        return x
    return ops.cast(x, "float32")


def _is_sparse(gradient):
    return hasattr(gradient, "dense_shape")  # of tf.IndexedSlices


def _dense(gradient, shape):
    """Sums the rows of an embedding's gradient, one for each use of it.

    Keras's operations would square each by itself.
    """
    if _is_sparse(gradient):
        return ops.reshape(gradient, shape)
    return gradient


def _norms_of_all(arranged, layouts):
    """Concatenates the norms of all units of all variables.

    Args:
        arranged: Dictionary of the tensors of `UnitLayout.arrange`.
        layouts: Dictionary of `UnitLayout`s by the same keys.

    Returns:
        A vector, in the order of the keys.
    """
    norm = _fused_norm() if on_tensorflow_cpu() else _norm
    vectors = []
    for i, tensor in arranged.items():
        shape, axes = layouts[i].arranged
        one_unit = len(axes) == len(shape)
        norms = norm(_at_least_float32(tensor), axes, one_unit)
        # One operation less in TensorFlow's graph for most variables.
        flat = layouts[i].broadcasts
        vectors.append(norms if flat else ops.reshape(norms, (-1,)))
    return ops.concatenate(vectors)


def _split(vector, layouts):
    """Undoes the concatenation of what all units of all variables have."""
    counts = [layout.count for layout in layouts.values()]
    parts = ops.split(vector, list(itertools.accumulate(counts)))[:-1]
    return dict(zip(layouts, parts, strict=True))


def _norm(tensor, axes, keepdims):
    return ops.sqrt(ops.sum(ops.square(tensor), axis=axes, keepdims=keepdims))


def _fused_norm():
    """Returns `_norm` in one of TensorFlow's own operations.

    The axes of many kernels are one constant of the graph.
    """
    import tensorflow as tf

    constant = functools.cache(functools.partial(tf.constant, dtype="int32"))

    def norm(tensor, axes, keepdims):
        return tf.raw_ops.EuclideanNorm(
            input=tensor, axis=constant(axes), keep_dims=keepdims
        )

    return norm
