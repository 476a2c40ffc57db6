"""Chooses how a 2D convolution runs on the device at hand.

`conv` computes the same as `keras.ops.conv`. Two choices differ from Keras:

- Groups: on TensorFlow `keras.ops.conv` sends every grouped convolution through
  an XLA-compiled function, whose gradient is slow on a CPU.
  `grouped_conv_strategy` names the fast way.
- Gradients: TensorFlow's CPU kernels without oneDNN are faster forward than
  backward. `needs_own_gradient` tells whether both gradients should run as
  forward convolutions.

`tensorflow_cpu`, `split_groups` and `several_devices` hold the implementations.
"""

import functools

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.layers import split_groups, tensorflow_cpu
from keras_nfnets.layers.device import device, has_onednn
from keras_nfnets.layers.several_devices import on_each_device


def conv(
    inputs: Tensor,
    kernel: Tensor,
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
) -> Tensor:
    """Convolves as `keras.ops.conv` does, in the fastest known way.

    Args:
        inputs: Tensor `(batch, height, width, channels)`.
        kernel: Tensor `(height, width, channels // groups, filters)`.
        strides: Tuple of 2 integers, in pixels.
        padding: String, `"valid"`, `"same"`, or `"symmetric"`, which pads half
            the kernel's size on every side and needs an odd size.
        dilation_rate: Tuple of 2 integers.
        groups: Integer, divides the channels and the filters.

    Returns:
        A tensor `(batch, new_height, new_width, filters)`.

    Example:

    >>> images = keras.ops.ones((1, 8, 8, 4))
    >>> kernel = keras.ops.ones((3, 3, 4, 2))
    >>> conv(images, kernel, (2, 2), "symmetric", (1, 1), groups=1).shape
    (1, 4, 4, 2)
    """
    if padding == "symmetric" and set(strides) == {1}:
        padding = "same"  # pads the same pixels, and need not copy the input
    if padding == "symmetric":
        inputs = _pad_half(inputs, kernel, dilation_rate)
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
        return split_groups.split_conv(inputs, kernel, groups, dense)
    return on_each_device(native, inputs, kernel)


def grouped_conv_strategy(dtype: str) -> str:
    """Returns the name of the fastest way to run a grouped convolution.

    - `"native"`, by `keras.ops.conv`: on accelerators, which have kernels for
      groups, and on PyTorch, whose CPU kernels are oneDNN's. Several GPUs of
      JAX each convolve their part of the batch (`several_devices`).
    - `"onednn"`, by TensorFlow's own operation: where TensorFlow has oneDNN,
      in float32. Other dtypes have kernels for groups on some CPUs only.
    - `"split"`, as dense convolutions: on any other CPU, where XLA's grouped
      convolution is slow.

    `benchmarks/NOTES.md` has the measurements.

    Args:
        dtype: String, the compute dtype.
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
    """Returns whether the gradients are to run as forward convolutions.

    It is true on TensorFlow's CPU without oneDNN, whose forward kernel is
    faster than its gradient kernels (`benchmarks/NOTES.md`). There it is true
    for stride 1, "same" padding and odd sizes, for which
    `tensorflow_cpu.conv_with_own_gradient` is written.

    Args:
        kernel_size: Tuple of 2 integers, in pixels.
        strides: Tuple of 2 integers, in pixels.
        padding: String.
        dilation_rate: Tuple of 2 integers.
    """
    return (
        device() == ("tensorflow", "cpu")
        and not has_onednn()
        and padding == "same"
        and set(strides) == set(dilation_rate) == {1}
        and all(size % 2 == 1 for size in kernel_size)
    )


def _pad_half(inputs, kernel, dilation_rate):
    """Pads images with zeros by half the kernel's size on every side.

    A dilation widens the kernel.
    """
    sides = [
        (rate * (size // 2),) * 2
        for size, rate in zip(kernel.shape[:2], dilation_rate, strict=True)
    ]
    return ops.pad(inputs, ((0, 0), *sides, (0, 0)))
