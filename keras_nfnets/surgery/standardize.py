"""Replaces plain convolutions by weight-standardized ones."""

import keras

from keras_nfnets.graph import flat
from keras_nfnets.surgery.report import Report
from keras_nfnets.surgery.rewrite import (
    STANDARDIZED,
    Rewriter,
    check,
    copy_of,
    operations,
    standardized,
    take,
)
from keras_nfnets.training.model import AGCModel


def standardize(model: keras.Model) -> tuple[AGCModel, Report]:
    """Returns a model with weight-standardized convolutions, and a report.

    Every `Conv1D`, `Conv2D`, `Conv3D`, `Conv2DTranspose` and
    `DepthwiseConv2D` becomes the `WSConv` of the same settings, with the same
    kernel and bias and a gain of one. All other layers are copied with their
    weights.

    The outputs differ from the old model's, because the kernels are now
    standardized. Use it on a fresh network, or train the new model again.

    Args:
        model: A functional or built sequential `keras.Model`.

    Returns:
        A tuple of the new model, an `AGCModel` that is not compiled, and a
        `Report`.

    Raises:
        ValueError: If the model is subclassed or not built; if it has models
            inside or shared layers; or if it has no convolution, or one with
            its channels first.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> model, report = keras_nfnets.surgery.standardize(model)
    >>> report.print(changed_only=True)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 4
    """
    check(model)
    if not any(type(layer) in STANDARDIZED for layer in operations(model)):
        raise ValueError(
            "`model` must have one of "
            f"{[kind.__name__ for kind in STANDARDIZED]}; there is nothing to "
            f"do. Received: model={model.name!r} without one"
        )
    model = flat(model)
    return _Standardizer(model).run(model)


class _Standardizer(Rewriter):
    """Standardizes each convolution and copies all other layers."""

    def rewrite(self, layer, args, kwargs):
        """Calls a convolution's standardized form, or a copy of the layer."""
        if type(layer) not in STANDARDIZED:
            self.note(layer, "kept", False)
            return copy_of(layer, args, kwargs)
        new = standardized(layer, args[0])
        if layer.use_bias:
            take(layer.bias, new.bias)
        self.note(layer, type(new).__name__, True)
        return new(*args, **kwargs)
