"""Defines convolutions with scaled weight standardization."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.layers.convolve import conv
from keras_nfnets.layers.standardized import StandardizedConv


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv2D(StandardizedConv, keras.layers.Conv2D):
    """2D convolution with scaled weight standardization.

    Per output channel, the kernel w becomes
    `gain * (w - mean(w)) / sqrt(max(fan_in * var(w), epsilon))`, in float32
    whatever the compute dtype.

    Args:
        filters: Integer, output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides: Integer or tuple of 2 integers, in pixels. Defaults to
            `(1, 1)`.
        padding: String, `"valid"`, `"same"`, or `"symmetric"`, which pads
            `kernel_size // 2` pixels on every side whatever the stride, as
            networks from PyTorch do. Defaults to `"valid"`.
        use_gain: Boolean, whether each output channel has a learnable gain.
            Defaults to `True`.
        gain_initializer: Initializer of the gain. Defaults to `"ones"`.
        epsilon: Float, floor under `fan_in * var(w)`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` as above, or `"add"`, where the root
            is that of `fan_in * (var(w) + epsilon)`, as timm has it. Defaults
            to `"floor"`.
        gamma: Float, constant that multiplies the standardized kernel: an
            activation's, where the activation itself is not scaled. Defaults
            to `1.0`.
        kernel_initializer: Initializer of the kernel. Defaults to a normal
            distribution of variance `1 / fan_in`.
        **kwargs: Every other argument of `keras.layers.Conv2D`, with its
            default there.

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
        *,
        use_gain: bool = True,
        gain_initializer: Any = "ones",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma: float = 1.0,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides,
            # Keras knows no symmetric padding.
            "valid" if padding == "symmetric" else padding,
            use_gain=use_gain,
            gain_initializer=gain_initializer,
            epsilon=epsilon,
            epsilon_rule=epsilon_rule,
            gamma=gamma,
            kernel_initializer=kernel_initializer,
            **kwargs,
        )
        if padding == "symmetric":
            if any(size % 2 == 0 for size in self.kernel_size):
                raise ValueError(
                    "`kernel_size` must be odd with `padding='symmetric'`. "
                    f"Received: kernel_size={kernel_size}"
                )
            self.padding = padding

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
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
        # With an odd kernel as many pixels come out as with "same".
        sides = [
            size and -(-size // stride)
            for size, stride in zip(
                input_shape[1:-1], self.strides, strict=True
            )
        ]
        return (input_shape[0], *sides, self.filters)


@keras.saving.register_keras_serializable("keras_nfnets")
class WSConv1D(StandardizedConv, keras.layers.Conv1D):
    """1D convolution with scaled weight standardization, see `WSConv2D`.

    Args:
        *args: As for `keras.layers.Conv1D`.
        **kwargs: `use_gain`, `gain_initializer`, `epsilon`, `epsilon_rule` and
            `gamma` as for `WSConv2D`, and those of `keras.layers.Conv1D`.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, filters)`

    Raises:
        ValueError: As `WSConv2D` does.

    Example:

    >>> layer = keras_nfnets.layers.WSConv1D(8, 3, padding="causal")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1)

    def call(self, inputs: Tensor) -> Tensor:
        # Keras's own does not go through `convolution_op`.
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
        *args: As for `keras.layers.Conv3D`.
        **kwargs: `use_gain`, `gain_initializer`, `epsilon`, `epsilon_rule` and
            `gamma` as for `WSConv2D`, and those of `keras.layers.Conv3D`.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`

    Raises:
        ValueError: As `WSConv2D` does.

    Example:

    >>> layer = keras_nfnets.layers.WSConv3D(8, 3, padding="same")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """

    kernel_unit_axes = (0, 1, 2, 3)
