"""Reads a functional model as a graph of operations."""

import dataclasses

import keras
from keras import tree


def is_functional(model):
    """Whether a model is known by its graph: functional, or sequential.

    Args:
        model: A Keras model or layer.

    Example:

    >>> keras_nfnets.graph.is_functional(keras_nfnets.NFNet("nfnet_pico"))
    True
    """
    call = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return is_stock(call) and (
        isinstance(model, keras.Function)
        or (isinstance(model, keras.Sequential) and model.built)
    )


def is_stock(thing):
    """Whether a class or function is Keras's own."""
    return thing.__module__.partition(".")[0] == "keras"


def check_functional(model):
    """Raises a ValueError unless a model is known by its graph.

    Args:
        model: A Keras model.
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


def inputs_of(operation):
    """Returns the list of tensors that an operation was first called with."""
    return tree.flatten(operation.input)


def is_sum(operation):
    """Whether an operation is `keras.layers.Add`, or `+` of two tensors."""
    if isinstance(operation, keras.layers.Layer):
        return isinstance(operation, keras.layers.Add)
    # The class of the operation has no public name.
    return type(operation).__name__ == "Add" and len(inputs_of(operation)) > 1


@dataclasses.dataclass(frozen=True)
class ResidualSum:
    """A sum of one shortcut and at least one residual branch.

    Args:
        operation: The `keras.Operation` that adds.
        start: Tensor, what shortcut and branches are computed from.
        shortcut: Integer, which input of the sum is the shortcut.
        branches: List of tensors, the others.
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
    """Returns the most layers with weights back to each earlier tensor."""
    own = bool(getattr(operation, "weights", None))
    longest = {}
    for tensor in inputs_of(operation):
        for key, distance in above.get(id(tensor), {}).items():
            longest[key] = max(longest.get(key, 0), distance + own)
    return longest


def _residual_sum(operation, tensors, above):
    """Returns a list of the one `ResidualSum`, or of none."""
    inputs = inputs_of(operation)
    rows = [above.get(id(tensor), {}) for tensor in inputs]
    # Tensors are in the order of their computation: the last one is nearest.
    common = [key for key in tensors if all(key in row for row in rows)]
    if not common:
        return []
    lengths = [row[common[-1]] for row in rows]
    if lengths.count(min(lengths)) > 1:
        return []
    shortcut = lengths.index(min(lengths))
    branches = [x for i, x in enumerate(inputs) if i != shortcut]
    return [ResidualSum(operation, tensors[common[-1]], shortcut, branches)]
