"""Defines the base class of stem, block and head.

A network has one activation, one padding and one standardization for all of
its parts. `Composite` holds these settings, and its `_conv` and `_act` make
sublayers that follow them.
"""

from typing import Any

import keras

from keras_nfnets.layers.activation import VPActivation
from keras_nfnets.layers.activations import GAMMA
from keras_nfnets.layers.convolution import WSConv2D


class Composite(keras.layers.Layer):
    """A layer whose sublayers share its dtype policy and its settings.

    A subclass makes its sublayers with `_conv` and `_act`, and builds them in
    its `build`, which ends with `_keep_frozen`.

    Args:
        activation: String, a name in `keras_nfnets.activations.GAMMA`.
            Defaults to `"gelu"`.
        padding: String, see `WSConv2D`. Defaults to `"same"`.
        epsilon: Float, see `WSConv2D`. Defaults to `1e-4`.
        epsilon_rule: String, see `WSConv2D`. Defaults to `"floor"`.
        gamma_in_kernel: Boolean, whether the activation's gamma multiplies
            the standardized kernels instead of the activations, as in timm.
            Defaults to `False`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Raises:
        ValueError: If `activation` is not in the table, when the subclass
            makes its sublayers.
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
        """Makes a `WSConv2D` with this layer's settings.

        Args:
            filters: Integer, output channels.
            kernel_size: Integer, in pixels.
            name: String, the sublayer's part of each variable's path. Weight
                files depend on it.
            strides: Integer, in pixels. Defaults to `1`.
            groups: Integer. Defaults to `1`.
            gain: Float, every gain's initial value. Defaults to `1.0`.
        """
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
        """Makes a `VPActivation`, without gamma if the kernels have it."""
        return VPActivation(
            self.activation,
            beta,
            use_gamma=not self.gamma_in_kernel,
            dtype=self.dtype_policy,
            name=name,
        )

    def _keep_frozen(self):
        """Freezes the sublayers of a frozen layer, once they are built.

        Keras saves `trainable=False` of a layer, but makes the sublayers of one
        that it loads trainable.
        """
        if not self.trainable:
            # On TensorFlow, Keras skips an assignment that changes nothing.
            self.trainable = True
            self.trainable = False

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
