"""How a grouped convolution is run: the one choice that depends on the device.

This module knows its backend, because Keras does not: on the TensorFlow backend
`keras.ops.conv` sends every grouped convolution through an XLA-compiled
function, and XLA's gradient of it is slow on a CPU.
"""

import functools

import keras
from keras import ops

# Up to here a group is wide enough for a dense convolution of its own to be
# efficient. F variants have 1 to 8 groups, NF-RegNets over a hundred.
MAX_SPLIT_GROUPS = 16


def conv(inputs, kernel, strides, padding, dilation_rate, groups):
    """`keras.ops.conv` for `channels_last`, with groups run the fast way."""
    convolve = functools.partial(
        ops.conv,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        data_format="channels_last",
    )
    if groups == 1 or not splits_groups(groups):
        return convolve(inputs, kernel)
    parts = zip(
        ops.split(inputs, groups, axis=-1),
        ops.split(kernel, groups, axis=-1),
        strict=True,
    )
    return ops.concatenate([convolve(x, w) for x, w in parts], axis=-1)


def splits_groups(groups):
    """Whether this many groups run as as many dense convolutions.

    A prototype, on 2 CPU cores of another machine, took 3.9 s grouped and
    0.87 s split for a training step of NFNet-F0 at batch 4 and 192 px on
    TensorFlow; `benchmarks/RESULTS.md` has ours. PyTorch's own CPU kernels do
    not need it, and accelerators have grouped kernels.
    """
    return groups <= MAX_SPLIT_GROUPS and _xla_or_eigen_on_cpu()


@functools.cache
def _xla_or_eigen_on_cpu():
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return not any(
            tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU")
        )
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False
