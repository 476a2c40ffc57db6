"""Eight-bit ONNX files, by ONNX Runtime's static quantization."""

from keras_nfnets.extras import require


def quantize(source, target, batches):
    """Writes a file whose convolutions compute with integers.

    Weights have a scale for each output channel. Activations have one for
    each tensor, of the least and the greatest value that `batches` lead to.

    Args:
        source: Path of a float32 ONNX file.
        target: Path of the file to write.
        batches: List of float32 arrays, images as the file takes them.

    Raises:
        ImportError: If ONNX Runtime is not installed.
    """
    require("onnxruntime", extra="onnx")
    quantization = require("onnxruntime.quantization", extra="onnx")
    quantization.quantize_static(
        str(source),
        str(target),
        _Batches(batches),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        # Weights of 7 bits. With 8, products overflow on CPUs without VNNI: a
        # network that had 99.2 % of the digits right then had 89.7 %.
        reduce_range=True,
    )


class _Batches:
    """What ONNX Runtime asks for calibration."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}
