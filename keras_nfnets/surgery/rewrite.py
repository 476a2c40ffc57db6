"""Rebuilds a functional model with some of its layers replaced."""

import keras
from keras import tree

from keras_nfnets.graph import check_functional
from keras_nfnets.layers import (
    WSConv1D,
    WSConv2D,
    WSConv2DTranspose,
    WSConv3D,
    WSDepthwiseConv2D,
)
from keras_nfnets.surgery.report import Report, Row
from keras_nfnets.training.model import AGCModel

STANDARDIZED = {
    keras.layers.Conv1D: WSConv1D,
    keras.layers.Conv2D: WSConv2D,
    keras.layers.Conv2DTranspose: WSConv2DTranspose,
    keras.layers.Conv3D: WSConv3D,
    keras.layers.DepthwiseConv2D: WSDepthwiseConv2D,
}


class Rewriter:
    """Calls, in the place of a model's layers, those of a new model.

    A class that derives from it says in `rewrite` what stands for a layer.
    """

    def __init__(self, model, calibration=None):
        self.calibrated = calibration
        self.taken = {operation.name for operation in model.operations}
        self.seen = set()
        self.rows = []

    def run(self, model):
        """Returns the new model, and the report."""
        # Plain and not compiled, as the clone will be.
        plain = keras.Model(model.input, model.output, name=model.name)
        clone = keras.models.clone_model(
            plain, clone_function=lambda layer: layer, call_function=self.call
        )
        new = AGCModel(clone.input, clone.output, name=model.name)
        return new, Report(self.rows, self.calibrated)

    def call(self, layer, *args, **kwargs):
        if id(layer) in self.seen:
            raise ValueError(
                "`model` must not call a layer twice, since each call has a "
                f"signal of its own. Received: model with {layer.name!r} "
                f"({type(layer).__name__}), which is shared"
            )
        self.seen.add(id(layer))
        return self.rewrite(layer, args, kwargs)

    def rewrite(self, layer, args, kwargs):
        """Returns the new model's tensors for those of one layer."""
        raise NotImplementedError

    def note(self, layer, change, changed, variance=None):
        kind = type(layer).__name__
        self.rows.append(Row(layer.name, kind, change, changed, variance))

    def free_name(self, name):
        """Returns a name that no layer of the new model has."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def copy_of(layer, args, kwargs):
    """Returns what a copy of a layer, with its weights, makes of arguments."""
    if not isinstance(layer, keras.layers.Layer):
        return layer(*args, **kwargs)
    copy = type(layer).from_config(layer.get_config())
    outputs = copy(*args, **kwargs)
    copy.set_weights(layer.get_weights())
    if hasattr(copy, "finalize_state"):
        copy.finalize_state()  # what Normalization computes with
    return outputs


def standardized(layer, inputs, **changes):
    """Returns the standardized form of a convolution, with its kernel.

    Args:
        layer: A Keras convolution of `STANDARDIZED`.
        inputs: Tensor of the new model, for which the layer is built.
        **changes: Arguments that differ from the convolution's.

    Raises:
        ValueError: If the convolution has its channels first.
    """
    config = layer.get_config() | changes
    new = STANDARDIZED[type(layer)].from_config(config)
    new.build(inputs.shape)
    take(layer.kernel, new.kernel)
    return new


def take(old, new):
    """Copies a variable; on JAX its array itself may be donated later."""
    new.assign(keras.ops.convert_to_numpy(old))


def check(model):
    """Raises a ValueError unless a model can be rebuilt layer by layer.

    Args:
        model: A Keras model.
    """
    check_functional(model)
    for operation in operations(model):
        if isinstance(operation, keras.Model):
            raise ValueError(
                "`model` must not have models inside; call their layers one "
                f"by one. Received: model with {operation.name!r} "
                f"({type(operation).__name__}) inside"
            )


def operations(model):
    """Returns the layers and operations of a model known by its graph."""
    if isinstance(model, keras.Sequential):
        return model.layers
    return model.operations


def flat(model):
    """Returns a model known by its graph as one with `operations`."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs, model.outputs, name=model.name)
    return model


def keras_tensors(*arguments):
    """Returns the tensors among arguments of a layer."""
    return [
        x for x in tree.flatten(arguments) if isinstance(x, keras.KerasTensor)
    ]
