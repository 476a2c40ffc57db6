"""Assigns a model's variables all together, or not at all."""

import contextlib
import functools

import keras


@contextlib.contextmanager
def all_or_nothing(variables, prepare):
    """Holds back what is assigned until the block has ended without an error.

    Keras assigns array by array while it reads a file, and what it has
    assigned stays where a later array is damaged.

    Args:
        variables: List of `keras.Variable`.
        prepare: Function of a variable and an array, that returns what the
            variable takes, or raises.

    Yields:
        A dictionary from the ids of variables to arrays, of what is held.

    Example:

    >>> with all_or_nothing(model.weights, prepare):
    ...     model.load_weights("f0.weights.h5")
    """
    held = {}
    for variable in variables:
        variable.assign = functools.partial(_hold, held, prepare, variable)
    try:
        yield held
    finally:
        for variable in variables:
            del variable.assign
    for variable in variables:
        if id(variable) in held:
            variable.assign(held[id(variable)])


def _hold(held, prepare, variable, value):
    array = prepare(variable, keras.ops.convert_to_numpy(value))
    if array.shape != tuple(variable.shape):
        raise ValueError(
            f"{variable.path!r} must have the shape {tuple(variable.shape)}. "
            f"Received: shape={array.shape}"
        )
    held[id(variable)] = array
    return variable
