"""Arranges variables so that their units stand in one vector.

A unit is the set of weights that AGC clips together. `UnitLayout` knows the
units of one variable: which axes they reduce, in which shape the variable is
handled, and how a vector with one number per unit is applied to it. A training
step concatenates the vectors of all variables, so that what is done per unit
takes a handful of operations however many variables there are.
"""

import dataclasses
import functools
import math

from keras import ops

from keras_nfnets.layers.device import on_tensorflow_cpu


def is_vector(shape):
    """Returns whether a shape squeezes to a vector or a scalar.

    Args:
        shape: Tuple of integers.
    """
    return sum(size > 1 for size in shape) <= 1


def axes_of_shape(shape):
    """Returns the axes that make one unit by the papers' rule for the rank.

    - What squeezes to a vector or a scalar: all axes, one unit.
    - Rank 2 `(inputs, units)` and rank 3: axis 0.
    - Rank 4 `(height, width, inputs, units)`: axes 0 to 2.

    Args:
        shape: Tuple of integers.

    Returns:
        A tuple of integers.

    Raises:
        ValueError: If the rank is above 4.
    """
    rank = len(shape)
    if is_vector(shape):
        return tuple(range(rank))
    if rank in (2, 3):
        return (0,)
    if rank == 4:
        return (0, 1, 2)
    raise ValueError(
        "AGC knows the unit of ranks 0 to 4; name the axes or exclude the "
        f"variable. Received: shape={tuple(shape)}"
    )


@dataclasses.dataclass(frozen=True)
class UnitLayout:
    """Layout of the units of one variable.

    Args:
        shape: Tuple of integers, the variable's shape.
        axes: Tuple of integers, the axes that one unit reduces.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, variable, axes=None):
        """Returns the layout of a variable.

        Args:
            variable: Variable or tensor of known shape.
            axes: Tuple of integers. Defaults to `None`, the papers' rule.
        """
        shape = tuple(variable.shape)
        return cls(shape, axes_of_shape(shape) if axes is None else tuple(axes))

    @functools.cached_property
    def arranged(self):
        """The shape in which the variable is handled, and a unit's axes there.

        A kernel whose last axis has the units is handled as a matrix with a
        unit in each column. XLA would otherwise copy the kernels of grouped
        convolutions into another layout on a TPU. TensorFlow's CPU kernels
        need no matrix, and its graph is built faster without the reshapes.
        """
        units_last = self.axes == tuple(range(len(self.shape) - 1))
        if len(self.shape) > 2 and units_last and not on_tensorflow_cpu():
            return (math.prod(self.shape[:-1]), self.shape[-1]), (0,)
        return self.shape, self.axes

    @functools.cached_property
    def broadcasts(self):
        """Whether a vector of units broadcasts to the arranged tensor."""
        shape, axes = self.arranged
        return len(shape) > 0 and axes == tuple(range(max(len(shape) - 1, 1)))

    @property
    def unit_shape(self):
        """The shape of one number per unit that broadcasts to the variable."""
        return tuple(
            1 if axis in self.axes else size
            for axis, size in enumerate(self.shape)
        )

    @property
    def count(self):
        """How many units the variable has."""
        return math.prod(self.unit_shape)

    def arrange(self, x):
        """Returns a dense tensor of the variable's shape as it is handled."""
        x, shape = ops.convert_to_tensor(x), self.arranged[0]
        return x if shape == self.shape else ops.reshape(x, shape)

    def scale(self, arranged, factors):
        """Multiplies each unit of an arranged tensor by its factor.

        Args:
            arranged: Tensor, of `arrange`.
            factors: Float32 vector `(count,)`.

        Returns:
            A tensor of the variable's shape and the arranged one's dtype.
        """
        shape, axes = self.arranged
        if not self.broadcasts:
            factors = ops.reshape(
                factors, [1 if i in axes else n for i, n in enumerate(shape)]
            )
        scaled = arranged * ops.cast(factors, arranged.dtype)
        return (
            scaled if shape == self.shape else ops.reshape(scaled, self.shape)
        )

    def scale_rows(self, gradient, factors):
        """Multiplies each unit of a sparse gradient by its factor.

        Args:
            gradient: `tf.IndexedSlices`, the rows of an embedding in use.
            factors: Float32 vector `(count,)`.

        Returns:
            `tf.IndexedSlices` of the same rows.
        """
        factors = ops.reshape(factors, self.unit_shape)
        if factors.shape[0] > 1:
            factors = ops.take(factors, gradient.indices, axis=0)
        values = gradient.values * ops.cast(factors, gradient.values.dtype)
        return type(gradient)(values, gradient.indices, gradient.dense_shape)
