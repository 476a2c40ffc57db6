"""Keeps means of what was clipped in each layer."""

import numpy as np
from keras import ops

from keras_nfnets.training.agc_report import TOTAL, add_to_means
from keras_nfnets.training.agc_rules import inner_optimizer


def watch(optimizer):
    """Lets an optimizer with AGC keep means for each layer from now on.

    The means stay on for the life of the optimizer. They are in none of the
    files that it is saved in.

    Args:
        optimizer: An optimizer that has AGC.

    Returns:
        Boolean, whether they are new: what was traced before lacks them.
    """
    inner = inner_optimizer(optimizer)
    if inner.watched:
        return False
    inner.watched = True
    if inner.built:
        add_variables(inner)
    return True


def add_variables(inner):
    """Adds the means of all layers and their steps, as the last variables."""
    inner.layer_means, inner.layer_steps = (
        inner.add_variable(
            shape=(len(_layers(inner)), 2),
            dtype="float32",
            aggregation="only_first_replica",
            name=name,
        )
        for name in ("agc_layer_means", "agc_layer_steps")
    )


def kept(optimizer, values):
    """Returns what is saved of an optimizer's variables, or their values."""
    last = 0 if inner_optimizer(optimizer).layer_means is None else 2
    return values[: len(values) - last]


def record(inner, units, variables):
    """Adds what a step found to the means.

    Args:
        inner: An optimizer that is watched.
        units: `agc_report.ClipStatistics`.
        variables: List of all variables of the step.
    """
    values, counts = report(
        units, variables, _layers(inner), inner.rules.agc.epsilon
    )
    add_to_means(inner.layer_means, inner.layer_steps, values, counts)


def report(units, variables, layers, epsilon):
    """Returns what a step found in each layer, and whether each value counts.

    Args:
        units: `agc_report.ClipStatistics`.
        variables: List of all variables of the step.
        layers: List of the layers' paths.
        epsilon: Float, floor under the norm of a layer's weights.

    Returns:
        Two float32 tensors `(layers, 2)`: the share of clipped units and the
        ratio of gradient to weights, and 1 or 0 for each.
    """
    rows = {layer: row for row, layer in enumerate(layers)}
    places = [rows[_layer(variables[i])] for i in units.units_per_variable]
    segments = np.repeat(
        places, list(units.units_per_variable.values())
    ).astype("int32")
    columns = [
        ops.logical_and(units.clipped, units.above),
        units.above,
        ops.square(units.gradient_norms),
        ops.square(units.weight_norms),
    ]
    columns = ops.stack([ops.cast(c, "float32") for c in columns], axis=-1)
    sums = ops.segment_sum(
        columns, ops.convert_to_tensor(segments), len(layers)
    )
    clipped, above, gradients, weights = ops.unstack(sums, axis=-1)
    share = clipped / ops.maximum(above, 1.0)
    ratio = ops.sqrt(gradients) / ops.maximum(ops.sqrt(weights), epsilon)
    present = np.isin(np.arange(len(layers)), places).astype("float32")
    counts = [ops.cast(above > 0, "float32"), ops.convert_to_tensor(present)]
    return ops.stack([share, ratio], axis=-1), ops.stack(counts, axis=-1)


def read(optimizer):
    """Returns the means since `reset`.

    Returns:
        A dictionary by the layer's path, of the share of clipped units and
        the ratio of gradient to weights: floats, or `None` of what no step
        counted. Without layers that no step clipped in.
    """
    inner = inner_optimizer(optimizer)
    if inner.layer_means is None:
        return {}
    means, steps = (
        ops.convert_to_numpy(v) for v in (inner.layer_means, inner.layer_steps)
    )
    return {
        layer: tuple(float(m) if s else None for m, s in zip(*row, strict=True))
        for layer, *row in zip(_layers(inner), means, steps, strict=True)
        if row[1].any()
    }


def reset(optimizer):
    """Starts the means anew."""
    inner = inner_optimizer(optimizer)
    if inner.layer_means is not None:
        for variable in (inner.layer_means, inner.layer_steps):
            variable.assign(ops.zeros(variable.shape, variable.dtype))


def _layers(inner):
    # Of all variables: what is clipped may change when a model is compiled
    # anew, and the shape of the means must not.
    return list(dict.fromkeys(_layer(v) for v in inner._trainable_variables))


def _layer(variable):
    return variable.path.rpartition("/")[0] or variable.path


def named_report(optimizer, values):
    """Returns an optimizer's report as tensors by name.

    Args:
        optimizer: An optimizer that has AGC.
        values: List of its variables, or of their values where JAX holds
            them elsewhere.
    """
    inner = inner_optimizer(optimizer)
    if not inner.built:
        return {}
    # The report stands last, inside of what scales the loss too.
    means = kept(optimizer, values)[-2]
    # A copy: on PyTorch it would follow the variable, which validation resets.
    means = ops.unstack(ops.copy(ops.convert_to_tensor(means)))
    shown = inner.rules.agc.metric
    named = zip(inner.rules.names, means, strict=True)
    return {n: m for n, m in named if shown or n != TOTAL}
