"""Keras's image layers in a `tf.data` graph, without a state of their own."""

import inspect

import keras


class Seeds(keras.random.SeedGenerator):
    """Seeds that follow from a key and from how many were taken before.

    The one of Keras counts in a variable, so that a batch would depend on how
    many batches, and on which threads, came before it.

    Args:
        key: int64 tensor `(2,)`. The second number counts the seeds on: keys
            that are neighbours there share seeds.

    Example:

    >>> seeds = Seeds(tf.random.split([seed, step], 1)[0])
    >>> images = InGraph(keras.layers.RandomInvert)(images, seeds)
    """

    # The inherited one makes the variable.
    def __init__(self, key):
        self.key = key
        self.taken = 0

    def next(self, ordered=True):
        """Returns the next seed, an int64 tensor `(2,)`."""
        self.taken += 1
        return self.key + [0, self.taken]


class InGraph:
    """A Keras image layer as a pure function of images and seeds.

    The layer's own `__call__` draws from its own seeds. The methods it is made
    of take others, but compute on Keras's backend unless they are told that
    this is a graph of TensorFlow's.

    It is made outside of the graph, as the layer makes a variable. Images are
    float32, with channels last, whatever Keras is configured to.

    Args:
        layer: Class, an image layer of `keras.layers`.
        **arguments: What the layer is made with.

    Example:

    >>> rotate = InGraph(keras.layers.RandomRotation, factor=0.1)
    >>> dataset.map(lambda key, images: rotate(images, Seeds(key)))
    """

    def __init__(self, layer, **arguments):
        # Without a seed it takes one of Python's random numbers.
        if "seed" in inspect.signature(layer).parameters:
            arguments["seed"] = 0
        self.layer = layer(
            dtype="float32", data_format="channels_last", **arguments
        )
        self.layer.backend.set_backend("tensorflow")

    def draw(self, images, seeds):
        """Returns what the layer draws for these images, a dictionary."""
        return self.layer.get_random_transformation(images, seed=seeds)

    def __call__(self, images, seeds):
        return self.layer.transform_images(images, self.draw(images, seeds))
