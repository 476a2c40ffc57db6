"""An ONNX graph while it is written: its nodes and its weights.

Tensors of three axes and more have their channels second here, as ONNX wants
them; Keras has them last.
"""

import dataclasses
import math

import numpy as np

from keras_nfnets.export.folding.scaled import unique
from keras_nfnets.extras import require

# Of ONNX's operations: the first version with Gelu.
OPSET = 20
# Of the file's format, which every reader of that version knows.
IR_VERSION = 9
PRODUCER = "keras_nfnets"


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor of the graph.

    Args:
        name: String, its name there.
        shape: Tuple, its shape in Keras, with the channels last.
        pads: Tuple of pairs, what the next layer is to add on every spatial
            side, or `None`. `shape` counts it already.
        fill: Float, what it is to add.
    """

    name: str
    shape: tuple = ()
    pads: tuple | None = None
    fill: float = 0.0

    @property
    def rank(self):
        return len(self.shape)


class Graph:
    """Collects nodes and weights.

    Args:
        dtype: String, `"float32"` or `"float16"`, of weights and tensors.
    """

    def __init__(self, dtype="float32"):
        self.onnx = require("onnx", extra="onnx")
        require("onnx.helper", extra="onnx")
        self.dtype = np.dtype(dtype)
        self.nodes = []
        self.weights = {}
        self.taken = set()

    def add(self, kind, inputs, name, **attributes):
        """Adds a node of one output and returns that output's name.

        The kind ends the name: ONNX Runtime's quantization makes names such
        as `x_scale` of `x`, which a layer may have.
        """
        name = unique(f"{name}/{kind}", self.taken)
        self._node(kind, inputs, name, **attributes)
        return name

    def end(self, x, name):
        """Gives a tensor the name of an output."""
        if name in self.taken:
            raise ValueError(
                "An output must not have the name of an input. "
                f"Received: output {name!r}"
            )
        self._node("Identity", [x], name)

    def _node(self, kind, inputs, name, **attributes):
        inputs = [x.name if isinstance(x, Value) else x for x in inputs]
        node = self.onnx.helper.make_node(
            kind, inputs, [name], name=name, **attributes
        )
        self.nodes.append(node)

    def weight(self, array, name):
        """Adds floats of the graph's dtype and returns their name."""
        name = unique(name, self.taken)
        self.weights[name] = np.ascontiguousarray(array, self.dtype)
        return name

    def integers(self, values, name):
        """Adds int64 numbers, such as a shape, and returns their name."""
        name = unique(name, self.taken)
        self.weights[name] = np.array(values, "int64")
        return name

    def channels(self, values, rank, name):
        """Adds one number per channel for tensors of this rank."""
        shape = (1, -1) + (1,) * (rank - 2)
        return self.weight(np.reshape(values, shape[: max(rank, 2)]), name)

    def cast(self, x, dtype, name):
        number = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", [x], name, to=number)

    def channels_first(self, x, rank, name):
        """Moves the last axis to the second place."""
        if rank < 3:
            return x.name if isinstance(x, Value) else x
        perm = [0, rank - 1, *range(1, rank - 1)]
        return self.add("Transpose", [x], name, perm=perm)

    def channels_last(self, x, rank, name):
        """Moves the second axis to the last place."""
        if rank < 3:
            return x.name if isinstance(x, Value) else x
        perm = [0, *range(2, rank), 1]
        return self.add("Transpose", [x], name, perm=perm)

    def padded(self, x, name):
        """Returns the name of a tensor with what it is yet to be padded by."""
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
