"""Defines the settings and the arithmetic of SAM.

Reference: [Foret et al., 2021](https://arxiv.org/abs/2010.01412), Section 2.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.training.unitwise import square_sum


@keras.saving.register_keras_serializable("keras_nfnets")
@dataclasses.dataclass(frozen=True)
class SAM:
    """Settings of sharpness-aware minimization, for `AGCModel.compile(sam=)`.

    A step takes two gradients. With the first, g, of a fraction of the batch,
    all trainable weights are moved by `rho * g / (norm(g) + 1e-12)`, where
    the norm is that of all of them together. There the second is taken, of
    the whole batch, by which the optimizer updates the weights as they were.

    Args:
        rho: Float, how far the weights are moved, in the units of their
            norm. Defaults to `0.05`.
        fraction: Float in (0, 1], the part of the batch that the first
            gradient is taken of: its first samples, rounded, and at least
            one. Of each replica's part of the batch where there are several.
            A step costs about `1 + fraction` times as much. Defaults to `0.2`.

    Raises:
        ValueError: If `rho` is not positive, or `fraction` is outside (0, 1].

    Example:

    >>> sam = keras_nfnets.SAM(rho=0.05, fraction=0.2)
    >>> model.compile("sgd", "mse", sam=sam)

    Reference: [Foret et al., 2021](https://arxiv.org/abs/2010.01412),
    Algorithm 1; rho and fraction are those of the NFNets,
    [Brock et al., 2021](https://arxiv.org/abs/2102.06171)
    """

    rho: float = 0.05
    fraction: float = 0.2

    def __post_init__(self) -> None:
        check_positive(rho=self.rho)
        if not 0 < self.fraction <= 1:
            raise ValueError(
                "`fraction` must be in (0, 1]. "
                f"Received: fraction={self.fraction}"
            )

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SAM":
        return cls(**config)


def perturbation(
    gradients: Sequence[Tensor | None], rho: float
) -> tuple[list[Tensor | None], Tensor]:
    """Returns by how much SAM moves each weight, and what to scale the loss by.

    The second is 1, or NaN where the norm of the gradients is not finite. No
    weight is moved then, so that the model's state stays finite, and the loss
    times NaN makes the step's gradient NaN, which loss scaling skips.

    The second gradient alone would not tell: that of a fraction of the batch
    may overflow in float16 where that of the whole does not. The step would
    be taken without SAM, and as nothing lowers the scale, so would those that
    follow.

    Args:
        gradients: List of tensors, or `None` where there is no gradient.
        rho: Float, see `SAM`.

    Returns:
        A list of tensors or `None`, and a scalar tensor.

    Example:

    >>> offsets, factor = keras_nfnets.sam.perturbation([gradient], rho=0.05)

    Reference: [Foret et al., 2021](https://arxiv.org/abs/2010.01412),
    Equation 2
    """
    squares = [square_sum(g) for g in gradients if g is not None]
    norm = ops.sqrt(sum(squares))
    finite = ops.isfinite(norm)
    scale = rho / (norm + 1e-12)
    offsets = [
        None
        if g is None
        else ops.where(finite, g * ops.cast(scale, g.dtype), 0)
        for g in gradients
    ]
    return offsets, ops.where(finite, 1.0, float("nan"))


def leading_fraction(data: Any, fraction: float, parts: int = 1) -> Any:
    """Returns the first samples of each part of a batch, as a smaller batch.

    Args:
        data: Nested structure of tensors with a batch axis, or `None` in it.
        fraction: Float, see `SAM`.
        parts: Integer, how many equal parts the batch has. Defaults to `1`.

    Returns:
        The same structure.

    Example:

    >>> x, y = keras_nfnets.sam.leading_fraction((x, y), fraction=0.2)
    """

    def first(x):
        if x is None:
            return None
        size = ops.shape(x)[0] // parts
        count = _count(size, fraction)
        if parts == 1:
            return x[:count]
        x = ops.reshape(x, (parts, size, *x.shape[1:]))[:, :count]
        return ops.reshape(x, (parts * count, *x.shape[2:]))

    return keras.tree.map_structure(first, data)


def _count(size, fraction):
    if isinstance(size, int):
        return max(1, round(fraction * size))
    # TensorFlow may trace for batches of any size.
    count = ops.round(fraction * ops.cast(size, "float32"))
    return ops.maximum(ops.cast(count, "int32"), 1)
