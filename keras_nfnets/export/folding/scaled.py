"""What the rules of folding hand to each other, and how they make layers."""

import math
from dataclasses import dataclass

import keras
from keras import ops

# Up to here a group is wide enough for a stock convolution of its own.
MAX_SPLIT_GROUPS = 16
# Of GELU's tanh form, `x * sigmoid(x * (SLOPE + CUBIC * x ** 2))`.
SLOPE = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * SLOPE
# What an activation's inputs are best multiplied by, where a kernel can do so:
# of y = CUBIC ** (1 / 3) * x, GELU's last factor is `y * (constant + y ** 2)`.
INPUT_SCALES = {"gelu": CUBIC ** (1 / 3)}


@dataclass(frozen=True)
class Scaled:
    """A symbolic tensor, and a number that it is yet to be multiplied by.

    Inside a block the tensor may be a list: its parts along the channels.
    """

    tensor: keras.KerasTensor | list
    scale: float = 1.0

    def times(self, scale):
        return Scaled(self.tensor, self.scale * float(scale))


class Maker:
    """Makes stock layers of one prefix and dtype policy, and calls them once.

    Args:
        taken: Set of strings, the names in the model so far.
        prefix: String, with which the layers' names start.
        dtype: Dtype policy of the layers.
        native: Boolean, whether what runs the model has kernels of its own
            for groups and for GELU. Defaults to `False`.
    """

    def __init__(self, taken, prefix, dtype, native=False):
        self.taken = taken
        self.prefix = prefix
        self.dtype = dtype
        self.native = native

    def under(self, name, dtype=None):
        """Returns the maker of what stands inside this one."""
        prefix = f"{self.prefix}_{name}"
        return Maker(self.taken, prefix, dtype or self.dtype, self.native)

    def of(self, layer):
        """Returns the maker for a layer that stands inside this one."""
        return self.under(layer.name, layer.dtype_policy)

    def __call__(self, kind, x, *args, weights=None, **kwargs):
        name = unique(self.prefix, self.taken)
        layer = kind(*args, name=name, dtype=self.dtype, **kwargs)
        outputs = layer(x)
        if weights is not None:
            layer.set_weights(weights)
        return outputs

    def multiply(self, *tensors):
        return self(keras.layers.Multiply, list(tensors))

    def join(self, parts):
        """Returns one tensor of what may be a list of parts."""
        if not isinstance(parts, list):
            return parts
        return self.under("parts")(keras.layers.Concatenate, parts)

    def held_back(self, name):
        """Returns the `Scaled.scale` that an activation's inputs best have."""
        return 1.0 if self.native else 1.0 / INPUT_SCALES.get(name, 1.0)

    def splits(self, groups):
        """Whether groups run as dense convolutions of their own.

        Keras runs a grouped convolution on TensorFlow through XLA, which is
        slow on a CPU, and which converters of a SavedModel do not know.
        NFNet-F0 at 256 px and batch 1 there, on 2 CPU cores that others used
        too, took 0.68 of the unfolded model's CPU time this way and 0.85
        grouped.

        Inside a block the groups stay apart between its 1x1 convolutions, so
        that nothing is split or joined between. That took 0.97 at batch 8, and
        0.95 at batch 1, of the CPU time with one split before the first 3x3.
        """
        return not self.native and 1 < groups <= MAX_SPLIT_GROUPS

    def whole(self, x):
        """Returns a `Scaled` as one tensor, multiplied."""
        if x.scale == 1.0:
            return x.tensor
        return self.under("scale", x.tensor.dtype)(
            keras.layers.Rescaling, x.tensor, x.scale
        )


def unique(name, taken):
    """Returns the name, numbered if it is taken, and takes it."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def array(variable):
    """Returns a variable or tensor as a NumPy array."""
    return ops.convert_to_numpy(variable)
