"""Callbacks for any `fit`; `keras_nfnets.runs` has those of a run."""

from keras_nfnets.callbacks.averages import AveragedWeights as AveragedWeights
from keras_nfnets.callbacks.finite_loss import FiniteLoss as FiniteLoss
from keras_nfnets.callbacks.progress import Progress as Progress
from keras_nfnets.callbacks.progress import ShortBar as ShortBar

__all__ = [
    "AveragedWeights",
    "FiniteLoss",
    "Progress",
    "ShortBar",
]
