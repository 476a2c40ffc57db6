"""Evaluates and keeps a model with the averages of its weights."""

import keras


class AveragedWeights(keras.callbacks.SwapEMAWeights):
    """Evaluates and saves a model with the moving averages of its weights.

    The optimizer has to keep them (`use_ema=True`).
    `keras.callbacks.SwapEMAWeights` does the same, but on TensorFlow it swaps
    by adding and subtracting. That rounds, so training would go on with
    slightly other weights. This callback swaps exactly.

    It is also a context for other callbacks: inside, the model has the
    averages, for example while it is saved.

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
