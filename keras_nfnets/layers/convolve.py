"""How a convolution is run: the choices that depend on the device.

This module knows its backend, because Keras does not: on the TensorFlow backend
`keras.ops.conv` sends every grouped convolution through an XLA-compiled
function, and XLA's gradient of it is slow on a CPU. Without oneDNN,
TensorFlow's own gradient kernels are slow there as well, and know no groups.
"""

import functools

import keras
import numpy as np
from keras import ops

from keras_nfnets.layers.device import device, has_onednn

# Channels of a dense convolution that narrow groups share.
DENSE_WIDTH = 32


def conv(inputs, kernel, strides, padding, dilation_rate, groups):
    """`keras.ops.conv` for `channels_last`, run the fast way.

    `padding` may be `"symmetric"` too: half the kernel on every side.
    """
    if padding == "symmetric" and set(strides) == {1}:
        padding = "same"  # the same pixels, and nothing to copy
    if padding == "symmetric":
        inputs, padding = _padded(inputs, kernel, dilation_rate), "valid"
    plain = functools.partial(
        ops.conv,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        data_format="channels_last",
    )
    dense = plain
    if has_own_gradient(kernel.shape[:2], strides, padding, dilation_rate):
        dense = _conv_with_own_gradient
    if groups == 1:
        return dense(inputs, kernel)
    way = way_of_groups(keras.backend.standardize_dtype(inputs.dtype))
    if way == "onednn":
        return _onednn_conv(inputs, kernel, strides, padding, dilation_rate)
    if way == "keras":
        return plain(inputs, kernel)
    parts = _dense_parts(inputs, kernel, groups)
    return ops.concatenate([dense(x, w) for x, w in parts], axis=-1)


def _onednn_conv(inputs, kernel, strides, padding, dilation_rate):
    """TensorFlow's operation itself: Keras would call XLA for groups."""
    import tensorflow as tf

    outputs = tf.nn.conv2d(
        inputs, kernel, strides, padding.upper(), dilations=dilation_rate
    )
    # Changes nothing, but stands between the convolution and its bias. Where a
    # SavedModel is served without oneDNN, TensorFlow would join the two to an
    # operation that knows no groups.
    return tf.ensure_shape(outputs, outputs.shape)


def _dense_parts(inputs, kernel, groups):
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


def _padded(inputs, kernel, dilation_rate=(1, 1)):
    """Returns the inputs with half the kernel's size on every side."""
    sides = [
        (rate * (size // 2),) * 2
        for size, rate in zip(kernel.shape[:2], dilation_rate, strict=True)
    ]
    return ops.pad(inputs, ((0, 0), *sides, (0, 0)))


def way_of_groups(dtype):
    """Returns how groups run: `"keras"`, `"onednn"` or `"split"`.

    The last is as dense convolutions, each of one or more groups. XLA, through
    which Keras runs groups on TensorFlow too, is slow at them on a CPU. A
    prototype, on 2 cores of another machine, took 3.9 s grouped and 0.87 s
    split for a training step of NFNet-F0 (1 to 6 groups of 128) at batch 4 and
    192 px. Accelerators have grouped kernels: split took 1.2 to 3 times theirs
    on an H200 (`benchmarks/results/GPU.md`).

    So has oneDNN, whose gradients TensorFlow gives for groups as well. A 3x3 of
    768 channels in 6 groups at 12 px, batch 4, 2 cores, took 11.4 ms split and
    10.7 in its kernels, forward and backward; one of 232 in 29 groups at 24 px
    6.9 and 2.4. Not every CPU has kernels for other types than float32, and
    TensorFlow's own know no gradient of groups. PyTorch's are oneDNN's too.

    NF-RegNets have over a hundred groups of 8. Where they are split they share
    dense convolutions, with zeros between the groups. Five 3x3s as in
    NF-RegNet-B1 (batch 4 at 192 px, 2 cores, without oneDNN) took 197 ms
    forward and backward at a `DENSE_WIDTH` of 32, against 185 at 16 with twice
    the operations, 233 at 48 and 270 at 64.
    """
    if dtype == "float32" and has_onednn():
        return "onednn"
    on_cpu = device() in (("tensorflow", "cpu"), ("jax", "cpu"))
    return "split" if on_cpu else "keras"


def has_own_gradient(kernel_size, strides, padding, dilation_rate):
    """Whether both gradients run as convolutions or matrix products.

    True for stride 1, "same" padding and odd sizes on TensorFlow's CPU without
    oneDNN, where the forward kernel is faster than the gradient kernels. Over
    the shapes of NFNet-F0 (batch 4 at 192 px, 2 cores) TensorFlow's kernels
    reached 64 GFLOP/s for the input's gradient and 78 for the kernel's,
    convolutions 100 and 95. The whole training step took 0.86 of what it took
    before. With oneDNN it took 1.12 (1.36 s against 1.21); on JAX's CPU it did
    not change (1.02).
    """
    return (
        device() == ("tensorflow", "cpu")
        and not has_onednn()
        and padding == "same"
        and set(strides) == set(dilation_rate) == {1}
        and all(size % 2 == 1 for size in kernel_size)
    )


@ops.custom_gradient
def _conv_with_own_gradient(inputs, kernel):
    """A convolution of stride 1, "same" padding and an odd kernel size."""
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
            ops.transpose(_padded(inputs, kernel), (3, 1, 2, 0)),
            ops.transpose(upstream, (1, 2, 0, 3)),
            padding="valid",
        )
        return ops.transpose(summed, (1, 2, 0, 3))

    def gradient(upstream):
        turned = ops.transpose(kernel, (0, 1, 3, 2))
        if not height == width == 1:
            # One by one: Keras 3.10 knows no two axes on TensorFlow.
            turned = ops.flip(ops.flip(turned, 0), 1)
        inputs_gradient = convolve(upstream, turned, padding="same")
        return inputs_gradient, kernel_gradient(upstream)

    return convolve(inputs, kernel, padding="same"), gradient
