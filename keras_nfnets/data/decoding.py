"""Turns the content of an image file into pixels of a network's size.

`decode_train` takes a random crop and `decode_test` the centre. Both run
inside `tf.data`, on TensorFlow whatever the Keras backend is.
"""

from keras_nfnets.data import pixels
from keras_nfnets.data.crop import Crop
from keras_nfnets.image_size import sides

# The width of a random crop over its height where the training images are
# square.
CROP_ASPECT_RATIO = (3 / 4, 4 / 3)


def decode_train(raw, source, recipe, seed):
    """Returns a random crop of an image in training size, mirrored or not.

    Of a JPEG file only the crop is decoded.

    Args:
        raw: String tensor, the content of a file, or a tensor `(height,
            width, channels)`.
        source: `Source`, for its channels and the largest number of pixels.
        recipe: `Recipe`, for the training size, and whether to crop and mirror.
        seed: Integer tensor `(2,)`.

    Returns: A float32 tensor `(height, width, channels)`. Bicubic resizing may
    overshoot [0, 255].
    """
    import tensorflow as tf

    height, width = sides(recipe.train_size)
    if recipe.random_crop:
        image = _random_crop(raw, source, recipe, seed)
    else:
        image = decode_whole(raw, source)
    # Bicubic resizing reads sixteen values for each one that it writes, and
    # reads floats faster than bytes, so the copy pays.
    image = tf.cast(image, tf.float32)
    image = _resize(image, height, width, source.channels)
    if recipe.random_flip:
        image = _random_flip(image, seed)
    return image


def decode_test(raw, source, recipe):
    """Returns the centre of an image, in test size.

    The image is squashed to a size that is larger by the recipe's margin, and
    then cropped, as for the papers' networks.

    Args:
        raw: As for `decode_train`.
        source: As for `decode_train`.
        recipe: `Recipe`, for the test size and the margin.

    Returns:
        A float32 tensor `(height, width, channels)`.
    """
    crop = Crop.of_recipe(recipe)
    return crop.of(decode_whole(raw, source), source.max_pixels)


def decode_whole(raw, source):
    """Returns all pixels of an image.

    Args:
        raw: As for `decode_train`.
        source: As for `decode_train`.

    Returns:
        A tensor `(height, width, channels)`, uint8 for a file.
    """
    if raw.dtype != "string":
        return raw
    return pixels.decode(raw, source.channels, source.max_pixels)


def _random_crop(raw, source, recipe, seed):
    """Returns a random crop; of a JPEG file only the crop is decoded."""

    def box(shape):
        return _random_box(shape, recipe, seed)

    if raw.dtype != "string":
        return pixels.crop(raw, box)
    return pixels.decode_crop(raw, source.channels, source.max_pixels, box)


def _random_box(shape, recipe, seed):
    """Returns begin and size of a random crop, of three numbers each.

    The width over the height is around that of the training images.
    """
    import tensorflow as tf

    height, width = sides(recipe.train_size)
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.1,
        aspect_ratio_range=[width / height * x for x in CROP_ASPECT_RATIO],
        area_range=(recipe.crop_area, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return begin, size


def _random_flip(image, seed):
    """Mirrors an image from left to right, half of the time."""
    import tensorflow as tf

    # With the crop's seed, flips would depend on the crop's shape. Positions
    # are not negative, so `~seed` is not the seed of any crop. The raw
    # operation draws by itself; `tf.random.stateless_uniform` adds others.
    drawn = tf.raw_ops.StatelessRandomUniform(shape=(), seed=~seed)
    return tf.cond(drawn < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def _resize(image, height, width, channels):
    """Resizes an image bicubically to a known shape."""
    import tensorflow as tf

    image = tf.image.resize(
        image, (height, width), tf.image.ResizeMethod.BICUBIC
    )
    return tf.ensure_shape(image, (height, width, channels))
