"""Runs standardization and convolutions the fast way on TensorFlow's CPU.

All of this computes what plain operations compute, with other kernels. The
choices are measured in `benchmarks/NOTES.md`.
"""

import functools
import math

import numpy as np
from keras import ops

from keras_nfnets.annotations import Tensor

# Channels of a dense convolution that narrow groups share.
DENSE_WIDTH = 32
# Variances: one that counts as infinite, and one as nothing but is no zero.
HUGE, TINY = 1e20, 1e-30


def standardize(kernel, gain, epsilon, epsilon_rule, formula):
    """Standardizes with batch normalization's kernels, a unit per channel.

    They pass over the kernel fewer times than other operations together do.

    Args:
        kernel: Float32 tensor whose last axis has the units.
        gain: Float32 tensor `(units,)`, or a float.
        epsilon: Float.
        epsilon_rule: String, as in `standardization.standardize`.
        formula: Function of kernel, gain and axes that computes the same; for
            second derivatives, which these kernels do not have.

    Returns:
        A tensor shaped as the kernel.
    """
    import tensorflow as tf

    kernel, gain = map(tf.convert_to_tensor, (kernel, gain))
    if not gain.shape.rank:
        gain = tf.fill(kernel.shape[-1:], gain)
    rule = _Rule(math.prod(kernel.shape[:-1]), epsilon, epsilon_rule)

    @tf.custom_gradient
    def forward(kernel, gain):
        result, saved = rule.apply(kernel, gain)

        @tf.custom_gradient
        def backward(upstream, kernel, gain):
            def again(*upstreams):
                return _second_derivative(
                    formula, (upstream, kernel, gain), upstreams
                )

            return rule.gradient(upstream, saved), again

        return result, lambda upstream: backward(upstream, kernel, gain)

    return forward(kernel, gain)


class _Rule:
    """Standardization of units with `fan_in` weights as batch normalization.

    Batch normalization divides by `sqrt(var + epsilon)`. The floor needs no
    epsilon there: a unit under it is multiplied by what it is short of.
    """

    def __init__(self, fan_in, epsilon, epsilon_rule):
        self.fan_in, self.floored = fan_in, epsilon_rule == "floor"
        self.floor = epsilon
        self.epsilon = TINY if self.floored else epsilon

    def apply(self, kernel, gain):
        """Returns the standardized kernel, and what its gradient needs."""
        import tensorflow as tf

        # A row for each weight of a unit, with one pixel.
        rows = tf.reshape(kernel, (self.fan_in, 1, 1, gain.shape[0]))
        scale = gain * (1 / math.sqrt(self.fan_in))
        none = tf.zeros((0,))
        found = tf.raw_ops.FusedBatchNormV3(
            x=rows,
            scale=scale,
            offset=tf.constant(0.0, scale.dtype, scale.shape),
            mean=none,
            variance=none,
            epsilon=self.epsilon,
            is_training=True,
        )
        result, ratio = found.y, None
        if self.floored:
            # Of `fan_in * var` to the floor. `batch_variance` is a sample's,
            # by `fan_in - 1`; `reserve_space_2` is not, but other runtimes
            # leave it at zero.
            ratio = found.batch_variance * ((self.fan_in - 1) / self.floor)
            result = result * tf.sqrt(tf.minimum(ratio, 1.0))
        saved = rows, scale, found, ratio, none
        return tf.reshape(result, kernel.shape), saved

    def gradient(self, upstream, saved):
        """Returns the gradients of the kernel and of the gain."""
        import tensorflow as tf

        rows, scale, found, ratio, none = saved
        change, variance = 1 / math.sqrt(self.fan_in), found.reserve_space_2
        if self.floored:
            # Under the floor the root is a constant, as of a variance that is
            # too large to move; the scale makes it the right one.
            under = ratio < 1.0
            variance = tf.where(under, HUGE, variance)
            right = math.sqrt(HUGE * self.fan_in / self.floor)
            right = tf.where(under, right, 1.0)
            scale, change = scale * right, change * right
        back = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=tf.reshape(upstream, rows.shape),
            x=rows,
            scale=scale,
            reserve_space_1=found.reserve_space_1,
            reserve_space_2=variance,
            reserve_space_3=none,
            epsilon=self.epsilon,
            is_training=True,
        )
        d_kernel = tf.reshape(back.x_backprop, upstream.shape)
        return d_kernel, back.scale_backprop * change


def _second_derivative(formula, arguments, upstreams):
    """Returns the gradients of a gradient, from the formula itself."""
    import tensorflow as tf

    with tf.GradientTape() as outer:
        outer.watch(arguments)
        upstream, *inputs = arguments
        axes = tuple(range(len(inputs[0].shape) - 1))
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            result = formula(*inputs, axes)
        first = inner.gradient(result, inputs, upstream)
    return outer.gradient(first, arguments, upstreams)


def sigmoid_gradient(outputs, upstream):
    """Returns `upstream * outputs * (1 - outputs)`, in one operation."""
    import tensorflow as tf

    return tf.raw_ops.SigmoidGrad(y=outputs, dy=upstream)


def onednn_conv(inputs, kernel, strides, padding, dilation_rate):
    """Convolves groups with oneDNN: Keras would call XLA for them."""
    import tensorflow as tf

    outputs = tf.nn.conv2d(
        inputs, kernel, strides, padding.upper(), dilations=dilation_rate
    )
    # Changes nothing, but stands between the convolution and its bias. Where a
    # SavedModel is served without oneDNN, TensorFlow would join the two to an
    # operation that knows no groups.
    return tf.ensure_shape(outputs, outputs.shape)


def split_conv(inputs, kernel, groups, dense):
    """Convolves groups as dense convolutions, each of one group or more.

    JAX's CPU runs them so too.

    Args:
        inputs: Tensor `(batch, height, width, channels)`.
        kernel: Tensor `(height, width, channels // groups, filters)`.
        groups: Integer, above 1.
        dense: Function of inputs and kernel, a convolution without groups.
    """
    parts = dense_parts(inputs, kernel, groups)
    return ops.concatenate([dense(x, w) for x, w in parts], axis=-1)


def dense_parts(inputs, kernel, groups):
    """Returns inputs and kernel of as many dense convolutions."""
    width, filters = kernel.shape[-2:]
    together = max(1, DENSE_WIDTH // width)
    counts = [min(together, groups - i) for i in range(0, groups, together)]
    ends = np.cumsum(counts[:-1]).tolist()
    if not ends:
        return [(inputs, _block_diagonal(kernel, groups))]
    kernels = ops.split(
        kernel, [end * (filters // groups) for end in ends], axis=-1
    )
    return list(
        zip(
            ops.split(inputs, [end * width for end in ends], axis=-1),
            map(_block_diagonal, kernels, counts),
            strict=True,
        )
    )


def _block_diagonal(kernel, groups):
    """Returns a kernel of this many groups as a dense one with zeros."""
    if groups == 1:
        return kernel
    *size, width, filters = kernel.shape
    own = np.repeat(np.eye(groups), filters // groups, axis=1)
    mask = ops.convert_to_tensor(own[:, None], kernel.dtype)
    wide = ops.expand_dims(kernel, 2) * mask
    return ops.reshape(wide, (*size, groups * width, filters))


@ops.custom_gradient
def conv_with_own_gradient(inputs, kernel):
    """Convolves with stride 1, "same" padding and an odd kernel size.

    Both gradients are convolutions or matrix products.
    """
    import tensorflow as tf

    convolve = functools.partial(ops.conv, data_format="channels_last")
    height, width = kernel.shape[:2]

    def kernel_gradient(upstream):
        if height == width == 1:
            pixels = ops.reshape(inputs, (-1, kernel.shape[2]))
            upstream = ops.reshape(upstream, (-1, kernel.shape[3]))
            product = ops.matmul(ops.transpose(pixels), upstream)
            return ops.reshape(product, kernel.shape)
        # Samples and channels change places: the sum over samples and pixels
        # becomes the sum over channels and kernel of a convolution.
        summed = convolve(
            ops.transpose(pad_half(inputs, kernel), (3, 1, 2, 0)),
            ops.transpose(upstream, (1, 2, 0, 3)),
            padding="valid",
        )
        return ops.transpose(summed, (1, 2, 0, 3))

    def gradient(upstream):
        turned = ops.transpose(kernel, (0, 1, 3, 2))
        if not height == width == 1:
            turned = tf.reverse(turned, (0, 1))
        inputs_gradient = convolve(upstream, turned, padding="same")
        return inputs_gradient, kernel_gradient(upstream)

    return convolve(inputs, kernel, padding="same"), gradient


def pad_half(
    inputs: Tensor, kernel: Tensor, dilation_rate: tuple[int, ...] = (1, 1)
) -> Tensor:
    """Returns the inputs with half the kernel's size on every side."""
    sides = [
        (rate * (size // 2),) * 2
        for size, rate in zip(kernel.shape[:2], dilation_rate, strict=True)
    ]
    return ops.pad(inputs, ((0, 0), *sides, (0, 0)))
