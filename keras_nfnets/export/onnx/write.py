"""Writes a Keras model as an ONNX file, on any backend and without TensorFlow.

The graph has the channels before the pixels, the order that runtimes compute
in. A grouped convolution is one node, and so is GELU. Users give images with
the channels last, as to the Keras model: one transposition of the images' few
channels stands at the entry.
"""

from pathlib import Path

import numpy as np

from keras_nfnets.export import folding
from keras_nfnets.export.comparison import named
from keras_nfnets.export.onnx.graph import (
    IR_VERSION,
    OPSET,
    PRODUCER,
    Graph,
    Value,
)
from keras_nfnets.export.onnx.walk import Walk, check_known

# Weights of more bytes go into a file of their own: protobuf ends at 2 GiB.
MOST_BYTES = 1_500_000_000
# Weights in that file start at multiples of a page, so that a runtime can map
# them into memory.
PAGE = 4096


def write_onnx(model, path, mean=0.0, std=1.0, dtype="float32"):
    """Writes a model as ONNX.

    Args:
        model: A functional or built sequential Keras model. Its inputs have the
            shapes that the file is to have.
        path: Path of the file to write. Weights above 1.5 GB go to a file
            beside it, named after it with `.data` at the end.
        mean: Float or sequence of floats, subtracted from each channel of the
            pixels. Defaults to `0.0`.
        std: Float or sequence of floats that divides each channel. Defaults to
            `1.0`.
        dtype: String, `"float32"` or `"float16"`. Inputs and outputs are
            float32 in both. Defaults to `"float32"`.

    Input shape:
        `(batch, height, width, channels)`, as the model's. The only input is
        called `"images"`; several have their names in the model.

    Output shape:
        As the model's. The only output is called `"outputs"`; several have the
        names of `comparison.named`.

    Raises:
        ImportError: If the package `onnx` is not installed.
        ValueError: If layers of the model cannot be written as ONNX. All are
            named.

    Example:

    >>> write_onnx(keras_nfnets.NFNet("nfnet_f0"), "f0.onnx", dtype="float16")

    Reference: [ONNX operators, opset 20](https://onnx.ai/onnx/operators/)
    """
    graph = Graph(dtype)
    folded = folding.fold_for_runtime(model)
    check_known(folded)
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    names = ["images"]
    if len(shapes) > 1:
        names = [tensor.name for tensor in model.inputs]
    values = [
        _add_input(graph, name, shape, mean, std)
        for name, shape in zip(names, shapes, strict=True)
    ]
    outputs = named(Walk(graph).model(folded, values))
    for name, value in outputs.items():
        _add_output(graph, name, value)
    _save(graph, dict(zip(names, shapes, strict=True)), outputs, Path(path))


def _add_input(graph, name, shape, mean, std):
    """Adds an input, its transposition and normalization.

    Returns:
        The `Value` that the first layer reads.
    """
    graph.taken.add(name)
    rank = len(shape)
    x = graph.channels_first(name, rank, name)
    std = np.asarray(std, "float64")
    steps = ("Mul", 1 / std, 1.0), ("Add", -np.asarray(mean) / std, 0.0)
    for kind, numbers, neutral in steps:
        if not np.all(numbers == neutral):
            weight = graph.channels(numbers, rank, f"{name}/{kind}/number")
            # Pixels are normalized in float32 in a float16 graph, too.
            graph.weights[weight] = np.float32(
                np.reshape(numbers, graph.weights[weight].shape)
            )
            x = graph.add(kind, [x, weight], name)
    if graph.dtype != np.float32:
        x = graph.cast(x, graph.dtype, name)
    return Value(x, shape)


def _add_output(graph, name, value):
    """Adds an output in the layout of Keras and in float32."""
    x = graph.padded(value, name)
    x = graph.channels_last(x, value.rank, name)
    if graph.dtype != np.float32:
        x = graph.cast(x, "float32", name)
    graph.end(x, name)


def _save(graph, inputs, outputs, path):
    """Saves the graph as a file, which ONNX's checker then reads."""
    onnx = graph.onnx
    parts = [
        onnx.helper.make_graph(
            graph.nodes,
            path.stem,
            [_info(onnx, *item) for item in inputs.items()],
            [_info(onnx, n, value.shape) for n, value in outputs.items()],
            _initializers(graph, path),
        )
    ]
    model = onnx.helper.make_model(
        *parts,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
    )
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path), full_check=True)


def _info(onnx, name, shape):
    """Returns name, dtype and shape of an input or output.

    Sizes that may vary have names. Axes with the same name have the same size.
    """
    axes = ("batch", "height", "width")
    shape = [
        (axes[i] if i < 3 else f"axis{i}") if side is None else side
        for i, side in enumerate(shape)
    ]
    return onnx.helper.make_tensor_value_info(
        name, onnx.TensorProto.FLOAT, shape
    )


def _initializers(graph, path):
    """Returns the weights, or references to them in a file beside `path`."""
    from_array = graph.onnx.numpy_helper.from_array
    total = sum(array.nbytes for array in graph.weights.values())
    if total <= MOST_BYTES:
        return [from_array(a, name) for name, a in graph.weights.items()]
    location = f"{path.name}.data"
    with open(path.with_name(location), "wb") as file:
        return [
            _external(graph.onnx, name, array, file, location)
            if array.dtype == graph.dtype
            else from_array(array, name)
            for name, array in graph.weights.items()
        ]


def _external(onnx, name, array, file, location):
    """Writes a weight into the file beside the model.

    Returns:
        A tensor that refers to the weight's place in that file.
    """
    file.seek(-(-file.tell() // PAGE) * PAGE)
    start = file.tell()
    file.write(array.tobytes())
    tensor = onnx.TensorProto(
        name=name,
        dims=array.shape,
        data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
    )
    places = dict(location=location, offset=start, length=array.nbytes)
    for key, value in places.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor
