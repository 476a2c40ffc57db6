"""Makes pixels of a network's size of the content of an image file.

Everything here runs inside tf.data, on TensorFlow whatever Keras runs on.
"""

from keras_nfnets.data import pixels
from keras_nfnets.data.crop import Crop

# How much of an image a random crop shows, and how it may be stretched.
CROP_AREA = (0.08, 1.0)
CROP_ASPECT_RATIO = (3 / 4, 4 / 3)


def decode_train(raw, source, recipe, seed):
    """Returns a random crop of an image, mirrored or not, of training size.

    Of a JPEG file only the crop is decoded.

    Args:
        raw: String tensor, the content of a file, or a tensor `(height,
            width, channels)`.
        source: `Source`, of which it takes the channels and the largest number
            of pixels.
        recipe: `Recipe`, of which it takes the training size, and whether to
            crop and mirror.
        seed: Integer tensor `(2,)`.

    Returns:
        A float32 tensor `(size, size, channels)` of values about [0, 255],
        which bicubic resizing overshoots.
    """
    import tensorflow as tf

    if recipe.random_crop:
        image = _crop(raw, source, seed)
    else:
        image = decode_whole(raw, source)
    # Resizing reads a byte so much more slowly than a float, sixteen times for
    # every pixel, that the copy pays.
    image = tf.cast(image, tf.float32)
    image = _resize(image, recipe.train_size, source.channels)
    if recipe.random_flip:
        image = _mirrored_or_not(image, seed)
    return image


def decode_test(raw, source, recipe):
    """Returns the centre of an image, of test size.

    It is squashed to a square that is larger by the recipe's margin, and
    cropped, as `keras_nfnets.evaluation_crop` does for the papers' networks.

    Args:
        raw: As for `decode_train`.
        source: As for `decode_train`.
        recipe: `Recipe`, of which it takes test size and margin.

    Returns:
        A float32 tensor `(size, size, channels)`.
    """
    crop = Crop.of_recipe(recipe)
    return crop.of(decode_whole(raw, source), source.max_pixels)


def decode_whole(raw, source):
    """Returns all pixels of an image; arguments as `decode_train`."""
    if raw.dtype != "string":
        return raw
    return pixels.decode(raw, source.channels, source.max_pixels)


def _crop(raw, source, seed):
    def box(shape):
        return _box(shape, seed)

    if raw.dtype != "string":
        return pixels.crop(raw, box)
    return pixels.decode_crop(raw, source.channels, source.max_pixels, box)


def _box(shape, seed):
    """Returns begin and size of a random crop, of three numbers each."""
    import tensorflow as tf

    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.1,
        aspect_ratio_range=CROP_ASPECT_RATIO,
        area_range=CROP_AREA,
        use_image_if_no_bounding_boxes=True,
    )
    return begin, size


def _mirrored_or_not(image, seed):
    import tensorflow as tf

    # From a seed of its own: from the crop's it would follow the crop's shape.
    # Positions are not negative, so no other image has this one. One operation
    # draws, where `tf.random.stateless_uniform` needs five.
    throw = tf.raw_ops.StatelessRandomUniform(shape=(), seed=~seed)
    return tf.cond(throw < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def _resize(image, size, channels):
    import tensorflow as tf

    image = tf.image.resize(image, (size, size), tf.image.ResizeMethod.BICUBIC)
    return tf.ensure_shape(image, (size, size, channels))
