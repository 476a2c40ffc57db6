"""Calls Keras's image layers in a `tf.data` graph, without their state.

A Keras layer draws its random numbers from a seed that it keeps and advances.
In a pipeline of several threads the result would depend on their order.
`StatelessLayer` gives the layer `Seeds` that follow from seed and step.
"""

import inspect
from typing import Any

import keras

from keras_nfnets.annotations import Tensor


class Seeds(keras.random.SeedGenerator):
    """Draws seeds that follow from a key and from how many were drawn before.

    Keras's own generator counts in a variable, so a batch would depend on how
    many batches came before it, and on which threads.

    Args:
        key: int64 tensor `(2,)`. Seeds count on from its second number, so
            neighbouring keys share seeds.

    Example:

    >>> seeds = Seeds(tf.random.split([seed, step], 1)[0])
    >>> images = StatelessLayer(keras.layers.RandomInvert)(images, seeds)
    """

    # The inherited constructor would create the variable.
    def __init__(self, key):
        self.key = key
        self.taken = 0

    def next(self, ordered=True):
        """Returns the next seed, an int64 tensor `(2,)`.

        Args:
            ordered: Boolean, part of Keras's signature and not used. Defaults
                to `True`.
        """
        self.taken += 1
        return self.key + [0, self.taken]


class StatelessLayer:
    """Wraps a Keras image layer as a pure function of images and seeds.

    The layer's own `__call__` draws from its own seeds. This calls the two
    methods of the layer that `__call__` is made of, with the given seeds, and
    has them compute with TensorFlow on every Keras backend.

    Make it outside of the graph, since the layer creates a variable. As the
    `augment` of `train_batches` it gets the seeds of each step.

    Args:
        layer: Class, an image layer of `keras.layers`.
        **arguments: Arguments of the layer.

    Input shape:
        `(batch, height, width, channels)` of float32, with channels last
        whatever Keras is configured to.

    Example:

    >>> rotate = keras_nfnets.data.StatelessLayer(
    ...     keras.layers.RandomRotation, factor=0.1
    ... )
    >>> dataset = keras_nfnets.data.train_batches(
    ...     source, recipe, augment=rotate
    ... )
    """

    def __init__(self, layer: type, **arguments: Any) -> None:
        # Without a seed, the layer would draw one from Python's generator and
        # so change the numbers that others draw.
        if "seed" in inspect.signature(layer).parameters:
            arguments["seed"] = 0
        self.layer = layer(
            dtype="float32", data_format="channels_last", **arguments
        )
        self.layer.backend.set_backend("tensorflow")

    def draw(self, images: Tensor, seeds: Seeds) -> dict[str, Any]:
        """Returns what the layer draws for these images.

        Args:
            images: float32 tensor `(batch, height, width, channels)`.
            seeds: `Seeds`.
        """
        return self.layer.get_random_transformation(images, seed=seeds)

    def __call__(self, images: Tensor, seeds: Seeds) -> Tensor:
        return self.layer.transform_images(images, self.draw(images, seeds))
