"""Sums up which units a training step clipped.

A step's `ClipStatistics` have one number for each unit. `report` reduces them
to the few numbers that `names` lists. `add_to_means` takes these numbers into
running means, which are variables of the optimizer. A compiled step updates
them as any other variable, on every backend.
"""

import itertools
import re
import typing

from keras import ops

TOTAL = "agc_clipped"
GRADIENT_NORM, WEIGHT_NORM = "gradient_norm", "weight_norm"
# The parts of an `NFNet`, by the paths of their variables.
PART = re.compile(r"(stem|stage\d+|head)(_block\d+)?/")


class ClipStatistics(typing.NamedTuple):
    """The statistics of one step, as vectors over all units of all variables.

    Args:
        clipped: Boolean tensor `(units,)`, whether each unit was clipped.
        gradient_norms: Tensor `(units,)`, norms before clipping.
        weight_norms: Tensor `(units,)`.
        above: Boolean tensor `(units,)`, whether each unit's weight norm is
            above the floor. Only such units count in a fraction.
        units_per_variable: Dictionary from a variable's index to its number
            of units, in the order of the vectors.
    """

    clipped: object
    gradient_norms: object
    weight_norms: object
    above: object
    units_per_variable: dict


def names(variables, detailed):
    """Returns the names of the numbers that `report` returns, in order.

    Args:
        variables: List of the variables that may be clipped.
        detailed: Boolean, as in `keras_nfnets.AGC`.

    Returns:
        A list of strings, the total first.

    Example:

    >>> names(model.trainable_variables, detailed=False)
    ['agc_clipped']
    """
    if not detailed:
        return [TOTAL]
    parts = dict.fromkeys(_part(v) for v in variables)
    return [TOTAL, *parts, GRADIENT_NORM, WEIGHT_NORM]


def is_detail(name):
    """Returns whether a value in a training log is part of a detailed report.

    Args:
        name: String, the value's name.

    Example:

    >>> is_detail("agc_clipped_stem"), is_detail("agc_clipped")
    (True, False)
    """
    norms = (GRADIENT_NORM, WEIGHT_NORM)
    return name in norms or name.startswith(f"{TOTAL}_")


def report(statistics, variables, named):
    """Returns the numbers that one step reports, and whether each counts.

    Args:
        statistics: `ClipStatistics` of the step.
        variables: List of all variables of the step, clipped or not.
        named: List of strings, from `names`.

    Returns:
        Two float32 tensors `(len(named),)`: the numbers, and 1 where a number
        counts or 0 where it does not. A fraction does not count in a step
        without a unit above the floor.
    """
    clipped = ops.cast(
        ops.logical_and(statistics.clipped, statistics.above), "float32"
    )
    above = ops.cast(statistics.above, "float32")
    numbers = {TOTAL: _fraction(ops.sum(clipped), ops.sum(above))}
    if len(named) > 1:
        numbers |= _fractions_of_parts(
            clipped, above, statistics.units_per_variable, variables
        )
        numbers[GRADIENT_NORM] = _norm(statistics.gradient_norms), 1.0
        numbers[WEIGHT_NORM] = _norm(statistics.weight_norms), 1.0
    absent = 0.0, 0.0
    values, counts = zip(*(numbers.get(n, absent) for n in named), strict=True)
    return tuple(
        ops.stack([ops.cast(x, "float32") for x in each])
        for each in (values, counts)
    )


def add_to_means(means, steps, values, counts):
    """Takes one step's numbers into running means.

    Args:
        means: `keras.Variable`, the means of the steps so far.
        steps: `keras.Variable` of the same shape, how many steps each mean
            has.
        values: Tensor of the same shape, the step's numbers.
        counts: Tensor of the same shape, 1 where the number counts and 0
            where it does not.
    """
    steps_now = steps + counts
    change = counts * (values - means)
    means.assign(means + change / ops.maximum(steps_now, 1.0))
    steps.assign(steps_now)


def _fractions_of_parts(clipped, above, counts, variables):
    """Returns the fraction of clipped units for each part of a network."""
    sums, start = {}, 0
    # The variables of a part follow each other in most networks. One slice
    # for all of them is fewer operations than one for each.
    for part, group in itertools.groupby(
        counts.items(), lambda item: _part(variables[item[0]])
    ):
        end = start + sum(count for _, count in group)
        here = ops.sum(clipped[start:end]), ops.sum(above[start:end])
        before = sums.get(part, (0.0, 0.0))
        sums[part] = before[0] + here[0], before[1] + here[1]
        start = end
    return {part: _fraction(*both) for part, both in sums.items()}


def _fraction(clipped, above):
    """Returns a fraction of two counts, and whether it counts in a mean."""
    return clipped / ops.maximum(above, 1.0), above > 0


def _norm(norms):
    """Returns the norm of a vector from the norms of its parts."""
    return ops.sqrt(ops.sum(ops.square(norms)))


def _part(variable):
    """Returns the name under which a variable's part of a network reports."""
    match = PART.match(variable.path)
    return f"{TOTAL}_{match[1] if match else 'other'}"
