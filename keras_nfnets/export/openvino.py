"""The OpenVINO format: two files, made of what is written as ONNX."""

import dataclasses

from keras_nfnets.export.onnx import file as onnx_file
from keras_nfnets.extras import require


def write(request):
    """Writes an `.xml` file and its `.bin`, see `Format.write`.

    float16 is that of the weights in the file; OpenVINO computes as the device
    does best.
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
    del model  # it maps the file
    for file in source.parent.glob(f"{source.name}*"):
        file.unlink()


def load(path):
    """Returns what a file computes in OpenVINO, see `Format.load`."""
    openvino = require("openvino", extra="openvino")
    # Not bfloat16, which OpenVINO takes by itself on CPUs that have it.
    model = openvino.Core().compile_model(
        str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )

    def run(inputs):
        results = model(inputs)
        return [results[output] for output in model.outputs]

    return run
