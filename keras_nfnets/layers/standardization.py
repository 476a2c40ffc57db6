"""Scaled weight standardization: the arithmetic.

Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4.
"""

import dataclasses
import math

import keras
from keras import ops

from keras_nfnets.layers.device import has_own_kernels

EPSILON_RULES = ("floor", "add")
# Variances: one that counts as infinite, and one as nothing but is no zero.
HUGE, TINY = 1e20, 1e-30


@dataclasses.dataclass(frozen=True)
class Units:
    """Which axes of a kernel feed one unit, and what keeps its root from 0."""

    axes: tuple
    fan_in: int
    epsilon: float
    epsilon_rule: str

    def parts(self, kernel):
        """Returns the centered kernel, what the root is of, and if that moves.

        The last is 1 where it moves with the kernel, 0 where it is constant.
        """
        centered = kernel - ops.mean(kernel, axis=self.axes, keepdims=True)
        squares = ops.sum(ops.square(centered), axis=self.axes, keepdims=True)
        if self.epsilon_rule == "floor":
            above = ops.cast(squares >= self.epsilon, squares.dtype)
            return centered, ops.maximum(squares, self.epsilon), above
        return centered, squares + self.fan_in * self.epsilon, 1.0


def standardize(kernel, factor, axes, epsilon, epsilon_rule):
    """Returns `factor * (w - mean(w)) / sqrt(fan_in * var(w))` of each unit.

    Args:
        kernel: Float32 tensor.
        factor: Float32 tensor that broadcasts against the kernel, one number
            per unit: what the result is multiplied by.
        axes: Tuple of integers, the axes of the kernel that feed one unit.
        epsilon: Float, keeps the root from zero.
        epsilon_rule: String, `"floor"` for `max(fan_in * var(w), epsilon)`
            under the root, `"add"` for `fan_in * (var(w) + epsilon)`.

    Returns:
        A tensor shaped as the kernel.

    Example:

    >>> kernel = keras.random.normal((3, 3, 16, 8))
    >>> ones = keras.ops.ones((1, 1, 1, 8))
    >>> w = keras_nfnets.layers.standardization.standardize(
    ...     kernel, ones, (0, 1, 2), 1e-4, "floor"
    ... )

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """
    fan_in = math.prod(kernel.shape[axis] for axis in axes)
    shape = layout = tuple(kernel.shape)
    if axes == tuple(range(len(shape) - 1)):
        # As AGC has it, so that gradients come in the weights' own layout on a
        # TPU. Else XLA may copy grouped kernels and all of their optimizer's
        # state into the gradient's: 0.22 GB for NFNet-F0 with `remat`.
        layout, axes = (fan_in, shape[-1]), (0,)
        factor = ops.reshape(factor, (1, shape[-1]))
    # On TensorFlow it may still be a variable, which the gradient cannot take.
    kernel = ops.reshape(kernel, layout)
    units = Units(axes, fan_in, epsilon, epsilon_rule)
    standardized = _way(kernel, units)(kernel, factor, units)
    return ops.reshape(standardized, shape)


def _way(kernel, units):
    """Returns the function to use.

    All give the same numbers. For the kernels of NFNet-F0, on 2 CPU cores, both
    directions took 178 ms on TensorFlow by `_in_closed_form` and 88 ms by
    `_by_batch_norm`; without oneDNN 206 and 160 ms. The automatic gradient took
    1.3 of the closed form's; XLA makes as much of it by itself.
    """
    if keras.backend.backend() != "tensorflow":
        return _automatic
    dtype = keras.backend.standardize_dtype(kernel.dtype)
    is_matrix = len(kernel.shape) == 2 and units.axes == (0,)
    if is_matrix and dtype == "float32" and has_own_kernels():
        return _by_batch_norm
    return _in_closed_form


def _automatic(kernel, factor, units):
    centered, bounded, _ = units.parts(kernel)
    return centered * (factor * ops.rsqrt(bounded))


def _in_closed_form(kernel, factor, units):
    """In fewer passes over the kernel than the automatic gradient makes."""

    @ops.custom_gradient
    def with_gradient(kernel, factor):
        parts = units.parts(kernel)
        centered, bounded, _ = parts

        def gradient(upstream):
            return _closed_gradient(parts, factor, upstream, units)

        return centered * (factor * ops.rsqrt(bounded)), gradient

    return with_gradient(kernel, factor)


def _closed_gradient(parts, factor, upstream, units):
    """Returns the gradients of the kernel and of the factor."""
    centered, bounded, moves = parts
    root = ops.rsqrt(bounded)
    scale = factor * root
    product = ops.sum(upstream * centered, axis=units.axes, keepdims=True)
    mean = ops.mean(upstream, axis=units.axes, keepdims=True)
    along = centered * (moves * product * scale * ops.square(root))
    return upstream * scale - (along + mean * scale), product * root


def _by_batch_norm(kernel, factor, units):
    """With batch normalization's kernels, for which each unit is a channel.

    They pass over the matrix fewer times than other operations together do.
    """
    import tensorflow as tf

    fan_in, floored = units.fan_in, units.epsilon_rule == "floor"
    epsilon = TINY if floored else units.epsilon

    @tf.custom_gradient
    def with_gradient(kernel, factor):
        scale = factor / math.sqrt(fan_in)
        result, variance, saved = _batch_norm(kernel, scale, epsilon)
        held = floored & (fan_in * variance < units.epsilon)
        if floored:
            share = tf.sqrt(fan_in * variance / units.epsilon)
            result *= tf.where(held, share, 1.0)

        @tf.custom_gradient
        def gradient(upstream, kernel, factor):
            # Under the floor the root is a constant, as of a variance that is
            # too large to move; the scale makes it the right one.
            to_held = math.sqrt(HUGE * fan_in / units.epsilon)
            change = tf.where(held, to_held, 1.0)
            mean, biased = saved
            moments = mean, tf.where(held, HUGE, biased)
            d_kernel, d_scale = _batch_norm_gradient(
                upstream, kernel, scale * change, moments, epsilon
            )
            d_factor = d_scale * change / math.sqrt(fan_in)

            def again(*upstreams):
                # These kernels have no gradient of their gradient.
                arguments = upstream, kernel, factor
                with tf.GradientTape() as tape:
                    tape.watch(arguments)
                    parts = units.parts(kernel)
                    same = _closed_gradient(parts, factor, upstream, units)
                return tape.gradient(same, arguments, upstreams)

            return (d_kernel, tf.reshape(d_factor, factor.shape)), again

        return result, lambda upstream: gradient(upstream, kernel, factor)

    return with_gradient(kernel, factor)


def _batch_norm(matrix, scale, epsilon):
    """Returns the scaled normal form of each column, and its variance.

    Third comes what TensorFlow saves for the gradient, the mean and variance
    again. Only a gradient may read it: other runtimes leave it at zero.
    """
    import tensorflow as tf

    rows, columns = matrix.shape
    found = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(matrix, (rows, 1, 1, columns)),
        scale=tf.reshape(scale, (columns,)),
        offset=tf.zeros((columns,)),
        mean=tf.zeros((0,)),
        variance=tf.zeros((0,)),
        epsilon=epsilon,
        is_training=True,
    )
    # `batch_variance` is that of a sample, by `rows - 1`.
    variance = found.batch_variance * ((rows - 1) / rows)
    saved = found.reserve_space_1, found.reserve_space_2
    return tf.reshape(found.y, matrix.shape), variance, saved


def _batch_norm_gradient(upstream, matrix, scale, moments, epsilon):
    """Returns the gradients of `_batch_norm`'s matrix and scale."""
    import tensorflow as tf

    rows, columns = matrix.shape
    mean, variance = moments
    found = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=tf.reshape(upstream, (rows, 1, 1, columns)),
        x=tf.reshape(matrix, (rows, 1, 1, columns)),
        scale=tf.reshape(scale, (columns,)),
        reserve_space_1=mean,
        reserve_space_2=variance,
        reserve_space_3=tf.zeros((0,)),
        epsilon=epsilon,
        is_training=True,
    )
    return tf.reshape(found.x_backprop, matrix.shape), found.scale_backprop
