"""Reads labelled images and makes batches of them, for training and testing.

A `Source` is a data set of any kind; `open_source` opens one by name, and
`digits`, `folder`, `from_arrays`, `tfds` and `tfrecord` open one kind each.
`train_batches` and `test_batches` make batches of a source as a recipe says.
`augment_batch` and `distort` are the recipe's augmentation by itself.

The pipeline is TensorFlow's `tf.data` on every backend of Keras.
"""

from keras_nfnets.data.arrays import Dataset as Dataset
from keras_nfnets.data.arrays import digits as digits
from keras_nfnets.data.arrays import from_arrays as from_arrays
from keras_nfnets.data.augmentation import augment_batch as augment_batch
from keras_nfnets.data.crop import Crop as Crop
from keras_nfnets.data.distortion import distort as distort
from keras_nfnets.data.folder import folder as folder
from keras_nfnets.data.grid import draw_grid as draw_grid
from keras_nfnets.data.images import normalize as normalize
from keras_nfnets.data.images import read_image as read_image
from keras_nfnets.data.open_source import open_source as open_source
from keras_nfnets.data.pipeline import test_batches as test_batches
from keras_nfnets.data.pipeline import train_batches as train_batches
from keras_nfnets.data.records import tfrecord as tfrecord
from keras_nfnets.data.records import write_records as write_records
from keras_nfnets.data.shards import whole_shards as whole_shards
from keras_nfnets.data.sources import Source as Source
from keras_nfnets.data.stateless import StatelessLayer as StatelessLayer
from keras_nfnets.data.tfds import tfds as tfds
from keras_nfnets.data.unreadable import SkippedImages as SkippedImages

__all__ = [
    "Crop",
    "Dataset",
    "SkippedImages",
    "Source",
    "StatelessLayer",
    "augment_batch",
    "digits",
    "distort",
    "draw_grid",
    "folder",
    "from_arrays",
    "normalize",
    "open_source",
    "read_image",
    "test_batches",
    "tfds",
    "tfrecord",
    "train_batches",
    "whole_shards",
    "write_records",
]
