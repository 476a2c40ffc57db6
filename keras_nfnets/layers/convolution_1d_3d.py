"""Defines the 1D and 3D convolutions with scaled weight standardization."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.layers.convolution import StandardizedConv


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv1D(StandardizedConv, keras.layers.Conv1D):
    """1D convolution with scaled weight standardization, see `WSConv2D`.

    Args:
        filters: Integer, output channels.
        kernel_size: Integer, in steps.
        strides: Integer, in steps. Defaults to `1`.
        padding: String, `"valid"`, `"same"` or `"causal"`. Defaults to
            `"valid"`.
        data_format: `"channels_last"` or `None`. Defaults to `None`.
        dilation_rate: Integer. Defaults to `1`.
        groups: Integer, divides channels and filters. Defaults to `1`.
        activation: Function, or the name of one in Keras. Defaults to `None`.
        use_bias: Boolean. Defaults to `True`.
        kernel_initializer: Initializer of the kernel. Defaults to a normal
            distribution of variance `1 / fan_in`.
        bias_initializer: Initializer of the bias. Defaults to `"zeros"`.
        use_gain: Boolean, whether each output channel has a learnable gain.
            Defaults to `True`.
        gain_initializer: Initializer of the gain. Defaults to `"ones"`.
        epsilon: Float, as in `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` or `"add"`, as in `WSConv2D`. Defaults
            to `"floor"`.
        gamma: Float, multiplies the standardized kernel. Defaults to `1.0`.
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
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, filters)`

    Raises:
        ValueError: If `epsilon` is not positive, `epsilon_rule` is unknown, or
            `data_format` is `"channels_first"`.

    Example:

    >>> layer = keras_nfnets.layers.WSConv1D(8, 3, padding="causal")
    >>> layer(keras.ops.ones((1, 32, 4))).shape
    (1, 32, 8)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1)

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
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
            padding=padding,
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

    def call(self, inputs: Tensor) -> Tensor:
        """Convolves with the standardized kernel; pads first if causal.

        Keras's `call` does not use `convolution_op` in one dimension.
        """
        padding = self.padding
        if padding == "causal":
            inputs = ops.pad(inputs, self._compute_causal_padding())
            padding = "valid"
        outputs = ops.conv(
            inputs,
            self._cast_kernel(self.kernel),
            strides=list(self.strides),
            padding=padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._with_bias(outputs)


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv3D(StandardizedConv, keras.layers.Conv3D):
    """3D convolution with scaled weight standardization, see `WSConv2D`.

    Args:
        filters: Integer, output channels.
        kernel_size: Integer or tuple of 3 integers, in voxels.
        strides: Integer or tuple of 3 integers, in voxels. Defaults to
            `(1, 1, 1)`.
        padding: String, `"valid"` or `"same"`. Defaults to `"valid"`.
        data_format: `"channels_last"` or `None`. Defaults to `None`.
        dilation_rate: Integer or tuple of 3 integers. Defaults to `(1, 1, 1)`.
        groups: Integer, divides channels and filters. Defaults to `1`.
        activation: Function, or the name of one in Keras. Defaults to `None`.
        use_bias: Boolean. Defaults to `True`.
        kernel_initializer: Initializer of the kernel. Defaults to a normal
            distribution of variance `1 / fan_in`.
        bias_initializer: Initializer of the bias. Defaults to `"zeros"`.
        use_gain: Boolean, whether each output channel has a learnable gain.
            Defaults to `True`.
        gain_initializer: Initializer of the gain. Defaults to `"ones"`.
        epsilon: Float, as in `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` or `"add"`, as in `WSConv2D`. Defaults
            to `"floor"`.
        gamma: Float, multiplies the standardized kernel. Defaults to `1.0`.
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
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`

    Raises:
        ValueError: If `epsilon` is not positive, `epsilon_rule` is unknown, or
            `data_format` is `"channels_first"`.

    Example:

    >>> layer = keras_nfnets.layers.WSConv3D(8, 3, padding="same")
    >>> layer(keras.ops.ones((1, 6, 6, 6, 4))).shape
    (1, 6, 6, 6, 8)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1, 2, 3)

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1, 1),
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
            padding=padding,
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
