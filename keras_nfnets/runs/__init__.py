"""Trains networks by settings, in folders that can be resumed.

`Settings` are all numbers of a run as data, and `from_options` makes them from
a recipe. `train` does the run and fills its folder, a `Run`: the best model,
`Checkpoints`, a history and curves. `Checkpoint`, `History`, `ResumedMetrics`
and `Signals` are the callbacks that write the folder. `Classifier` names images
with the result.
"""

from keras_nfnets.runs.callbacks import Checkpoint as Checkpoint
from keras_nfnets.runs.callbacks import History as History
from keras_nfnets.runs.callbacks import ResumedMetrics as ResumedMetrics
from keras_nfnets.runs.callbacks import Signals as Signals
from keras_nfnets.runs.checkpoints import Checkpoints as Checkpoints
from keras_nfnets.runs.checkpoints import Terminated as Terminated
from keras_nfnets.runs.classifier import Classifier as Classifier
from keras_nfnets.runs.folder import Run as Run
from keras_nfnets.runs.runner import train as train
from keras_nfnets.runs.settings import Settings as Settings
from keras_nfnets.runs.settings import from_options as from_options

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "Classifier",
    "History",
    "ResumedMetrics",
    "Run",
    "Settings",
    "Signals",
    "Terminated",
    "from_options",
    "train",
]
