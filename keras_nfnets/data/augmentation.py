"""Augments a training batch by MixUp, CutMix and RandAugment."""

from collections.abc import Callable

import numpy as np

from keras_nfnets.annotations import Tensor
from keras_nfnets.data import mixing, randaugment
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.recipes.recipe import Recipe


def augment_batch(
    recipe: Recipe, seed: int, host: int = 0, hosts: int = 1
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns a function that augments a batch as a recipe says.

    With `mix_partners="pairs"`, the papers' way, the first half of the images
    is mixed with the second half, and a batch of half of the images results.
    With `"batch"` the partner of an image is another of the same part of the
    batch. MixUp makes the recipe's fraction of the batch, from the first image
    on, and CutMix its fraction of what follows; what is left stays as it is.
    Every image has a ratio or a box of its own. RandAugment, see `distort`,
    sees the mixed images or, if the recipe says so, makes the images to mix.
    All of them compute bytes.

    What comes out follows from seed and step alone, bit for bit: it is the
    same on every Keras backend and in every order of steps, and a step that is
    left out costs nothing. Hosts that share a batch, every host having each
    `hosts`-th image of it, make of pairs what one alone makes.

    Args:
        recipe: `keras_nfnets.recipes.Recipe`.
        seed: Integer.
        host: Integer, which of the hosts this is. Defaults to `0`.
        hosts: Integer, how many share a batch. Defaults to `1`.

    Returns:
        A function `(step, images, soft_labels) -> (images, soft_labels)` for
        TensorFlow's graphs, such as those of `tf.data`. `step` is an int64
        scalar, `images` are `(count, height, width, channels)` of bytes, or of
        floats about [0, 255] that are cut to bytes, and `soft_labels` float32
        `(count, classes)`, the fraction of each class in an image. Both keep
        their types and static shapes, and need all but `classes`.

    Raises:
        ValueError: If pairs are to be made of an odd number of images.

    Example:

    >>> augment = augment_batch(keras_nfnets.recipes.get("nfnet_f1"), seed=0)
    >>> dataset = tf.data.Dataset.zip(tf.data.Dataset.range(steps), batches)
    >>> dataset = dataset.map(lambda step, batch: augment(step, *batch))

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4; [Zhang et al., 2017](https://arxiv.org/abs/1710.09412); [Yun et
    al., 2019](https://arxiv.org/abs/1905.04899)
    """
    tf = tensorflow()
    change = _of_arrays(recipe)

    def augment(step, images, soft_labels):
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
            randaugment.NUMBERS,
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


def augments(recipe):
    """Whether a recipe has any of MixUp, CutMix and RandAugment."""
    return bool(recipe.mixes or recipe.randaugment_layers)


def as_bytes(images):
    """Cuts values to bytes, as the papers' code does after resizing."""
    tf = tensorflow()
    if images.dtype == tf.uint8:
        return images
    return tf.cast(tf.clip_by_value(images, 0.0, 255.0), tf.uint8)


class _Draws:
    """Draws numbers for the images of a batch that one host has.

    Every host draws for all images of the batch and keeps the numbers of its
    own, so that they do not depend on the number of hosts.

    Args:
        key: int64 tensor `(2,)`: seed and step.
        repeats: Integer, neighbours in the batch that are of one image.
        host: Integer.
        hosts: Integer.
    """

    def __init__(self, key, repeats, host, hosts):
        names = "ratio area center order operations".split()
        keys = tensorflow().random.split(key, len(names))
        self.keys = {name: keys[i] for i, name in enumerate(names)}
        self.repeats, self.host, self.hosts = repeats, host, hosts

    def uniform(self, name, count, *shape):
        """Returns numbers in [0, 1), `(count, *shape)`."""
        shape = (count * self.hosts, *shape)
        return self._own(
            tensorflow().random.stateless_uniform(shape, self.keys[name])
        )

    def beta(self, name, count, alpha):
        """Returns numbers of a beta distribution, `(count,)`."""
        shape = (count * self.hosts,)
        return self._own(mixing.beta(shape, self.keys[name], alpha))

    def _own(self, numbers):
        if self.hosts == 1:
            return numbers
        count, *shape = numbers.shape
        # Copies of an image are on the host that has the image.
        numbers = tensorflow().reshape(numbers, (-1, self.repeats, *shape))
        own = numbers[self.host :: self.hosts]
        return tensorflow().reshape(own, (count // self.hosts, *shape))


def _draw_mixing(recipe, shape, draws):
    """Returns each image's partner, its own fraction, and the partner's box."""
    tf = tensorflow()
    count, height, width, _ = shape
    if recipe.mixes and recipe.mix_partners == "pairs":
        partners = mixing.partners_in_pairs(count)
        count //= 2
    else:
        partners = mixing.partners_in_batch(
            count, _parts(recipe, count), draws.keys["order"]
        )
    boxes, outside = mixing.draw_boxes(
        draws.beta("area", count, recipe.cutmix_alpha),
        draws.uniform("center", count, 2),
        height,
        width,
    )
    ratio = draws.beta("ratio", count, recipe.mixup_alpha)
    first, second = _parts(recipe, count)
    weights = [ratio[:first], outside[first:second], tf.ones(count - second)]
    return partners, tf.concat(weights, 0), boxes


def _parts(recipe, count):
    """Returns where MixUp's part of a batch ends, and where CutMix's does."""
    both = recipe.mixup_fraction + recipe.cutmix_fraction
    return round(recipe.mixup_fraction * count), round(both * count)


def _mix_labels(soft_labels, partners, weights):
    weights = weights[:, None]
    own = soft_labels[: weights.shape[0]]
    others = tensorflow().gather(soft_labels, partners)
    return own * weights + others * (1 - weights)


def _of_arrays(recipe):
    """Returns what mixes and distorts the images of a batch one by one.

    An image fits the processor's cache, a batch does not.
    """
    distort = randaugment.randaugment(
        recipe.randaugment_magnitude, recipe.randaugment_corrected
    )

    def mix(images, partners, weights, boxes):
        first, second = _parts(recipe, len(partners))
        drawn = zip(partners, weights, boxes, strict=True)
        for place, (partner, weight, box) in enumerate(drawn):
            one, other = images[place], images[partner]
            if place < first:
                yield mixing.mixup(one, other, weight)
            elif place < second:
                yield mixing.cutmix(one, other, box)
            else:
                yield one

    def augment(images, partners, weights, boxes, operations):
        def distorted(images):
            return map(distort, images, operations.tolist())

        if recipe.randaugment_after_mixing:
            changed = distorted(mix(images, partners, weights, boxes))
        else:
            images = np.stack(list(distorted(images)))
            changed = mix(images, partners, weights, boxes)
        result = np.empty((len(partners), *images.shape[1:]), "uint8")
        for place, image in enumerate(changed):
            result[place] = image
        return result

    return augment
