"""Weights in files: reading, writing, fetching, and what belongs where."""

from keras_nfnets.weights.files import load as load
from keras_nfnets.weights.files import read as read
from keras_nfnets.weights.files import write as write
from keras_nfnets.weights.files import write_arrays as write_arrays
from keras_nfnets.weights.names import assign as assign
from keras_nfnets.weights.names import collect as collect
from keras_nfnets.weights.names import haiku_slots as haiku_slots
from keras_nfnets.weights.names import timm_slots as timm_slots
from keras_nfnets.weights.published import fetch as fetch

__all__ = [
    "assign",
    "collect",
    "fetch",
    "haiku_slots",
    "load",
    "read",
    "timm_slots",
    "write",
    "write_arrays",
]
