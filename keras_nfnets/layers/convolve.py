"""Chooses how a 2D convolution is run on the device at hand.

Keras does not: on the TensorFlow backend `keras.ops.conv` sends every grouped
convolution through an XLA-compiled function, and XLA's gradient of it is slow
on a CPU.
"""

import functools

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.layers import tensorflow_cpu
from keras_nfnets.layers.device import device, has_onednn


def conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
) -> Tensor:
    """`keras.ops.conv` for `channels_last`, run the fast way.

    `padding` may be `"symmetric"` too: half the kernel on every side.
    """
    if padding == "symmetric" and set(strides) == {1}:
        padding = "same"  # the same pixels, and nothing to copy
    if padding == "symmetric":
        inputs = tensorflow_cpu.pad_half(inputs, kernel, dilation_rate)
        padding = "valid"
    native = functools.partial(
        ops.conv,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        data_format="channels_last",
    )
    dense = native
    if needs_own_gradient(kernel.shape[:2], strides, padding, dilation_rate):
        dense = tensorflow_cpu.conv_with_own_gradient
    if groups == 1:
        return dense(inputs, kernel)
    dtype = keras.backend.standardize_dtype(inputs.dtype)
    strategy = grouped_conv_strategy(dtype)
    if strategy == "onednn":
        return tensorflow_cpu.onednn_conv(
            inputs, kernel, strides, padding, dilation_rate
        )
    if strategy == "split":
        return tensorflow_cpu.split_conv(inputs, kernel, groups, dense)
    return native(inputs, kernel)


def grouped_conv_strategy(dtype: str) -> str:
    """Returns how groups run: `"native"`, `"onednn"` or `"split"`.

    Accelerators have grouped kernels. XLA is slow at them on a CPU, so they
    are split there into dense convolutions, but where TensorFlow has oneDNN.
    Its kernels know groups, in float32 on every CPU. PyTorch's are oneDNN's
    too. `benchmarks/NOTES.md` has the times of each.
    """
    if dtype == "float32" and has_onednn():
        return "onednn"
    on_cpu = device() in (("tensorflow", "cpu"), ("jax", "cpu"))
    return "split" if on_cpu else "native"


def needs_own_gradient(
    kernel_size: tuple[int, ...],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
) -> bool:
    """Whether both gradients are to run as convolutions or matrix products.

    True for stride 1, "same" padding and odd sizes on TensorFlow's CPU without
    oneDNN, where the forward kernel is faster than the gradient kernels
    (`benchmarks/NOTES.md`).
    """
    return (
        device() == ("tensorflow", "cpu")
        and not has_onednn()
        and padding == "same"
        and set(strides) == set(dilation_rate) == {1}
        and all(size % 2 == 1 for size in kernel_size)
    )
