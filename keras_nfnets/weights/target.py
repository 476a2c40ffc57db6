"""Moves one array between the axes of a weight file and those of a model.

Axes are letters: `H` and `W` are height and width, `I` inputs, `O` outputs, and
`1` is an axis of length one. Keras's kernels are `HWIO`, PyTorch's `OIHW`.
"""

from dataclasses import dataclass

import keras
import numpy as np

# The axes of our variables by their rank: height, width, inputs and outputs.
AXES = {0: "", 1: "O", 2: "IO", 3: "WIO", 4: "HWIO"}


@dataclass(frozen=True)
class Target:
    """Names the variable that an array of a source belongs to, and its axes.

    Args:
        variable: `keras.Variable`.
        source_axes: String, the axes of the source's array in their order, such
            as `"OIHW"`. Defaults to `None`, the variable's own axes.

    Example:

    >>> target = timm_targets(model)["stem.conv1.weight"]
    >>> target.source_axes
    'OIHW'
    >>> target.read().shape
    (16, 3, 3, 3)
    """

    variable: keras.Variable
    source_axes: str | None = None

    @property
    def axes(self) -> str:
        """The axes of the variable, such as `"HWIO"`."""
        return AXES[len(self.variable.shape)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the source's array has."""
        ours = np.broadcast_to(0, tuple(self.variable.shape))
        return self.to_theirs(ours).shape

    def to_ours(self, array):
        """Returns an array in the variable's axes.

        Args:
            array: NumPy array in the source's axes.
        """
        if self.source_axes is None:
            return array
        return rearranged(array, self.source_axes, self.axes)

    def to_theirs(self, array):
        """Returns an array in the source's axes.

        Args:
            array: NumPy array in the variable's axes.
        """
        if self.source_axes is None:
            return array
        return rearranged(array, self.axes, self.source_axes)

    def write(self, array: np.ndarray) -> None:
        """Assigns an array to the variable.

        Args:
            array: NumPy array in the source's axes.
        """
        self.variable.assign(self.to_ours(array))

    def read(self) -> np.ndarray:
        """Returns the variable's value as an array in the source's axes."""
        ours = np.asarray(self.variable.numpy())
        return np.array(self.to_theirs(ours), order="C")


def rearranged(array: np.ndarray, axes: str, new_axes: str) -> np.ndarray:
    """Returns an array with its axes in another order.

    Args:
        array: NumPy array.
        axes: String, a letter for each axis of the array, or `1` for an axis
            of length one.
        new_axes: String, the same letters in the new order. Axes of length
            one may be left out or added anywhere.

    Returns:
        A view of the array where NumPy can make one.

    Example:

    >>> rearranged(np.zeros((16, 3, 5, 7)), "OIHW", "HWIO").shape
    (5, 7, 3, 16)
    >>> rearranged(np.zeros((256, 128)), "IO", "OI11").shape
    (128, 256, 1, 1)
    """
    ones = tuple(i for i, axis in enumerate(axes) if axis == "1")
    new_ones = tuple(i for i, axis in enumerate(new_axes) if axis == "1")
    letters = axes.replace("1", "")
    order = [letters.index(axis) for axis in new_axes.replace("1", "")]
    moved = np.squeeze(array, ones).transpose(order)
    return np.expand_dims(moved, new_ones)
