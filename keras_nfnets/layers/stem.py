"""From an image to the first stage."""

import keras

from keras_nfnets.layers.composite import Composite


@keras.saving.register_keras_serializable("keras_nfnets")
class Stem(Composite):
    """Four 3x3 convolutions that take an image to a quarter of its size.

    Args:
        filters: Tuple of 4 integers, output channels of each convolution.
            Defaults to `(16, 32, 64, 128)`.
        strides: Tuple of 4 integers. Defaults to `(2, 1, 1, 2)`.
        activation: String, a name in `keras_nfnets.activations.GAMMA`; stands
            between the convolutions, not after the last. Defaults to
            `"gelu"`.
        epsilon: Float, see `WSConv2D`. Defaults to `1e-4`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, ceil(height / 4), ceil(width / 4), filters[-1])`

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
        filters=(16, 32, 64, 128),
        strides=(2, 1, 1, 2),
        activation="gelu",
        epsilon=1e-4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if len(filters) != len(strides):
            raise ValueError(
                "`filters` and `strides` must have the same length. "
                f"Received: filters={filters}, strides={strides}"
            )
        self.filters = tuple(filters)
        self.strides = tuple(strides)
        self.activation = activation
        self.epsilon = epsilon
        self.convs = [
            self._conv(width, 3, f"conv{i}", strides=stride)
            for i, (width, stride) in enumerate(
                zip(filters, strides, strict=True)
            )
        ]
        self.act = self._act("act")

    def build(self, input_shape):
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs):
        x = self.convs[0](inputs)
        for conv in self.convs[1:]:
            x = conv(self.act(x))
        return x

    def compute_output_shape(self, input_shape):
        for conv in self.convs:
            input_shape = conv.compute_output_shape(input_shape)
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            filters=self.filters,
            strides=self.strides,
            activation=self.activation,
            epsilon=self.epsilon,
        )
        return config
