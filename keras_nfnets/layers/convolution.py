"""Defines the 2D convolution with scaled weight standardization.

This file follows Section 4 of
[Brock et al., 2021](https://arxiv.org/abs/2101.08692) from top to bottom.
`standardize` is the formula. `Standardized` adds the formula and the gain to a
convolution of Keras, and `StandardizedConv` adds LoRA and saving. `WSConv2D`
convolves with the result. The code that is fast on a TensorFlow CPU stands in
`tensorflow_cpu` and `convolve`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.layers import tensorflow_cpu
from keras_nfnets.layers.convolve import conv
from keras_nfnets.layers.device import on_tensorflow_cpu
from keras_nfnets.layers.initializers import FanInNormal
from keras_nfnets.layers.several_devices import on_each_device

EPSILON_RULES = ("floor", "add")


def standardize(
    kernel: Tensor,
    gain: Tensor | float,
    axes: tuple[int, ...],
    epsilon: float,
    epsilon_rule: str,
) -> Tensor:
    """Returns `gain * (w - mean(w)) / sqrt(fan_in * var(w))` of each unit.

    A unit is one output channel. Its weights then have a mean of zero and a
    sum of squares of `gain ** 2`, so the output keeps the input's variance.

    Args:
        kernel: Float32 tensor.
        gain: Float32 tensor that broadcasts against the kernel, one number
            per unit, or a float for all units.
        axes: Tuple of integers, the axes of the kernel that feed one unit.
        epsilon: Float, keeps the root from zero.
        epsilon_rule: String, `"floor"` for `max(fan_in * var(w), epsilon)`
            under the root, `"add"` for `fan_in * (var(w) + epsilon)`.

    Returns:
        A tensor shaped as the kernel.

    Example:

    >>> kernel = keras.random.normal((3, 3, 16, 8))
    >>> w = keras_nfnets.layers.convolution.standardize(
    ...     kernel, 1.0, (0, 1, 2), 1e-4, "floor"
    ... )
    >>> round(float(keras.ops.sum(w[..., 0] ** 2)), 3)
    1.0

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """
    formula = functools.partial(
        _formula, epsilon=epsilon, epsilon_rule=epsilon_rule
    )
    shape = tuple(kernel.shape)
    if axes != tuple(range(len(shape) - 1)):
        return formula(kernel, gain, axes)
    is_float32 = keras.backend.standardize_dtype(kernel.dtype) == "float32"
    if is_float32 and on_tensorflow_cpu():
        return tensorflow_cpu.standardize(
            kernel, gain, epsilon, epsilon_rule, formula
        )
    # As a matrix, the kernel's gradient has the kernel's own layout on a TPU,
    # and so have AGC's matrices. XLA may otherwise copy the kernels of grouped
    # convolutions, and their momentum, into another layout.
    matrix = ops.reshape(kernel, (math.prod(shape[:-1]), shape[-1]))
    return ops.reshape(formula(matrix, gain, (0,)), shape)


def _formula(kernel, gain, axes, epsilon, epsilon_rule):
    """Standardizes by plain operations, which every backend differentiates.

    The sum of squares of the centered weights equals `fan_in * var(w)`.
    """
    centered = kernel - ops.mean(kernel, axis=axes, keepdims=True)
    squares = ops.sum(ops.square(centered), axis=axes, keepdims=True)
    if epsilon_rule == "floor":
        squares = ops.maximum(squares, epsilon)
    else:
        fan_in = math.prod(kernel.shape[axis] for axis in axes)
        squares = squares + fan_in * epsilon
    return centered * (gain * ops.rsqrt(squares))


class Standardized:
    """A mixin that adds a gain and a standardized kernel to a convolution.

    A class lists it before the convolution of Keras among its bases. The class
    sets `kernel_unit_axes`, and convolves with the result of `_cast_kernel`.

    Args:
        *args: Positional arguments of the convolution.
        use_gain: Boolean, see `WSConv2D`. Defaults to `True`.
        gain_initializer: Initializer, see `WSConv2D`. Defaults to `"ones"`.
        epsilon: Float, see `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, see `WSConv2D`. Defaults to `"floor"`.
        gamma: Float, see `WSConv2D`. Defaults to `1.0`.
        **kwargs: Keyword arguments of the convolution.

    Raises:
        ValueError: If `epsilon` is not positive, `epsilon_rule` is unknown, or
            `data_format` is `"channels_first"`.
    """

    # The axes of the kernel that feed one unit. AGC clips by them too.
    kernel_unit_axes: tuple[int, ...]
    # The name of the argument by which the convolution takes it.
    kernel_initializer_argument = "kernel_initializer"

    def __init__(
        self,
        *args: Any,
        use_gain: bool = True,
        gain_initializer: Any = "ones",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if kwargs.get(self.kernel_initializer_argument) is None:
            kwargs[self.kernel_initializer_argument] = FanInNormal()
        super().__init__(*args, **kwargs)
        if self.data_format != "channels_last":
            raise ValueError(
                "`data_format` must be 'channels_last'. "
                f"Received: data_format={self.data_format!r}"
            )
        check_positive(epsilon=epsilon)
        if epsilon_rule not in EPSILON_RULES:
            raise ValueError(
                f"`epsilon_rule` must be one of {EPSILON_RULES}. "
                f"Received: epsilon_rule={epsilon_rule!r}"
            )
        self.use_gain = use_gain
        self.gain_initializer = keras.initializers.get(gain_initializer)
        self.epsilon = epsilon
        self.epsilon_rule = epsilon_rule
        self.gamma = gamma

    def build(self, input_shape: Shape) -> None:
        """Adds the gain `(filters,)` after the kernel and the bias."""
        super().build(input_shape)
        self.gain: keras.Variable = None
        if self.use_gain:
            self.gain = self.add_weight(
                name="gain",
                shape=(self._units(input_shape[-1]),),
                initializer=self.gain_initializer,
            )

    def _units(self, channels):
        """Returns the number of output channels for these input channels."""
        return self.filters

    def add_weight(
        self, *args: Any, name: str | None = None, **kwargs: Any
    ) -> keras.Variable:
        """Adds a weight that Keras does not cast, if it is kernel or gain.

        Standardization reads both in float32 under any dtype policy.
        """
        kwargs.setdefault("autocast", name not in ("kernel", "gain"))
        return super().add_weight(*args, name=name, **kwargs)

    def standardize(self, kernel: Tensor) -> Tensor:
        """Returns the kernel that the convolution uses, in float32.

        Args:
            kernel: Variable or tensor, `self.kernel`. With LoRA it is the sum
                of the kernel and the low-rank update.
        """
        # With LoRA, Keras passes the kernel in the compute dtype.
        kernel = ops.cast(kernel, self.variable_dtype)
        axes, scale = self.kernel_unit_axes, self.gamma
        if self.use_gain:
            scale = ops.convert_to_tensor(self.gain)
            if axes != tuple(range(len(kernel.shape) - 1)):
                # The units are not the last axis: the gain has to broadcast.
                sides = enumerate(kernel.shape)
                scale = ops.reshape(
                    scale, [1 if i in axes else n for i, n in sides]
                )
            if self.gamma != 1.0:
                scale = self.gamma * scale
        return standardize(kernel, scale, axes, self.epsilon, self.epsilon_rule)

    def _cast_kernel(self, kernel):
        """Returns the standardized kernel in the compute dtype."""
        return ops.cast(self.standardize(kernel), self.compute_dtype)

    def _with_bias(self, outputs):
        """Adds the bias and applies the activation, as Keras's `call` does."""
        if self.use_bias:
            # A vector broadcasts. Keras reshapes the bias first, which would
            # be one more operation of the graph.
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | dict(
            use_gain=self.use_gain,
            gain_initializer=keras.initializers.serialize(
                self.gain_initializer
            ),
            epsilon=self.epsilon,
            epsilon_rule=self.epsilon_rule,
            gamma=self.gamma,
        )


class StandardizedConv(Standardized):
    """Adds LoRA and saving to the mixin, for subclasses of Keras's `BaseConv`.

    `BaseConv` is the base of Keras's convolutions that are neither transposed
    nor depthwise. It alone has LoRA, and methods for saving that write the
    kernel and the bias only.
    """

    lora_rank: int | None

    def build(self, input_shape: Shape) -> None:
        """Builds the layer, and adds LoRA after the gain.

        Keras adds LoRA inside of its own `build`, and a layer with LoRA takes
        no further weight.
        """
        rank, self.lora_rank = self.lora_rank, None
        super().build(input_shape)
        if rank:
            self.enable_lora(rank, lora_alpha=self.lora_alpha)

    def call(self, inputs: Tensor) -> Tensor:
        """Convolves, adds the bias, and applies the activation."""
        return self._with_bias(self.convolution_op(inputs, self.kernel))

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolves with the standardized kernel.

        Args:
            inputs: Tensor, the layer's input.
            kernel: Tensor, not yet standardized.
        """
        convolve, kernel = super().convolution_op, self._cast_kernel(kernel)
        if self.groups == 1:
            return convolve(inputs, kernel)
        return on_each_device(convolve, inputs, kernel)

    def save_own_variables(self, store: Any) -> None:
        """Writes the gain beside the kernel and the bias."""
        super().save_own_variables(store)
        if self.built and self.use_gain:
            store["gain"] = self.gain

    def load_own_variables(self, store: Any) -> None:
        """Reads the gain beside the kernel and the bias."""
        super().load_own_variables(store)
        if self.built and self.use_gain:
            self.gain.assign(store["gain"])


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv2D(StandardizedConv, keras.layers.Conv2D):
    """2D convolution with scaled weight standardization.

    For each output channel, the kernel w becomes
    `gain * (w - mean(w)) / sqrt(max(fan_in * var(w), epsilon))`. The fan-in is
    the number of weights of one output channel. The formula is computed in
    float32 under any dtype policy.

    Args:
        filters: Integer, output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides: Integer or tuple of 2 integers, in pixels. Defaults to
            `(1, 1)`.
        padding: String, `"valid"`, `"same"`, or `"symmetric"`, which pads
            `kernel_size // 2` pixels on every side whatever the stride, as
            networks from PyTorch do. Defaults to `"valid"`.
        data_format: `"channels_last"` or `None`. Defaults to `None`.
        dilation_rate: Integer or tuple of 2 integers. Defaults to `(1, 1)`.
        groups: Integer, divides channels and filters. Defaults to `1`.
        activation: Function, or the name of one in Keras. Defaults to `None`.
        use_bias: Boolean. Defaults to `True`.
        kernel_initializer: Initializer of the kernel. Defaults to a normal
            distribution of variance `1 / fan_in`.
        bias_initializer: Initializer of the bias. Defaults to `"zeros"`.
        use_gain: Boolean, whether each output channel has a learnable gain.
            Defaults to `True`.
        gain_initializer: Initializer of the gain. Defaults to `"ones"`.
        epsilon: Float, floor under `fan_in * var(w)`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` for the formula above, or `"add"` for
            the root of `fan_in * (var(w) + epsilon)`, as in timm. Defaults to
            `"floor"`.
        gamma: Float, multiplies the standardized kernel. It is the constant of
            an activation that is not scaled itself. Defaults to `1.0`.
        kernel_regularizer: Regularizer of the kernel, before it is
            standardized. Defaults to `None`.
        bias_regularizer: Regularizer of the bias. Defaults to `None`.
        activity_regularizer: Regularizer of the output. Defaults to `None`.
        kernel_constraint: Constraint of the kernel, before it is standardized.
            Defaults to `None`.
        bias_constraint: Constraint of the bias. Defaults to `None`.
        **kwargs: `lora_rank` and `lora_alpha`, as for Keras's convolution, and
            `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`

    Raises:
        ValueError: If `epsilon` is not positive, `epsilon_rule` is unknown,
            `data_format` is `"channels_first"`, or a kernel of even size has
            `"symmetric"` padding.

    Example:

    >>> layer = keras_nfnets.layers.WSConv2D(64, 3, strides=2, padding="same")
    >>> layer(keras.ops.ones((1, 32, 32, 3))).shape
    (1, 16, 16, 64)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1, 2)

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        *,
        use_gain: bool = True,
        gain_initializer: Any = "ones",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma: float = 1.0,
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            # Keras knows no symmetric padding.
            padding="valid" if padding == "symmetric" else padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            use_gain=use_gain,
            gain_initializer=gain_initializer,
            epsilon=epsilon,
            epsilon_rule=epsilon_rule,
            gamma=gamma,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        if padding == "symmetric":
            self._pad_symmetrically()

    def _pad_symmetrically(self):
        """Sets the padding that Keras does not know."""
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(
                "`kernel_size` must be odd with `padding='symmetric'`. "
                f"Received: kernel_size={self.kernel_size}"
            )
        self.padding = "symmetric"

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolves with the standardized kernel, the fastest way known."""
        return conv(
            inputs,
            self._cast_kernel(kernel),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
        )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.padding != "symmetric":
            return super().compute_output_shape(input_shape)
        # With an odd kernel the output has the size of "same" padding.
        sides = [
            size and -(-size // stride)
            for size, stride in zip(
                input_shape[1:-1], self.strides, strict=True
            )
        ]
        return (input_shape[0], *sides, self.filters)
