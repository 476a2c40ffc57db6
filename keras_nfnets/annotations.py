"""Names the types of arguments that are not of one class.

- `Tensor`: a tensor of any backend (`keras.KerasTensor`, `tf.Tensor`,
  `jax.Array`, `torch.Tensor`), and where a function takes them, a
  `numpy.ndarray`. It is `typing.Any`, since no backend may be imported for its
  class.
- `Shape`: a sequence of integers, with `None` where a size may vary.
- `FilePath`: a string or a path.
- `Logs`: the dictionary that Keras gives a callback after a step or an epoch.
"""

import os
import typing
from collections.abc import Sequence

Tensor: typing.TypeAlias = typing.Any
Shape: typing.TypeAlias = Sequence[int | None]
FilePath: typing.TypeAlias = str | os.PathLike[str]
Logs: typing.TypeAlias = dict[str, typing.Any]
