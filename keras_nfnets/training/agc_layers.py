"""Keeps means of what was clipped in each layer, for `callbacks.AGCMonitor`.

An optimizer with AGC gets two more variables: a mean for each layer, and the
number of steps in each mean. They are its last variables, and the functions
that save an optimizer leave them out. Only `watch` adds them, so that nobody
pays for them without asking.
"""

import numpy as np
from keras import ops

from keras_nfnets.training.agc_report import TOTAL, add_to_means
from keras_nfnets.training.agc_rules import inner_optimizer


def watch(optimizer):
    """Makes an optimizer with AGC keep means for each layer from now on.

    It cannot be undone. The means are not saved with the optimizer.

    Args:
        optimizer: `keras.optimizers.Optimizer` that has AGC.

    Returns:
        Boolean, whether the means are new. A training step that was traced
        before does not update them, and has to be traced again.
    """
    inner = inner_optimizer(optimizer)
    if inner.watched:
        return False
    inner.watched = True
    if inner.built:
        add_variables(inner)
    return True


def add_variables(inner):
    """Adds the means of all layers, and the steps of each, as variables.

    Args:
        inner: A built optimizer that clips, of `inner_optimizer`.
    """
    inner.layer_means, inner.layer_steps = (
        inner.add_variable(
            shape=(len(_layers(inner)), 2),
            dtype="float32",
            aggregation="only_first_replica",
            name=name,
        )
        for name in ("agc_layer_means", "agc_layer_steps")
    )


def without_layer_means(optimizer, values):
    """Returns an optimizer's variables without the means of layers.

    Args:
        optimizer: An optimizer that has AGC.
        values: List of its variables, or of their values, in order.
    """
    last = 0 if inner_optimizer(optimizer).layer_means is None else 2
    return values[: len(values) - last]


def record(inner, statistics, variables):
    """Adds one step's statistics to the means.

    Args:
        inner: An optimizer that is watched.
        statistics: `agc_report.ClipStatistics` of the step.
        variables: List of all variables of the step.
    """
    values, counts = report(
        statistics, variables, _layers(inner), inner.rules.agc.epsilon
    )
    add_to_means(inner.layer_means, inner.layer_steps, values, counts)


def report(statistics, variables, layers, epsilon):
    """Sums up one step's statistics for each layer.

    One segment sum over all units computes all layers at once.

    Args:
        statistics: `agc_report.ClipStatistics` of the step.
        variables: List of all variables of the step.
        layers: List of the layers' paths.
        epsilon: Float, floor under the norm of a layer's weights.

    Returns:
        Two float32 tensors `(layers, 2)`. The first has the fraction of
        clipped units, and the ratio of the gradient's norm to the weights'
        norm. The second is 1 where a value counts and 0 where it does not.
    """
    rows = {layer: row for row, layer in enumerate(layers)}
    places = [rows[_layer(variables[i])] for i in statistics.units_per_variable]
    segments = np.repeat(
        places, list(statistics.units_per_variable.values())
    ).astype("int32")
    columns = [
        ops.logical_and(statistics.clipped, statistics.above),
        statistics.above,
        ops.square(statistics.gradient_norms),
        ops.square(statistics.weight_norms),
    ]
    columns = ops.stack([ops.cast(c, "float32") for c in columns], axis=-1)
    sums = ops.segment_sum(
        columns, ops.convert_to_tensor(segments), len(layers)
    )
    clipped, above, gradients, weights = ops.unstack(sums, axis=-1)
    fraction = clipped / ops.maximum(above, 1.0)
    ratio = ops.sqrt(gradients) / ops.maximum(ops.sqrt(weights), epsilon)
    present = np.isin(np.arange(len(layers)), places).astype("float32")
    counts = [ops.cast(above > 0, "float32"), ops.convert_to_tensor(present)]
    return ops.stack([fraction, ratio], axis=-1), ops.stack(counts, axis=-1)


def read(optimizer):
    """Returns the means of all steps since `reset`.

    Args:
        optimizer: An optimizer that has AGC.

    Returns:
        A dictionary from a layer's path to two floats: the fraction of clipped
        units, and the ratio of the gradient's norm to the weights' norm. The
        fraction is `None` if no unit ever counted. Layers without a clipped
        variable are left out. It is empty if nothing is watched.
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
    """Sets the means and their steps to zero.

    Args:
        optimizer: An optimizer that has AGC.
    """
    inner = inner_optimizer(optimizer)
    if inner.layer_means is not None:
        for variable in (inner.layer_means, inner.layer_steps):
            variable.assign(ops.zeros(variable.shape, variable.dtype))


def _layers(inner):
    """Returns the paths of all layers, in the order of their variables.

    Layers whose variables are excluded are among them: `compile` may exclude
    others later, and the means must keep their shape.
    """
    return list(dict.fromkeys(_layer(v) for v in inner._trainable_variables))


def _layer(variable):
    """Returns the path of a variable without the variable's own name."""
    return variable.path.rpartition("/")[0] or variable.path


def named_report(optimizer, values):
    """Returns the means of `agc_report` as scalar tensors by name.

    Args:
        optimizer: An optimizer that has AGC.
        values: List of its variables, or of their values: JAX passes values
            through a step, and writes them to the variables later.

    Returns:
        A dictionary of tensors, empty before the optimizer is built.
    """
    inner = inner_optimizer(optimizer)
    if not inner.built:
        return {}
    # The last two variables are the report's means and steps. A
    # `LossScaleOptimizer` lists those of the optimizer inside last, too.
    means = without_layer_means(optimizer, values)[-2]
    # PyTorch would return a view of the variable, which validation resets.
    means = ops.unstack(ops.copy(ops.convert_to_tensor(means)))
    shown = inner.rules.agc.metric
    named = zip(inner.rules.names, means, strict=True)
    return {n: m for n, m in named if shown or n != TOTAL}
