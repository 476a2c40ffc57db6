"""Exports models as stock Keras layers or as files that need no Keras.

`fold` returns a stock Keras model and `export` writes one in any of
`formats.FORMATS`. Each format is a module with a function `write`, which takes
a `Request`, and a function `load`, which runs the file in its runtime.
`comparison` compares what the file computes with the model before it is put in
place. `export_saved_model` writes SavedModels alone and takes more arguments.
"""

from keras_nfnets.export.description import Description as Description
from keras_nfnets.export.exporting import export as export
from keras_nfnets.export.folding import fold as fold
from keras_nfnets.export.saved_model import (
    export_saved_model as export_saved_model,
)

__all__ = [
    "Description",
    "export",
    "export_saved_model",
    "fold",
]
