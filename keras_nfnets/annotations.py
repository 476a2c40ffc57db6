"""Names the types of arguments that are not of one class."""

import os
import typing
from collections.abc import Sequence

# Of any backend: keras.KerasTensor, tf.Tensor, jax.Array, torch.Tensor; where
# a function takes them, numpy.ndarray.
Tensor: typing.TypeAlias = typing.Any
# None where a size may vary.
Shape: typing.TypeAlias = Sequence[int | None]
FilePath: typing.TypeAlias = str | os.PathLike[str]
# What Keras tells a callback of a step or an epoch.
Logs: typing.TypeAlias = dict[str, typing.Any]
