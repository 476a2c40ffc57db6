"""Imports TensorFlow for the input pipeline, on every Keras backend."""

import functools

import keras

from keras_nfnets.extras import require


@functools.cache
def tensorflow():
    """Returns TensorFlow, which runs the input pipeline on every Keras backend.

    With another backend, TensorFlow is kept off the GPUs, since it would
    reserve their memory.

    Raises:
        ImportError: If TensorFlow is not installed.
    """
    tf = require("tensorflow", extra="tensorflow")
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")
    return tf
