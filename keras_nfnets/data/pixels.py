"""Decides which pixels an image file has, for every path that reads one.

Training, evaluation, prediction, `data --show` and the SavedModel's signatures
decode here, in a TensorFlow graph. `docs/IMAGES.md` has a table of what becomes
of each kind of file.
"""

from keras_nfnets.data.runtime import tensorflow

# The first bytes of a PNG file, and the last ones of a whole JPEG file.
PNG = b"\x89PNG\r\n\x1a\n"
END_OF_JPEG = b"\xff\xd9"
# Bytes of a PNG file up to the end of its width and height.
END_OF_SIDES = 24
# Weights of red, green and blue in grey, times 2**16 (ITU-R BT.601, as in
# Pillow).
LUMA = (19595, 38470, 7471)


def decode(content, channels, max_pixels):
    """Returns the pixels of an image file.

    Args:
        content: String tensor, the content of a PNG or JPEG file.
        channels: Integer, `1` or `3`.
        max_pixels: Integer, the largest number of pixels. The file's header is
            checked before anything is decoded.

    Returns:
        A uint8 tensor `(height, width, channels)`.

    Raises:
        InvalidArgumentError: TensorFlow's, eagerly or from the graph, if it is
            another kind of file, is damaged or has more pixels.

    Example:

    >>> decode(tf.io.read_file("cat.png"), channels=3, max_pixels=10**6).shape
    TensorShape([256, 384, 3])
    """
    tf = tensorflow()
    colours = tf.cond(
        tf.io.is_jpeg(content),
        lambda: _decode_jpeg(content, max_pixels),
        lambda: _decode_png(content, max_pixels),
    )
    colours = tf.ensure_shape(colours, (None, None, 3))
    return colours if channels == 3 else grey(colours)


def decode_crop(content, channels, max_pixels, box):
    """Returns a part of the pixels of an image file.

    Of a JPEG file only that part is decoded. If the file stores colours at half
    the resolution, the last column of the part is not smoothed with the column
    beside it.

    Args:
        content: As for `decode`.
        channels: Integer, `1` or `3`.
        max_pixels: As for `decode`.
        box: Function of an image's shape that returns begin and size of the
            part, each an int32 tensor `(3,)`: height, width and channels.

    Returns:
        A uint8 tensor `(height, width, channels)`.

    Raises:
        InvalidArgumentError: As for `decode`.
    """
    tf = tensorflow()
    # The cropping decoder stops below the crop. It would not notice that the
    # file is cut off further down.
    whole_jpeg = tf.logical_and(
        tf.io.is_jpeg(content),
        tf.equal(tf.strings.substr(content, -2, 2), END_OF_JPEG),
    )

    # TensorFlow's runtime visits every operation of a branch that it does not
    # take. As a function that is not inlined, the branch is one operation.
    @tf.function(experimental_attributes={"_noinline": True}, autograph=False)
    def crop_any(content):
        return crop(decode(content, 3, max_pixels), box)

    colours = tf.cond(
        whole_jpeg,
        lambda: _crop_jpeg(content, max_pixels, box),
        lambda: crop_any(content),
    )
    return colours if channels == 3 else grey(colours)


def crop(image, box):
    """Returns a part of an image.

    Args:
        image: Tensor `(height, width, channels)`.
        box: Function, as for `decode_crop`.
    """
    tf = tensorflow()
    # The checks of `tf.image.crop_to_bounding_box` would cost time even where
    # this branch is not taken.
    return tf.slice(image, *box(tf.shape(image)))


def grey(colours):
    """Returns the grey values of colours.

    Args:
        colours: uint8 tensor `(..., 3)` of red, green and blue.

    Returns:
        A uint8 tensor `(..., 1)`, rounded to the nearest value.
    """
    tf = tensorflow()
    weighted = tf.cast(colours, tf.int32) * tf.constant(LUMA)
    total = tf.reduce_sum(weighted, axis=-1, keepdims=True)
    # The weights sum to 2**16, so three equal colours keep their value.
    return tf.cast((total + 2**15) // 2**16, tf.uint8)


def check_size(sides, max_pixels, when=""):
    """Returns an operation that fails for an image of too many pixels.

    Args:
        sides: Integer tensor `(2,)`, height and width.
        max_pixels: Integer, the largest number of pixels.
        when: String, the start of the message. Defaults to `""`.
    """
    tf = tensorflow()
    count = tf.reduce_prod(tf.cast(sides, tf.int64))
    return _check(
        count <= max_pixels,
        f"{when}must not have more pixels than `max_pixels`, {max_pixels}. "
        "Received:",
        count,
    )


def _decode_jpeg(content, max_pixels):
    """Decodes a JPEG once its header says that it is not too large."""
    tf = tensorflow()
    shape = tf.io.extract_jpeg_shape(content)
    with tf.control_dependencies([check_size(shape[:2], max_pixels)]):
        return tf.io.decode_jpeg(content, 3)


def _crop_jpeg(content, max_pixels, box):
    """Decodes a part of a JPEG once its header says it is not too large."""
    tf = tensorflow()
    shape = tf.io.extract_jpeg_shape(content)
    begin, size = box(shape)
    window = tf.concat([begin[:2], size[:2]], 0)
    with tf.control_dependencies([check_size(shape[:2], max_pixels)]):
        return tf.io.decode_and_crop_jpeg(content, window, 3)


def _decode_png(content, max_pixels):
    """Decodes a PNG once its header says that it is not too large."""
    tf = tensorflow()
    is_png = tf.logical_and(
        tf.equal(tf.strings.substr(content, 0, len(PNG)), PNG),
        tf.strings.length(content) >= END_OF_SIDES,
    )
    with tf.control_dependencies([_check(is_png, "not a PNG or JPEG image")]):
        # Width and height stand at the start of the first chunk.
        sides = tf.io.decode_raw(
            tf.strings.substr(content, END_OF_SIDES - 8, 8),
            tf.int32,
            little_endian=False,
        )
    with tf.control_dependencies([check_size(sides, max_pixels)]):
        return tf.io.decode_png(content, 3)


def _check(condition, *message):
    # `tf.debugging.Assert` would add a branch to the graph.
    return tensorflow().raw_ops.Assert(condition=condition, data=message)
