"""Defines the variance-preserving activation as a layer."""

from typing import Any

import keras

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.layers.activations import scaled


@keras.saving.register_keras_serializable("keras_nfnets")
class VPActivation(keras.layers.Layer):
    """Variance-preserving activation: `gamma * f(x) * beta`.

    For inputs from a standard normal distribution, `gamma * f(x)` has a
    variance of 1. The constant replaces what a normalization layer would do
    to the activation's output.

    Args:
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
            Defaults to `"gelu"`.
        beta: Float, multiplies the result. A block passes one over the
            standard deviation that it expects of its input. Defaults to
            `1.0`.
        use_gamma: Boolean, whether `gamma` multiplies the result. A network
            may multiply its kernels by gamma instead, see `gamma` of
            `WSConv2D`. Defaults to `True`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        Arbitrary.

    Output shape:
        Same as the input.

    Raises:
        ValueError: If `activation` is not in the table.

    Example:

    >>> layer = keras_nfnets.layers.VPActivation("gelu")
    >>> outputs = layer(keras.random.normal((10_000,)))
    >>> round(float(keras.ops.std(outputs)), 1)
    1.0

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3
    """

    def __init__(
        self,
        activation: str = "gelu",
        beta: float = 1.0,
        use_gamma: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = activation
        self.beta = beta
        self.use_gamma = use_gamma
        self._function = scaled(activation, beta, use_gamma)
        # A subclass may have a `build` of its own, which Keras has to call.
        self.built = type(self).build is keras.layers.Layer.build

    def call(self, inputs: Tensor) -> Tensor:
        """Applies the scaled function to each entry."""
        return self._function(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            activation=self.activation,
            beta=self.beta,
            use_gamma=self.use_gamma,
        )
        return config
