"""A model for inference, of stock Keras layers alone."""

from keras_nfnets.export.folding.graph import fold as fold
from keras_nfnets.export.folding.graph import (
    fold_for_runtime as fold_for_runtime,
)
from keras_nfnets.graph import is_functional as is_functional
