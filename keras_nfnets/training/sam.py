"""Defines the settings and the arithmetic of sharpness-aware minimization.

Users pass a `SAM` to `AGCModel.compile`. `perturbation` and `leading_fraction`
are pure functions, for training loops of one's own. The module `perturbed`
calls them inside of Keras's step.

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

    A step computes two gradients. The first, g, is that of a fraction of the
    batch. All trainable weights move by `rho * g / (norm(g) + 1e-12)`, where
    the norm is taken over all weights together. The second gradient is that of
    the whole batch, at the moved weights. The weights move back, and the
    optimizer updates them by the second gradient.

    Args:
        rho: Float, the distance by which the weights move, in the L2 norm of
            all weights. Defaults to `0.05`.
        fraction: Float in (0, 1], the fraction of the batch for the first
            gradient. It is the first samples of the batch, or of each
            replica's part of it, rounded and at least one. A step costs about
            `1 + fraction` times as much as without SAM. Defaults to `0.2`.

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
    """Returns the offset of each weight, and a factor for the loss.

    The factor is 1, or NaN if the norm of the gradients is not finite. The
    offsets are zero then, so that the model's state stays finite. The loss
    times NaN gives the step a gradient of NaN, which loss scaling skips.

    Without the factor an overflow in the first gradient would go unnoticed,
    since the second gradient, of the whole batch, need not overflow in
    float16. The step would train without SAM. Nothing would lower the loss
    scale, so the following steps would too.

    Args:
        gradients: List of tensors, or `None` where there is no gradient.
        rho: Float, see `SAM`.

    Returns:
        A list of tensors, or `None` where there is no gradient, and a scalar
        tensor.

    Example:

    >>> gradient = keras.ops.array([3.0, 4.0])
    >>> [offset], factor = keras_nfnets.sam.perturbation([gradient], rho=0.05)
    >>> [round(float(x), 4) for x in offset], float(factor)
    ([0.03, 0.04], 1.0)

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
        data: Nested structure of tensors `(batch, ...)`, or `None` in place of
            a tensor.
        fraction: Float in (0, 1], see `SAM`.
        parts: Integer, number of equal parts of the batch: one for each
            device that holds a part of it. Defaults to `1`.

    Returns:
        The same structure, of tensors with fewer samples.

    Example:

    >>> x, y = keras.ops.ones((10, 8, 8, 3)), keras.ops.ones((10,))
    >>> x, y = keras_nfnets.sam.leading_fraction((x, y), fraction=0.2)
    >>> x.shape[0], y.shape[0]
    (2, 2)
    """

    def first(x):
        if x is None:
            return None
        size = ops.shape(x)[0] // parts
        count = _sample_count(size, fraction)
        if parts == 1:
            return x[:count]
        x = ops.reshape(x, (parts, size, *x.shape[1:]))[:, :count]
        return ops.reshape(x, (parts * count, *x.shape[2:]))

    return keras.tree.map_structure(first, data)


def _sample_count(size, fraction):
    """Returns a rounded fraction of a batch's size, at least 1.

    The size is a tensor where TensorFlow traces for batches of any size.
    """
    if isinstance(size, int):
        return max(1, round(fraction * size))
    count = ops.round(fraction * ops.cast(size, "float32"))
    return ops.maximum(ops.cast(count, "int32"), 1)
