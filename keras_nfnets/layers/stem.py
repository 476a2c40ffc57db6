"""Defines the stem: from an image to the first stage."""

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
    """The first convolutions: by default four that quarter an image's sides.

    Args:
        filters: Tuple of integers, output channels of each convolution.
            Defaults to `(16, 32, 64, 128)`.
        strides: Tuple of as many integers. Defaults to `(2, 1, 1, 2)`.
        kernel_size: Integer, side of every kernel in pixels. Defaults to `3`.
        pool: Boolean, whether a 3x3 max pooling of stride 2 follows. Defaults
            to `False`.
        remat: Boolean, whether training computes the stem again for its
            gradient, as in `NFBlock`. Defaults to `False`.
        **kwargs: `activation` (which stands between the convolutions, not
            after the last), `padding`, `epsilon`, `epsilon_rule` and
            `gamma_in_kernel` as for `NFBlock`, and those of
            `keras.layers.Layer`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, ceil(height / s), ceil(width / s), filters[-1])`, where s is
        the product of all strides

    Raises:
        ValueError: If `filters` and `strides` differ in length.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
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
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        convolve = remat(self.convolve, self) if self.remat else self.convolve
        return convolve(inputs)

    def convolve(self, inputs: Tensor) -> Tensor:
        """Returns what `call` returns, however that is differentiated."""
        x = self.convs[0](inputs)
        for conv in self.convs[1:]:
            x = conv(self.act(x))
        return self._max_pool(x) if self.pool else x

    def _max_pool(self, x):
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
