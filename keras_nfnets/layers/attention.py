"""Defines the channel attention layers.

Both compute a gate in (0, 1) for each sample and channel, and multiply the
input by `scale * gate`. `NFBlock` multiplies these few numbers with its other
scalars before it touches the feature map; `scales` is there for that.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.layers.initializers import FanInNormal
from keras_nfnets.variants.rounding import eca_kernel_size


@keras.saving.register_keras_serializable("keras_nfnets")
class SqueezeExcite(keras.layers.Layer):
    """Squeeze-and-excitation: scales each channel by `scale * gate(x)`.

    The gate takes the mean over pixels, then a dense layer with ReLU, then a
    dense layer with a sigmoid. A fresh gate is near one half. The papers' code
    doubles it, which leaves the signal at its size. It uses a plain ReLU
    without gamma, whatever the network's activation.

    Args:
        ratio: Float, hidden units as a fraction of the input channels. The
            product is rounded down, to at least one unit. Defaults to `0.5`.
        hidden: Integer, number of hidden units, or `None` to compute it from
            `ratio`. Defaults to `None`.
        filters: Integer, channels of the gate, or `None` for as many as the
            input has. Defaults to `None`.
        activation: Function, or the name of one in Keras, between the dense
            layers. Defaults to `"relu"`.
        scale: Float, multiplies the gate. Defaults to `2.0`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, height, width, channels)`

    Raises:
        ValueError: If `ratio` or `hidden` is not positive.

    Example:

    >>> layer = keras_nfnets.layers.SqueezeExcite(ratio=0.25)
    >>> layer(keras.ops.ones((2, 8, 8, 16))).shape
    (2, 8, 8, 16)
    >>> layer.reduce.units
    4

    Reference: [Hu et al., 2017](https://arxiv.org/abs/1709.01507)
    """

    def __init__(
        self,
        ratio: float = 0.5,
        hidden: int | None = None,
        filters: int | None = None,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        scale: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("ratio", ratio), ("hidden", hidden)):
            if value is not None:
                check_positive(**{name: value})
        self.ratio = ratio
        self.hidden = hidden
        self.filters = filters
        self.activation = keras.activations.get(activation)
        self.scale = scale

    def build(self, input_shape: Shape) -> None:
        channels: Any = input_shape[-1]  # known by now
        hidden = self.hidden or max(1, int(channels * self.ratio))
        filters = self.filters or channels
        self.reduce = self._dense(hidden, self.activation, "reduce")
        self.expand = self._dense(filters, "sigmoid", "expand")
        self.reduce.build((input_shape[0], 1, 1, channels))
        self.expand.build((input_shape[0], 1, 1, hidden))
        self.built = True

    def _dense(self, units, activation, name):
        """Makes a dense layer with the initializer of the papers' code."""
        return keras.layers.Dense(
            units,
            activation,
            kernel_initializer=FanInNormal(),
            dtype=self.dtype_policy,
            name=name,
        )

    def gate(self, inputs: Tensor) -> Tensor:
        """Returns the gate, in (0, 1), of shape `(batch, 1, 1, filters)`.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.
        """
        mean = ops.mean(inputs, axis=(1, 2), keepdims=True)
        return self.expand(self.reduce(mean))

    def scales(self, inputs: Tensor) -> Tensor:
        """Returns `scale * gate`, the factors that `call` applies.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.
        """
        return self.gate(inputs) * self.scale

    def call(self, inputs: Tensor) -> Tensor:
        """Multiplies each channel of each sample by its factor."""
        return inputs * self.scales(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            ratio=self.ratio,
            hidden=self.hidden,
            filters=self.filters,
            activation=keras.activations.serialize(self.activation),
            scale=self.scale,
        )
        return config


@keras.saving.register_keras_serializable("keras_nfnets")
class EfficientChannelAttention(keras.layers.Layer):
    """Efficient channel attention: scales each channel by `scale * gate(x)`.

    The gate takes the mean over pixels, then a convolution along the channel
    axis without bias, then a sigmoid.

    Args:
        kernel_size: Odd integer, size of that convolution in channels.
            Defaults to `None`: about `(log2(channels) + 1) / 2`, made odd and
            at least 3.
        scale: Float, multiplies the gate. Defaults to `2.0`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, height, width, channels)`

    Raises:
        ValueError: If `kernel_size` is even or not positive.

    Example:

    >>> layer = keras_nfnets.layers.EfficientChannelAttention()
    >>> layer(keras.ops.ones((2, 8, 8, 64))).shape
    (2, 8, 8, 64)
    >>> layer.conv.kernel_size
    (3,)

    Reference: [Wang et al., 2019](https://arxiv.org/abs/1910.03151),
    Section 3.2
    """

    def __init__(
        self, kernel_size: int | None = None, scale: float = 2.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if kernel_size is not None and (
            kernel_size < 1 or kernel_size % 2 == 0
        ):
            raise ValueError(
                "`kernel_size` must be odd and positive. "
                f"Received: kernel_size={kernel_size}"
            )
        self.kernel_size = kernel_size
        self.scale = scale

    def build(self, input_shape: Shape) -> None:
        size = self.kernel_size or eca_kernel_size(input_shape[-1])
        self.conv = keras.layers.Conv1D(
            1,
            size,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            dtype=self.dtype_policy,
            name="conv",
        )
        self.conv.build((input_shape[0], input_shape[-1], 1))
        self.built = True

    def gate(self, inputs: Tensor) -> Tensor:
        """Returns the gate, in (0, 1), of shape `(batch, 1, 1, channels)`.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.
        """
        mean = ops.mean(inputs, axis=(1, 2))
        gate = ops.sigmoid(self.conv(ops.expand_dims(mean, -1)))
        return ops.reshape(gate, (-1, 1, 1, inputs.shape[-1]))

    def scales(self, inputs: Tensor) -> Tensor:
        """Returns `scale * gate`, the factors that `call` applies.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.
        """
        return self.gate(inputs) * self.scale

    def call(self, inputs: Tensor) -> Tensor:
        """Multiplies each channel of each sample by its factor."""
        return inputs * self.scales(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(kernel_size=self.kernel_size, scale=self.scale)
        return config
