"""Arranges variables so that one vector has a number for each of their units.

A unit is the set of weights that AGC clips together. A training step computes
the norms of all units of all variables, concatenates them to one vector, and
clips that vector. So the clipping takes a few operations, however many
variables a network has. `UnitLayout` translates between one variable and its
part of the vector.
"""

import dataclasses
import functools
import math

from keras import ops

from keras_nfnets.layers.device import on_tensorflow_cpu


def is_vector(shape):
    """Returns whether at most one axis of a shape is longer than 1.

    Args:
        shape: Tuple of integers.

    Example:

    >>> is_vector((1, 1, 64)), is_vector((3, 64))
    (True, False)
    """
    return sum(size > 1 for size in shape) <= 1


def axes_of_shape(shape):
    """Returns the axes that make one unit, by the papers' rule for the rank.

    - A vector or a scalar, also with axes of size 1: all axes. It is one unit.
    - Rank 2 `(inputs, units)` and rank 3: axis 0.
    - Rank 4 `(height, width, inputs, units)`: axes 0 to 2.

    Args:
        shape: Tuple of integers.

    Returns:
        A tuple of integers.

    Raises:
        ValueError: If the rank is above 4.

    Example:

    >>> axes_of_shape((3, 3, 16, 8)), axes_of_shape((16, 8))
    ((0, 1, 2), (0,))

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 3; the ranks are those of the papers' code
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
    """The units of one variable, and how to compute with them.

    Args:
        shape: Tuple of integers, the variable's shape.
        axes: Tuple of integers, the axes that one unit spans.

    Example:

    >>> layout = UnitLayout((3, 3, 16, 8), (0, 1, 2))
    >>> layout.count, layout.unit_shape
    (8, (1, 1, 1, 8))
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, variable, axes=None):
        """Returns the layout of a variable.

        Args:
            variable: Variable or tensor of known shape.
            axes: Tuple of integers, the axes that one unit spans. Defaults to
                `None`, the papers' rule for the rank.
        """
        shape = tuple(variable.shape)
        return cls(shape, axes_of_shape(shape) if axes is None else tuple(axes))

    @functools.cached_property
    def arranged(self):
        """The shape in which AGC computes, and the axes of a unit in it.

        A kernel with its units on the last axis becomes a matrix, one unit in
        each column. On a TPU XLA would otherwise copy the kernels of grouped
        convolutions into another layout. A TensorFlow CPU needs no matrix, and
        its graph is built faster without the reshapes.
        """
        units_last = self.axes == tuple(range(len(self.shape) - 1))
        if len(self.shape) > 2 and units_last and not on_tensorflow_cpu():
            return (math.prod(self.shape[:-1]), self.shape[-1]), (0,)
        return self.shape, self.axes

    @functools.cached_property
    def broadcasts(self):
        """Whether a vector of one number per unit broadcasts as it is."""
        shape, axes = self.arranged
        return len(shape) > 0 and axes == tuple(range(max(len(shape) - 1, 1)))

    @property
    def unit_shape(self):
        """The variable's shape with size 1 on the axes that a unit spans."""
        return tuple(
            1 if axis in self.axes else size
            for axis, size in enumerate(self.shape)
        )

    @property
    def count(self):
        """The number of units of the variable."""
        return math.prod(self.unit_shape)

    def arrange(self, x):
        """Reshapes a tensor of the variable's shape to that of `arranged`.

        Args:
            x: Tensor or variable, no sparse gradient.
        """
        x, shape = ops.convert_to_tensor(x), self.arranged[0]
        return x if shape == self.shape else ops.reshape(x, shape)

    def scale(self, arranged, factors):
        """Multiplies each unit of an arranged tensor by its factor.

        Args:
            arranged: Tensor, the result of `arrange`.
            factors: Float32 vector `(count,)`.

        Returns:
            A tensor of the variable's shape and the argument's dtype.
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
            gradient: `tf.IndexedSlices`, the gradient of an embedding: a row
                for each use of a token.
            factors: Float32 vector `(count,)`.

        Returns:
            `tf.IndexedSlices` of the same rows.
        """
        factors = ops.reshape(factors, self.unit_shape)
        if factors.shape[0] > 1:
            factors = ops.take(factors, gradient.indices, axis=0)
        values = gradient.values * ops.cast(factors, gradient.values.dtype)
        return type(gradient)(values, gradient.indices, gradient.dense_shape)
