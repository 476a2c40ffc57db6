"""Defines the initializer of kernels, which draws on the host."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_nfnets.annotations import Tensor

# How many values a thread draws at once. Each chunk has its own seed, so a
# kernel does not depend on the number of threads. A chunk fits a core's cache.
CHUNK = 2**16


@keras.saving.register_keras_serializable("keras_nfnets")
class FanInNormal(keras.initializers.Initializer):
    """Draws normal values of variance `1 / fan_in` on the host.

    The distribution is that of `keras.initializers.VarianceScaling(1.0,
    "fan_in", "untruncated_normal")`, where the fan-in is the product of all
    axes but the last. NumPy draws the values. They are therefore the same on
    every backend, and JAX need not compile a program for each shape of a
    kernel (`benchmarks/NOTES.md`).

    Args:
        seed: Integer, at least 0, or `None` for a random seed, which
            `keras.utils.set_random_seed` makes reproducible. Defaults to
            `None`.

    Raises:
        ValueError: If `seed` is neither.

    Example:

    >>> kernel = keras_nfnets.initializers.FanInNormal()((3, 3, 64, 128))
    >>> round(float(keras.ops.std(kernel)) * (3 * 3 * 64) ** 0.5, 1)
    1.0

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692)
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and not (isinstance(seed, int) and seed >= 0):
            raise ValueError(
                "`seed` must be a non-negative integer or None. "
                f"Received: seed={seed!r}"
            )
        self.seed = seed
        # As in Keras, an initializer without a seed draws one when it is made,
        # so that all of its calls return the same values.
        self._drawn_seed = keras.initializers.RandomNormal(seed=seed).seed

    def __call__(
        self, shape: Sequence[int], dtype: str | None = None
    ) -> Tensor:
        """Returns the initial value of a kernel.

        Args:
            shape: Tuple of integers, the output units last.
            dtype: String. Defaults to `None`, Keras's `floatx`.

        Returns:
            A tensor of this shape and dtype, the same at each call.
        """
        values = np.empty(math.prod(shape), "float32")
        std = np.float32(1 / math.sqrt(max(1, math.prod(shape[:-1]))))

        def draw(start):
            chunk = values[start : start + CHUNK]
            bits = np.random.PCG64DXSM([self._drawn_seed, start])
            np.random.Generator(bits).standard_normal(
                out=chunk, dtype="float32"
            )
            chunk *= std

        # NumPy releases Python's lock while it draws.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(draw, range(0, values.size, CHUNK)))
        return keras.ops.convert_to_tensor(
            values.reshape(shape), dtype or keras.config.floatx()
        )

    def clone(self) -> "FanInNormal":
        """Returns another initializer with the seed that the user gave."""
        return FanInNormal(self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}
