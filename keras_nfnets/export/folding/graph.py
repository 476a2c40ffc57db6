"""Folds a model's graph and puts stock layers in the place of ours.

`fold` is the public function. Keras clones the model with a function that is
called for each layer (`_Graph.call`). It calls a rule of `RULES` for our
layers, a copy for stock layers with weights, and the same object for layers
without. Tensors travel as `Scaled`: a factor stays pending until a kernel takes
it up. A layer that can take none gets its tensors multiplied by theirs
(`Rescaling`).
"""

import contextlib
import sys

import keras
from keras import tree

from keras_nfnets.export.folding import single
from keras_nfnets.export.folding.composite import RULES
from keras_nfnets.export.folding.known import (
    LINEAR,
    can_be_folded,
    operations,
    our_function,
    unknown,
)
from keras_nfnets.export.folding.scaled import LayerFactory, Scaled, unique
from keras_nfnets.graph import is_functional, is_stock

# Stock layers that are the identity at inference.
INFERENCE_NOOPS = (
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)
# Stock layers that commute with a scale of their inputs.
HOMOGENEOUS = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
)

# Calls of Python. nf_resnet600 has over a thousand layers one behind the other.
DEEPEST_GRAPH = 20_000


def fold(model: keras.Model, keep_unknown: bool = False) -> keras.Model:
    """Returns the model for inference, made of stock Keras layers only.

    Kernels are standardized once. Gains, the activations' `gamma` and `beta`,
    `alpha`, skip gains and the factor of channel attention are multiplied into
    kernels and biases, or into the small gates of the attention. Dropout and
    stochastic depth disappear. The outputs equal the model's up to float
    rounding. Each layer keeps its dtype policy; kernels are folded in float32.

    A file that `save` writes loads with Keras alone, without this library. The
    weights are copies. Layers without weights are shared with `model`.

    Args:
        model: A functional or built sequential Keras model. Its layers are this
            library's and Keras's own.
        keep_unknown: Boolean, whether any other layer is kept and shared with
            `model`. Loading a saved model then needs that layer. Defaults to
            `False`.

    Returns:
        A `keras.Model` with the inputs and outputs of `model`, not compiled.

    Raises:
        ValueError: If the model has a `call` of its own (a subclassed model) or
            is not built, or if it has unknown layers and `keep_unknown` is
            false. The message names all of them.

    Example:

    >>> folded = keras_nfnets.export.fold(model)
    >>> folded.save("inference.keras")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """
    _check(model, keep_unknown)
    return _fold(model, model.name)


def _check(model, keep_unknown=False):
    """Raises a ValueError for a model that cannot be folded."""
    if not is_functional(model):
        raise ValueError(
            "`model` must be a functional or a built sequential model, "
            "without a `call` of its own. Received: model of "
            f"class {type(model).__name__}"
        )
    names = list(unknown(model, can_be_folded))
    if names and not keep_unknown:
        raise ValueError(
            "`model` must consist of this library's layers and Keras's own; "
            "`keep_unknown=True` keeps others as they are. Received: model "
            f"with {', '.join(names)}"
        )


def fold_for_runtime(model):
    """Folds a model for a runtime with kernels for groups and for GELU.

    Keras on TensorFlow has neither, so `fold` splits groups and composes the
    tanh form of GELU of stock layers.

    Args:
        model: A functional or built sequential Keras model, as for `fold`.

    Returns:
        A model as `fold` returns it, whose convolutions keep their groups. Its
        tanh GELU is one `Activation` with `native.tanh_gelu`.

    Raises:
        ValueError: If the model is not known by its graph, or has unknown
            layers.
    """
    _check(model)
    return _fold(model, model.name, native=True)


class _End(keras.layers.Layer):
    """Marks a model's outputs, where a pending scale must be multiplied."""

    def call(self, inputs):
        return inputs


def _fold(model, name, native=False):
    """Returns the folded model without checking its layers.

    Args:
        model: A functional or sequential model.
        name: String, the name of the folded model.
        native: Boolean, see `LayerFactory`. Defaults to `False`.
    """
    graph = _Graph(model, native)
    if isinstance(model, keras.Sequential):
        inputs = x = keras.Input(
            batch_shape=model.input_shape, dtype=model.inputs[0].dtype
        )
        for layer in model.layers:
            x = graph.call(layer, x)
        return keras.Model(inputs, graph.call(_End(), x), name=name)
    outputs = tree.map_structure(_End(), model.output)
    # The clone has this class and is not compiled either.
    plain = keras.Model(model.input, outputs, name=name)
    with deep_graphs():
        return keras.models.clone_model(
            plain, clone_function=lambda layer: layer, call_function=graph.call
        )


@contextlib.contextmanager
def deep_graphs():
    """Lets Keras, which recurses from layer to layer, map deep graphs."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, DEEPEST_GRAPH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class _Graph:
    """Calls the layers of the folded model in the place of the model's.

    `taken` has the names of the folded model's layers. A layer that takes up
    scales and is called twice has two folded forms, since the scales may
    differ. Any other stock layer with weights has one copy (`copies`).
    `materialized` keeps each tensor that was multiplied by its scale, so that
    two readers share it.
    """

    def __init__(self, model, native):
        self.native = native
        self.taken = {
            layer.name for layer in operations(model) if _is_shared(layer)
        }
        self.copies = {}
        self.materialized = {}

    def call(self, layer, *args, **kwargs):
        """Returns a layer's folded outputs: a `Scaled`, or tensors.

        Args:
            layer: A layer, model or operation of the original model.
            *args: What it is called with. A tensor may come as a `Scaled`.
            **kwargs: Keyword arguments of the call.
        """
        first = args[0] if args else kwargs.get("inputs")
        x = first if isinstance(first, Scaled) else Scaled(first)
        kind = type(layer)
        if kind in RULES:
            return RULES[kind](self._factory(layer), layer, x)
        if kind in INFERENCE_NOOPS and not kwargs.get("training"):
            return x
        if kind in HOMOGENEOUS:
            return Scaled(layer(x.tensor), x.scale)
        if kind is keras.layers.Activation and our_function(layer):
            return single.function(self._factory(layer), layer.activation, x)
        # A quantized layer, or one with LoRA, has more weights and is copied.
        if kind in LINEAR and len(layer.weights) == 1 + layer.use_bias:
            return self._linear(layer, x)
        args, kwargs = tree.map_structure(self._materialize, (args, kwargs))
        if kind is _End:
            return self._end(args[0])
        return self._call_copy(layer, *args, **kwargs)

    def _factory(self, layer):
        return LayerFactory(
            self.taken, layer.name, layer.dtype_policy, self.native
        )

    def _materialize(self, x):
        """Multiplies a `Scaled` by its scale; others stay as they are."""
        if not isinstance(x, Scaled):
            return x
        key = id(x.tensor), x.scale
        if key not in self.materialized:
            make = LayerFactory(self.taken, "rescaled", x.tensor.dtype)
            # Keep the tensor alive, so that no other one gets its id.
            self.materialized[key] = make.materialize(x), x.tensor
        return self.materialized[key][0]

    def _end(self, x):
        """Returns an output of the model, which must not be an input itself."""
        # Keras 3.13 makes no model whose output is an input.
        if not isinstance(x._keras_history.operation, keras.layers.InputLayer):
            return x
        name = unique("identity", self.taken)
        return keras.layers.Identity(name=name, dtype=x.dtype)(x)

    def _linear(self, layer, x):
        """Copies a linear layer with the scale of its inputs in its kernel.

        `W (s x) + b = (s W) x + b`, so the bias stays as it is.
        """
        config = layer.get_config()
        config["name"] = unique(layer.name, self.taken)
        function = our_function(layer)
        if function is not None:
            config["activation"] = None
        copy = type(layer).from_config(config)
        outputs = Scaled(copy(x.tensor))
        kernel, *others = layer.get_weights()
        copy.set_weights([kernel * x.scale, *others])
        make = self._factory(layer).scope("activation")
        return single.function(make, function, outputs)

    def _call_copy(self, layer, *args, **kwargs):
        """Calls a copy of a layer, or the layer itself if it is shared."""
        if _is_shared(layer):
            return layer(*args, **kwargs)
        if id(layer) not in self.copies:
            self.copies[id(layer)] = self._copy(layer)
        copy = self.copies[id(layer)]
        outputs = copy(*args, **kwargs)
        if not is_functional(layer):
            copy.set_weights(layer.get_weights())
            if hasattr(copy, "finalize_state"):
                copy.finalize_state()  # `Normalization` caches its weights.
        return outputs

    def _copy(self, layer):
        """Returns a layer with the same configuration, and a model folded."""
        name = unique(layer.name, self.taken)
        if is_functional(layer):
            return _fold(layer, name, self.native)
        return type(layer).from_config(layer.get_config() | {"name": name})


def _is_shared(layer):
    """Returns whether both models have the same layer object.

    Stock layers without weights and unknown layers are shared.
    """
    if type(layer) in RULES or is_functional(layer):
        return False
    return not is_stock(type(layer)) or not getattr(layer, "weights", None)
