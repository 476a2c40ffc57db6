"""The ONNX format: writing in each precision, and running in ONNX Runtime."""

from keras_nfnets.export.onnx.quantize import quantize
from keras_nfnets.export.onnx.write import write_onnx
from keras_nfnets.extras import require


def write(request):
    """Writes an ONNX file, see `Format.write`."""
    if request.precision != "int8":
        dtype = request.precision
        _write(request, request.path, dtype)
        return
    floats = request.path.with_name(f"float32-{request.path.name}")
    _write(request, floats, "float32")
    quantize(floats, request.path, request.calibrate)
    for file in floats.parent.glob(f"{floats.name}*"):
        file.unlink()


def _write(request, path, dtype):
    write_onnx(request.model, path, request.mean, request.std, dtype)


def load(path):
    """Returns what a file computes in ONNX Runtime, see `Format.load`."""
    runtime = require("onnxruntime", extra="onnx")
    session = runtime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    names = [node.name for node in session.get_inputs()]

    def run(inputs):
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run
