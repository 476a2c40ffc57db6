"""Runs standardization and convolutions the fast way on TensorFlow's CPU.

Each function computes the same as plain operations, but by faster kernels.
`benchmarks/NOTES.md` has the measurements. A reader who does not care about
the speed of a CPU can skip this module.

- `standardize` calls TensorFlow's fused kernels of batch normalization, forward
  and backward. `_BatchNorm` translates between the two formulas.
- `sigmoid_gradient` is the sigmoid's gradient in one operation.
- `onednn_conv` runs grouped convolutions by oneDNN.
- `conv_with_own_gradient` runs both gradients of a convolution as forward
  convolutions.

A "kernel" is the weights of a convolution here, except in "fused kernel",
"forward kernel" and "gradient kernel", which are code of TensorFlow.
"""

import functools
import math

from keras import ops

# A variance so large that no gradient passes through it, see
# `_BatchNorm.gradient`.
HUGE = 1e20
# An epsilon so small that it changes no variance but zero, by which it keeps
# batch normalization from dividing.
TINY = 1e-30


def standardize(kernel, gain, epsilon, epsilon_rule, formula):
    """Standardizes a kernel with the fused kernels of batch normalization.

    Batch normalization standardizes each channel over samples and pixels.
    Weight standardization standardizes each unit over its weights. With the
    weights of a unit as samples, and the units as channels, both are the same.
    The fused kernels pass over the weights fewer times than single operations.

    TensorFlow could differentiate the forward kernel by itself. `_BatchNorm`
    has to change what the gradient kernel gets, so `forward` has a gradient of
    its own, `backward`. For a second derivative TensorFlow differentiates
    `backward` in turn. So that has a gradient of its own as well, `second`.

    Args:
        kernel: Float32 tensor, the units on its last axis.
        gain: Float32 tensor `(units,)`, or a float for all units.
        epsilon: Float, as in `convolution.standardize`.
        epsilon_rule: String, as in `convolution.standardize`.
        formula: Function of kernel, gain and axes that computes the same by
            plain operations. It serves second derivatives, which the fused
            kernels lack.

    Returns:
        A tensor shaped as the kernel.
    """
    import tensorflow as tf

    kernel, gain = map(tf.convert_to_tensor, (kernel, gain))
    if not gain.shape.rank:
        gain = tf.fill(kernel.shape[-1:], gain)
    batch_norm = _BatchNorm(math.prod(kernel.shape[:-1]), epsilon, epsilon_rule)

    @tf.custom_gradient
    def forward(kernel, gain):
        result, saved = batch_norm.apply(kernel, gain)

        # The result follows from `upstream` and `saved`. Kernel and gain are
        # arguments so that TensorFlow asks for derivatives by them, too.
        @tf.custom_gradient
        def backward(upstream, kernel, gain):
            def second(*upstreams):
                return _second_derivative(
                    formula, (upstream, kernel, gain), upstreams
                )

            return batch_norm.gradient(upstream, saved), second

        return result, lambda upstream: backward(upstream, kernel, gain)

    return forward(kernel, gain)


class _BatchNorm:
    """Expresses the standardization of units by batch normalization.

    Batch normalization computes `scale * (w - mean) / sqrt(var + epsilon)`.

    The rule "add" is `gain * (w - mean) / sqrt(fan_in * (var + epsilon))`. A
    scale of `gain / sqrt(fan_in)` makes the two equal.

    The rule "floor" is `gain * (w - mean) / sqrt(max(fan_in * var, floor))`.
    Batch normalization gets the same scale, and TINY in the place of epsilon.
    That is right for a unit above the floor. A unit below it is multiplied by
    `sqrt(fan_in * var / floor)` afterwards.

    Args:
        fan_in: Integer, weights of one unit.
        epsilon: Float, as in `convolution.standardize`.
        epsilon_rule: String, `"floor"` or `"add"`.
    """

    def __init__(self, fan_in, epsilon, epsilon_rule):
        self.fan_in = fan_in
        self.has_floor = epsilon_rule == "floor"
        self.floor = epsilon
        self.epsilon = TINY if self.has_floor else epsilon

    def apply(self, kernel, gain):
        """Returns the standardized kernel, and a tuple for `gradient`."""
        import tensorflow as tf

        # As a batch of one-pixel images: a sample for each weight of a unit.
        rows = tf.reshape(kernel, (self.fan_in, 1, 1, gain.shape[0]))
        scale = gain * (1 / math.sqrt(self.fan_in))
        empty = tf.zeros((0,))
        norm = tf.raw_ops.FusedBatchNormV3(
            x=rows,
            scale=scale,
            offset=tf.constant(0.0, scale.dtype, scale.shape),
            mean=empty,
            variance=empty,
            epsilon=self.epsilon,
            is_training=True,
        )
        result, ratio = norm.y, None
        if self.has_floor:
            # `ratio` is `fan_in * var / floor`. It is below 1 for a unit below
            # the floor. `batch_variance` is a sum of squares over `fan_in - 1`.
            # `reserve_space_2` is the same sum over `fan_in`, but runtimes
            # other than TensorFlow leave it at zero.
            ratio = norm.batch_variance * ((self.fan_in - 1) / self.floor)
            result = result * tf.sqrt(tf.minimum(ratio, 1.0))
        saved = rows, scale, norm, ratio, empty
        return tf.reshape(result, kernel.shape), saved

    def gradient(self, upstream, saved):
        """Returns the gradients of the kernel and of the gain.

        Below the floor the formula divides by the root of the floor. That is a
        constant, so no gradient may pass through the variance. The gradient
        kernel always has a term for that gradient, and divides the term by the
        variance once more than the others. It gets HUGE as the variance, which
        makes the term vanish. It then divides the others by the root of HUGE. A
        factor turns that into the root of the floor.

        Args:
            upstream: Tensor, the gradient of the standardized kernel.
            saved: Tuple, from `apply`.
        """
        import tensorflow as tf

        rows, scale, norm, ratio, empty = saved
        # `scale` is the gain times this number, so the gain's gradient is the
        # scale's times this number.
        scale_per_gain = 1 / math.sqrt(self.fan_in)
        variance = norm.reserve_space_2
        if self.has_floor:
            below = ratio < 1.0
            variance = tf.where(below, HUGE, variance)
            factor = math.sqrt(HUGE * self.fan_in / self.floor)
            factor = tf.where(below, factor, 1.0)
            scale, scale_per_gain = scale * factor, scale_per_gain * factor
        back = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=tf.reshape(upstream, rows.shape),
            x=rows,
            scale=scale,
            reserve_space_1=norm.reserve_space_1,
            reserve_space_2=variance,
            reserve_space_3=empty,
            epsilon=self.epsilon,
            is_training=True,
        )
        d_kernel = tf.reshape(back.x_backprop, upstream.shape)
        return d_kernel, back.scale_backprop * scale_per_gain


def _second_derivative(formula, arguments, upstreams):
    """Returns the gradients of a gradient, by differentiating the formula.

    The inner tape computes the gradient by plain operations, and the outer tape
    differentiates those.

    Args:
        formula: As in `standardize`.
        arguments: Tuple of the upstream gradient, the kernel and the gain.
        upstreams: Tuple, the gradients of the kernel's and the gain's gradient.

    Returns:
        A list of tensors, one for each of the arguments.
    """
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
    """Returns `upstream * outputs * (1 - outputs)` in one operation.

    Args:
        outputs: Tensor, the sigmoid's outputs.
        upstream: Tensor of the same shape, the gradient of `outputs`.
    """
    import tensorflow as tf

    return tf.raw_ops.SigmoidGrad(y=outputs, dy=upstream)


def onednn_conv(inputs, kernel, strides, padding, dilation_rate):
    """Convolves groups by oneDNN, where Keras would call XLA.

    TensorFlow's operation takes the number of groups from the shapes.

    Args:
        inputs: Float32 tensor `(batch, height, width, channels)`.
        kernel: Float32 tensor `(height, width, channels // groups, filters)`.
        strides: Tuple of 2 integers, in pixels.
        padding: String, `"valid"` or `"same"`.
        dilation_rate: Tuple of 2 integers.
    """
    import tensorflow as tf

    outputs = tf.nn.conv2d(
        inputs, kernel, strides, padding.upper(), dilations=dilation_rate
    )
    # This operation changes nothing, but separates the convolution from its
    # bias. A server without oneDNN would fuse the two, and TensorFlow's fused
    # operation does not support groups.
    return tf.ensure_shape(outputs, outputs.shape)


@ops.custom_gradient
def conv_with_own_gradient(inputs, kernel):
    """Convolves with stride 1, "same" padding and an odd kernel size.

    Both gradients run as forward convolutions, except for the gradient of a 1x1
    kernel, which is a matrix product. Without oneDNN, TensorFlow's forward
    kernel is faster than its gradient kernels.

    Args:
        inputs: Tensor `(batch, height, width, channels)`.
        kernel: Tensor `(height, width, channels, filters)`.

    Returns:
        A tensor `(batch, height, width, filters)`.
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
        # A weight's gradient is a sum over samples and pixels. A convolution
        # sums over channels and over the pixels of its kernel. So the images
        # have samples and channels swapped, and the upstream gradient is the
        # kernel. Each pixel of the result is one place of the real kernel.
        sides = [(size // 2, size // 2) for size in (height, width)]
        padded = ops.pad(inputs, ((0, 0), *sides, (0, 0)))
        summed = convolve(
            ops.transpose(padded, (3, 1, 2, 0)),
            ops.transpose(upstream, (1, 2, 0, 3)),
            padding="valid",
        )
        return ops.transpose(summed, (1, 2, 0, 3))

    def gradient(upstream):
        # The inputs' gradient is a convolution with the kernel turned by 180
        # degrees, its channels and filters swapped.
        turned = ops.transpose(kernel, (0, 1, 3, 2))
        if not height == width == 1:
            turned = tf.reverse(turned, (0, 1))
        inputs_gradient = convolve(upstream, turned, padding="same")
        return inputs_gradient, kernel_gradient(upstream)

    return convolve(inputs, kernel, padding="same"), gradient
