"""Rebuilds a functional model with some of its layers replaced.

`Rewriter` is the walk that `standardize` and `normalizer_free` share: each
derives a class from it and says in `rewrite` what stands for a layer. The
functions below it copy and convert single layers, and check that a model can
be rebuilt at all.
"""

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
    """Builds a new model by calling other layers in the place of a model's.

    A derived class says in `rewrite` what stands for each layer, and notes it
    with `note`.

    Args:
        model: A functional `keras.Model`. It is not changed.
        calibration: String, what the report says about measured variances.
            Defaults to `None`, for a plan without data.

    Example:

    >>> class Copier(Rewriter):
    ...     def rewrite(self, layer, args, kwargs):
    ...         self.note(layer, "kept", False)
    ...         return copy_of(layer, args, kwargs)
    >>> new, report = Copier(model).run(model)
    """

    def __init__(self, model, calibration=None):
        self.calibrated = calibration
        self.taken = {operation.name for operation in model.operations}
        self.seen = set()
        self.rows = []

    def run(self, model):
        """Returns the new model, an `AGCModel`, and the `Report` of its layers.

        Raises:
            ValueError: If the model calls a layer twice.
        """
        # `clone_model` would copy the class and the compilation of `model`.
        plain = keras.Model(model.input, model.output, name=model.name)
        clone = keras.models.clone_model(
            plain, clone_function=lambda layer: layer, call_function=self.call
        )
        new = AGCModel(clone.input, clone.output, name=model.name)
        return new, Report(self.rows, self.calibrated)

    def call(self, layer, *args, **kwargs):
        """Rewrites one call of a layer, and refuses the second call of a layer.

        A layer that is shared would need two rewritten forms, since each of its
        calls has a signal of its own.
        """
        if id(layer) in self.seen:
            raise ValueError(
                "`model` must not call a layer twice, since each call has a "
                f"signal of its own. Received: model with {layer.name!r} "
                f"({type(layer).__name__}), which is shared"
            )
        self.seen.add(id(layer))
        return self.rewrite(layer, args, kwargs)

    def rewrite(self, layer, args, kwargs):
        """Returns the new model's tensors for those of one layer.

        Args:
            layer: Layer or operation of the old model.
            args: Tuple of its positional arguments, with tensors of the new
                model.
            kwargs: Dictionary of its other arguments.
        """
        raise NotImplementedError

    def note(self, layer, change, changed, variance=None):
        """Adds the row of one layer to the report, see `Row`."""
        kind = type(layer).__name__
        self.rows.append(Row(layer.name, kind, change, changed, variance))

    def free_name(self, name):
        """Returns a name that no layer of the new model has.

        Args:
            name: String, the wanted name. Underscores are appended until it is
                free.
        """
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def copy_of(layer, args, kwargs):
    """Calls a copy of a layer, with the same weights, on new tensors.

    Args:
        layer: Layer or operation of the old model. An operation has no weights
            and is called itself.
        args: Tuple of positional arguments.
        kwargs: Dictionary of other arguments.

    Returns:
        The outputs of the copy.
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer(*args, **kwargs)
    copy = type(layer).from_config(layer.get_config())
    outputs = copy(*args, **kwargs)
    copy.set_weights(layer.get_weights())
    if hasattr(copy, "finalize_state"):
        # Normalization derives its constants from its weights here.
        copy.finalize_state()
    return outputs


def standardized(layer, inputs, **changes):
    """Returns the standardized form of a convolution, with its kernel.

    The gain is one, and the bias is not copied.

    Args:
        layer: A Keras convolution of a class in `STANDARDIZED`.
        inputs: Tensor of the new model; the new layer is built for its shape.
        **changes: Arguments that differ from the convolution's.

    Raises:
        ValueError: If the convolution has its channels first.
    """
    if layer.data_format != "channels_last":
        raise ValueError(
            "`model` must have its channels last. Received: model with "
            f"{layer.name!r} of data_format={layer.data_format!r}"
        )
    config = layer.get_config() | changes
    new = STANDARDIZED[type(layer)].from_config(config)
    new.build(inputs.shape)
    take(layer.kernel, new.kernel)
    return new


def take(old, new):
    """Copies the values of one variable to another.

    They pass through NumPy: an array that both variables held would be donated
    by the first one's training on JAX.

    Args:
        old: Variable to read.
        new: Variable of the same shape to write.
    """
    new.assign(keras.ops.convert_to_numpy(old))


def check(model):
    """Raises a ValueError unless a model can be rebuilt layer by layer.

    Args:
        model: A Keras model.

    Raises:
        ValueError: If the model is subclassed, not built, or has models inside.
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
    """Returns the layers and operations of a functional or sequential model."""
    if isinstance(model, keras.Sequential):
        return model.layers
    return model.operations


def keras_tensors(*arguments):
    """Returns the symbolic tensors among (nested) arguments, as a flat list."""
    return [
        x for x in tree.flatten(arguments) if isinstance(x, keras.KerasTensor)
    ]
