"""What is done to a training batch: MixUp, CutMix and RandAugment."""

from collections.abc import Callable

import keras

from keras_nfnets.annotations import Tensor
from keras_nfnets.data.in_graph import InGraph, Seeds
from keras_nfnets.data.randaugment import randaugment
from keras_nfnets.recipes.recipe import Recipe


def augment_batch(
    recipe: Recipe, seed: int
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns a function that augments a batch as a recipe says.

    MixUp makes the recipe's share of the batch, from the first image on, and
    CutMix its share of what follows; what is left stays as it is. Partners
    come from the same part of the batch. RandAugment, see `randaugment`, sees
    the mixed images or, if the recipe says so, makes the images to mix.

    What comes out follows from seed and step alone, bit for bit: it is the
    same on every Keras backend and in every order of steps, and a step that is
    left out costs nothing.

    Args:
        recipe: `keras_nfnets.recipes.Recipe`.
        seed: Integer.

    Returns:
        A function `(step, images, rows) -> (images, rows)` for TensorFlow's
        graphs, such as those of `tf.data`. `step` is an int64 scalar, `images`
        are float32 `(count, height, width, channels)` in [0, 255], and `rows`
        float32 `(count, classes)`, the classes' shares in each image. Both
        keep their static shapes, and need all but `classes`.

    Raises:
        ValueError: If the recipe's `cutmix_alpha` is above 1.

    Example:

    >>> augment = augment_batch(keras_nfnets.recipes.get("nfnet_f1"), seed=0)
    >>> dataset = tf.data.Dataset.zip(tf.data.Dataset.range(steps), batches)
    >>> dataset = dataset.map(lambda step, batch: augment(step, *batch))

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4; [Zhang et al., 2017](https://arxiv.org/abs/1710.09412); [Yun et
    al., 2019](https://arxiv.org/abs/1905.04899)
    """
    import tensorflow as tf

    if recipe.cutmix_alpha > 1:
        raise ValueError(
            "`cutmix_alpha` must not be above 1, as keras.layers.CutMix takes "
            f"no more. Received: cutmix_alpha={recipe.cutmix_alpha}"
        )
    mix = _mixing(recipe)
    distort = randaugment(
        recipe.randaugment_layers, recipe.randaugment_magnitude
    )

    def augment(step, images, rows):
        # A key for each step. Seeds count on from it, so (seed, step) itself
        # would share seeds with the next step.
        key = tf.random.split(tf.stack([tf.cast(seed, tf.int64), step]), 1)[0]
        seeds = Seeds(key)
        if not recipe.randaugment_after_mixing:
            images = distort(images, seeds)
        images, rows = mix(images, rows, seeds)
        if recipe.randaugment_after_mixing:
            images = distort(images, seeds)
        return images, rows

    return augment


def _mixing(recipe):
    """Returns a function that mixes the two parts of a batch."""
    import tensorflow as tf

    mixup = InGraph(keras.layers.MixUp, alpha=recipe.mixup_alpha)
    # A single number would be the upper bound of a random alpha.
    cutmix = InGraph(keras.layers.CutMix, factor=(recipe.cutmix_alpha,) * 2)

    def mix(images, rows, seeds):
        count = images.shape[0]
        first = round(recipe.mixup_share * count)
        second = round((recipe.mixup_share + recipe.cutmix_share) * count)
        parts = [
            _mix(mixup, images[:first], rows[:first], seeds),
            _mix(cutmix, images[first:second], rows[first:second], seeds),
            (images[second:], rows[second:]),
        ]
        images, rows = zip(*parts, strict=True)
        return tf.concat(images, axis=0), tf.concat(rows, axis=0)

    return mix


def _mix(mixer, images, rows, seeds):
    """Mixes images by a layer, and rows by what became of the pixels."""
    import tensorflow as tf

    if not images.shape[0]:
        return images, rows
    drawn = mixer.draw(images, seeds)
    if "batch_masks" in drawn:
        # Keras's is the box's area before it is cut to whole pixels.
        pasted = tf.cast(drawn["batch_masks"], tf.float32)
        drawn["mix_weight"] = 1.0 - tf.reduce_mean(pasted, axis=(1, 2, 3))
    return (
        mixer.layer.transform_images(images, drawn),
        mixer.layer.transform_labels(rows, drawn),
    )
