"""Tells what each class of layer does to the variance of a signal."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from keras_nfnets.graph import is_sum
from keras_nfnets.layers import SkipGain, StochasticDepth, VPActivation
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery.rewrite import STANDARDIZED
from keras_nfnets.surgery.windows import Window, same_zeros


def expected(layer, inputs, before, output):
    """Returns the signal that a kept layer is expected to give.

    Args:
        layer: A `keras.Operation`.
        inputs: List of its input tensors.
        before: List of their signals.
        output: Its output tensor.

    Returns:
        A `Signal`, or `None` for a layer that is not in the table.
    """
    rule = RULES.get(type(layer))
    if rule is None:
        rule = _add if is_sum(layer) and len(before) > 1 else None
    return rule and rule(layer, inputs, before, output)


def convolution(layer, tensor, before):
    """Returns the signal after a weight-standardized convolution."""
    windows = _windows(layer, tensor, before, layer.kernel_size)
    axes = layer.kernel_unit_axes
    fan_in = math.prod(layer.kernel.shape[axis] for axis in axes)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        # Each output pixel gets the share of the kernel that hits an input.
        share = 1 / math.prod(layer.strides)
        windows = [Window(None, 1)]
        before = signals.scaled(before, math.sqrt(share))
    size = math.prod(window.size for window in windows)
    return signals.convolved(before, windows, max(fan_in // size, 1))


def _windows(layer, tensor, before, sizes):
    """Returns one `Window` per spatial axis of a convolution or pooling."""
    lengths = tensor.shape[1:-1]
    strides = _each(layer.strides, lengths)
    dilations = _each(getattr(layer, "dilation_rate", 1), lengths)
    rows = zip(lengths, _each(sizes, lengths), strides, dilations, strict=True)
    windows = []
    for axis, (length, size, stride, dilation) in enumerate(rows):
        zeros = before.padding[axis] if before.padding else (0, 0)
        if length is not None:
            length -= sum(zeros)
        own = _zeros(layer.padding, (length, size, stride, dilation))
        zeros = tuple(map(sum, zip(zeros, own, strict=True)))
        windows.append(Window(length, size, stride, dilation, zeros))
    return windows


def _zeros(padding, axis):
    """Returns the zeros that a layer puts before and behind an axis."""
    length, size, stride, dilation = axis
    return {
        "same": same_zeros(length, size, stride, dilation),
        "symmetric": (size // 2, size // 2),
        "causal": ((size - 1) * dilation, 0),
    }.get(padding, (0, 0))


def _each(value, axes):
    if isinstance(value, int):
        return (value,) * len(axes)
    return tuple(value)


def _same(layer, inputs, before, output):
    return before[0]


def _add(layer, inputs, before, output):
    return signals.added(before)


def _subtract(layer, inputs, before, output):
    return signals.added(before, [1.0, -1.0])


def _average(layer, inputs, before, output):
    return signals.added(before, [1 / len(before)] * len(before))


def _multiply(layer, inputs, before, output):
    gates = [s for s in before if s.gate]
    others = [s for s in before if not s.gate]
    if len(others) != 1:
        return signals.multiplied(before)
    return signals.gated(others[0], gates)


def _concatenate(layer, inputs, before, output):
    return signals.joined(before, [tensor.shape[-1] for tensor in inputs])


def _elementwise(layer, inputs, before, output):
    return before[0].map(
        lambda x: ops.convert_to_numpy(layer(ops.convert_to_tensor(x)))
    )


def activated(function, before):
    """Returns the signal after a function of Keras's."""
    return before.map(
        lambda x: ops.convert_to_numpy(function(ops.convert_to_tensor(x)))
    )


def _rescale(layer, inputs, before, output):
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    return before[0].map(lambda x: x * scale.mean() + offset.mean())


def _normalize(layer, inputs, before, output):
    """An adapted layer gives variance one, whatever the input is said to be."""
    variance = ops.convert_to_numpy(layer.variance)
    if np.all(variance == 1):
        return before[0]
    return signals.normal()


def _pad(layer, inputs, before, output):
    padding = np.reshape(layer.padding, (-1, 2)).tolist()
    return dataclasses.replace(before[0], padding=tuple(map(tuple, padding)))


def _pool_windows(layer, inputs, before):
    windows = _windows(layer, inputs[0], before[0], layer.pool_size)
    return [
        dataclasses.replace(w, size=min(w.size, w.length or w.size))
        for w in windows
    ]


def _average_pool(layer, inputs, before, output):
    return signals.averaged(before[0], _pool_windows(layer, inputs, before))


def _max_pool(layer, inputs, before, output):
    return signals.largest(before[0], _pool_windows(layer, inputs, before))


def _global_average(layer, inputs, before, output):
    sizes = [size or 1 for size in inputs[0].shape[1:-1]]
    windows = [Window(size, size, size) for size in sizes]
    pooled = signals.averaged(before[0], windows)
    return dataclasses.replace(pooled, pooled=True)


def _global_max(layer, inputs, before, output):
    return dataclasses.replace(before[0], pooled=True)


def _by_kernel(layer, inputs, before, output):
    """A kernel that is not standardized: its squares say what comes out."""
    kernel = np.asarray(ops.convert_to_numpy(layer.kernel), "float64")
    squares = float((kernel**2).sum() / kernel.shape[-1])
    out = signals.normal(
        before[0].variance * squares,
        spread=(before[0].means ** 2).mean() * squares,
        pooled=before[0].pooled,
    )
    if layer.activation is keras.activations.linear:
        return out
    if layer.activation is keras.activations.softmax:
        return out
    out = activated(layer.activation, out)
    return dataclasses.replace(out, gate=layer.activation in GATES)


def _standardized(layer, inputs, before, output):
    return convolution(layer, inputs[0], before[0])


GATES = (keras.activations.sigmoid, keras.activations.hard_sigmoid)
_SAME = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.Reshape,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    SkipGain,
    StochasticDepth,
)
RULES = dict.fromkeys(_SAME, _same) | {
    keras.layers.Activation: _elementwise,
    keras.layers.Add: _add,
    keras.layers.Average: _average,
    keras.layers.AveragePooling1D: _average_pool,
    keras.layers.AveragePooling2D: _average_pool,
    keras.layers.AveragePooling3D: _average_pool,
    keras.layers.Concatenate: _concatenate,
    keras.layers.Conv1D: _by_kernel,
    keras.layers.Conv2D: _by_kernel,
    keras.layers.Conv3D: _by_kernel,
    keras.layers.Dense: _by_kernel,
    keras.layers.ELU: _elementwise,
    keras.layers.GlobalAveragePooling1D: _global_average,
    keras.layers.GlobalAveragePooling2D: _global_average,
    keras.layers.GlobalAveragePooling3D: _global_average,
    keras.layers.GlobalMaxPooling1D: _global_max,
    keras.layers.GlobalMaxPooling2D: _global_max,
    keras.layers.GlobalMaxPooling3D: _global_max,
    keras.layers.LeakyReLU: _elementwise,
    keras.layers.MaxPooling1D: _max_pool,
    keras.layers.MaxPooling2D: _max_pool,
    keras.layers.MaxPooling3D: _max_pool,
    keras.layers.Multiply: _multiply,
    keras.layers.Normalization: _normalize,
    keras.layers.ReLU: _elementwise,
    keras.layers.Rescaling: _rescale,
    keras.layers.Subtract: _subtract,
    keras.layers.ZeroPadding1D: _pad,
    keras.layers.ZeroPadding2D: _pad,
    keras.layers.ZeroPadding3D: _pad,
    VPActivation: _elementwise,
}
RULES |= dict.fromkeys(STANDARDIZED.values(), _standardized)
