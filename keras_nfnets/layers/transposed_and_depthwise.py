"""Defines transposed and depthwise convolutions with standardized weights."""

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.layers.standardized import Standardized


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv2DTranspose(Standardized, keras.layers.Conv2DTranspose):
    """Transposed 2D convolution with scaled weight standardization.

    The fan-in is the whole kernel's of one output channel, as for `WSConv2D`.
    With strides only a part of it feeds each output pixel.

    Args:
        *args: As for `keras.layers.Conv2DTranspose`.
        **kwargs: `use_gain`, `gain_initializer`, `epsilon`, `epsilon_rule` and
            `gamma` as for `WSConv2D`, and those of
            `keras.layers.Conv2DTranspose`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`

    Raises:
        ValueError: As `WSConv2D` does.

    Example:

    >>> layer = keras_nfnets.layers.WSConv2DTranspose(8, 3, strides=2)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1, 3)

    def call(self, inputs: Tensor) -> Tensor:
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
        *args: As for `keras.layers.DepthwiseConv2D`.
        **kwargs: `use_gain`, `gain_initializer`, `epsilon`, `epsilon_rule` and
            `gamma` as for `WSConv2D`, and those of
            `keras.layers.DepthwiseConv2D`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, channels * depth_multiplier)`

    Raises:
        ValueError: As `WSConv2D` does.

    Example:

    >>> layer = keras_nfnets.layers.WSDepthwiseConv2D(3, padding="same")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1)
    kernel_initializer_argument = "depthwise_initializer"

    def _units(self, channels):
        return channels * self.depth_multiplier

    def call(self, inputs: Tensor) -> Tensor:
        outputs = ops.depthwise_conv(
            inputs,
            self._cast_kernel(self.kernel),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._with_bias(outputs)
