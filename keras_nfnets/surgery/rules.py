"""Predicts the signal behind each class of layer.

The table `RULES` maps a layer's class to its rule. A rule takes the layer,
its input tensors, their `Signal`s and its output tensor, and returns the
`Signal` behind it. Arithmetic on signals is in `signal` and `spatial`.

To support another layer, add a row to `RULES`. A layer that leaves the mean
and variance of its channels alone belongs in `_SAME`.
"""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from keras_nfnets.graph import is_sum
from keras_nfnets.layers import SkipGain, StochasticDepth, VPActivation
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery import spatial
from keras_nfnets.surgery.rewrite import STANDARDIZED
from keras_nfnets.surgery.windows import Window, windows_of


def expected(layer, inputs, before, output):
    """Returns the signal that a kept layer is expected to give.

    Args:
        layer: A `keras.Operation`.
        inputs: List of its input tensors.
        before: List of their `Signal`s.
        output: Its output tensor.

    Returns:
        A `Signal`, or `None` for a layer that is not in the table.

    Example:

    >>> relu = keras.layers.ReLU()
    >>> x = keras.Input((8, 8, 3))
    >>> round(expected(relu, [x], [signals.normal()], relu(x)).variance, 2)
    0.34
    """
    rule = RULES.get(type(layer))
    if rule is None:
        rule = _add if is_sum(layer) and len(before) > 1 else None
    return rule and rule(layer, inputs, before, output)


def convolution(layer, tensor, before):
    """Returns the signal after a weight-standardized convolution.

    Args:
        layer: A built `WSConv` layer.
        tensor: Its input tensor.
        before: `Signal` of the tensor.
    """
    windows = windows_of(layer, tensor, before, layer.kernel_size)
    axes = layer.kernel_unit_axes
    fan_in = math.prod(layer.kernel.shape[axis] for axis in axes)
    if isinstance(layer, keras.layers.Conv2DTranspose):
        # One in `prod(strides)` of the kernel's taps meets an input pixel. The
        # others meet the zeros between the pixels.
        fraction = 1 / math.prod(layer.strides)
        windows = [Window(None, 1)]
        before = signals.scaled(before, math.sqrt(fraction))
    size = math.prod(window.size for window in windows)
    return spatial.convolved(before, windows, max(fan_in // size, 1))


def _same(layer, inputs, before, output):
    return before[0]


def _add(layer, inputs, before, output):
    return signals.added(before)


def _subtract(layer, inputs, before, output):
    return signals.added(before, [1.0, -1.0])


def _average(layer, inputs, before, output):
    return signals.added(before, [1 / len(before)] * len(before))


def _multiply(layer, inputs, before, output):
    """Multiplies features by gates, or independent signals with each other."""
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
    """Returns the signal after an elementwise function of tensors.

    Args:
        function: Function of one tensor, such as `keras.activations.relu`.
        before: `Signal`.
    """
    return before.map(
        lambda x: ops.convert_to_numpy(function(ops.convert_to_tensor(x)))
    )


def _rescale(layer, inputs, before, output):
    scale, offset = np.asarray(layer.scale), np.asarray(layer.offset)
    return before[0].map(lambda x: x * scale.mean() + offset.mean())


def _normalize(layer, inputs, before, output):
    """Returns a signal of variance one behind an adapted layer.

    Statistics of exactly one are those of a layer that was not adapted.
    """
    variance = ops.convert_to_numpy(layer.variance)
    if np.all(variance == 1):
        return before[0]
    return signals.normal()


def _pad(layer, inputs, before, output):
    padding = np.reshape(layer.padding, (-1, 2)).tolist()
    return dataclasses.replace(before[0], padding=tuple(map(tuple, padding)))


def _pool_windows(layer, inputs, before):
    """Returns the windows of a pooling, none larger than the image."""
    windows = windows_of(layer, inputs[0], before[0], layer.pool_size)
    return [
        dataclasses.replace(w, size=min(w.size, w.length or w.size))
        for w in windows
    ]


def _average_pool(layer, inputs, before, output):
    return spatial.averaged(before[0], _pool_windows(layer, inputs, before))


def _max_pool(layer, inputs, before, output):
    return spatial.largest(before[0], _pool_windows(layer, inputs, before))


def _global_average(layer, inputs, before, output):
    """Averages over the whole image; an unknown side counts as one."""
    sizes = [size or 1 for size in inputs[0].shape[1:-1]]
    windows = [Window(size, size, size) for size in sizes]
    pooled = spatial.averaged(before[0], windows)
    return dataclasses.replace(pooled, pooled=True)


def _global_max(layer, inputs, before, output):
    return dataclasses.replace(before[0], pooled=True)


def _by_kernel(layer, inputs, before, output):
    """Returns the signal after a kernel that is not standardized.

    The variance grows by the sum of the squared weights of one output channel.
    """
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
