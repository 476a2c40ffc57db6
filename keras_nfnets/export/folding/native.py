"""Functions that a runtime computes in one operation of its own."""

import keras


@keras.saving.register_keras_serializable("keras_nfnets")
def tanh_gelu(x):
    """GELU in its tanh form, which Keras has under no name of its own."""
    return keras.activations.gelu(x, approximate=True)
