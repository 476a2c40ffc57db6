"""Defines the values that folding rules pass on and the factory of layers."""

from dataclasses import dataclass

import keras
from keras import ops

# With more groups each one is too narrow for a convolution of its own.
MAX_SPLIT_GROUPS = 16


@dataclass(frozen=True)
class Scaled:
    """Holds a symbolic tensor and a scale that is still to multiply it.

    The next kernel takes up the scale at no cost.

    Args:
        tensor: Symbolic tensor of Keras. Inside a block it may be a list of its
            parts along the channels, one for each group.
        scale: Float. Defaults to `1.0`.

    Example:

    >>> Scaled(keras.Input((8,))).times(0.5).times(3.0).scale
    1.5
    """

    tensor: keras.KerasTensor | list
    scale: float = 1.0

    def times(self, scale):
        """Returns the same tensor with a scale that is multiplied by another.

        Args:
            scale: Float, or an array with one number.
        """
        return Scaled(self.tensor, self.scale * float(scale))


class LayerFactory:
    """Makes stock layers and calls each of them once.

    Args:
        taken: Set of strings, the names in the model so far. Each new layer
            adds its own.
        prefix: String, the start of the layers' names.
        dtype: Dtype policy of the layers.
        native: Boolean, whether what runs the model has kernels for groups and
            for GELU. Defaults to `False`.

    Example:

    >>> make = LayerFactory(set(), "stem", "float32")
    >>> x = keras.Input((8,))
    >>> y = make.scope("act")(keras.layers.Activation, x, "relu")
    >>> make.taken
    {'stem_act'}
    """

    def __init__(self, taken, prefix, dtype, native=False):
        self.taken = taken
        self.prefix = prefix
        self.dtype = dtype
        self.native = native

    def scope(self, name, dtype=None):
        """Returns a factory whose names start with this prefix and `name`.

        Args:
            name: String, which follows the prefix and an underscore.
            dtype: Dtype policy of its layers. Defaults to `None`, this
                factory's.
        """
        prefix = f"{self.prefix}_{name}"
        dtype = dtype or self.dtype
        return LayerFactory(self.taken, prefix, dtype, self.native)

    def for_layer(self, layer):
        """Returns the factory of a sublayer, with its name and dtype policy.

        Args:
            layer: The sublayer of the original model.
        """
        return self.scope(layer.name, layer.dtype_policy)

    def __call__(self, kind, x, *args, weights=None, **kwargs):
        """Makes a layer, calls it and returns its outputs.

        Args:
            kind: Class of the layer.
            x: Symbolic tensor, or a list of them.
            *args: Further arguments of the layer.
            weights: List of arrays for `set_weights`. Defaults to `None`.
            **kwargs: Keyword arguments of the layer.
        """
        name = unique(self.prefix, self.taken)
        layer = kind(*args, name=name, dtype=self.dtype, **kwargs)
        outputs = layer(x)
        if weights is not None:
            layer.set_weights(weights)
        return outputs

    def multiply(self, *tensors):
        """Returns the product of tensors.

        Args:
            *tensors: Symbolic tensors whose shapes broadcast.
        """
        return self(keras.layers.Multiply, list(tensors))

    def join(self, parts):
        """Returns one tensor from a tensor or from a list of its parts.

        Args:
            parts: Symbolic tensor, or a list of parts along the channels.
        """
        if not isinstance(parts, list):
            return parts
        return self.scope("parts")(keras.layers.Concatenate, parts)

    def splits(self, groups):
        """Returns whether groups become dense convolutions, one for each group.

        Keras runs a grouped convolution on TensorFlow through XLA. It is slow
        on a CPU, and converters of a SavedModel do not know it. Inside a block
        the groups stay apart between the 1x1 convolutions, without a split or a
        concatenation between them. Both save time (`benchmarks/NOTES.md`).

        Args:
            groups: Integer, the number of groups.
        """
        return not self.native and 1 < groups <= MAX_SPLIT_GROUPS

    def materialize(self, x):
        """Returns the tensor of a `Scaled`, multiplied by its scale.

        Args:
            x: `Scaled` of one tensor. A scale of 1 adds no layer.
        """
        if x.scale == 1.0:
            return x.tensor
        return self.scope("scale", x.tensor.dtype)(
            keras.layers.Rescaling, x.tensor, x.scale
        )


def unique(name, taken):
    """Returns a free name, and adds it to the names that are taken.

    Args:
        name: String, which gets a number at its end if it is taken.
        taken: Set of strings. It is changed.

    Example:

    >>> unique("act", taken := {"act"}), sorted(taken)
    ('act_1', ['act', 'act_1'])
    """
    candidate, number = name, 0
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def array(variable):
    """Returns a variable or tensor as a NumPy array.

    Args:
        variable: `keras.Variable`, or a tensor of the backend.
    """
    return ops.convert_to_numpy(variable)
