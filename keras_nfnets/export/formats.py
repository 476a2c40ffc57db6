"""Lists the formats that `export` writes, as data.

- `saved_model`: a folder for TensorFlow and TensorFlow Serving.
- `keras`: a file of stock layers for Keras, on any backend.
- `onnx`: a file for ONNX Runtime and many other runtimes.
- `openvino`: two files for OpenVINO, made from ONNX.
- `litert`: a file for LiteRT (TensorFlow Lite), as phones have it.

A new format is a module with `write` and `load` and a row here. The command
line has its name in `keras_nfnets.options.EXPORTS`.
"""

from keras_nfnets.export import keras_file, litert, openvino, saved_model
from keras_nfnets.export.onnx import file as onnx_file
from keras_nfnets.export.request import Format

FORMATS = {
    "saved_model": Format(
        suffix="",
        precisions=("float32",),
        write=saved_model.write,
        load=saved_model.load,
        packages=("tensorflow",),
        extra="tensorflow",
    ),
    "keras": Format(
        suffix=".keras",
        precisions=("float32",),
        write=keras_file.write,
        load=keras_file.load,
    ),
    "onnx": Format(
        suffix=".onnx",
        precisions=("float32", "float16", "int8"),
        write=onnx_file.write,
        load=onnx_file.load,
        packages=("onnx",),
        extra="onnx",
    ),
    "openvino": Format(
        suffix=".xml",
        precisions=("float32", "float16", "int8"),
        write=openvino.write,
        load=openvino.load,
        packages=("onnx", "openvino"),
        extra="openvino",
    ),
    "litert": Format(
        suffix=".tflite",
        precisions=("float32", "float16", "int8"),
        write=litert.write,
        load=litert.load,
        packages=("tensorflow",),
        extra="litert",
    ),
}
