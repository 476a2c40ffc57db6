"""Sums up what a training step clipped."""

import itertools
import re
import typing

from keras import ops

TOTAL = "agc_clipped"
GRADIENT_NORM, WEIGHT_NORM = "gradient_norm", "weight_norm"
# The parts of an `NFNet`, by the paths of their variables.
PART = re.compile(r"(stem|stage\d+|head)(_block\d+)?/")


class ClipStatistics(typing.NamedTuple):
    """What `unitwise.clip_units` found, a vector for all units.

    Args:
        clipped: Boolean tensor `(units,)`, which of them were clipped.
        gradient_norms: Tensor `(units,)`, before clipping.
        weight_norms: Tensor `(units,)`.
        above: Boolean tensor `(units,)`, whose weights are above the floor,
            so that they count in a share.
        units_per_variable: Dictionary, how many units each variable has, by
            its index and in the order of the vectors.
    """

    clipped: object
    gradient_norms: object
    weight_norms: object
    above: object
    units_per_variable: dict


def names(variables, detailed):
    """Returns the names of what is reported, in order.

    Args:
        variables: List of the variables that may be clipped.
        detailed: Boolean, as in `keras_nfnets.AGC`.

    Returns:
        A list of strings, the total first.
    """
    if not detailed:
        return [TOTAL]
    parts = dict.fromkeys(_part(v) for v in variables)
    return [TOTAL, *parts, GRADIENT_NORM, WEIGHT_NORM]


def is_detail(name):
    """Whether a value of a training log comes from a detailed report.

    Args:
        name: String.
    """
    norms = (GRADIENT_NORM, WEIGHT_NORM)
    return name in norms or name.startswith(f"{TOTAL}_")


def report(units, variables, named):
    """Returns what a step reports, and whether each value counts.

    Args:
        units: `ClipStatistics`.
        variables: List of all variables of the step, of which `units` knows
            those that may be clipped.
        named: List of strings, of `names`.

    Returns:
        Two float32 tensors `(len(named),)`: the values, and 1 or 0. Where no
        unit counts, a share does not.
    """
    clipped = ops.cast(ops.logical_and(units.clipped, units.above), "float32")
    above = ops.cast(units.above, "float32")
    found = {TOTAL: _share(ops.sum(clipped), ops.sum(above))}
    if len(named) > 1:
        found |= _shares_of_parts(
            clipped, above, units.units_per_variable, variables
        )
        found[GRADIENT_NORM] = _norm(units.gradient_norms), 1.0
        found[WEIGHT_NORM] = _norm(units.weight_norms), 1.0
    absent = 0.0, 0.0
    values, weights = zip(*(found.get(n, absent) for n in named), strict=True)
    return tuple(
        ops.stack([ops.cast(x, "float32") for x in each])
        for each in (values, weights)
    )


def add_to_means(means, steps, values, counts):
    """Moves means of steps on by one step.

    Args:
        means: `keras.Variable`.
        steps: `keras.Variable` of the same shape, how many steps each has.
        values: Tensor, what the step says.
        counts: Tensor, 1 where the step counts and 0 where it does not.
    """
    steps_now = steps + counts
    change = counts * (values - means)
    means.assign(means + change / ops.maximum(steps_now, 1.0))
    steps.assign(steps_now)


def _shares_of_parts(clipped, above, counts, variables):
    """Returns the fraction of clipped units for each part of a network."""
    sums, start = {}, 0
    # Variables of a part follow each other: a few slices, not one for each.
    for part, group in itertools.groupby(
        counts.items(), lambda item: _part(variables[item[0]])
    ):
        end = start + sum(count for _, count in group)
        here = ops.sum(clipped[start:end]), ops.sum(above[start:end])
        before = sums.get(part, (0.0, 0.0))
        sums[part] = before[0] + here[0], before[1] + here[1]
        start = end
    return {part: _share(*both) for part, both in sums.items()}


def _share(clipped, above):
    return clipped / ops.maximum(above, 1.0), above > 0


def _norm(norms):
    return ops.sqrt(ops.sum(ops.square(norms)))


def _part(variable):
    found = PART.match(variable.path)
    return f"{TOTAL}_{found[1] if found else 'other'}"
