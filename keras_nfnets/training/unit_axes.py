"""Finds the units that AGC clips in a model, and the excluded variables.

A unit is the set of weights that feed one output neuron. It is given by the
axes of a variable that it spans: `(0, 1, 2)` for a 2D convolution's kernel.
`unit_axes` finds the axes of one variable. It asks the layer first, then the
table of Keras's layers, then the papers' rule for the rank.
`units_of_variables` finds those of a whole model, and applies `exclude`.
"""

import re

import keras
from keras.src.models.functional import Functional

from keras_nfnets.training.unit_layout import axes_of_shape, is_vector

# The values of `unit` of `AGC`.
UNITS = ("neuron", "tensor")

# The class of a layer of Keras, the name of its variable, and the axes that
# feed one output unit. The rank alone is not enough: the kernels of a Conv1D
# and of multi-head attention both have rank 3.
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
            not. Defaults to `None`: every variable follows the rule for its
            rank, and no classifier is known.

    Returns:
        A list of tuples of integers, the axes of each variable that make one
        unit, or `None` for a variable that is not clipped.

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
    """Returns a dictionary from a variable's id to its innermost layer.

    Raises a ValueError if the model lacks a variable.
    """
    owners = {}
    for layer in model._flatten_layers():
        # Outer layers come first, and inner layers overwrite them.
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
    - A layer may name the axes of its `kernel` in an attribute
      `kernel_unit_axes`. All layers of this package with a kernel do.
    - The equation of an `EinsumDense` gives the axes.
    - A table has those of Keras's other layers.
    - Any other variable follows the papers' rule for its rank: axis 0 for
      ranks 2 and 3, axes 0 to 2 for rank 4.

    Args:
        layer: The `keras.layers.Layer` that owns the variable, or `None` if
            it is not known.
        variable: `keras.Variable`.

    Returns:
        A tuple of integers, for `unitwise_norm`.

    Raises:
        ValueError: If the layer is not known and the rank is above 4, or its
            `kernel_unit_axes` are no axes of its kernel.

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
        return _axes_of_layer(layer, own, variable)
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_axes(layer.equation)
    for kind, name, axes in _UNIT_AXES:
        if isinstance(layer, kind) and variable.name == name:
            return axes
    try:
        return axes_of_shape(variable.shape)
    except ValueError as error:
        raise ValueError(f"{error}, variable {variable.path!r}") from None


def _axes_of_layer(layer, axes, kernel):
    """Returns the axes that a layer says of its kernel, counted from 0."""
    rank = len(kernel.shape)
    numbers = isinstance(axes, list | tuple) and all(
        isinstance(axis, int) and -rank <= axis < rank for axis in axes
    )
    if not numbers or not axes:
        raise ValueError(
            f"`kernel_unit_axes` must be a tuple of axes of a kernel of rank "
            f"{rank}. Received: kernel_unit_axes={axes!r} of {layer.name!r}"
        )
    return tuple(sorted(axis % rank for axis in axes))


def classifier_kernels(model):
    """Returns the kernels of the dense layers that compute the outputs.

    A functional model knows the layers before its outputs. Of a subclassed
    model the last layer with weights is taken.

    Args:
        model: Built `keras.Model`.

    Returns:
        A list of `keras.Variable`, empty if the outputs come from other
        layers.

    Example:

    >>> inputs = keras.Input((4,))
    >>> model = keras.Model(inputs, keras.layers.Dense(2, name="out")(inputs))
    >>> [kernel.path for kernel in classifier_kernels(model)]
    ['out/kernel']
    """
    ends = _output_layers(model) if isinstance(model, Functional) else [model]
    leaves = [_last_leaf(end) for end in ends]
    dense = (keras.layers.Dense, keras.layers.EinsumDense)
    return [leaf.kernel for leaf in leaves if isinstance(leaf, dense)]


def _output_layers(model):
    """Returns the last layers with weights before each output.

    It walks from the outputs back through the graph of a functional model, and
    through layers without weights, such as an activation.
    """
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
    """Returns the last layer inside of this one that has weights, or `None`.

    A layer counts only if it has no layers inside: the `Head` is not, its
    classifier is.
    """
    leaves = [
        leaf
        for leaf in layer._flatten_layers()
        if leaf.weights and not list(leaf._flatten_layers(include_self=False))
    ]
    return leaves[-1] if leaves else None


def checked_exclude(exclude):
    """Returns `exclude` as `AGC` holds it: a string, a tuple or a function.

    Args:
        exclude: As in `keras_nfnets.AGC`. Compiled expressions are allowed.

    Raises:
        ValueError: If it is something else.
    """
    if isinstance(exclude, str):
        _check_pattern(exclude, exclude)
    if isinstance(exclude, str) or callable(exclude):
        return exclude
    if isinstance(exclude, set | frozenset):
        exclude = sorted(exclude, key=str)
    parts = [exclude] if isinstance(exclude, re.Pattern) else exclude
    if not isinstance(parts, list | tuple):
        raise ValueError(
            "`exclude` must be 'classifier', a sequence of regular expressions "
            f"(`()` for nothing), or a function. Received: exclude={exclude!r}"
        )
    patterns = [p.pattern if isinstance(p, re.Pattern) else p for p in parts]
    for pattern in patterns:
        _check_pattern(pattern, exclude)
    return tuple(patterns)


def _check_pattern(pattern, exclude):
    """Raises a ValueError unless a part of `exclude` can be searched for."""
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            "`exclude` must have regular expressions as its parts. Received: "
            f"exclude={exclude!r}, of which {pattern!r} is none ({error})"
        ) from None


def _excluded(variables, exclude, model):
    """Returns the ids of the variables that are not clipped.

    Raises a ValueError for a pattern or function that matches nothing, which
    would hide a typing error.
    """
    if isinstance(exclude, str) and exclude == "classifier":
        kernels = [] if model is None else classifier_kernels(model)
        return {id(v) for v in kernels}
    if model is not None:
        # Patterns may name frozen weights, which are not among the variables.
        variables = model.weights
    elif exclude and not all(hasattr(v, "path") for v in variables):
        raise ValueError(
            "`variables` must be of class keras.Variable, or `model` be given, "
            f"to be searched for `exclude`. Received: exclude={exclude!r}"
        )
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
    """Returns the axes of the kernel that an equation sums over.

    In `"abc,cde->abde"` that is axis 0 of the kernel, c.
    """
    operands, output = equation.replace(" ", "").split("->")
    kernel = operands.split(",")[1]
    return tuple(i for i, axis in enumerate(kernel) if axis not in output)
