"""From the content of an image file to pixels of the size a network takes.

Everything here runs inside tf.data, on TensorFlow whatever Keras runs on.
"""

# How much of an image a random crop shows, and how it may be stretched.
CROP_AREA = (0.08, 1.0)
CROP_ASPECT_RATIO = (3 / 4, 4 / 3)


def decode_train(raw, channels, recipe, seed):
    """Returns a random crop of an image, mirrored or not, of training size.

    Of a JPEG file only the crop is decoded.

    Args:
        raw: String tensor, the content of a file, or a tensor `(height,
            width, channels)`.
        channels: Integer, `1` or `3`.
        recipe: `Recipe`, of which it takes the training size, and whether to
            crop and mirror.
        seed: Integer tensor `(2,)`.

    Returns:
        A float32 tensor `(size, size, channels)` of values about [0, 255],
        which bicubic resizing overshoots.
    """
    import tensorflow as tf

    if recipe.random_crop:
        image = _random_crop(raw, channels, seed)
    else:
        image = _decode(raw, channels)
    # Resizing reads a byte so much more slowly than a float, sixteen times for
    # every pixel, that the copy pays.
    image = tf.cast(image, tf.float32)
    image = _resize(image, recipe.train_size, channels)
    if recipe.random_flip:
        image = _mirrored_or_not(image, seed)
    return image


def decode_test(raw, channels, recipe):
    """Returns the centre of an image, of test size.

    It is squashed to a square that is larger by the recipe's margin, and
    cropped, as `keras_nfnets.evaluation_crop` does for the papers' networks.

    Args:
        raw: As for `decode_train`.
        channels: Integer, `1` or `3`.
        recipe: `Recipe`, of which it takes test size and margin.

    Returns:
        A float32 tensor `(size, size, channels)`.
    """
    size, margin = recipe.test_size, recipe.test_margin
    image = _resize(_decode(raw, channels), size + margin, channels)
    start = (margin + 1) // 2
    return image[start : start + size, start : start + size]


def _decode(raw, channels):
    import tensorflow as tf

    if raw.dtype != tf.string:
        return raw
    image = tf.io.decode_image(raw, channels, expand_animations=False)
    return tf.ensure_shape(image, (None, None, channels))


def _random_crop(raw, channels, seed):
    import tensorflow as tf

    if raw.dtype != tf.string:
        return _cropped(raw, seed)
    return tf.cond(
        tf.io.is_jpeg(raw),
        lambda: _crop_of_jpeg(raw, channels, seed),
        lambda: _cropped(_decode(raw, channels), seed),
    )


def _crop_of_jpeg(raw, channels, seed):
    import tensorflow as tf

    begin, size = _box(tf.io.extract_jpeg_shape(raw), seed)
    window = tf.concat([begin[:2], size[:2]], 0)
    return tf.io.decode_and_crop_jpeg(raw, window, channels)


def _cropped(image, seed):
    import tensorflow as tf

    # Not `crop_to_bounding_box`, whose checks cost time even where this is the
    # branch not taken.
    return tf.slice(image, *_box(tf.shape(image), seed))


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
