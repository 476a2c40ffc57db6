"""Augments a training batch by MixUp, CutMix and RandAugment.

All random numbers are drawn in the TensorFlow graph, from seed and step. A
NumPy function then mixes and distorts the images one by one, with the functions
of `mixing` and `randaugment`.
"""

from collections.abc import Callable

import numpy as np

from keras_nfnets.annotations import Tensor
from keras_nfnets.data import mixing, randaugment
from keras_nfnets.data.byte_images import aligned
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.data.stateless import Seeds, StatelessLayer
from keras_nfnets.recipes.recipe import Recipe


def augment_batch(
    recipe: Recipe, seed: int, host: int = 0, hosts: int = 1
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns a function that augments a batch as a recipe says.

    With `mix_partners="pairs"`, as in the papers, the first half of the images
    is mixed with the second half, and the result has half as many images. With
    `"batch"`, an image is mixed with one that is drawn from the same part of
    the batch, and their number stays. MixUp makes the recipe's fraction of the
    batch, beginning with the first image. CutMix makes its fraction of the
    batch after that, and the other images stay as they are. Each image has a
    ratio or a box of its own.

    RandAugment, see `distort`, changes the mixed images, or the images before
    they are mixed if the recipe says so. Everything is computed in bytes.

    The result depends on seed and step alone. It is the same, bit for bit, on
    every Keras backend and in every order of steps, and skipping steps costs
    nothing. Several hosts may share a batch, so that each has every `hosts`-th
    image. In pairs they compute together what one host alone computes.

    Args:
        recipe: `keras_nfnets.recipes.Recipe`.
        seed: Integer.
        host: Integer, index of this host. Defaults to `0`.
        hosts: Integer, number of hosts that share a batch. Defaults to `1`.

    Returns:
        A function `(step, images, soft_labels) -> (images, soft_labels)` for
        TensorFlow's graphs, such as those of `tf.data`. `step` is an int64
        scalar. `images` have the shape `(count, height, width, channels)` and
        are bytes, or floats about [0, 255] that are cut to bytes. `soft_labels`
        are float32 of the shape `(count, classes)`, the fraction of each class
        in an image. Types stay the same. All sides of the shapes have to be
        known, except `classes`.

    Raises:
        ValueError: If pairs are to be made of an odd number of images.

    Example:

    >>> soft_labels = np.eye(10, dtype="float32")[y]
    >>> batches = tf.data.Dataset.from_tensor_slices((images, soft_labels))
    >>> batches = batches.batch(16, drop_remainder=True)
    >>> recipe = keras_nfnets.recipes.get("nfnet_f1")
    >>> augment = keras_nfnets.data.augment_batch(recipe, seed=0)
    >>> dataset = tf.data.Dataset.zip(tf.data.Dataset.range(4), batches)
    >>> dataset = dataset.map(lambda step, batch: augment(step, *batch))

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4; [Zhang et al., 2017](https://arxiv.org/abs/1710.09412); [Yun et
    al., 2019](https://arxiv.org/abs/1905.04899)
    """
    tf = tensorflow()
    change = _augmentation_of_arrays(recipe)

    def augment(step, images, soft_labels):
        """Draws the random numbers, and mixes labels and images by them."""
        if not augments(recipe):
            return images, soft_labels
        kind, (count, *shape) = images.dtype, images.shape
        key = tf.stack([tf.cast(seed, tf.int64), step])
        draws = _Draws(key, recipe.repeats, host, hosts)
        partners, weights, boxes = _draw_mixing(recipe, images.shape, draws)
        soft_labels = _mix_labels(soft_labels, partners, weights)
        mixed = soft_labels.shape[0]
        after = recipe.randaugment_after_mixing
        operations = draws.uniform(
            "operations",
            mixed if after else count,
            recipe.randaugment_layers,
            randaugment.NUMBERS_PER_DRAW,
        )
        images = tf.numpy_function(
            change,
            [as_bytes(images), partners, weights, boxes, operations],
            tf.uint8,
            stateful=False,
        )
        images = tf.ensure_shape(images, (mixed, *shape))
        return tf.cast(images, kind), soft_labels

    return augment


def custom_augmentation(seed, augment):
    """Returns a user's augmentation as a function like `augment_batch`'s.

    Args:
        seed: Integer.
        augment: Function or layer that takes a batch of float32 images in
            [0, 255] and returns one, or a `StatelessLayer`.

    Returns:
        A function `(step, images, soft_labels) -> (images, soft_labels)`.
    """
    tf = tensorflow()

    def change(step, images, soft_labels):
        """Augments the images, and leaves the labels alone."""
        # Bicubic resizing overshoots.
        images = tf.clip_by_value(images, 0.0, 255.0)
        if not isinstance(augment, StatelessLayer):
            return augment(images), soft_labels
        # Each step has a key of its own. The key cannot be (seed, step): seeds
        # count on from it, so the next step would share some.
        key = tf.random.split(tf.stack([tf.cast(seed, tf.int64), step]), 1)[0]
        return augment(images, Seeds(key)), soft_labels

    return change


def augments(recipe):
    """Tells whether a recipe has any of MixUp, CutMix and RandAugment."""
    return bool(recipe.mixes or recipe.randaugment_layers)


def as_bytes(images):
    """Cuts images to bytes, as the papers' code does after resizing.

    Args:
        images: Tensor of any number type. Values outside [0, 255] are clipped,
            and fractions dropped.
    """
    tf = tensorflow()
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.clip_by_value(images, 0.0, 255.0), tf.uint8)


class _Draws:
    """Draws the random numbers for the images of a batch that one host has.

    Every host draws for all images of the batch and keeps the numbers of its
    own images. So the numbers do not depend on how many hosts there are.

    Args:
        key: int64 tensor `(2,)`: seed and step.
        repeats: Integer, how many neighbours in the batch are copies of one
            image.
        host: Integer, index of this host.
        hosts: Integer, number of hosts.
    """

    def __init__(self, key, repeats, host, hosts):
        names = "ratio area center order operations".split()
        keys = tensorflow().random.split(key, len(names))
        self.keys = {name: keys[i] for i, name in enumerate(names)}
        self.repeats, self.host, self.hosts = repeats, host, hosts

    def uniform(self, name, count, *shape):
        """Returns numbers in [0, 1) of the shape `(count, *shape)`."""
        shape = (count * self.hosts, *shape)
        return self._of_this_host(
            tensorflow().random.stateless_uniform(shape, self.keys[name])
        )

    def beta(self, name, count, alpha):
        """Returns numbers of a beta distribution, of the shape `(count,)`."""
        shape = (count * self.hosts,)
        return self._of_this_host(mixing.beta(shape, self.keys[name], alpha))

    def _of_this_host(self, numbers):
        """Returns the numbers for the images of this host."""
        if self.hosts == 1:
            return numbers
        count, *shape = numbers.shape
        # All copies of an image are on the host that reads the image.
        numbers = tensorflow().reshape(numbers, (-1, self.repeats, *shape))
        own = numbers[self.host :: self.hosts]
        return tensorflow().reshape(own, (count // self.hosts, *shape))


def _draw_mixing(recipe, shape, draws):
    """Draws how the images of a batch are mixed.

    Returns:
        A tuple of three tensors, one entry per resulting image: the index of
        its partner, its own fraction in the label, and CutMix's box.
    """
    tf = tensorflow()
    count, height, width, _ = shape
    if recipe.mixes and recipe.mix_partners == "pairs":
        partners = mixing.partners_in_pairs(count)
        count //= 2
    else:
        partners = mixing.partners_in_batch(
            count, _mixing_bounds(recipe, count), draws.keys["order"]
        )
    boxes, outside = mixing.draw_boxes(
        draws.beta("area", count, recipe.cutmix_alpha),
        draws.uniform("center", count, 2),
        height,
        width,
    )
    ratio = draws.beta("ratio", count, recipe.mixup_alpha)
    first, second = _mixing_bounds(recipe, count)
    weights = [ratio[:first], outside[first:second], tf.ones(count - second)]
    return partners, tf.concat(weights, 0), boxes


def _mixing_bounds(recipe, count):
    """Returns the index where MixUp's part of a batch ends, and CutMix's."""
    both = recipe.mixup_fraction + recipe.cutmix_fraction
    return round(recipe.mixup_fraction * count), round(both * count)


def _mix_labels(soft_labels, partners, weights):
    """Blends soft labels with those of the partners."""
    weights = weights[:, None]
    own = soft_labels[: weights.shape[0]]
    others = tensorflow().gather(soft_labels, partners)
    return own * weights + others * (1 - weights)


def _augmentation_of_arrays(recipe):
    """Returns a NumPy function that mixes and distorts a batch.

    It works image by image, because an image fits the processor's cache and a
    batch does not.
    """
    distort = randaugment.randaugment(
        recipe.randaugment_magnitude, recipe.randaugment_corrected
    )

    def mix(images, partners, weights, boxes):
        """Yields the mixed images, one after the other."""
        first, second = _mixing_bounds(recipe, len(partners))
        drawn = zip(partners, weights, boxes, strict=True)
        for index, (partner, weight, box) in enumerate(drawn):
            one, other = images[index], images[partner]
            if index < first:
                yield mixing.mixup(one, other, weight)
            elif index < second:
                yield mixing.cutmix(one, other, box)
            else:
                yield one

    def augment(images, partners, weights, boxes, operations):
        """Mixes and distorts the images in the order of the recipe."""

        def distorted(images):
            return map(distort, images, operations.tolist())

        if recipe.randaugment_after_mixing:
            changed = distorted(mix(images, partners, weights, boxes))
        else:
            images = np.stack(list(distorted(images)))
            changed = mix(images, partners, weights, boxes)
        result = aligned((len(partners), *images.shape[1:]), "uint8")
        for index, image in enumerate(changed):
            result[index] = image
        return result

    return augment
