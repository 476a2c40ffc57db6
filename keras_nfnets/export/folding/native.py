"""Defines activations that a runtime computes by one operation.

They stand in models on their way to a runtime. A `.keras` file with one is
handed to a process of this package alone (`tensorflow_process`); users get no
such file.
"""

import keras


@keras.saving.register_keras_serializable("keras_nfnets")
def tanh_gelu(x):
    """GELU in its tanh form, for which Keras has no name of its own.

    Args:
        x: Tensor of any shape.

    Returns:
        `0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)))`, a tensor
        of the same shape.

    Reference: [Hendrycks and Gimpel, 2016](https://arxiv.org/abs/1606.08415)
    """
    return keras.activations.gelu(x, approximate=True)
