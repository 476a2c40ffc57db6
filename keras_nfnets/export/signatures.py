"""Gives a SavedModel the signatures that a server is asked for.

A classifier gets four: `serving_default` and `serving_uint8` take pixels,
`serve_images` and `classify` take the bytes of image files. Another model gets
`serving_default`. Everything, decoding and cropping too, runs in TensorFlow's
graph: a server needs neither Keras nor this library. `docs/serving.md` shows
requests.
"""

import tempfile
from pathlib import Path

from keras_nfnets.checks import printable
from keras_nfnets.data import pixels
from keras_nfnets.data.runtime import tensorflow
from keras_nfnets.image_size import sides

# The number of classes that the signature `classify` names.
TOP = 5


def add_signatures(model, target, shape, description):
    """Writes a SavedModel with signatures.

    Args:
        model: An object of TensorFlow that can be saved, with a function
            `serve` of float32 images.
        target: Path of the SavedModel to write.
        shape: Tuple `(height, width, channels)` of the images. Sides may be
            `None`.
        description: `Description` of a classifier, or `None` for another model.
            Without a crop there are no signatures of files.
    """
    tf = tensorflow()
    module = tf.Module()
    module.model = model
    spec = tf.TensorSpec((None, *shape), tf.float32, "images")
    module.serve = _serve(module.model, spec)
    if description is None:
        function = tf.function(module.serve, input_signature=[spec])
        _save(module, target, {"serving_default": function})
        return
    with tempfile.TemporaryDirectory() as folder:
        module.names = _class_table(Path(folder), description.class_names)
        signatures = _pixel_signatures(module, spec)
        if description.crop is not None and description.channels in (1, 3):
            signatures |= _file_signatures(module, description)
        _save(module, target, signatures)


def _save(module, target, signatures):
    """Writes a module as a SavedModel.

    Args:
        module: A `tf.Module` that holds what the signatures use.
        target: Path of the SavedModel.
        signatures: Dictionary of `tf.function`s by name.
    """
    tf = tensorflow()
    # Custom gradients would have to be traced again, and serving needs none.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(target), signatures, options)


def _serve(model, spec):
    """Returns a function of float32 or uint8 images to the model's outputs."""
    tf = tensorflow()

    @tf.function
    def serve(images):
        """Returns the outputs of images that are cast to float32."""
        images = tf.cast(images, tf.float32)
        # Not every kernel takes an empty batch. It gets one image of zeros, and
        # its output is cut off.
        count = tf.shape(images)[0]
        none = tf.cast(tf.equal(count, 0), tf.int32)
        images = tf.pad(images, [[0, none], [0, 0], [0, 0], [0, 0]])
        outputs = model.serve(tf.ensure_shape(images, spec.shape))
        return tf.nest.map_structure(lambda y: y[:count], outputs)

    for dtype in (tf.float32, tf.uint8):
        serve.get_concrete_function(tf.TensorSpec(spec.shape, dtype, "images"))
    return serve


def _class_table(folder, names):
    """Returns a lookup table from numbers to the names of classes.

    TensorFlow copies its file into the SavedModel, as an asset.
    """
    tf = tensorflow()
    asset = folder / "classes.txt"
    lines = "".join(f"{printable(name)}\n" for name in names)
    asset.write_text(lines, "utf-8")
    rows = tf.lookup.TextFileInitializer(
        str(asset),
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
    )
    return tf.lookup.StaticHashTable(rows, "")


def _pixel_signatures(module, spec):
    """Returns the signatures that take pixels, as the network does."""
    tf = tensorflow()

    def answer(images):
        return _answer(module, images)

    bytes_ = tf.TensorSpec(spec.shape, tf.uint8, "images")
    return {
        "serving_default": tf.function(answer, input_signature=[spec]),
        "serving_uint8": tf.function(answer, input_signature=[bytes_]),
    }


def _file_signatures(module, description):
    """Returns the signatures that take the bytes of image files."""
    tf = tensorflow()
    crop, channels = description.crop, description.channels
    max_pixels = description.max_pixels
    spec = tf.TensorSpec((None,), tf.string, "encoded")

    def read(content):
        image = pixels.decode(content, channels, max_pixels)
        return crop.of(image, max_pixels)

    def images(encoded):
        shape = tf.TensorSpec((*sides(crop.size), channels), tf.float32)
        return tf.map_fn(read, encoded, fn_output_signature=shape)

    def serve_images(encoded):
        return _answer(module, images(encoded))

    def classify(encoded):
        """Returns the most probable classes of each image file."""
        probabilities, order = tf.math.top_k(
            module.serve(images(encoded)),
            min(TOP, len(description.class_names)),
        )
        classes = module.names.lookup(tf.cast(order, tf.int64))
        return {"classes": classes, "probabilities": probabilities}

    return {
        "serve_images": tf.function(serve_images, input_signature=[spec]),
        "classify": tf.function(classify, input_signature=[spec]),
    }


def _answer(module, images):
    """Returns the most probable class of each image and all probabilities.

    Returns:
        A dictionary with the names `"classes"`, `(batch,)`, and the numbers
        `"probabilities"`, `(batch, classes)`.
    """
    probabilities = module.serve(images)
    best = tensorflow().argmax(probabilities, axis=-1)
    return {
        "classes": module.names.lookup(best),
        "probabilities": probabilities,
    }
