"""RandAugment with Keras's layers, drawn for every image."""

import keras

from keras_nfnets.data.in_graph import InGraph, Seeds

GREY = 128.0
# Operations that know no less than their full strength.
WHOLE = frozenset(
    "auto_contrast equalize invert posterize solarize solarize_add "
    "cutout".split()
)


def randaugment(layers, magnitude):
    """Returns a function that applies RandAugment to images.

    Each image goes through `layers` operations of its own, drawn evenly from
    `operations`, and only those are computed. `keras.layers.RandAugment` draws
    them once for a whole batch and computes all of its own every time: with
    four layers, at 192 px on two cores, 40 images a second to this one's 650.

    The papers' code leaves an operation that it drew out half of the time, and
    else takes the magnitude's full strength. This one does so with operations
    that are all or nothing (inversion, cutout and the like). The others it
    never leaves out, and draws their strength evenly up to the full one, as
    Keras's layers do.

    Args:
        layers: Integer, operations per image.
        magnitude: Integer, see `operations`.

    Returns:
        A function `(images, seeds) -> images` for TensorFlow's graphs, of
        float32 images `(count, height, width, channels)` in [0, 255] and
        `Seeds`.

    Example:

    >>> distort = randaugment(layers=4, magnitude=5)
    >>> images = distort(images, seeds)

    Reference: [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719)
    """
    import tensorflow as tf

    if not layers:
        return lambda images, seeds: images
    choices = operations(magnitude)
    branches = [*choices.values(), lambda images, seeds: images]
    # Two chances for each operation; one of them is the last branch, which
    # does nothing, if the operation is all or nothing.
    chances = [
        branch
        for i, name in enumerate(choices)
        for branch in (i, len(choices) if name in WHOLE else i)
    ]

    def distort(images, seeds):
        count = images.shape[0]
        drawn = tf.random.stateless_uniform(
            (count, layers), seeds.next(), 0, len(chances), tf.int32
        )
        chosen = tf.gather(chances, drawn)
        keys = tf.random.split(seeds.next(), count * layers)
        keys = tf.reshape(keys, (count, layers, 2))

        def apply(image, draw):
            branch, key = draw
            results = [
                lambda run=run: tf.ensure_shape(
                    run(image, Seeds(key)), image.shape
                )
                for run in branches
            ]
            return tf.switch_case(branch, results)

        # One image at a time, as a batch of one, is twice as fast as each
        # operation on those images of the batch that drew it.
        def one(image_and_draws):
            image, *draws = image_and_draws
            return tf.foldl(apply, tuple(draws), image[None])[0]

        images = tf.map_fn(
            one, (images, chosen, keys), fn_output_signature=images.dtype
        )
        # Sums of rounded shares can leave the range by a rounding error.
        return tf.clip_by_value(images, 0.0, 255.0)

    return distort


def operations(magnitude):
    """Returns the operations that RandAugment draws from.

    They are the sixteen of the papers' code, thirteen of them Keras's layers.
    That code itself was not at hand: what is said of it here and below is what
    public copies of the code that it took over have.

    The full strength goes with the magnitude: at 10 a rotation by 30 degrees,
    a shear of 0.3, a shift by 45 % of a side, and so on. Beyond 10 it goes on
    until a layer takes no more: colour, contrast and sharpness stop at twice
    what the image has.

    Colour, contrast, brightness and sharpness do nothing at magnitude 5, as in
    the papers' code, and are weakened below it. Posterization and
    solarization get weaker with the magnitude, again as there. Brightness is
    added, where the papers' code multiplies.

    `keras.layers.RandAugment` is another thing: it has eleven operations,
    without cutout, inversion and solarize-add, and its factor of 0.5 is a
    rotation by up to 180 degrees and a shift by up to half of the image.

    Args:
        magnitude: Integer, `0` or more.

    Returns:
        A dictionary from names to functions `(images, seeds) -> images`.

    Example:

    >>> sorted(operations(magnitude=5))[:3]
    ['auto_contrast', 'brightness', 'color']

    Reference: [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719)
    """
    level = magnitude / 10
    # 0 for grey, black or blurred, 1 for the image as it is. The layers go to
    # 2 at most.
    blend = min(0.1 + 1.8 * level, 2.0)
    shear = min(0.3 * level, 1.0)
    # The papers' 100 and 80 pixels, as a share of 224.
    shift = min(100 / 224 * level, 1.0)
    hole = min(80 / 224 * level, 1.0) ** 2
    bits = min(max(int(4 * level), 1), 8)
    layers = keras.layers
    fill = dict(fill_mode="constant", fill_value=GREY)
    return {
        "auto_contrast": InGraph(layers.AutoContrast),
        "equalize": _equalize,
        "invert": InGraph(layers.RandomInvert, factor=(1, 1)),
        "rotate": InGraph(
            layers.RandomRotation, factor=min(30 / 360 * level, 1.0), **fill
        ),
        "posterize": InGraph(layers.RandomPosterization, factor=(bits, bits)),
        "solarize": _solarize(256 * level),
        "solarize_add": _solarize_add(110 * level),
        "color": InGraph(
            layers.RandomColorDegeneration, factor=sorted((0, 1 - blend))
        ),
        "contrast": InGraph(
            layers.RandomContrast,
            factor=(max(1 - blend, 0.0), max(blend - 1, 0.0)),
        ),
        "brightness": InGraph(
            layers.RandomBrightness, factor=sorted((0, (blend - 1) / 2))
        ),
        "sharpness": InGraph(
            layers.RandomSharpness, factor=sorted((0.5, blend / 2))
        ),
        "shear_x": InGraph(layers.RandomShear, x_factor=shear, **fill),
        "shear_y": InGraph(layers.RandomShear, y_factor=shear, **fill),
        "translate_x": InGraph(
            layers.RandomTranslation,
            height_factor=0.0,
            width_factor=shift,
            **fill,
        ),
        "translate_y": InGraph(
            layers.RandomTranslation,
            height_factor=shift,
            width_factor=0.0,
            **fill,
        ),
        "cutout": InGraph(
            layers.RandomErasing,
            factor=(1, 1),
            scale=(hole, hole),
            fill_value=GREY,
        ),
    }


# Keras's layer has another threshold for every image, from 0 on.
def _solarize(threshold):
    import tensorflow as tf

    return lambda images, seeds: tf.where(
        images < threshold, images, 255.0 - images
    )


# Keras's layer inverts what is not below the threshold.
def _solarize_add(addition):
    import tensorflow as tf

    return lambda images, seeds: tf.where(
        images < 128, tf.minimum(images + addition, 255.0), images
    )


def _equalize(images, seeds):
    """Gives every channel of an image an even histogram.

    `keras.layers.Equalization` takes a batch for one image and, where JAX is
    Keras's backend, compares each pixel with 256 values one by one, in
    TensorFlow's graphs too.
    """
    import tensorflow as tf

    _, height, width, channels = images.shape
    size = height * width
    values = tf.transpose(tf.cast(images, tf.int32), (0, 3, 1, 2))
    values = tf.reshape(values, (-1, size))
    counts = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)
    up_to = tf.cumsum(counts, axis=-1)
    darkest = tf.reduce_min(
        tf.where(up_to > 0, up_to, size), axis=-1, keepdims=True
    )
    table = tf.round((up_to - darkest) * 255 / tf.maximum(size - darkest, 1))
    # A channel of one value stays as it is.
    table = tf.where(darkest == size, tf.range(256, dtype=table.dtype), table)
    values = tf.gather(table, values, batch_dims=1)
    values = tf.reshape(values, (-1, channels, height, width))
    return tf.cast(tf.transpose(values, (0, 2, 3, 1)), images.dtype)
