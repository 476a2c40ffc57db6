"""Evaluates and keeps a model with the averages of its weights."""

import keras


class AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Has a model evaluated with the averages of its weights.

    Keras's own does the same. On TensorFlow it swaps by adding and
    subtracting, which rounds: the weights that training goes on with are not
    the ones it left. This one is exact. As a context it swaps for something
    else than an evaluation.

    Example:

    >>> averages = keras_nfnets.callbacks.AveragedWeights()
    >>> model.fit(x, y, validation_data=(x, y), callbacks=[averages])
    """

    def __init__(self) -> None:
        super().__init__()

    def __enter__(self) -> None:
        self.on_test_begin()

    def __exit__(self, *_: object) -> None:
        self.on_test_end()

    def _tf_swap_variables(self, optimizer):
        self._backend_swap_variables(optimizer)
