"""Our networks with batch normalization in place of standardized weights."""

import contextlib

import keras

import keras_nfnets
from keras_nfnets.layers import composite


class BatchNormConv2D(keras_nfnets.layers.WSConv2D):
    """Runs as `WSConv2D` does, but normalizes what comes out."""

    def __init__(self, *args, gain_initializer, **kwargs):
        super().__init__(*args, use_gain=False, use_bias=False, **kwargs)
        self.normalization = keras.layers.BatchNormalization(
            gamma_initializer=gain_initializer, dtype=self.dtype_policy
        )

    def build(self, input_shape):
        super().build(input_shape)
        self.normalization.build(self.compute_output_shape(input_shape))

    def standardize(self, kernel):
        return keras.ops.convert_to_tensor(kernel)

    def call(self, inputs, training=None):
        return self.normalization(super().call(inputs), training=training)


@contextlib.contextmanager
def in_place():
    """While open, networks are built with `BatchNormConv2D`."""
    before = composite.WSConv2D
    # Where stem, blocks and head take their convolutions from.
    composite.WSConv2D = BatchNormConv2D
    try:
        yield
    finally:
        composite.WSConv2D = before
