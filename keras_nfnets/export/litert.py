"""Defines the format of LiteRT (TensorFlow Lite), by TensorFlow's converter.

The converter needs a graph of TensorFlow. On another backend the folded model
goes to a process whose backend is TensorFlow (`tensorflow_process`). Grouped
convolutions and GELU take forms there for which LiteRT has kernels.
"""

import functools
import math
import tempfile
import warnings

import keras
import numpy as np
from keras import ops, tree

from keras_nfnets.export import folding
from keras_nfnets.export.comparison import named
from keras_nfnets.export.folding.native import tanh_gelu
from keras_nfnets.export.saved_model import holding
from keras_nfnets.export.tensorflow_process import in_tensorflow
from keras_nfnets.extras import require
from keras_nfnets.graph import is_functional

# A file is a FlatBuffer, which ends at 2 GiB. One MiB is left for the graph.
MOST_BYTES = 2**31 - 2**20
BYTES = {"float32": 4, "float16": 2, "int8": 1}


def write(request):
    """Writes a `.tflite` file, see `Format.write`.

    Args:
        request: `Request` of any precision.

    Raises:
        ImportError: If TensorFlow is not installed.
        RuntimeError: If the process of TensorFlow fails.
        ValueError: If the model has layers that cannot be folded.
    """
    folded = folding.fold_for_runtime(request.model)
    folded = request.with_normalization(folded)
    if keras.backend.backend() == "tensorflow":
        convert(folded, request.path, request.precision, request.calibrate)
    else:
        in_tensorflow("litert", folded, request)


def convert(model, path, precision="float32", calibrate=None):
    """Writes a folded model with TensorFlow, which must be Keras's backend.

    Args:
        model: A functional model of stock layers.
        path: Path of the file.
        precision: String, see `Request`. Defaults to `"float32"`.
        calibrate: List of arrays, see `Request`. Defaults to `None`.
    """
    tensorflow = require("tensorflow", extra="litert")
    with tempfile.TemporaryDirectory() as folder:
        _save(_for_litert(model), folder)
        converter = tensorflow.lite.TFLiteConverter.from_saved_model(folder)
        # The file then has its weights behind the FlatBuffer, which ends at
        # 2 GiB.
        large = model.count_params() * BYTES[precision] > MOST_BYTES
        converter._experimental_use_buffer_offset = large
        _set_precision(converter, precision, calibrate)
        with warnings.catch_warnings():
            # It warns that the inputs have no ranges. They follow from the
            # images.
            warnings.simplefilter("ignore", UserWarning)
            path.write_bytes(converter.convert())


def _save(model, folder):
    """Writes a model as a SavedModel with the names that its file will have."""
    tensorflow = require("tensorflow", extra="litert")
    names = _input_names(len(model.inputs))
    signature = [
        tensorflow.TensorSpec(tensor.shape, tensor.dtype, name)
        for tensor, name in zip(model.inputs, names, strict=True)
    ]

    @tensorflow.function(input_signature=signature)
    def serve(*images):
        """Calls the model on a list of inputs, in the order of the names."""
        inputs = tree.pack_sequence_as(model.input, list(images))
        return named(model(inputs, training=False))

    tensorflow.saved_model.save(holding(serve), folder, serve)


def _input_names(count):
    """Returns the names of a file's inputs, in the order of the model's."""
    if count == 1:
        return ["images"]
    return [f"images_{i}" for i in range(count)]


def _set_precision(converter, precision, calibrate):
    """Sets what TensorFlow's converter makes of the weights."""
    tensorflow = require("tensorflow", extra="litert")
    if precision != "float32":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tensorflow.float16]
    if precision == "int8":
        # The converter takes one image at a time, and joins their ranges.
        converter.representative_dataset = lambda: (
            [image[None]] for batch in calibrate for image in batch
        )
        converter.target_spec.supported_ops = [
            tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]


def _for_litert(model):
    """Returns the model with operations that LiteRT has kernels for."""
    if isinstance(model, keras.Sequential):
        inputs = x = keras.Input(batch_shape=model.input_shape)
        for layer in model.layers:
            x = _call(layer, x)
        return keras.Model(inputs, x, name=model.name)
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=_call
    )


def _call(layer, *args, **kwargs):
    """Calls a layer in a form that LiteRT knows.

    GELU becomes its formula, which the converter keeps. A grouped convolution
    becomes TensorFlow's own operation. The border of a maximum repeats the
    nearest pixels, which each window has anyway: 8-bit integers could not tell
    apart the other pixels beside minus infinity.
    """
    if kwargs.get("constant_values") == -math.inf:
        return ops.pad(*args, layer.pad_width, mode="symmetric")
    if is_functional(layer):
        layer = _for_litert(layer)
    elif type(layer) is keras.layers.Activation:
        layer = keras.layers.Activation(
            GELUS.get(layer.activation, layer.activation)
        )
    elif getattr(layer, "groups", 1) > 1:
        # Keras would compute groups through XLA, which LiteRT does not know.
        # The method of the layer may change: the folded model owns the layer.
        layer.convolution_op = functools.partial(_grouped, layer)
    return layer(*args, **kwargs)


def _grouped(layer, inputs, kernel):
    """Computes a grouped convolution by TensorFlow's own operation."""
    tensorflow = require("tensorflow", extra="litert")
    return tensorflow.nn.convolution(
        inputs,
        kernel,
        layer.strides,
        layer.padding.upper(),
        dilations=layer.dilation_rate,
    )


def _tanh_gelu(x):
    """Computes the tanh form of GELU by its formula."""
    cubic = x * (1.0 + 0.044715 * x * x)
    return 0.5 * x * (1.0 + ops.tanh((2 / np.pi) ** 0.5 * cubic))


def _erf_gelu(x):
    """Computes GELU by its formula with the error function."""
    return 0.5 * x * (1.0 + ops.erf(x * 0.5**0.5))


# TensorFlow rewrites its own GELU with `Erfc`, which LiteRT does not have.
GELUS = {tanh_gelu: _tanh_gelu, keras.activations.gelu: _erf_gelu}


def load(path):
    """Loads a file in LiteRT, see `Format.load`.

    LiteRT fixes the shapes before it runs, so they are set for each call.

    Args:
        path: Path of a `.tflite` file.

    Returns:
        A function from a list of arrays to a list of arrays.

    Raises:
        ImportError: If neither LiteRT nor TensorFlow is installed.
    """
    with warnings.catch_warnings():
        # TensorFlow's interpreter warns that LiteRT has a package of its own.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = _interpreter()(str(path))
    if not interpreter.get_signature_list():
        return _positional(interpreter)
    signature = interpreter.get_signature_runner()
    names = sorted(signature.get_input_details(), key=_order)

    def run(inputs):
        outputs = signature(**dict(zip(names, inputs, strict=True)))
        return [outputs[name] for name in sorted(outputs, key=_order)]

    return run


def _order(name):
    """Returns what sorts names by their number, where this module counts."""
    prefix, _, number = name.rpartition("_")
    counted = prefix in ("images", "outputs") and number.isdigit()
    return int(number) if counted else 0, name


def _positional(interpreter):
    """Returns a function for a file without names: of another writer."""
    details = interpreter.get_input_details()

    def run(inputs):
        """Sets the inputs, runs the network and returns the outputs."""
        for detail, x in zip(details, inputs, strict=True):
            interpreter.resize_tensor_input(detail["index"], x.shape)
        interpreter.allocate_tensors()
        for detail, x in zip(details, inputs, strict=True):
            interpreter.set_tensor(detail["index"], x)
        interpreter.invoke()
        return [
            interpreter.get_tensor(detail["index"])
            for detail in interpreter.get_output_details()
        ]

    return run


def _interpreter():
    """Returns LiteRT's class of interpreters, or TensorFlow's own."""
    try:
        return require("ai_edge_litert.interpreter").Interpreter
    except ImportError:
        # TensorFlow has one as well.
        return require("tensorflow", extra="litert").lite.Interpreter
