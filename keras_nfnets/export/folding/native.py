"""Defines functions that a runtime computes in one operation of its own.

Only files that this package hands to a process of its own name them.
"""

import keras


@keras.saving.register_keras_serializable("keras_nfnets")
def tanh_gelu(x):
    """GELU in its tanh form, which Keras has under no name of its own."""
    return keras.activations.gelu(x, approximate=True)
