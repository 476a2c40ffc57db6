"""Finds the variants that weights may belong to, by names and shapes.

An error about a file of another network uses `hint` to name these variants.
"""

import math
import re
from collections.abc import Mapping

import numpy as np

from keras_nfnets.variants.complexity import complexity
from keras_nfnets.variants.table import VARIANTS

# A model may lack these parts. The names are the papers' and timm's.
CLASSIFIER = r"^[^/]+/~/linear::[wb]$|^head\.fc\."
HEAD = rf"{CLASSIFIER}|^[^/]+/~/final_conv::|^final_conv\."


def classes_among(shapes):
    """Returns the number of classes of a classifier among weights.

    Args:
        shapes: Dictionary from names of any source to tuples.

    Returns:
        An integer, or `None` if there is no classifier.

    Example:

    >>> classes_among({"head.fc.bias": (1000,)})
    1000
    """
    for name, shape in shapes.items():
        own = name.startswith("head/classifier/")
        if (own or re.search(CLASSIFIER, name)) and len(shape) == 1:
            return shape[0]
    return None


def classes_of(arrays: Mapping[str, np.ndarray]) -> int | None:
    """Returns the number of classes in the papers' or timm's arrays.

    Args:
        arrays: Dictionary from the source's names to arrays.

    Returns:
        An integer, or `None` if the arrays have no classifier.

    Example:

    >>> keras_nfnets.weight_files.classes_of({"head.fc.bias": np.zeros(10)})
    10
    """
    return classes_among({name: array.shape for name, array in arrays.items()})


def fitting_variants(shapes):
    """Returns the names of the variants that have the same number of weights.

    Args:
        shapes: Dictionary from names of any source to tuples.

    Example:

    >>> keras_nfnets.weight_files.fitting_variants({"a": (71489284,)})
    ['nfnet_f0', 'dm_nfnet_f0']
    """
    total = sum(math.prod(shape) for shape in shapes.values())
    classes = classes_among(shapes) or 1000
    return [
        name
        for name in VARIANTS
        if total == sum(p.parameters for p in complexity(name, 64, classes))
    ]


def hint(shapes):
    """Returns a sentence that names the fitting variants, or `""`.

    Args:
        shapes: Dictionary from names of any source to tuples.
    """
    names = fitting_variants(shapes)
    return f" The file may be of: {', '.join(names)}." if names else ""
