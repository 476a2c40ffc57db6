"""What the rules of folding hand to each other, and how they make layers."""

from dataclasses import dataclass

import keras
from keras import ops


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
    """

    def __init__(self, taken, prefix, dtype):
        self.taken = taken
        self.prefix = prefix
        self.dtype = dtype

    def under(self, name, dtype=None):
        """Returns the maker of what stands inside this one."""
        return Maker(self.taken, f"{self.prefix}_{name}", dtype or self.dtype)

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
