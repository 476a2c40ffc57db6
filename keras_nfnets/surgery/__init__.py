"""Rewrites other Keras networks as normalizer-free ones.

`standardize` replaces the convolutions and keeps all else. `normalizer_free`
also removes batch normalization, by a plan of the signal's variance. Both
return an `AGCModel` and a `Report` of what became of each layer.

Behind them, `rewrite` rebuilds a model layer by layer, and `surgeon` chooses
what stands for each layer. `rules` predicts what a layer does to a signal;
`signal`, `spatial` and `windows` hold the arithmetic; `calibration` measures
variances where a prediction would not be exact enough.
"""

from keras_nfnets.surgery.normalizer_free import (
    normalizer_free as normalizer_free,
)
from keras_nfnets.surgery.report import Report as Report
from keras_nfnets.surgery.standardize import standardize as standardize

__all__ = ["Report", "normalizer_free", "standardize"]
