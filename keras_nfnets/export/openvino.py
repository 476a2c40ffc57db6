"""Defines the format of OpenVINO, whose two files are made from ONNX."""

import dataclasses
import functools

import numpy as np

from keras_nfnets.export.onnx import file as onnx_file
from keras_nfnets.extras import require


def write(request):
    """Writes an `.xml` file and its `.bin`, see `Format.write`.

    With `"float16"` the weights in the file are halves. OpenVINO computes in
    the precision that the device does best.

    Args:
        request: `Request` of any precision. Quantization to int8 is ONNX
            Runtime's.

    Raises:
        ImportError: If OpenVINO or `onnx` is not installed, or for `"int8"`
            ONNX Runtime.
        ValueError: If a layer of the model cannot be written as ONNX.
    """
    openvino = require("openvino", extra="openvino")
    source = request.path.with_suffix(".onnx")
    halves = request.precision == "float16"
    onnx_file.write(
        dataclasses.replace(
            request,
            path=source,
            precision="float32" if halves else request.precision,
        )
    )
    model = openvino.convert_model(str(source))
    openvino.save_model(model, str(request.path), compress_to_fp16=halves)
    del model  # It maps the ONNX file into memory.
    for file in source.parent.glob(f"{source.name}*"):
        file.unlink()


def load(path):
    """Loads a file in OpenVINO on the CPU, see `Format.load`.

    OpenVINO joins fewer operations where it does not know the batch, so the
    network is compiled for each shape; the last two are kept.

    Args:
        path: Path of an `.xml` file.

    Returns:
        A function from a list of arrays to a list of arrays.

    Raises:
        ImportError: If OpenVINO is not installed.
    """
    core = require("openvino", extra="openvino").Core()

    @functools.lru_cache(maxsize=2)
    def compiled(*shapes):
        model = core.read_model(str(path))
        model.reshape(dict(enumerate(map(list, shapes))))
        # OpenVINO would choose bfloat16 on CPUs that have it.
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        return core.compile_model(model, "CPU", settings)

    def run(inputs):
        model = compiled(*(np.shape(x) for x in inputs))
        results = model(inputs)
        return [results[output] for output in model.outputs]

    return run
