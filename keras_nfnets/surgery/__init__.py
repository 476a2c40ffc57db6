"""Rewrites other networks as normalizer-free ones."""

from keras_nfnets.surgery.normalizer_free import (
    normalizer_free as normalizer_free,
)
from keras_nfnets.surgery.report import Report as Report
from keras_nfnets.surgery.standardize import standardize as standardize

__all__ = ["Report", "normalizer_free", "standardize"]
