"""What stem, block and head share."""

import keras

from keras_nfnets.layers.activation import VPActivation
from keras_nfnets.layers.convolution import WSConv2D


class Composite(keras.layers.Layer):
    """Makes sublayers that share this layer's dtype policy."""

    def _conv(self, filters, kernel_size, name, strides=1, groups=1):
        return WSConv2D(
            filters,
            kernel_size,
            strides,
            "same",
            groups=groups,
            epsilon=self.epsilon,
            dtype=self.dtype_policy,
            name=name,
        )

    def _act(self, name, beta=1.0):
        return VPActivation(
            self.activation, beta, dtype=self.dtype_policy, name=name
        )
