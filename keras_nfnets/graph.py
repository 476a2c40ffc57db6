"""Reads a functional model as a graph of operations.

A functional model knows its operations and the tensors between them.
`is_functional` tells whether a model does, and `residual_sums` finds its
residual blocks, also in models of other libraries. Surgery, folding and export
use them.
"""

import dataclasses

import keras
from keras import tree


def is_functional(model):
    """Returns whether a model is known by its graph: functional, or sequential.

    Args:
        model: A Keras model or layer.

    Returns:
        A boolean. It is `False` for a subclass with a `call` of its own, and
        for a sequential model that is not built.

    Example:

    >>> keras_nfnets.graph.is_functional(keras_nfnets.NFNet("nfnet_pico"))
    True
    """
    kinds = type(model).__mro__
    call = next((kind for kind in kinds if "call" in vars(kind)), None)
    return (
        call is not None
        and is_stock(call)
        and (
            isinstance(model, keras.Function)
            or (isinstance(model, keras.Sequential) and model.built)
        )
    )


def is_stock(thing):
    """Returns whether a class or function is Keras's own.

    Args:
        thing: Class or function.
    """
    return thing.__module__.partition(".")[0] == "keras"


def check_functional(model):
    """Raises an error unless a model is known by its graph.

    Args:
        model: A Keras model.

    Raises:
        ValueError: If `is_functional` is false for it.
    """
    if is_functional(model):
        return
    kind = type(model).__name__
    if isinstance(model, keras.Sequential):
        raise ValueError(
            "`model` must be built, so that its shapes are known; give it a "
            f"`keras.Input`. Received: model={model.name!r} of class {kind}, "
            "not built"
        )
    raise ValueError(
        "`model` must be a functional or built sequential model: a `call` of "
        "its own hides how the layers are connected. Received: "
        f"model of class {kind}"
    )


def flat(model):
    """Returns a functional model of the same layers; converts a sequential one.

    Args:
        model: A functional or built sequential `keras.Model`.
    """
    if isinstance(model, keras.Sequential):
        (x,), (y,) = model.inputs, model.outputs
        return keras.Model(x, y, name=model.name)
    return model


def inputs_of(operation):
    """Returns the list of tensors that an operation was first called with.

    Args:
        operation: A `keras.Operation` of a functional model.
    """
    return tree.flatten(operation.input)


def is_sum(operation):
    """Returns whether an operation is `keras.layers.Add`, or `+` of tensors.

    Args:
        operation: A `keras.Operation` of a functional model.

    Returns:
        A boolean. It is `False` for the sum of a tensor and a number.
    """
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, keras.layers.Add)
    # The class of `+` has no public name.
    return type(operation).__name__ == "Add" and len(inputs_of(operation)) > 1


@dataclasses.dataclass(frozen=True)
class ResidualSum:
    """Describes a sum of one shortcut and at least one residual branch.

    Args:
        operation: The `keras.Operation` that adds.
        start: Symbolic tensor, from which the shortcut and the branches are
            computed.
        shortcut: Integer, the position of the shortcut among the inputs of the
            sum.
        branches: List of symbolic tensors, the other inputs.
    """

    operation: keras.Operation
    start: keras.KerasTensor
    shortcut: int
    branches: list


def residual_sums(model):
    """Finds the sums of a model that join branches and a shortcut.

    The shortcut is the input with the fewest layers that have weights between
    it and what all inputs are computed from. A sum whose inputs tie has no
    shortcut, and is left out.

    Args:
        model: A functional `keras.Model`.

    Returns:
        A list of `ResidualSum`, from the model's inputs to its outputs.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> len(residual_sums(model))
    16
    """
    found, tensors, above = [], {}, {}
    for operation in model.operations:
        if is_sum(operation):
            found += _residual_sum(operation, tensors, above)
        distances = _distances(operation, above)
        for tensor in tree.flatten(operation.output):
            tensors[id(tensor)] = tensor
            above[id(tensor)] = distances | {id(tensor): 0}
    return found


def _distances(operation, above):
    """Returns the largest distance back to each earlier tensor.

    A distance counts the layers with weights between the operation's outputs
    and that tensor.

    Args:
        operation: A `keras.Operation`.
        above: Dictionary from the `id` of a tensor to such distances.
    """
    own = bool(getattr(operation, "weights", None))
    longest = {}
    for tensor in inputs_of(operation):
        for key, distance in above.get(id(tensor), {}).items():
            longest[key] = max(longest.get(key, 0), distance + own)
    return longest


def _residual_sum(operation, tensors, above):
    """Returns a list with the `ResidualSum` of a sum, or an empty list."""
    inputs = inputs_of(operation)
    rows = [above.get(id(tensor), {}) for tensor in inputs]
    # `tensors` is in the order of computation: the last common one is nearest.
    common = [key for key in tensors if all(key in row for row in rows)]
    if not common:
        return []
    lengths = [row[common[-1]] for row in rows]
    if lengths.count(min(lengths)) > 1:
        return []
    shortcut = lengths.index(min(lengths))
    branches = [x for i, x in enumerate(inputs) if i != shortcut]
    return [ResidualSum(operation, tensors[common[-1]], shortcut, branches)]
