"""What a training step says of its clipping: one number, or several."""

import itertools
import re
import typing

from keras import ops

TOTAL = "agc_clipped"
GRADIENT_NORM, WEIGHT_NORM = "gradient_norm", "weight_norm"
# The parts of an `NFNet`, by the paths of their variables.
PART = re.compile(r"(stem|stage\d+|head)(_block\d+)?/")


class Units(typing.NamedTuple):
    """What `agc.clip_units` found: a vector for the units of all variables.

    Args:
        marks: Boolean tensor `(units,)`, which of them were clipped.
        gradient_norms: Tensor `(units,)`, before clipping.
        weight_norms: Tensor `(units,)`.
        counts: Dictionary, how many units each variable has, by its index and
            in the order of the vectors.
    """

    marks: object
    gradient_norms: object
    weight_norms: object
    counts: dict


def names(variables):
    """Returns what a detailed report reports beside the total, in order.

    Args:
        variables: List of the variables that may be clipped.

    Returns:
        A list of strings.
    """
    parts = dict.fromkeys(_part(v) for v in variables)
    return [*parts, GRADIENT_NORM, WEIGHT_NORM]


def is_detail(name):
    """Whether a value of a training log comes from a detailed report.

    Args:
        name: String.
    """
    norms = (GRADIENT_NORM, WEIGHT_NORM)
    return name in norms or name.startswith(f"{TOTAL}_")


def total(units):
    """Returns the share of clipped units by its name, a dictionary.

    Args:
        units: `Units`.
    """
    return {TOTAL: ops.mean(ops.cast(units.marks, "float32"))}


def details(units, variables):
    """Returns a detailed report, tensors by name.

    Args:
        units: `Units`.
        variables: List of all variables of the step, of which `units` knows
            those that may be clipped.
    """
    marks = ops.cast(units.marks, "float32")
    clipped, counts, start = {}, {}, 0
    # Variables of a part follow each other: a few slices, not one for each.
    for part, group in itertools.groupby(
        units.counts.items(), lambda item: _part(variables[item[0]])
    ):
        count = sum(count for _, count in group)
        here = ops.sum(marks[start : start + count])
        clipped[part] = clipped.get(part, 0.0) + here
        counts[part] = counts.get(part, 0) + count
        start += count
    return {
        **{part: clipped[part] / counts[part] for part in clipped},
        GRADIENT_NORM: _norm(units.gradient_norms),
        WEIGHT_NORM: _norm(units.weight_norms),
    }


def _norm(norms):
    return ops.sqrt(ops.sum(ops.square(norms)))


def _part(variable):
    found = PART.match(variable.path)
    return f"{TOTAL}_{found[1] if found else 'other'}"
