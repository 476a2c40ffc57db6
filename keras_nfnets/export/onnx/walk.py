"""Walks a folded Keras model and writes each layer into an ONNX graph.

Keras itself does the walking: the model is cloned with a function that is
called for every layer, in the order of the computation. Each call runs the
layer on symbolic tensors, so Keras infers the shapes, and then adds the layer's
nodes.
"""

import dataclasses

import keras
from keras import tree

from keras_nfnets.export.folding.known import unknown
from keras_nfnets.export.onnx import activations
from keras_nfnets.export.onnx import operations as ops
from keras_nfnets.export.onnx.converters import CONVERTERS
from keras_nfnets.export.onnx.graph import Value
from keras_nfnets.graph import is_functional


def check_known(model):
    """Raises an error if a model has layers that cannot be written as ONNX.

    Args:
        model: A functional or sequential model.

    Raises:
        ValueError: If there are such layers or operations. The message names
            all of them, with their classes.
    """
    names = list(unknown(model, _is_known))
    if names:
        raise ValueError(
            "`model` must consist of layers that can be written as ONNX. "
            f"Received: model with {', '.join(names)}"
        )


def _is_known(layer):
    """Returns whether a layer or operation can be written as ONNX."""
    if not isinstance(layer, keras.layers.Layer):
        return ops.is_known(layer)
    if isinstance(layer, keras.layers.InputLayer):
        return True
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    function = getattr(layer, "activation", None)
    return type(layer) in CONVERTERS and activations.is_known(function)


class Walk:
    """Writes models and maps the symbolic tensors of Keras to the graph's.

    Args:
        graph: The `Graph` to write into.

    Example:

    >>> inputs = keras.Input((8, 8, 3), name="images")
    >>> model = keras.Model(inputs, keras.layers.ReLU(name="act")(inputs))
    >>> value = Walk(Graph()).model(model, [Value("images", (None, 8, 8, 3))])
    >>> value.name
    'act/LeakyRelu'
    """

    def __init__(self, graph):
        self.graph = graph
        self.values = {}
        # `values` has keys by `id`. A tensor that is kept alive keeps its id.
        self.tensors = []

    def model(self, model, inputs):
        """Writes a model.

        Args:
            model: A functional or sequential model for which `check_known`
                passes. A model inside it is written layer by layer, too.
            inputs: List of `Value`s, one for each of its inputs. Their shapes
                are those to write for; they may differ from the model's own.

        Returns:
            The structure that the model returns, with a `Value` for each
            tensor.

        Raises:
            ValueError: If a layer has settings that have no form in ONNX.
        """
        tensors = [
            keras.Input(
                batch_shape=x.shape, dtype=tensor.dtype, name=tensor.name
            )
            for x, tensor in zip(inputs, model.inputs, strict=True)
        ]
        for tensor, value in zip(tensors, inputs, strict=True):
            self._record(tensor, value)
        if isinstance(model, keras.Sequential):
            (x,) = tensors
            for layer in model.layers:
                x = self.call(layer, x)
            return self._lookup(x)
        # The clone calls the same layers again. The inputs may have another
        # size than those that the model was made with.
        called = keras.models.clone_model(
            keras.Model(model.input, model.output),
            input_tensors=tree.pack_sequence_as(model.input, tensors),
            clone_function=lambda layer: layer,
            call_function=self.call,
        )
        return tree.map_structure(self._lookup, called.output)

    def call(self, layer, *args, **kwargs):
        """Calls a layer on symbolic tensors and writes it.

        Args:
            layer: A Keras layer, a model or an operation.
            *args: What it is called with: symbolic tensors and numbers.
            **kwargs: Keyword arguments of the call.

        Returns:
            What the layer returns: symbolic tensors of Keras.
        """
        outputs = layer(*args, **kwargs)
        args, kwargs = tree.map_structure(self._lookup, (args, kwargs))
        if is_functional(layer):
            results = self.model(layer, tree.flatten(args))
        elif isinstance(layer, keras.layers.Layer):
            results = self._layer(layer, *args)
        else:
            results = ops.convert(self.graph, layer, *args, **kwargs)
        for tensor, result in zip(
            tree.flatten(outputs), tree.flatten(results), strict=True
        ):
            self._record(tensor, result)
        return outputs

    def _layer(self, layer, x):
        """Writes a layer by its converter.

        Layers with strides, convolutions and poolings, take up a pending
        padding. It is applied before any other layer.
        """
        rule = CONVERTERS[type(layer)]
        takes_pads = isinstance(x, Value) and hasattr(layer, "strides")
        if not takes_pads and x is not None:
            x = tree.map_structure(self._padded, x)
        return rule(self.graph, layer, x)

    def _padded(self, x):
        """Returns a `Value` whose pending padding, if any, is applied."""
        if not isinstance(x, Value) or x.pads is None:
            return x
        return Value(self.graph.padded(x, x.name), x.shape)

    def _record(self, tensor, result):
        """Records the graph's tensor for a symbolic tensor of Keras."""
        if isinstance(result, str):
            result = Value(result)
        result = dataclasses.replace(result, shape=tuple(tensor.shape))
        self.values[id(tensor)] = result
        self.tensors.append(tensor)

    def _lookup(self, x):
        """Returns the `Value` of a symbolic tensor; others stay as they are."""
        return self.values.get(id(x), x)
