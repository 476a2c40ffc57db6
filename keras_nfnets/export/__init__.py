"""Exports models as stock Keras layers or as files that need no Keras."""

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
