"""Defines the settings of adaptive gradient clipping, and clips by hand.

Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.training.unit_axes import UNITS, units_of_variables
from keras_nfnets.training.unitwise import clip_units
from keras_nfnets.training.unitwise import unitwise_norm as unitwise_norm


@keras.saving.register_keras_serializable("keras_nfnets")
@dataclasses.dataclass(frozen=True)
class AGC:
    """Settings of adaptive gradient clipping.

    For `AGCModel.compile(agc=...)`, for `optimizers.with_agc`, and for a loop
    that clips with `clip`.

    A unit whose gradient has a norm of NaN keeps that gradient, and so does
    one whose weights have. Where the norm is infinite, finite entries become
    0 and infinite ones NaN. So a loss that is not finite shows in the weights,
    unless loss scaling skips the step.

    Args:
        clipping: Float, largest allowed ratio of a unit's gradient norm to
            its weight norm; the paper's lambda. Smaller for larger batches.
            Defaults to `0.01`.
        epsilon: Float, floor under the weight norm, so that weights at zero
            can move. Defaults to `1e-3`.
        exclude: Which variables are left as they are. `"classifier"` means
            the kernels of the dense layers that make the model's outputs; a
            sequence of regular expressions is searched in each variable's
            path; a function gets a variable and returns a boolean. Defaults
            to `"classifier"`, which stands for no variable where no model is
            known.
        metric: Boolean, whether training reports `agc_clipped`, the share of
            units that were clipped. A unit counts once the norm of its
            weights is above `epsilon`: what starts at zero (a bias, a skip
            gain) is clipped there by the floor, which says nothing of the
            gradients. The share is 0 where no unit counts. Defaults to
            `True`.
        detailed: Boolean, whether it also reports that share for each part of
            an `NFNet` (`agc_clipped_stem`, `agc_clipped_stage1` and so on to
            `agc_clipped_head`; `agc_clipped_other` of what is no part of
            one), and `gradient_norm` and `weight_norm`: the norm of all that
            may be clipped, before it is. Defaults to `False`.
        unit: What is clipped as one: `"neuron"`, all weights that feed one
            output neuron, as the paper does, or `"tensor"`, a whole variable,
            as DreamerV3 does. Defaults to `"neuron"`.

    Raises:
        ValueError: If `clipping` or `epsilon` is not positive, or `unit` is
            something else.

    Example:

    >>> model.compile("sgd", "mse", agc=keras_nfnets.AGC(clipping=0.02))
    >>> model.compile("sgd", "mse", agc=keras_nfnets.AGC(exclude=["head/"]))
    >>> dreamer = keras_nfnets.AGC(0.3, unit="tensor", exclude=())

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Equation 3; per tensor in
    [Hafner et al., 2023](https://arxiv.org/abs/2301.04104)
    """

    clipping: float = 0.01
    epsilon: float = 1e-3
    exclude: object = "classifier"
    metric: bool = True
    detailed: bool = False
    unit: str = "neuron"

    def __post_init__(self) -> None:
        check_positive(clipping=self.clipping, epsilon=self.epsilon)
        if self.unit not in UNITS:
            raise ValueError(
                f"`unit` must be one of {UNITS}. Received: unit={self.unit!r}"
            )
        if isinstance(self.exclude, list):
            object.__setattr__(self, "exclude", tuple(self.exclude))

    def clip(
        self,
        gradients: Sequence[Tensor | None],
        variables: Sequence[Tensor],
        model: keras.Model | None = None,
    ) -> list[Tensor | None]:
        """Returns clipped gradients, for a training loop of one's own.

        Clip what the optimizer is to see: the gradients of the whole batch,
        unscaled, accumulated, and summed over replicas. An optimizer with
        `gradient_accumulation_steps` accumulates after this; add up the
        gradients of several batches before it. What an optimizer clips or
        decays itself comes after. `optimizers.with_agc` has all of this in
        place.

        Args:
            gradients: List of tensors, or `None` where there is no gradient.
            variables: List of `keras.Variable`, one per gradient; with
                `model` also the values of its trainable variables, in their
                order.
            model: Built `keras.Model` that holds the variables. Defaults to
                `None`: units then follow from the variables' ranks, and
                `exclude="classifier"` excludes nothing.

        Returns:
            A list of gradients in the same order, with the same dtypes.

        Raises:
            ValueError: If the lists differ in length, the model does not hold
                the variables or is not built, or `exclude` matches nothing.

        Example:

        >>> gradients = tape.gradient(loss, model.trainable_variables)
        >>> gradients = agc.clip(gradients, model.trainable_variables, model)
        >>> optimizer.apply(gradients, model.trainable_variables)
        """
        _check_lengths(gradients, variables)
        known = variables
        named = any(isinstance(v, keras.Variable) for v in variables)
        if model is not None and not named:
            known = model.trainable_variables
            _check_lengths(variables, known)
        units = units_of_variables(known, self.exclude, self.unit, model)
        return self.clip_units(gradients, variables, units)[0]

    def clip_units(
        self,
        gradients: Sequence[Tensor | None],
        variables: Sequence[Tensor],
        units: Sequence[tuple[int, ...] | None],
    ) -> tuple[list[Tensor | None], Any]:
        """As `clip`, of known units, and returns what it found.

        Args:
            gradients: List of tensors or `None`.
            variables: List of variables or tensors.
            units: List of the axes that make one unit, `None` for what is
                left as it is.

        Returns:
            The gradients, and `agc_report.ClipStatistics` or `None`.
        """
        chosen = [
            None if unit is None else gradient
            for gradient, unit in zip(gradients, units, strict=True)
        ]
        clipped, found = clip_units(
            chosen, variables, self.clipping, self.epsilon, units
        )
        kept = [
            gradient if new is None else new
            for gradient, new in zip(gradients, clipped, strict=True)
        ]
        return kept, found

    def get_config(self) -> dict[str, Any]:
        config = dataclasses.asdict(self)
        if callable(self.exclude):
            config["exclude"] = keras.saving.serialize_keras_object(
                self.exclude
            )
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AGC":
        if isinstance(config["exclude"], dict):
            config = dict(config)
            config["exclude"] = keras.saving.deserialize_keras_object(
                config["exclude"]
            )
        return cls(**config)


def adaptive_clip(
    gradients: Sequence[Tensor | None],
    variables: Sequence[Tensor],
    clipping: float = 0.01,
    epsilon: float = 1e-3,
    axes: Sequence[tuple[int, ...]] | None = None,
) -> list[Tensor | None]:
    """Scales down each unit's gradient that is large for the unit's weights.

    A unit with gradient g and weights w keeps g if
    `norm(g) <= clipping * max(norm(w), epsilon)`, and gets
    `g * clipping * max(norm(w), epsilon) / norm(g)` otherwise.

    Args:
        gradients: List of tensors, or `None` where there is no gradient.
        variables: List of variables or tensors, one per gradient.
        clipping: Float, largest allowed ratio of the norms. Defaults to
            `0.01`.
        epsilon: Float, floor under `norm(w)`. Defaults to `1e-3`.
        axes: List with the axes of each variable that make one unit, see
            `unitwise_norm`. Defaults to `None`, the papers' rule for each.

    Returns:
        A list of gradients in the same order, with the same dtypes.

    Raises:
        ValueError: If `clipping` or `epsilon` is not positive, the lists
            differ in length, or a variable has a rank without a rule.

    Example:

    >>> clipped = keras_nfnets.agc.adaptive_clip([gradient], [kernel])

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Equation 3
    """
    check_positive(clipping=clipping, epsilon=epsilon)
    _check_lengths(gradients, variables)
    return clip_units(gradients, variables, clipping, epsilon, axes)[0]


def _check_lengths(gradients, variables):
    if len(gradients) != len(variables):
        raise ValueError(
            "`gradients` and `variables` must have the same length. "
            f"Received: {len(gradients)} and {len(variables)}"
        )
