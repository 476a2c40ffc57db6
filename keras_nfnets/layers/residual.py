"""Defines the layers that scale a residual branch.

`StochasticDepth` multiplies each sample's branch by 0 or 1. `SkipGain`
multiplies the branch by one learnable number.
"""

from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Shape, Tensor
from keras_nfnets.checks import check_rate


@keras.saving.register_keras_serializable("keras_nfnets")
class StochasticDepth(keras.layers.Layer):
    """Drops the residual branch of random samples, in training only.

    Each sample is kept with probability `1 - rate`, and becomes zero
    otherwise. The papers' code does not rescale the kept samples.

    Args:
        rate: Float in [0, 1), probability of dropping a sample.
        scale_by_keep: Boolean, whether kept samples are divided by
            `1 - rate`, so that the expected output equals the input. Defaults
            to `False`.
        seed: Integer, `keras.random.SeedGenerator`, or `None` for a random
            seed. Defaults to `None`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        `(batch, ...)`

    Output shape:
        Same as the input.

    Raises:
        ValueError: If `rate` is outside [0, 1).

    Example:

    >>> layer = keras_nfnets.layers.StochasticDepth(0.25)
    >>> outputs = layer(keras.ops.ones((8, 4, 4, 3)), training=True)
    >>> outputs.shape
    (8, 4, 4, 3)

    Reference: [Huang et al., 2016](https://arxiv.org/abs/1603.09382), Section 3
    """

    def __init__(
        self,
        rate: float,
        scale_by_keep: bool = False,
        seed: int | keras.random.SeedGenerator | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_rate(rate=rate)
        self.rate = rate
        self.scale_by_keep = scale_by_keep
        self.seed = seed
        if rate > 0:
            self.seed_generator = keras.random.SeedGenerator(seed)
        # A subclass may have a `build` of its own, which Keras has to call.
        self.built = type(self).build is keras.layers.Layer.build

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Multiplies each sample by its random 0 or 1.

        Args:
            inputs: Tensor `(batch, ...)`, a residual branch.
            training: Boolean. Without it the inputs are returned as they are.
                Defaults to `False`.
        """
        if not training or self.rate == 0:
            return inputs
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        # A float16 draw is so coarse that small rates would be biased.
        draw = keras.random.uniform(
            shape, dtype="float32", seed=self.seed_generator
        )
        mask = ops.cast(draw >= self.rate, inputs.dtype)
        if self.scale_by_keep:
            mask = mask / (1.0 - self.rate)
        return inputs * mask

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            rate=self.rate, scale_by_keep=self.scale_by_keep, seed=self.seed
        )
        return config


@keras.saving.register_keras_serializable("keras_nfnets")
class SkipGain(keras.layers.Layer):
    """Multiplies a residual branch by one learnable scalar (SkipInit).

    The scalar starts at zero. A block without a projection is then the
    identity at the start of training.

    Args:
        initializer: Initializer of the scalar. Defaults to `"zeros"`.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Input shape:
        Arbitrary.

    Output shape:
        Same as the input.

    Example:

    >>> layer = keras_nfnets.layers.SkipGain()
    >>> float(keras.ops.sum(layer(keras.ops.ones((2, 4, 4, 3)))))
    0.0

    Reference: [De and Smith, 2020](https://arxiv.org/abs/2002.10444)
    """

    def __init__(self, initializer: Any = "zeros", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        self.gain = self.add_weight(
            name="gain", shape=(), initializer=self.initializer
        )
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        """Returns `gain * inputs`."""
        return inputs * self.gain

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            initializer=keras.initializers.serialize(self.initializer)
        )
        return config
