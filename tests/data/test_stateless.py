"""A layer of Keras draws from given seeds inside a graph of TensorFlow."""

import keras
import numpy as np
import pytest
from small_data import photographs

from keras_nfnets.data.stateless import Seeds, StatelessLayer

tf = pytest.importorskip("tensorflow")


def test_seeds_of_a_key():
    seeds = Seeds(tf.constant([3, 4], tf.int64))
    assert [list(seeds.next().numpy()) for _ in range(2)] == [[3, 5], [3, 6]]


def test_a_layer_of_keras_in_a_graph():
    invert = StatelessLayer(keras.layers.RandomInvert, factor=(1, 1))
    images = tf.data.Dataset.from_tensors(photographs(2)).map(
        lambda x: invert(x, Seeds(tf.constant([0, 0], tf.int64)))
    )
    for result in images:
        np.testing.assert_array_equal(result, 255 - photographs(2))
