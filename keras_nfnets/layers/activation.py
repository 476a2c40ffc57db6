"""Defines the variance-preserving activation as a layer."""

from typing import Any

import keras

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.layers.activations import scaled


@keras.saving.register_keras_serializable("keras_nfnets")
class VPActivation(keras.layers.Layer):
    """Variance-preserving activation: `gamma * f(x) * beta`.

    Args:
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
        beta: Float, multiplies the result; the block's `1 / sigma`. Defaults
            to `1.0`.
        use_gamma: Boolean, whether `gamma` is applied; a network may have it
            in its convolutions instead. Defaults to `True`.

    Input shape:
        Arbitrary.

    Output shape:
        Same as the input.

    Raises:
        ValueError: If `activation` is not in the table.

    Example:

    >>> layer = keras_nfnets.layers.VPActivation("gelu")

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
