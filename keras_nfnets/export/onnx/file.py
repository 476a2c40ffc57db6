"""Defines the ONNX format: how files are written and run by ONNX Runtime."""

from keras_nfnets.export.onnx.quantize import quantize
from keras_nfnets.export.onnx.write import write_onnx
from keras_nfnets.extras import require


def write(request):
    """Writes an ONNX file, see `Format.write`.

    For `"int8"` a float32 file is written first, quantized by ONNX Runtime, and
    removed.

    Args:
        request: `Request` of any precision, with images to calibrate with for
            `"int8"`.

    Raises:
        ImportError: If `onnx` is not installed, or for `"int8"` ONNX Runtime.
        ValueError: If a layer of the model cannot be written as ONNX.
    """
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
    """Writes a file of floats with the request's model and normalization."""
    write_onnx(request.model, path, request.mean, request.std, dtype)


def load(path):
    """Loads a file in ONNX Runtime on the CPU, see `Format.load`.

    Args:
        path: Path of an ONNX file.

    Returns:
        A function from a list of arrays, in the order of the file's inputs, to
        the list of its outputs.

    Raises:
        ImportError: If ONNX Runtime is not installed.
    """
    runtime = require("onnxruntime", extra="onnx")
    session = runtime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    names = [node.name for node in session.get_inputs()]

    def run(inputs):
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run
