"""Walks a folded Keras model and writes what it meets into an ONNX graph."""

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
    """Raises a ValueError that names what has no way to ONNX.

    Args:
        model: A functional or sequential model.
    """
    names = list(unknown(model, _is_known))
    if names:
        raise ValueError(
            "`model` must consist of layers that have a way to ONNX. "
            f"Received: model with {', '.join(names)}"
        )


def _is_known(layer):
    if not isinstance(layer, keras.layers.Layer):
        return ops.is_known(layer)
    if isinstance(layer, keras.layers.InputLayer):
        return True
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return False
    function = getattr(layer, "activation", None)
    return type(layer) in CONVERTERS and activations.is_known(function)


class Walk:
    """Knows which tensor of the graph each of Keras's is.

    Args:
        graph: The `Graph` to write into.
    """

    def __init__(self, graph):
        self.graph = graph
        self.values = {}
        # Holds the tensors, so that no other one gets an id.
        self.tensors = []

    def model(self, model, inputs):
        """Writes a model.

        Args:
            model: A functional or sequential model.
            inputs: List of `Value`s, one for each of its inputs.

        Returns:
            What the model returns, with `Value`s for the tensors.
        """
        tensors = [
            keras.Input(batch_shape=x.shape, dtype=tensor.dtype)
            for x, tensor in zip(inputs, model.inputs, strict=True)
        ]
        for tensor, value in zip(tensors, inputs, strict=True):
            self._is(tensor, value)
        if isinstance(model, keras.Sequential):
            (x,) = tensors
            for layer in model.layers:
                x = self.call(layer, x)
            return self._value(x)
        # The same layers, called again: at a size that may be another one.
        called = keras.models.clone_model(
            keras.Model(model.input, model.output),
            input_tensors=tree.pack_sequence_as(model.input, tensors),
            clone_function=lambda layer: layer,
            call_function=self.call,
        )
        return tree.map_structure(self._value, called.output)

    def call(self, layer, *args, **kwargs):
        """Calls a layer of Keras and writes it."""
        outputs = layer(*args, **kwargs)
        args, kwargs = tree.map_structure(self._value, (args, kwargs))
        if is_functional(layer):
            results = self.model(layer, tree.flatten(args))
        elif isinstance(layer, keras.layers.Layer):
            results = self._layer(layer, *args)
        else:
            results = ops.convert(self.graph, layer, *args, **kwargs)
        for tensor, result in zip(
            tree.flatten(outputs), tree.flatten(results), strict=True
        ):
            self._is(tensor, result)
        return outputs

    def _layer(self, layer, x):
        rule = CONVERTERS[type(layer)]
        takes_pads = isinstance(x, Value) and hasattr(layer, "strides")
        if not takes_pads and x is not None:
            x = tree.map_structure(self._whole, x)
        return rule(self.graph, layer, x)

    def _whole(self, x):
        if not isinstance(x, Value) or x.pads is None:
            return x
        return Value(self.graph.padded(x, x.name), x.shape)

    def _is(self, tensor, result):
        """Says which tensor of the graph one of Keras's is."""
        if isinstance(result, str):
            result = Value(result)
        result = dataclasses.replace(result, shape=tuple(tensor.shape))
        self.values[id(tensor)] = result
        self.tensors.append(tensor)

    def _value(self, x):
        return self.values.get(id(x), x)
