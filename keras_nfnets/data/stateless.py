"""Calls Keras's image layers in a `tf.data` graph, without their state."""

import inspect
from typing import Any

import keras

from keras_nfnets.annotations import Tensor


class Seeds(keras.random.SeedGenerator):
    """Seeds that follow from a key and from how many were taken before.

    The one of Keras counts in a variable, so that a batch would depend on how
    many batches, and on which threads, came before it.

    Args:
        key: int64 tensor `(2,)`. The second number counts the seeds on: keys
            that are neighbours there share seeds.

    Example:

    >>> seeds = Seeds(tf.random.split([seed, step], 1)[0])
    >>> images = StatelessLayer(keras.layers.RandomInvert)(images, seeds)
    """

    # The inherited one makes the variable.
    def __init__(self, key):
        self.key = key
        self.taken = 0

    def next(self, ordered=True):
        """Returns the next seed, an int64 tensor `(2,)`."""
        self.taken += 1
        return self.key + [0, self.taken]


class StatelessLayer:
    """A Keras image layer as a pure function of images and seeds.

    The layer's own `__call__` draws from its own seeds. The methods it is made
    of take others, but compute on Keras's backend unless they are told that
    this is a graph of TensorFlow's.

    It is made outside of the graph, as the layer makes a variable. Images are
    float32, with channels last, whatever Keras is configured to. As the
    `augment` of `train_batches` it takes the seeds of each step.

    Args:
        layer: Class, an image layer of `keras.layers`.
        **arguments: What the layer is made with.

    Example:

    >>> rotate = StatelessLayer(keras.layers.RandomRotation, factor=0.1)
    >>> dataset = train_batches(source, recipe, augment=rotate)
    """

    def __init__(self, layer: type, **arguments: Any) -> None:
        # Without a seed it takes one of Python's random numbers.
        if "seed" in inspect.signature(layer).parameters:
            arguments["seed"] = 0
        self.layer = layer(
            dtype="float32", data_format="channels_last", **arguments
        )
        self.layer.backend.set_backend("tensorflow")

    def draw(self, images: Tensor, seeds: Seeds) -> dict[str, Any]:
        """Returns what the layer draws for these images."""
        return self.layer.get_random_transformation(images, seed=seeds)

    def __call__(self, images: Tensor, seeds: Seeds) -> Tensor:
        return self.layer.transform_images(images, self.draw(images, seeds))
