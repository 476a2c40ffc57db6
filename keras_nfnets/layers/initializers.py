"""Defines the initializers of kernels."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from keras_nfnets.annotations import Tensor

# Values that a thread draws at once, from a seed of their own: those of a
# kernel do not depend on the number of threads. A part fits a core's cache.
CHUNK = 2**16


@keras.saving.register_keras_serializable("keras_nfnets")
class FanInNormal(keras.initializers.Initializer):
    """Normal values of variance 1 / fan-in, drawn on the host.

    The distribution is that of `keras.initializers.VarianceScaling(1.0,
    "fan_in", "untruncated_normal")`. The values come from NumPy: they are the
    same on every backend, and take a network of tens of millions of weights
    less time than two passes over all of them, or JAX's compiling for each
    shape.

    Args:
        seed: Integer, or `None` for one of Keras's own, which
            `keras.utils.set_random_seed` decides. Defaults to `None`.

    Raises:
        ValueError: If `seed` is something else.

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
        # Like Keras's: one that is not given is drawn once, so that calls of
        # one initializer agree.
        self._drawn = keras.initializers.RandomNormal(seed=seed).seed

    def __call__(
        self, shape: Sequence[int], dtype: str | None = None
    ) -> Tensor:
        values = np.empty(math.prod(shape), "float32")
        std = np.float32(1 / math.sqrt(max(1, math.prod(shape[:-1]))))

        def draw(start):
            part = values[start : start + CHUNK]
            seed = np.random.PCG64DXSM([self._drawn, start])
            np.random.Generator(seed).standard_normal(out=part, dtype="float32")
            part *= std

        # NumPy lets other threads run meanwhile.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(draw, range(0, values.size, CHUNK)))
        return keras.ops.convert_to_tensor(
            values.reshape(shape), dtype or keras.config.floatx()
        )

    def clone(self) -> "FanInNormal":
        return FanInNormal(self.seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}
