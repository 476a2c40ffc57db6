"""Defines the base class of stem, block and head."""

from typing import Any

import keras

from keras_nfnets.layers.activation import VPActivation
from keras_nfnets.layers.activations import GAMMA
from keras_nfnets.layers.convolution import WSConv2D


class Composite(keras.layers.Layer):
    """Makes sublayers that share this layer's dtype policy and settings.

    Args:
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
            Defaults to `"gelu"`.
        padding: String, see `WSConv2D`. Defaults to `"same"`.
        epsilon: Float, see `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, see `WSConv2D`. Defaults to `"floor"`.
        gamma_in_kernel: Boolean, whether the activation's constant multiplies
            the kernels in place of the activations. Defaults to `False`.
    """

    def __init__(
        self,
        activation: str = "gelu",
        padding: str = "same",
        epsilon: float = 1e-4,
        epsilon_rule: str = "floor",
        gamma_in_kernel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = activation
        self.padding = padding
        self.epsilon = epsilon
        self.epsilon_rule = epsilon_rule
        self.gamma_in_kernel = gamma_in_kernel

    def _conv(self, filters, kernel_size, name, strides=1, groups=1, gain=1.0):
        """Makes a convolution with this layer's settings."""
        return WSConv2D(
            filters,
            kernel_size,
            strides,
            self.padding,
            groups=groups,
            gain_initializer=keras.initializers.Constant(gain),
            epsilon=self.epsilon,
            epsilon_rule=self.epsilon_rule,
            gamma=GAMMA[self.activation] if self.gamma_in_kernel else 1.0,
            dtype=self.dtype_policy,
            name=name,
        )

    def _act(self, name, beta=1.0):
        return VPActivation(
            self.activation,
            beta,
            use_gamma=not self.gamma_in_kernel,
            dtype=self.dtype_policy,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            activation=self.activation,
            padding=self.padding,
            epsilon=self.epsilon,
            epsilon_rule=self.epsilon_rule,
            gamma_in_kernel=self.gamma_in_kernel,
        )
        return config
