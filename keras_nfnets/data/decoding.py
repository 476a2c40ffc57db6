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
    if recipe.random_flip:
        # Whole bytes still: mirrored before the resizing makes floats of them.
        image = tf.image.stateless_random_flip_left_right(image, seed)
    return _resize(image, recipe.train_size, channels)


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
        return _sliced(raw, _box(tf.shape(raw), seed))
    return tf.cond(
        tf.io.is_jpeg(raw),
        lambda: tf.io.decode_and_crop_jpeg(
            raw, _box(tf.io.extract_jpeg_shape(raw), seed), channels
        ),
        lambda: _cropped(_decode(raw, channels), seed),
    )


def _cropped(image, seed):
    import tensorflow as tf

    return _sliced(image, _box(tf.shape(image), seed))


def _sliced(image, box):
    import tensorflow as tf

    return tf.image.crop_to_bounding_box(image, box[0], box[1], box[2], box[3])


def _box(shape, seed):
    """Returns top, left, height and width of a random crop."""
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
    return tf.concat([begin[:2], size[:2]], 0)


def _resize(image, size, channels):
    import tensorflow as tf

    image = tf.image.resize(image, (size, size), tf.image.ResizeMethod.BICUBIC)
    return tf.ensure_shape(image, (size, size, channels))
