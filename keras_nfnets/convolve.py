"""How a convolution is run: the choices that depend on the device.

This module knows its backend, because Keras does not: on the TensorFlow backend
`keras.ops.conv` sends every grouped convolution through an XLA-compiled
function, and XLA's gradient of it is slow on a CPU. TensorFlow's own gradient
kernels are slow there as well.
"""

import contextlib
import functools

import keras
import numpy as np
from keras import ops

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
    if groups > 1 and not splits_groups():
        return plain(inputs, kernel)
    dense = plain
    if has_own_gradient(kernel.shape[:2], strides, padding, dilation_rate):
        dense = _conv_with_own_gradient
    if groups == 1:
        return dense(inputs, kernel)
    parts = _dense_parts(inputs, kernel, groups)
    return ops.concatenate([dense(x, w) for x, w in parts], axis=-1)


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


def splits_groups():
    """Whether groups run as dense convolutions, each of one or more groups.

    XLA, through which Keras runs groups on TensorFlow too, is slow at them on
    a CPU. A prototype, on 2 cores of another machine, took 3.9 s grouped and
    0.87 s split for a training step of NFNet-F0 (1 to 6 groups of 128) at
    batch 4 and 192 px; `benchmarks/RESULTS.md` has ours. PyTorch's own CPU
    kernels do not need it, and accelerators have grouped kernels.

    NF-RegNets have over a hundred groups of 8, for which TensorFlow has no
    gradient but XLA's. They share dense convolutions, with zeros between the
    groups. Five 3x3s as in NF-RegNet-B1 (batch 4 at 192 px, 2 cores) took 197
    ms forward and backward at a `DENSE_WIDTH` of 32, against 185 at 16 with
    twice the operations, 233 at 48 and 270 at 64.
    """
    return _device() in (("tensorflow", "cpu"), ("jax", "cpu"))


def has_own_gradient(kernel_size, strides, padding, dilation_rate):
    """Whether both gradients run as convolutions or matrix products.

    True for stride 1, "same" padding and odd sizes on TensorFlow's CPU, where
    the forward kernel is faster than the gradient kernels. Over the shapes of
    NFNet-F0 (batch 4 at 192 px, 2 cores) TensorFlow's kernels reached 64
    GFLOP/s for the input's gradient and 78 for the kernel's, convolutions 100
    and 95. The whole training step took 0.86 of what it took before. On JAX's
    CPU the step did not change (1.02).
    """
    return (
        _device() == ("tensorflow", "cpu")
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
        turned = kernel if height == width == 1 else ops.flip(kernel, (0, 1))
        turned = ops.transpose(turned, (0, 1, 3, 2))
        inputs_gradient = convolve(upstream, turned, padding="same")
        return inputs_gradient, kernel_gradient(upstream)

    return convolve(inputs, kernel, padding="same"), gradient


# The kind of device to trace for, where it is not one of this machine's.
_target = None


@contextlib.contextmanager
def tracing_for(kind):
    """While open, convolutions are traced as this kind of device runs them.

    For programs that are compiled here and run elsewhere.

    Args:
        kind: String, such as `"tpu"`.
    """
    global _target
    previous, _target = _target, kind
    try:
        yield
    finally:
        _target = previous


def _device():
    """Returns the backend and the kind of device that it computes on."""
    backend = keras.backend.backend()
    return backend, _target or _device_here(backend)


@functools.cache
def _device_here(backend):
    if backend == "tensorflow":
        import tensorflow as tf

        kinds = {d.device_type for d in tf.config.list_logical_devices()}
        return (kinds & {"GPU", "TPU"} or {"CPU"}).pop().lower()
    if backend == "jax":
        import jax

        return jax.default_backend()
    return "unknown"
