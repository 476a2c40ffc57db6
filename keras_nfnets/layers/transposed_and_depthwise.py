"""Defines transposed and depthwise convolutions with standardized weights."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.layers.convolution import Standardized


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv2DTranspose(Standardized, keras.layers.Conv2DTranspose):
    """Transposed 2D convolution with scaled weight standardization.

    The fan-in is the whole kernel's of one output channel, as for `WSConv2D`.
    With strides only a part of it feeds each output pixel.

    Args:
        filters: Integer, output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides: Integer or tuple of 2 integers, in pixels. Defaults to
            `(1, 1)`.
        padding: String, `"valid"` or `"same"`. Defaults to `"valid"`.
        output_padding: Integer, tuple of 2 integers or `None`, pixels added
            to one side of the output. Defaults to `None`, as many as
            `strides` and `padding` ask for.
        data_format: `"channels_last"` or `None`. Defaults to `None`.
        dilation_rate: Integer or tuple of 2 integers. Defaults to `(1, 1)`.
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
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`

    Raises:
        ValueError: If `epsilon` is not positive, `epsilon_rule` is unknown, or
            `data_format` is `"channels_first"`.

    Example:

    >>> layer = keras_nfnets.layers.WSConv2DTranspose(8, 3, strides=2)
    >>> layer(keras.ops.ones((1, 8, 8, 4))).shape
    (1, 17, 17, 8)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1, 3)

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str = "valid",
        output_padding: int | Sequence[int] | None = None,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
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
            output_padding=output_padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
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
        """Convolves with the standardized kernel, transposed."""
        outputs = ops.conv_transpose(
            inputs,
            self._cast_kernel(self.kernel),
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._with_bias(outputs)


@keras.saving.register_keras_serializable("keras_nfnets")
class WSDepthwiseConv2D(Standardized, keras.layers.DepthwiseConv2D):
    """Depthwise 2D convolution with scaled weight standardization.

    Args:
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides: Integer or tuple of 2 integers, in pixels. Defaults to
            `(1, 1)`.
        padding: String, `"valid"` or `"same"`. Defaults to `"valid"`.
        depth_multiplier: Integer, output channels for each input channel.
            Defaults to `1`.
        data_format: `"channels_last"` or `None`. Defaults to `None`.
        dilation_rate: Integer or tuple of 2 integers. Defaults to `(1, 1)`.
        activation: Function, or the name of one in Keras. Defaults to `None`.
        use_bias: Boolean. Defaults to `True`.
        depthwise_initializer: Initializer of the kernel. Defaults to a normal
            distribution of variance `1 / fan_in`.
        bias_initializer: Initializer of the bias. Defaults to `"zeros"`.
        use_gain: Boolean, whether each output channel has a learnable gain.
            Defaults to `True`.
        gain_initializer: Initializer of the gain. Defaults to `"ones"`.
        epsilon: Float, as in `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` or `"add"`, as in `WSConv2D`. Defaults
            to `"floor"`.
        gamma: Float, multiplies the standardized kernel. Defaults to `1.0`.
        depthwise_regularizer: Regularizer of the kernel, before it is
            standardized. Defaults to `None`.
        bias_regularizer: Regularizer of the bias. Defaults to `None`.
        activity_regularizer: Regularizer of the output. Defaults to `None`.
        depthwise_constraint: Constraint of the kernel, before it is
            standardized. Defaults to `None`.
        bias_constraint: Constraint of the bias. Defaults to `None`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, channels * depth_multiplier)`

    Raises:
        ValueError: If `epsilon` is not positive, `epsilon_rule` is unknown, or
            `data_format` is `"channels_first"`.

    Example:

    >>> layer = keras_nfnets.layers.WSDepthwiseConv2D(3, padding="same")
    >>> layer(keras.ops.ones((1, 8, 8, 4))).shape
    (1, 8, 8, 4)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1)
    kernel_initializer_argument = "depthwise_initializer"

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = None,
        bias_initializer: Any = "zeros",
        *,
        use_gain: bool = True,
        gain_initializer: Any = "ones",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma: float = 1.0,
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            use_gain=use_gain,
            gain_initializer=gain_initializer,
            epsilon=epsilon,
            epsilon_rule=epsilon_rule,
            gamma=gamma,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )

    def _units(self, channels):
        return channels * self.depth_multiplier

    def call(self, inputs: Tensor) -> Tensor:
        """Convolves each channel by itself with its standardized kernels."""
        outputs = ops.depthwise_conv(
            inputs,
            self._cast_kernel(self.kernel),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._with_bias(outputs)
