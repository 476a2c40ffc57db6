"""Defines the settings of adaptive gradient clipping, and clips by hand.

Users pass an `AGC` to `AGCModel.compile` or to `optimizers.with_agc`. In a
training loop of their own they call `AGC.clip`. `adaptive_clip` clips lists of
gradients without a model.

Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.training.unit_axes import (
    UNITS,
    checked_exclude,
    units_of_variables,
)
from keras_nfnets.training.unitwise import clip_units
from keras_nfnets.training.unitwise import unitwise_norm as unitwise_norm


@keras.saving.register_keras_serializable("keras_nfnets")
@dataclasses.dataclass(frozen=True)
class AGC:
    """Settings of adaptive gradient clipping.

    `AGCModel.compile(agc=...)` and `optimizers.with_agc` take an instance. A
    training loop of one's own calls the method `clip`.

    A gradient that is not finite stays so, and shows in the weights unless
    loss scaling skips the step. A unit whose gradient norm or weight norm is
    NaN keeps its gradient. If its gradient norm is infinite, its finite entries
    become 0 and its infinite entries NaN.

    Args:
        clipping: Float, the largest allowed ratio of a unit's gradient norm
            to its weight norm, the paper's lambda. The paper uses smaller
            values for larger batches. Defaults to `0.01`.
        epsilon: Float, floor under the weight norm, so that weights at zero
            can move. Defaults to `1e-3`.
        exclude: Names the variables that are not clipped. `"classifier"`
            means the kernels of the dense layers that compute the model's
            outputs. A sequence of regular expressions is searched for in each
            variable's path. A function takes a variable and returns a
            boolean. Defaults to `"classifier"`, which excludes nothing where
            no model is known.
        metric: Boolean, whether training reports `agc_clipped`, the fraction
            of units that were clipped. Only units with a weight norm above
            `epsilon` count: the floor clips weights that start at zero, such
            as biases, whatever their gradients are. The fraction is 0 if no
            unit counts. Defaults to `True`.
        detailed: Boolean, whether training also reports that fraction for
            each part of an `NFNet` (`agc_clipped_stem`, `agc_clipped_stage1`,
            ..., `agc_clipped_head`, and `agc_clipped_other` for all other
            variables), and the norms `gradient_norm` and `weight_norm` of all
            variables that may be clipped, before clipping. Defaults to
            `False`.
        unit: String, which weights are clipped together: `"neuron"` for all
            weights that feed one output neuron, as in the paper, or
            `"tensor"` for a whole variable, as in DreamerV3. Defaults to
            `"neuron"`.

    Raises:
        ValueError: If `clipping` or `epsilon` is not positive, or `unit` is
            unknown.

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
        object.__setattr__(self, "exclude", checked_exclude(self.exclude))

    def clip(
        self,
        gradients: Sequence[Tensor | None],
        variables: Sequence[Tensor],
        model: keras.Model | None = None,
    ) -> list[Tensor | None]:
        """Returns clipped gradients, for a training loop of one's own.

        Clip the gradients of the whole batch: after the loss scale is removed,
        after gradients are accumulated, and after the sum over replicas. An
        optimizer with `gradient_accumulation_steps` accumulates too late, in
        its update, so add up gradients before the call. The optimizer's own
        clipping and weight decay follow. `optimizers.with_agc` does all of
        this in the right order by itself.

        Args:
            gradients: List of tensors, or `None` where there is no gradient.
            variables: List of `keras.Variable`, one per gradient; with
                `model` the values of its trainable variables will do, in the
                model's order, as JAX passes them.
            model: Built `keras.Model` that holds the variables. Its layers
                say which weights feed one neuron. Defaults to `None`: the
                variables' ranks say it, and `exclude="classifier"` excludes
                nothing.

        Returns:
            A list of gradients in the same order, with the same dtypes.

        Raises:
            ValueError: If the lists differ in length or are swapped, the model
                does not hold the variables or is not built, or `exclude`
                matches nothing.

        Example:

        >>> agc, optimizer = keras_nfnets.AGC(0.02), keras.optimizers.SGD(0.1)
        >>> weights = model.trainable_variables
        >>> with tf.GradientTape() as tape:
        ...     loss = keras.ops.mean(model(x) ** 2)
        >>> gradients = agc.clip(tape.gradient(loss, weights), weights, model)
        >>> optimizer.apply(gradients, weights)
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
        """Clips as `clip` does, for units that are known already.

        An optimizer with AGC finds the units once, when it is built, and calls
        this method at each step.

        Args:
            gradients: List of tensors, or `None` where there is no gradient.
            variables: List of variables or tensors, one per gradient.
            units: List of tuples of integers, the axes of each variable that
                make one unit, or `None` for a variable that is not clipped.

        Returns:
            A list of gradients in the same order, and
            `agc_report.ClipStatistics`, or `None` if nothing was to clip.
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
        """Returns the settings. An `exclude` function has to be registered."""
        config = dataclasses.asdict(self)
        if callable(self.exclude):
            config["exclude"] = keras.saving.serialize_keras_object(
                self.exclude
            )
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AGC":
        """Returns the settings that `get_config` returned."""
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

    >>> kernel = keras.ops.ones((4, 2))
    >>> [clipped] = keras_nfnets.agc.adaptive_clip([kernel], [kernel], 0.01)
    >>> round(float(clipped[0, 0]), 4)
    0.01

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Equation 3
    """
    check_positive(clipping=clipping, epsilon=epsilon)
    _check_lengths(gradients, variables)
    return clip_units(gradients, variables, clipping, epsilon, axes)[0]


def _check_lengths(gradients, variables):
    """Raises a ValueError unless each gradient has a variable."""
    swapped = [g for g in gradients if isinstance(g, keras.Variable)]
    if swapped:
        raise ValueError(
            "`gradients` must hold tensors, and `variables` come second. "
            f"Received: gradients with the variable {swapped[0].path!r}"
        )
    if len(gradients) != len(variables):
        raise ValueError(
            "`gradients` and `variables` must have the same length. "
            f"Received: {len(gradients)} and {len(variables)}"
        )
