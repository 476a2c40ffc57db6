"""Defines the stem: from an image to the first stage.

`Stem` makes one convolution for each number in `filters`. The same class
serves an NFNet with its four 3x3 convolutions, and an NF-ResNet with one 7x7
convolution and a pooling.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.layers.composite import Composite
from keras_nfnets.layers.remat import remat


@keras.saving.register_keras_serializable("keras_nfnets")
class Stem(Composite):
    """The first convolutions of a network, with activations between them.

    By default there are four, which together reduce each side of an image to a
    quarter. No activation follows the last one, as a block starts with its
    own.

    Args:
        filters: Tuple of integers, output channels of each convolution.
            Defaults to `(16, 32, 64, 128)`.
        strides: Tuple of as many integers, in pixels. Defaults to
            `(2, 1, 1, 2)`.
        kernel_size: Integer, side of every kernel in pixels. Defaults to `3`.
        pool: Boolean, whether a 3x3 max pooling of stride 2 follows. Defaults
            to `False`.
        remat: Boolean, whether the backward pass recomputes the stem's
            activations by `keras.remat`, rather than keep them. Defaults to
            `False`.
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
            Defaults to `"gelu"`.
        padding: String, `"same"`, or `"symmetric"` as PyTorch pads, of the
            convolutions and the pooling. Defaults to `"same"`.
        epsilon: Float, see `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, `"floor"` or `"add"`, see `WSConv2D`. Defaults
            to `"floor"`.
        gamma_in_kernel: Boolean, whether the activation's gamma multiplies
            the standardized kernels instead of the activations. Defaults to
            `False`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, ceil(height / s), ceil(width / s), filters[-1])`, where s is
        the product of all strides, the pooling's included

    Raises:
        ValueError: If `filters` and `strides` differ in length, or
            `activation` is unknown.

    Example:

    >>> layer = keras_nfnets.layers.Stem((16, 32, 64, 128))
    >>> layer(keras.ops.ones((1, 64, 64, 3))).shape
    (1, 16, 16, 128)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4.1
    """

    def __init__(
        self,
        filters: Sequence[int] = (16, 32, 64, 128),
        strides: Sequence[int] = (2, 1, 1, 2),
        kernel_size: int = 3,
        pool: bool = False,
        remat: bool = False,
        activation: str = "gelu",
        padding: str = "same",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma_in_kernel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            activation=activation,
            padding=padding,
            epsilon=epsilon,
            epsilon_rule=epsilon_rule,
            gamma_in_kernel=gamma_in_kernel,
            **kwargs,
        )
        if len(filters) != len(strides):
            raise ValueError(
                "`filters` and `strides` must have the same length. "
                f"Received: filters={filters}, strides={strides}"
            )
        self.filters = tuple(filters)
        self.strides = tuple(strides)
        self.kernel_size = kernel_size
        self.pool = pool
        self.remat = remat
        self.convs = [
            self._conv(width, kernel_size, f"conv{i}", strides=stride)
            for i, (width, stride) in enumerate(
                zip(filters, strides, strict=True)
            )
        ]
        self.act = self._act("act")

    def build(self, input_shape: Shape) -> None:
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)
        self._keep_frozen()
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Returns the input of the first stage.

        Args:
            inputs: Tensor `(batch, height, width, channels)`, images.
        """
        convolve = remat(self.convolve, self) if self.remat else self.convolve
        return convolve(inputs)

    def convolve(self, inputs: Tensor) -> Tensor:
        """Computes the stem; `call` may rematerialize it.

        Args:
            inputs: Tensor `(batch, height, width, channels)`.
        """
        x = self.convs[0](inputs)
        for conv in self.convs[1:]:
            x = conv(self.act(x))
        return self._max_pool(x) if self.pool else x

    def _max_pool(self, x):
        """Pools 3x3 pixels with stride 2, padded as the convolutions are.

        Keras has no symmetric pooling, so minus infinity fills the border
        first: it never is the largest value of a window.
        """
        padding = self.padding
        if padding == "symmetric":
            sides = ((0, 0), (1, 1), (1, 1), (0, 0))
            x = ops.pad(x, sides, constant_values=-math.inf)
            padding = "valid"
        return ops.max_pool(x, 3, 2, padding, data_format="channels_last")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        for conv in self.convs:
            input_shape = conv.compute_output_shape(input_shape)
        if not self.pool:
            return input_shape
        batch, height, width, channels = input_shape
        height, width = (side and -(-side // 2) for side in (height, width))
        return (batch, height, width, channels)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            kernel_size=self.kernel_size,
            pool=self.pool,
            remat=self.remat,
        )
        return config
