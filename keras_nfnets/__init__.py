"""Normalizer-free networks for Keras 3."""

from keras_nfnets import callbacks as callbacks
from keras_nfnets import data as data
from keras_nfnets import export as export
from keras_nfnets import layers as layers
from keras_nfnets import recipes as recipes
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
from keras_nfnets.training import agc as agc
from keras_nfnets.training import distribution as distribution
from keras_nfnets.training import losses as losses
from keras_nfnets.training import optimizers as optimizers
from keras_nfnets.training import sam as sam
from keras_nfnets.training.agc import AGC as AGC
from keras_nfnets.training.model import AGCModel as AGCModel
from keras_nfnets.training.sam import SAM as SAM
from keras_nfnets.variants import complexity as complexity
from keras_nfnets.variants.plan import feature_strides as feature_strides
from keras_nfnets.variants.table import VARIANTS as VARIANTS
from keras_nfnets.variants.table import Variant as Variant
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights import haiku as haiku_files
from keras_nfnets.weights import names as weights
from keras_nfnets.weights import published as published

__version__ = "0.1.0"
