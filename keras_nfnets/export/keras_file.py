"""A `.keras` file of stock layers, which Keras alone loads."""

import keras
from keras import tree

from keras_nfnets.export import folding


def write(request):
    """Saves the folded model, with the normalization of pixels before it."""
    model = request.with_normalization(folding.fold(request.model))
    model.save(request.path)


def load(path):
    """Returns what a file computes, see `Format.load`."""
    model = keras.saving.load_model(path, compile=False)

    def run(inputs):
        inputs = inputs if len(inputs) > 1 else inputs[0]
        return tree.flatten(model.predict_on_batch(inputs))

    return run
