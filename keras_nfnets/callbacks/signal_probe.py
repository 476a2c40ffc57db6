"""Holds the layers of a probe: the moments of a tensor, a residual branch."""

import keras
from keras import ops


class Moments(keras.layers.Layer):
    """Returns the average squared channel mean and channel variance."""

    def __init__(self):
        super().__init__(dtype="float32")

    def call(self, inputs):
        """Returns the two numbers as a tensor of shape `(2,)`."""
        axes = tuple(range(len(inputs.shape) - 1))
        mean, variance = ops.moments(inputs, axes)
        return ops.stack([ops.mean(ops.square(mean)), ops.mean(variance)])

    # Keras takes the product of a tensor and a number for sparse, and could
    # not infer the shape from it. So too below.
    def compute_output_shape(self, input_shape):
        return (2,)


class Residual(keras.layers.Layer):
    """Returns the residual branch of a block."""

    def __init__(self, block):
        super().__init__(dtype=block.dtype_policy)
        self.block = block

    def call(self, inputs):
        """Returns the branch for the block's input, before it is scaled."""
        return self.block.residual(self.block.act_in(inputs))

    def compute_output_shape(self, input_shape):
        return self.block.compute_output_shape(input_shape)
