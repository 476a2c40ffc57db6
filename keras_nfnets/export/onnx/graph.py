"""Defines the ONNX graph that is being written: its nodes and its weights.

Tensors of three axes and more have their channels on axis 1 in the graph, as
ONNX operators expect them. A `Value` holds the shape that the tensor has in
Keras, with the channels last. A tensor of two axes is the same in both.
"""

import dataclasses
import math

import numpy as np

from keras_nfnets.export.folding.scaled import unique
from keras_nfnets.extras import require

# The version of ONNX's operators: the first one with `Gelu`.
OPSET = 20
# The version of the file format. Every reader of that opset knows it.
IR_VERSION = 9
PRODUCER = "keras_nfnets"


@dataclasses.dataclass(frozen=True)
class Value:
    """Describes a tensor of the graph and the padding it is still to get.

    A padding is pending between the layer that pads and the one that reads the
    padded pixels: `Conv` and `MaxPool` take it up as an attribute, which saves
    a node and a copy of the image.

    Args:
        name: String, the tensor's name in the graph.
        shape: Tuple, its shape in Keras, with the channels last and the pending
            padding counted. `None` where a size may vary. Defaults to `()`.
        pads: Tuple of pairs, the pixels still to be added before and after each
            spatial side. Defaults to `None`, no pending padding.
        fill: Float, the value of those pixels. Defaults to `0.0`.
    """

    name: str
    shape: tuple = ()
    pads: tuple | None = None
    fill: float = 0.0

    @property
    def rank(self):
        """Counts the axes, the batch among them."""
        return len(self.shape)


class Graph:
    """Collects the nodes and weights of a file.

    `nodes` is the list of ONNX nodes in the order of their computation.
    `weights` maps names to arrays. `taken` holds every name in use: no two
    tensors of a graph may share one.

    Args:
        dtype: String, `"float32"` or `"float16"`, of weights and tensors.
            Defaults to `"float32"`.

    Raises:
        ImportError: If the package `onnx` is not installed.

    Example:

    >>> graph = Graph()
    >>> graph.add("Relu", ["images"], "stem")
    'stem/Relu'
    """

    def __init__(self, dtype="float32"):
        self.onnx = require("onnx", extra="onnx")
        require("onnx.helper", extra="onnx")
        self.dtype = np.dtype(dtype)
        self.nodes = []
        self.weights = {}
        self.taken = set()

    def add(self, kind, inputs, name, **attributes):
        """Adds a node with one output.

        The name of the output ends with the operator. ONNX Runtime's
        quantization makes names such as `x_scale` for a tensor `x`, and a layer
        may have that name.

        Args:
            kind: String, the ONNX operator.
            inputs: List of names and `Value`s. A pending padding is not
                applied.
            name: String, the start of the output's name.
            **attributes: The operator's attributes.

        Returns:
            String, the name of the output.
        """
        name = unique(f"{name}/{kind}", self.taken)
        self._node(kind, inputs, name, **attributes)
        return name

    def end(self, x, name):
        """Gives a tensor the name of an output of the file.

        Args:
            x: String, the name of the tensor.
            name: String, the name of the output.

        Raises:
            ValueError: If the name is in use, as that of an input is.
        """
        if name in self.taken:
            raise ValueError(
                "`model` must not have an output with the name of an input. "
                f"Received: output {name!r}"
            )
        self._node("Identity", [x], name)

    def _node(self, kind, inputs, name, **attributes):
        """Appends a node whose only output has the node's name."""
        inputs = [x.name if isinstance(x, Value) else x for x in inputs]
        node = self.onnx.helper.make_node(
            kind, inputs, [name], name=name, **attributes
        )
        self.nodes.append(node)

    def weight(self, array, name):
        """Adds a weight in the graph's dtype.

        Args:
            array: Array or number.
            name: String, the name that it gets unless that is taken.

        Returns:
            String, the name of the weight.
        """
        name = unique(name, self.taken)
        self.weights[name] = np.ascontiguousarray(array, self.dtype)
        return name

    def integers(self, values, name):
        """Adds a weight of int64, such as a shape.

        Args:
            values: List of integers.
            name: String, the name that it gets unless that is taken.

        Returns:
            String, the name of the weight.
        """
        name = unique(name, self.taken)
        self.weights[name] = np.array(values, "int64")
        return name

    def channels(self, values, rank, name):
        """Adds a weight with one number for each channel.

        Args:
            values: Array of `channels` numbers, or one number.
            rank: Integer, the number of axes of the tensors that it meets.
            name: String, the name that it gets unless that is taken.

        Returns:
            String, the name of a weight of shape `(1, channels, 1, ...)`, which
            is broadcast over batch and positions.
        """
        shape = (1, -1) + (1,) * (rank - 2)
        return self.weight(np.reshape(values, shape[: max(rank, 2)]), name)

    def cast(self, x, dtype, name):
        """Adds a cast to another dtype.

        Args:
            x: String, the name of the tensor.
            dtype: NumPy dtype, or its name.
            name: String, the start of the node's name.

        Returns:
            String, the name of the cast tensor.
        """
        number = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", [x], name, to=number)

    def channels_first(self, x, rank, name):
        """Moves the channels from the last axis to axis 1.

        Args:
            x: String or `Value`, the tensor, in the order of Keras.
            rank: Integer, its number of axes. Below 3 nothing is to be moved.
            name: String, the start of the node's name.

        Returns:
            String, the name of the tensor in the order of the graph.
        """
        if rank < 3:
            return x.name if isinstance(x, Value) else x
        perm = [0, rank - 1, *range(1, rank - 1)]
        return self.add("Transpose", [x], name, perm=perm)

    def channels_last(self, x, rank, name):
        """Moves the channels from axis 1 to the last axis.

        Args:
            x: String or `Value`, the tensor, in the order of the graph.
            rank: Integer, its number of axes. Below 3 nothing is to be moved.
            name: String, the start of the node's name.

        Returns:
            String, the name of the tensor in the order of Keras.
        """
        if rank < 3:
            return x.name if isinstance(x, Value) else x
        perm = [0, *range(2, rank), 1]
        return self.add("Transpose", [x], name, perm=perm)

    def padded(self, x, name):
        """Applies the pending padding of a tensor, if it has one.

        An infinite fill becomes the largest number of the graph's dtype.

        Args:
            x: `Value`.
            name: String, the start of the node's name.

        Returns:
            String, the name of the padded tensor.
        """
        if x.pads is None:
            return x.name
        starts, ends = zip(*x.pads, strict=True)
        pads = [0, 0, *starts, 0, 0, *ends]
        pads = self.integers(pads, f"{name}/pads")
        fill = x.fill
        if math.isinf(fill):
            fill = math.copysign(float(np.finfo(self.dtype).max), fill)
        fill = self.weight(fill, f"{name}/fill")
        return self.add("Pad", [x, pads, fill], name)
