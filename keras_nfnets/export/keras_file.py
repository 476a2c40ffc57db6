"""Defines the format of `.keras` files of stock layers.

Keras alone loads such a file, with any backend.
"""

import keras
from keras import tree

from keras_nfnets.export import folding


def write(request):
    """Saves the folded model with the normalization of pixels before it.

    Args:
        request: `Request` of the precision `"float32"`.

    Raises:
        ValueError: If the model has layers that cannot be folded.
    """
    model = request.with_normalization(folding.fold(request.model))
    model.save(request.path)


def load(path):
    """Loads a file in Keras, see `Format.load`.

    Args:
        path: Path of a `.keras` file.

    Returns:
        A function from a list of arrays to a list of arrays.
    """
    model = keras.saving.load_model(path, compile=False)

    def run(inputs):
        packed = tree.pack_sequence_as(model.input, inputs)
        return tree.flatten(model.predict_on_batch(packed))

    return run
