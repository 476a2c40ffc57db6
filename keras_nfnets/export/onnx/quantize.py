"""Makes 8-bit ONNX files by ONNX Runtime's static quantization."""

from keras_nfnets.extras import require


def quantize(source, target, batches):
    """Writes a file whose convolutions compute with 8-bit integers.

    The file has a pair of `QuantizeLinear` and `DequantizeLinear` around every
    tensor (the format QDQ), which runtimes fuse into integer kernels. Weights
    have one scale for each output channel. Activations have one scale for each
    tensor: it covers the least and the greatest value that `batches` lead to.
    A softmax stays in float32. ONNX Runtime would round its outputs to 1/256,
    and most of the probabilities of a thousand classes to zero.

    Args:
        source: Path of a float32 ONNX file.
        target: Path of the file to write.
        batches: List of float32 arrays, images as the file takes them.

    Raises:
        ImportError: If ONNX Runtime is not installed.

    Reference: [Jacob et al., 2018](https://arxiv.org/abs/1712.05877)
    """
    require("onnxruntime", extra="onnx")
    onnx = require("onnx", extra="onnx")
    quantization = require("onnxruntime.quantization", extra="onnx")
    nodes = onnx.load(source, load_external_data=False).graph.node
    quantization.quantize_static(
        str(source),
        str(target),
        _Batches(batches),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=[x.name for x in nodes if x.op_type == "Softmax"],
        # Weights get 7 bits. With 8, sums of two products saturate at 16 bits
        # on CPUs without VNNI, and the accuracy falls.
        reduce_range=True,
    )


class _Batches:
    """Gives ONNX Runtime its batches for calibration, one a call."""

    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        """Returns the next batch in a dictionary, or `None` at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}
