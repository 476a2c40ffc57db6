"""Provides callbacks for the `fit` of any Keras model.

`AGCMonitor` and `SignalPropagation` record what happens inside the network;
`draw_agc` and `plot_signal_propagation` draw such records. `Throughput` and
`Progress` measure speed. `AveragedWeights`, `FiniteLoss` and `HideAGCDetails`
change how Keras evaluates, stops and shows its progress.

Callbacks that write a run folder are in `keras_nfnets.runs`.
"""

from keras_nfnets.callbacks.agc_monitor import AGCMonitor as AGCMonitor
from keras_nfnets.callbacks.agc_picture import draw_agc as draw_agc
from keras_nfnets.callbacks.averages import AveragedWeights as AveragedWeights
from keras_nfnets.callbacks.finite_loss import FiniteLoss as FiniteLoss
from keras_nfnets.callbacks.progress import HideAGCDetails as HideAGCDetails
from keras_nfnets.callbacks.progress import Progress as Progress
from keras_nfnets.callbacks.signal_propagation import (
    SignalPropagation as SignalPropagation,
)
from keras_nfnets.callbacks.signal_propagation import (
    plot_signal_propagation as plot_signal_propagation,
)
from keras_nfnets.callbacks.signal_propagation import (
    signal_propagation as signal_propagation,
)
from keras_nfnets.callbacks.throughput import Throughput as Throughput

__all__ = [
    "AGCMonitor",
    "AveragedWeights",
    "FiniteLoss",
    "Progress",
    "HideAGCDetails",
    "SignalPropagation",
    "plot_signal_propagation",
    "signal_propagation",
    "Throughput",
    "draw_agc",
]
