"""Adaptive gradient clipping: the settings and the arithmetic.

Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3.
"""

import dataclasses
import itertools
import math

import keras
from keras import ops

from keras_nfnets.checks import check_positive
from keras_nfnets.training.agc_report import Units


@keras.saving.register_keras_serializable("keras_nfnets")
@dataclasses.dataclass(frozen=True)
class AGC:
    """Settings of adaptive gradient clipping, for `AGCModel.compile(agc=...)`.

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
            to `"classifier"`.
        metric: Boolean, whether training reports `agc_clipped`, the share of
            units that were clipped. Defaults to `True`.
        detailed: Boolean, whether it also reports that share for each part of
            an `NFNet` (`agc_clipped_stem`, `agc_clipped_stage1` and so on to
            `agc_clipped_head`; `agc_clipped_other` of what is no part of
            one), and `gradient_norm` and `weight_norm`: the norm of all that
            may be clipped, before it is. The model must be built. Defaults
            to `False`.

    Raises:
        ValueError: If `clipping` or `epsilon` is not positive.

    Example:

    >>> model.compile("sgd", "mse", agc=keras_nfnets.AGC(clipping=0.02))
    >>> model.compile("sgd", "mse", agc=keras_nfnets.AGC(exclude=["head/"]))

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Equation 3
    """

    clipping: float = 0.01
    epsilon: float = 1e-3
    exclude: object = "classifier"
    metric: bool = True
    detailed: bool = False

    def __post_init__(self):
        check_positive(clipping=self.clipping, epsilon=self.epsilon)
        if isinstance(self.exclude, list):
            object.__setattr__(self, "exclude", tuple(self.exclude))

    def get_config(self):
        config = dataclasses.asdict(self)
        if callable(self.exclude):
            config["exclude"] = keras.saving.serialize_keras_object(
                self.exclude
            )
        return config

    @classmethod
    def from_config(cls, config):
        if isinstance(config["exclude"], dict):
            config = dict(config)
            config["exclude"] = keras.saving.deserialize_keras_object(
                config["exclude"]
            )
        return cls(**config)


def adaptive_clip(gradients, variables, clipping=0.01, epsilon=1e-3, axes=None):
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
    if len(gradients) != len(variables):
        raise ValueError(
            "`gradients` and `variables` must have the same length. "
            f"Received: {len(gradients)} and {len(variables)}"
        )
    return clip_units(gradients, variables, clipping, epsilon, axes)[0]


def clip_units(gradients, variables, clipping, epsilon, axes=None):
    """As `adaptive_clip`, and returns what it found, a `Units` or `None`.

    The norms of all units stand in one vector, so that what is done per unit
    takes a handful of operations however many variables there are.
    """
    clipped = [
        None if g is None else ops.convert_to_tensor(g) for g in gradients
    ]
    present = [i for i, g in enumerate(clipped) if g is not None]
    if not present:
        return clipped, None
    axes = axes or [None] * len(gradients)
    # The shapes of weights, as a gradient's may not be known while tracing.
    layouts = {i: _layout(variables[i].shape, axes[i]) for i in present}

    def matrix(x, i):
        return ops.reshape(ops.convert_to_tensor(x), layouts[i][0])

    matrices = {i: matrix(clipped[i], i) for i in present}
    norms = [square_sum(matrices[i], layouts[i][1]) for i in present]
    weights = [
        square_sum(matrix(variables[i], i), layouts[i][1]) for i in present
    ]
    norm = ops.sqrt(ops.concatenate([ops.reshape(n, (-1,)) for n in norms]))
    weight = ops.sqrt(ops.concatenate([ops.reshape(w, (-1,)) for w in weights]))
    limit = clipping * ops.maximum(weight, epsilon)
    clips = norm > limit
    factor = ops.where(clips, limit / ops.maximum(norm, 1e-6), 1.0)
    ends = list(itertools.accumulate(math.prod(n.shape) for n in norms))
    parts = ops.split(factor, ends)[:-1]
    for i, part, n in zip(present, parts, norms, strict=True):
        part = ops.cast(ops.reshape(part, n.shape), clipped[i].dtype)
        clipped[i] = ops.reshape(matrices[i] * part, variables[i].shape)
    counts = {
        i: math.prod(n.shape) for i, n in zip(present, norms, strict=True)
    }
    return clipped, Units(clips, norm, weight, counts)


def unitwise_norm(x, axes=None):
    """Returns the L2 norm of each unit's part of a weight or gradient.

    A unit is one output neuron: axis 0 is reduced for `(inputs, outputs)` and
    for rank 3, axes 0 to 2 for `(height, width, inputs, outputs)`. What
    squeezes to a vector or a scalar (a gain, a bias) is one unit as a whole.

    Args:
        x: Tensor or variable.
        axes: Tuple of integers, the axes that make one unit, where the layer
            is not one of the papers'. Defaults to `None`, the rule above.

    Returns:
        A float32 tensor (float64 for float64) that broadcasts against `x`.

    Raises:
        ValueError: If `axes` is `None` and the rank is above 4.

    Example:

    >>> keras_nfnets.agc.unitwise_norm(keras.ops.ones((3, 3, 16, 8))).shape
    (1, 1, 1, 8)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3
    """
    x = ops.convert_to_tensor(x)
    axes = axes_of_shape(x.shape) if axes is None else axes
    return ops.sqrt(square_sum(x, axes))


def is_vector(shape):
    """Whether a shape squeezes to a vector or a scalar."""
    return sum(size > 1 for size in shape) <= 1


def axes_of_shape(shape):
    """Returns the axes that make one unit by the papers' rule for the rank."""
    rank = len(shape)
    if is_vector(shape):
        return tuple(range(rank))
    if rank in (2, 3):
        return (0,)
    if rank == 4:
        return (0, 1, 2)
    raise ValueError(
        "AGC knows the unit of ranks 0 to 4; name the axes or exclude the "
        f"variable. Received: shape={tuple(shape)}"
    )


def square_sum(x, axes=None):
    """Returns the sum of squares over axes, or over all; in float32 at least.

    Axes that are summed over stay, of size one, but not where all are.
    """
    if keras.backend.standardize_dtype(x.dtype) != "float64":
        x = ops.cast(x, "float32")
    return ops.sum(ops.square(x), axis=axes, keepdims=axes is not None)


def _layout(shape, axes):
    """Returns the shape in which to clip a kernel, and the unit's axes there.

    A matrix, with the inputs of a unit in one column, where that moves
    nothing. For a TPU, XLA would otherwise copy the kernels of grouped
    convolutions into another layout.
    """
    shape = tuple(shape)
    axes = axes_of_shape(shape) if axes is None else tuple(axes)
    if len(axes) > 1 and axes == tuple(range(len(shape) - 1)):
        return (math.prod(shape[:-1]), shape[-1]), (0,)
    return shape, axes
