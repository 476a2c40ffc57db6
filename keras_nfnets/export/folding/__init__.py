"""Folds a model into stock Keras layers for inference.

A folded model has no layer of this library: standardized kernels, gains and
scalar factors are computed once and stored in ordinary kernels. `graph` calls
the folded layers in the place of the model's. Its rules are in `single` (layers
with one kernel or function), `attention`, and `composite` (stem, block and
head). `known` finds the layers that have no rule, and `scaled` defines what
rules pass on.
"""

from keras_nfnets.export.folding.graph import fold as fold
from keras_nfnets.export.folding.graph import (
    fold_for_runtime as fold_for_runtime,
)
from keras_nfnets.graph import is_functional as is_functional
