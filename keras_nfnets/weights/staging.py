"""Assigns a model's variables all together or not at all."""

import contextlib
import functools

import keras


@contextlib.contextmanager
def all_or_nothing(variables, prepare):
    """Assigns variables at the end of a block, unless an error ends it.

    Keras assigns each array as it reads it. With a file that is damaged further
    on, it would leave the model half loaded. Inside the block, `assign` of the
    variables therefore only keeps the values.

    Args:
        variables: List of `keras.Variable`.
        prepare: Function of a variable and an array that returns the
            variable's new value or raises.

    Yields:
        A dictionary from the ids of variables to the arrays that they will
        be assigned.

    Example:

    >>> with all_or_nothing(model.weights, lambda variable, array: array):
    ...     model.load_weights("f0.weights.h5")
    """
    staged = {}
    for variable in variables:
        variable.assign = functools.partial(_stage, staged, prepare, variable)
    try:
        yield staged
    finally:
        for variable in variables:
            del variable.assign
    for variable in variables:
        if id(variable) in staged:
            variable.assign(staged[id(variable)])


def _stage(staged, prepare, variable, value):
    """Keeps the value that a variable would have been assigned."""
    array = prepare(variable, keras.ops.convert_to_numpy(value))
    if array.shape != tuple(variable.shape):
        raise ValueError(
            f"{variable.path!r} must have the shape {tuple(variable.shape)}. "
            f"Received: shape={array.shape}"
        )
    staged[id(variable)] = array
    return variable
