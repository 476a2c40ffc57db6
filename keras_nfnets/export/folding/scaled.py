"""Defines the values that folding rules pass on and the factory of layers."""

from dataclasses import dataclass

import keras
from keras import ops

# Up to here a group is wide enough for a stock convolution of its own.
MAX_SPLIT_GROUPS = 16


@dataclass(frozen=True)
class Scaled:
    """A symbolic tensor and a scale that it has still to be multiplied by.

    A later kernel takes up the scale at no cost. Inside a block the tensor may
    be a list of its parts along the channels.
    """

    tensor: keras.KerasTensor | list
    scale: float = 1.0

    def times(self, scale):
        return Scaled(self.tensor, self.scale * float(scale))


class LayerFactory:
    """Makes stock layers and calls each of them once.

    Args:
        taken: Set of strings, the names in the model so far.
        prefix: String, the start of the layers' names.
        dtype: Dtype policy of the layers.
        native: Boolean, whether what runs the model has kernels of its own
            for groups and for GELU. Defaults to `False`.
    """

    def __init__(self, taken, prefix, dtype, native=False):
        self.taken = taken
        self.prefix = prefix
        self.dtype = dtype
        self.native = native

    def scope(self, name, dtype=None):
        """Returns a factory whose names start with this prefix and `name`."""
        prefix = f"{self.prefix}_{name}"
        dtype = dtype or self.dtype
        return LayerFactory(self.taken, prefix, dtype, self.native)

    def for_layer(self, layer):
        """Returns the factory of a sublayer, with its name and policy."""
        return self.scope(layer.name, layer.dtype_policy)

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
        """Returns one tensor from a tensor or from a list of its parts."""
        if not isinstance(parts, list):
            return parts
        return self.scope("parts")(keras.layers.Concatenate, parts)

    def splits(self, groups):
        """Whether groups become dense convolutions, one for each group.

        Keras runs a grouped convolution on TensorFlow through XLA. It is slow
        on a CPU, and converters of a SavedModel do not know it. Inside a block
        the groups stay apart between the 1x1 convolutions, without a split or
        a concatenation between them. Both save time (`benchmarks/NOTES.md`).
        """
        return not self.native and 1 < groups <= MAX_SPLIT_GROUPS

    def materialize(self, x):
        """Returns the tensor of a `Scaled`, multiplied by its scale."""
        if x.scale == 1.0:
            return x.tensor
        return self.scope("scale", x.tensor.dtype)(
            keras.layers.Rescaling, x.tensor, x.scale
        )


def unique(name, taken):
    """Returns a free name, and adds it to the names that are taken."""
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def array(variable):
    """Returns a variable or tensor as a NumPy array."""
    return ops.convert_to_numpy(variable)
