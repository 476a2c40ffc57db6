"""Gathers the public names of the package.

`keras_nfnets` imports this module when a public name is first asked for, and
takes over what `__all__` lists. A new public name is imported here, listed in
`__all__` and in `tests/test_package.py`, and gets its line in
`docs/PUBLIC_NAMES.md` by `python tools/public_names.py`.
"""

import keras_nfnets.callbacks as callbacks
import keras_nfnets.data as data
import keras_nfnets.export as export
import keras_nfnets.layers as layers
import keras_nfnets.recipes as recipes
import keras_nfnets.registered  # noqa: F401 (checks private names first)
import keras_nfnets.runs as runs
import keras_nfnets.surgery as surgery
import keras_nfnets.weights as weights
from keras_nfnets.callbacks import progress as monitors
from keras_nfnets.layers import activations as activations
from keras_nfnets.layers import initializers as initializers
from keras_nfnets.models import imagenet as imagenet
from keras_nfnets.models.imagenet import (
    decode_predictions as decode_predictions,
)
from keras_nfnets.models.imagenet import evaluation_crop as evaluation_crop
from keras_nfnets.models.imagenet import preprocess_input as preprocess_input
from keras_nfnets.models.nfnet import NFNet as NFNet
from keras_nfnets.models.preset_model import PresetModel as PresetModel
from keras_nfnets.models.presets import from_preset as from_preset
from keras_nfnets.runs.classifier import Classifier as Classifier
from keras_nfnets.training import agc as agc
from keras_nfnets.training import distribution as distribution
from keras_nfnets.training import losses as losses
from keras_nfnets.training import optimizers as optimizers
from keras_nfnets.training import sam as sam
from keras_nfnets.training.agc import AGC as AGC
from keras_nfnets.training.model import AGCModel as AGCModel
from keras_nfnets.training.sam import SAM as SAM
from keras_nfnets.variants import complexity as complexity
from keras_nfnets.variants.listing import list_models as list_models
from keras_nfnets.variants.plan import feature_strides as feature_strides
from keras_nfnets.variants.table import VARIANTS as VARIANTS
from keras_nfnets.variants.table import Variant as Variant
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights import published as published

__all__ = [
    "AGC",
    "AGCModel",
    "Classifier",
    "NFNet",
    "PresetModel",
    "SAM",
    "VARIANTS",
    "Variant",
    "activations",
    "agc",
    "callbacks",
    "complexity",
    "data",
    "decode_predictions",
    "distribution",
    "evaluation_crop",
    "export",
    "feature_strides",
    "from_preset",
    "haiku_files",
    "imagenet",
    "initializers",
    "layers",
    "list_models",
    "losses",
    "monitors",
    "optimizers",
    "preprocess_input",
    "published",
    "recipes",
    "runs",
    "sam",
    "surgery",
    "weight_files",
    "weights",
]
