"""Imports TensorFlow for the input pipeline, on every Keras backend."""

import functools

import keras

from keras_nfnets.extras import require


@functools.cache
def tensorflow():
    """Returns TensorFlow.

    Beside another backend it keeps off the GPUs, whose memory it would take.

    Raises:
        ImportError: If it is not installed.
    """
    tf = require("tensorflow", extra="tensorflow")
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")
    return tf
