"""The LiteRT format (TensorFlow Lite), by TensorFlow's converter."""

import functools
import warnings

import keras
import numpy as np
from keras import ops, tree

from keras_nfnets.export import folding
from keras_nfnets.export.folding.native import tanh_gelu
from keras_nfnets.export.tensorflow_process import in_tensorflow
from keras_nfnets.extras import require
from keras_nfnets.graph import is_functional

# FlatBuffers end at 2 GiB.
MOST_BYTES = 2**31 - 2**20
BYTES = {"float32": 4, "float16": 2, "int8": 1}


def write(request):
    """Writes a `.tflite` file, see `Format.write`."""
    folded = folding.fold_for_runtime(request.model)
    size = folded.count_params() * BYTES[request.precision]
    if size > MOST_BYTES:
        raise ValueError(
            "A LiteRT file must be smaller than 2 GiB; another `precision` "
            f"takes less. Received: model whose weights take {size} bytes"
        )
    folded = request.with_normalization(folded)
    if keras.backend.backend() == "tensorflow":
        convert(folded, request.path, request.precision, request.calibrate)
    else:
        in_tensorflow("litert", folded, request)


def convert(model, path, precision="float32", calibrate=None):
    """Writes a folded model with TensorFlow, which is Keras's backend.

    Args:
        model: A functional model of stock layers.
        path: Path of the file.
        precision: String, see `Request`.
        calibrate: List of arrays, see `Request`. Defaults to `None`.
    """
    tensorflow = require("tensorflow", extra="litert")
    model = _for_litert(model)
    signature = [
        tensorflow.TensorSpec(tensor.shape, tensor.dtype, f"images_{i}")
        for i, tensor in enumerate(model.inputs)
    ]

    @tensorflow.function(input_signature=signature)
    def serve(*images):
        inputs = tree.pack_sequence_as(model.input, list(images))
        # Sorted by name where they are a dictionary: files have no names.
        return tree.flatten(model(inputs, training=False))

    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()]
    )
    # The other way does not find the variables of Keras's layers.
    converter.experimental_lower_to_saved_model = False
    if precision != "float32":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tensorflow.float16]
    if precision == "int8":
        # A range is that of all that is given: one image at a time.
        converter.representative_dataset = lambda: (
            [image[None]] for batch in calibrate for image in batch
        )
        converter.target_spec.supported_ops = [
            tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
    with warnings.catch_warnings():
        # Of ranges for the inputs: they follow from the images.
        warnings.simplefilter("ignore", UserWarning)
        path.write_bytes(converter.convert())


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
    """Calls a layer in a form that LiteRT knows."""
    if is_functional(layer):
        layer = _for_litert(layer)
    elif type(layer) is keras.layers.Activation:
        layer = keras.layers.Activation(
            GELUS.get(layer.activation, layer.activation)
        )
    elif getattr(layer, "groups", 1) > 1:
        # The layer is the folded model's own. Keras would send its groups
        # through XLA, which LiteRT does not know.
        layer.convolution_op = functools.partial(_grouped, layer)
    return layer(*args, **kwargs)


def _grouped(layer, inputs, kernel):
    tensorflow = require("tensorflow", extra="litert")
    return tensorflow.nn.convolution(
        inputs,
        kernel,
        layer.strides,
        layer.padding.upper(),
        dilations=layer.dilation_rate,
    )


def _tanh_gelu(x):
    cubic = x * (1.0 + 0.044715 * x * x)
    return 0.5 * x * (1.0 + ops.tanh((2 / np.pi) ** 0.5 * cubic))


def _erf_gelu(x):
    return 0.5 * x * (1.0 + ops.erf(x * 0.5**0.5))


# TensorFlow rewrites its own in a function (`Erfc`) that LiteRT does not have.
GELUS = {tanh_gelu: _tanh_gelu, keras.activations.gelu: _erf_gelu}


def load(path):
    """Returns what a file computes in LiteRT, see `Format.load`."""
    with warnings.catch_warnings():
        # Of TensorFlow's interpreter, that there is a package of its own.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = _interpreter()(str(path))
    details = interpreter.get_input_details()

    def run(inputs):
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
    try:
        return require("ai_edge_litert.interpreter").Interpreter
    except ImportError:
        # TensorFlow has one as well.
        return require("tensorflow", extra="litert").lite.Interpreter
