"""Writes TensorFlow SavedModels, from TensorFlow, JAX or another backend.

`export_saved_model` writes one from TensorFlow or JAX: the model becomes a
function of TensorFlow, and `signatures` adds what a server is asked for. From
PyTorch `write` has a process of TensorFlow do it.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Sequence

import keras
import numpy as np

from keras_nfnets.annotations import FilePath, Shape
from keras_nfnets.data.crop import Crop
from keras_nfnets.export import folding
from keras_nfnets.export.arguments import check_free, check_statistics
from keras_nfnets.export.description import Description, check_names
from keras_nfnets.export.signatures import add_signatures
from keras_nfnets.export.tensorflow_process import in_tensorflow
from keras_nfnets.extras import require
from keras_nfnets.files import replacing


def export_saved_model(
    model: keras.Model,
    path: FilePath,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    fold: bool = True,
    input_shape: Shape | None = None,
    description: Description | None = None,
) -> None:
    """Writes a TensorFlow SavedModel that takes pixels as they are in files.

    `tensorflow` alone loads it; neither Keras nor this library is needed. A
    SavedModel at the path is replaced once the new one is complete. One from
    the JAX backend runs on the kind of device it was written on; one from
    TensorFlow runs on all.

    Args:
        model: A built Keras model with one input of images.
        path: String or path of the folder to write.
        mean: Float or sequence of floats, one per channel, that the model's
            training subtracted from each pixel. Defaults to `0.0`.
        std: Float or sequence of floats, one per channel, that it divided by.
            Defaults to `1.0`.
        fold: Boolean, whether the folded model is written, see `fold`. A layer
            that folding does not know stays as it is, and so does a subclassed
            model as a whole. Defaults to `True`.
        input_shape: Tuple `(height, width, channels)` of the images. Sides may
            be `None`. Defaults to `None`, the model's.
        description: `Description` of a classifier. It is also written into a
            file beside the folder, with `.json` added to its name. Defaults to
            `None`: there is no such file, the classes are called `"class 0"`
            and so on, and an image file is squashed as a whole to the model's
            size. A model for any size then has no signatures of files.

    Input shape:
        Of the endpoint `serve`: `(batch, height, width, channels)`, float32 or
        uint8 in [0, 255].

    Output shape:
        As the model's. `docs/serving.md` has the signatures of a classifier.

    Raises:
        RuntimeError: If the Keras backend is neither TensorFlow nor JAX.
        ImportError: If TensorFlow is not installed beside JAX.
        FileExistsError: If a folder at the path holds other things than a
            SavedModel.
        OSError: If no space is left on the disk.
        ValueError: If a value of `std` is not positive, or the names are not as
            many as the outputs.

    Example:

    >>> keras_nfnets.export.export_saved_model(model, "saved_model")
    >>> served = tf.saved_model.load("saved_model")
    >>> served.serve(images.astype("float32")).shape
    (64, 10)
    """
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise RuntimeError(
            "Keras's backend must be 'tensorflow' or 'jax' to write a "
            "SavedModel. Set KERAS_BACKEND=tensorflow and load the same model "
            "there. "
            f"Received: backend={keras.backend.backend()!r}"
        )
    require("tensorflow", extra="tensorflow")
    check_free(path, overwrite=True)
    shape = _image_shape(model, input_shape)
    check_statistics(mean, std, [(None, *shape)])
    offset, scale = np.float32(mean), np.float32(std)
    described = _described(model, shape, description)
    if fold and folding.is_functional(model):
        model = folding.fold(model, keep_unknown=True)
    serving = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Rescaling(1 / scale, -offset / scale),
            model,
        ]
    )
    with replacing(path) as temporary, _named_errors():
        with tempfile.TemporaryDirectory() as folder:
            graph = _graph(serving, folder)
            add_signatures(graph, temporary, shape, described)
    if description is not None:
        description.write(path)


def _graph(model, folder):
    """Returns a model as an object of TensorFlow that can be saved.

    Args:
        model: A functional model with one input.
        folder: Path of an empty folder. On JAX its files are needed until the
            object has been saved.

    Returns:
        A `tf.Module`, or what `tf.saved_model.load` returns, whose function
        `serve` takes float32 images.
    """
    tensorflow = require("tensorflow", extra="tensorflow")
    if keras.backend.backend() == "jax":
        bare = os.path.join(folder, "model")
        model.export(bare, "tf_saved_model", verbose=False)
        return tensorflow.saved_model.load(bare)
    # Keras's export writes each weight twice: as its own variable and as
    # TensorFlow's.
    spec = tensorflow.TensorSpec(model.input_shape, tensorflow.float32)

    @tensorflow.function(input_signature=[spec])
    def serve(images):
        return model(images, training=False)

    return holding(serve)


def holding(serve):
    """Returns a `tf.Module` that can be saved with a function's variables.

    Args:
        serve: A `tf.function` with an input signature.
    """
    module = require("tensorflow", extra="tensorflow").Module()
    module.serve = serve
    module.weights = list(serve.get_concrete_function().variables)
    return module


@contextlib.contextmanager
def _named_errors():
    """Raises the error of a full disk as Python does, in TensorFlow's place."""
    tensorflow = require("tensorflow", extra="tensorflow")
    try:
        yield
    except tensorflow.errors.ResourceExhaustedError as error:
        # Memory that runs out has the same class.
        if "No space left" not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _image_shape(model, given):
    """Returns the shape of the images of a model, which must be its input."""
    shapes = [given or model.input_shape[1:]]
    if folding.is_functional(model) and given is None:
        shapes = [tensor.shape[1:] for tensor in model.inputs]
    shape = tuple(shapes[0])
    if len(shapes) != 1 or len(shape) != 3:
        raise ValueError(
            "`model` must have one input of images, (height, width, channels), "
            "for a SavedModel with signatures; `model.export` writes others. "
            f"Received: inputs of the shapes {shapes}"
        )
    return shape


def _described(model, shape, description):
    """Returns the `Description` of a classifier, or `None` for another model.

    A model with outputs `(batch, classes)` is a classifier.
    """
    outputs = model.output_shape
    classifies = isinstance(outputs, tuple) and len(outputs) == 2
    if description is None:
        if not classifies:
            return None
        height, width, channels = shape
        crop = Crop(height, height) if height and height == width else None
        names = [f"class {i}" for i in range(outputs[-1])]
        return Description(names, crop, channels)
    check_names(description, model)
    return description


def write(request):
    """Writes a SavedModel, see `Format.write`.

    Args:
        request: `Request` of the precision `"float32"`.

    Raises:
        ImportError: If TensorFlow is not installed.
        RuntimeError: If the process of TensorFlow fails.
        ValueError: If the description does not have one name for each class,
            or on PyTorch, if the model has layers that cannot be folded.
    """
    if keras.backend.backend() in ("tensorflow", "jax"):
        export_saved_model(
            request.model,
            request.path,
            request.mean,
            request.std,
            description=request.description,
        )
        return
    folded = folding.fold(request.model)
    folded = request.with_normalization(folded)
    in_tensorflow("saved_model", folded, request)


def convert(model, path, precision="float32", calibrate=None):
    """Writes a folded model, in a process whose backend is TensorFlow.

    Args:
        model: A model of stock layers that normalizes pixels itself.
        path: Path of the folder to write. A description that stands beside it
            is used for signatures.
        precision: String, not used: a SavedModel has float32. Defaults to
            `"float32"`.
        calibrate: Not used. Every job of `tensorflow_process` has it. Defaults
            to `None`.
    """
    # `export` has written the description before.
    known = Description.beside(path).exists()
    description = Description.read(path) if known else None
    export_saved_model(model, path, fold=False, description=description)


def load(path):
    """Loads a SavedModel in TensorFlow, see `Format.load`.

    Args:
        path: Path of the folder.

    Returns:
        A function from a list of arrays to a list of arrays.

    Raises:
        ImportError: If TensorFlow is not installed.
    """
    tensorflow = require("tensorflow", extra="tensorflow")
    model = tensorflow.saved_model.load(str(path))

    def run(inputs):
        outputs = keras.tree.flatten(model.serve(*inputs))
        return [value.numpy() for value in outputs]

    return run
