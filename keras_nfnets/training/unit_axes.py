"""Finds the units of AGC in a model, and what is excluded.

The axes of a unit come from one function, `unit_axes`: the layer says them
itself, or the table below knows the layer, or the papers' rule for the rank
applies.
"""

import re

import keras
from keras.src.models.functional import Functional

from keras_nfnets.training.unit_layout import axes_of_shape, is_vector

# What is clipped as one.
UNITS = ("neuron", "tensor")

# Layers of Keras: a class, the name of its variable, and the axes that feed one
# output unit. The rank alone does not tell: a Conv1D kernel and a multi-head
# kernel share it.
_UNIT_AXES = [
    (keras.layers.Conv1D, "kernel", (0, 1)),
    (keras.layers.Conv2D, "kernel", (0, 1, 2)),
    (keras.layers.Conv3D, "kernel", (0, 1, 2, 3)),
    (keras.layers.Conv1DTranspose, "kernel", (0, 2)),
    (keras.layers.Conv2DTranspose, "kernel", (0, 1, 3)),
    (keras.layers.Conv3DTranspose, "kernel", (0, 1, 2, 4)),
    (keras.layers.DepthwiseConv1D, "kernel", (0,)),
    (keras.layers.DepthwiseConv2D, "kernel", (0, 1)),
    (keras.layers.SeparableConv1D, "depthwise_kernel", (0,)),
    (keras.layers.SeparableConv2D, "depthwise_kernel", (0, 1)),
    (keras.layers.SeparableConv1D, "pointwise_kernel", (0, 1)),
    (keras.layers.SeparableConv2D, "pointwise_kernel", (0, 1, 2)),
    (keras.layers.Embedding, "embeddings", (1,)),
]


def units_of_variables(variables, exclude, unit="neuron", model=None):
    """Finds the unit of each variable that AGC clips.

    Args:
        variables: List of `keras.Variable`.
        exclude: As in `keras_nfnets.AGC`.
        unit: As in `keras_nfnets.AGC`. Defaults to `"neuron"`.
        model: `keras.Model` whose layers own the variables, trainable or
            not. Defaults to `None`: the rule for the rank, and no classifier.

    Returns:
        A list of the axes that make one unit, `None` for what is left as it
        is.

    Raises:
        ValueError: If a part of `exclude` matches nothing, the model does not
            hold a variable, or a variable has no rule.

    Example:

    >>> units = units_of_variables(model.trainable_variables, ["head/"])
    """
    owners = {} if model is None else _owners(model, variables)
    skip = _excluded(variables, exclude, model)

    def axes(variable):
        if id(variable) in skip:
            return None
        if unit == "tensor":
            return tuple(range(len(variable.shape)))
        return unit_axes(owners.get(id(variable)), variable)

    return [axes(v) for v in variables]


def _owners(model, variables):
    """Returns the innermost layer that owns each variable, by its id."""
    owners = {}
    for layer in model._flatten_layers():
        # Outer layers come first, so that the innermost owner stays.
        owners |= {id(v): layer for v in layer.weights}
    missing = [v.path for v in variables if id(v) not in owners]
    if missing:
        raise ValueError(
            "`model` must be built, and hold every variable whose gradient is "
            f"clipped. Received: model={model!r}, without {missing[:8]}"
        )
    return owners


def unit_axes(layer, variable):
    """Returns the axes of a layer's variable that make one unit.

    - A vector or a scalar is one unit.
    - A layer with an attribute `kernel_unit_axes` (all of this package with a
      kernel, and any of one's own) says the axes of its `kernel`.
    - `EinsumDense` says them in its equation.
    - Other layers of Keras are in a table.
    - What is left goes by its rank: axis 0 of rank 2 and 3, axes 0 to 2 of
      rank 4.

    Args:
        layer: The `keras.layers.Layer` that owns the variable, or `None`
            where that is not known.
        variable: `keras.Variable`.

    Returns:
        A tuple of integers, for `unitwise_norm`.

    Raises:
        ValueError: If the layer is not known and the rank is above 4.

    Example:

    >>> layer = keras.layers.Conv1D(8, 3)
    >>> layer.build((None, 32, 4))
    >>> keras_nfnets.training.unit_axes.unit_axes(layer, layer.kernel)
    (0, 1)
    """
    if is_vector(variable.shape):
        return tuple(range(len(variable.shape)))
    own = getattr(layer, "kernel_unit_axes", None)
    if own is not None and variable.name == "kernel":
        return tuple(own)
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_axes(layer.equation)
    for kind, name, axes in _UNIT_AXES:
        if isinstance(layer, kind) and variable.name == name:
            return axes
    try:
        return axes_of_shape(variable.shape)
    except ValueError as error:
        raise ValueError(f"{error}, variable {variable.path!r}") from None


def classifier_kernels(model):
    """Returns the kernels of the dense layers that make the model's outputs.

    A functional model says which layers these are; of a subclassed one the
    last layer is taken.
    """
    ends = _output_layers(model) if isinstance(model, Functional) else [model]
    leaves = [_last_leaf(end) for end in ends]
    dense = (keras.layers.Dense, keras.layers.EinsumDense)
    return [leaf.kernel for leaf in leaves if isinstance(leaf, dense)]


def _output_layers(model):
    """Returns the layers with weights that stand nearest to the outputs."""
    found, tensors = {}, list(model.outputs)
    while tensors:
        history = tensors.pop()._keras_history
        operation = history.operation
        if getattr(operation, "weights", None):
            found[id(operation)] = operation
        else:
            node = operation._inbound_nodes[history.node_index]
            tensors.extend(node.input_tensors)
    return list(found.values())


def _last_leaf(layer):
    """Returns the last layer inside this one that has weights of its own."""
    leaves = [
        leaf
        for leaf in layer._flatten_layers()
        if leaf.weights and not list(leaf._flatten_layers(include_self=False))
    ]
    return leaves[-1] if leaves else None


def _excluded(variables, exclude, model):
    """Returns the ids of the variables that are not clipped."""
    if isinstance(exclude, str) and exclude == "classifier":
        kernels = [] if model is None else classifier_kernels(model)
        return {id(v) for v in kernels}
    if model is not None:
        variables = model.weights  # some of them may be frozen
    if callable(exclude):
        rules = {getattr(exclude, "__name__", repr(exclude)): exclude}
    else:
        patterns = [exclude] if isinstance(exclude, str) else exclude
        rules = {p: lambda v, p=p: re.search(p, v.path) for p in patterns}
    found = set()
    for name, rule in rules.items():
        matches = {id(v) for v in variables if rule(v)}
        if not matches:
            raise ValueError(
                "`exclude` must match at least one of the model's weights. "
                f"Received: exclude={name!r}, which matches none of "
                f"{[v.path for v in variables][:8]}, ..."
            )
        found |= matches
    return found


def _einsum_axes(equation):
    operands, output = equation.replace(" ", "").split("->")
    kernel = operands.split(",")[1]
    return tuple(i for i, axis in enumerate(kernel) if axis not in output)
