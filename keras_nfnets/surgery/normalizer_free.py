"""Rewrites a network with batch normalization as a normalizer-free one."""

import keras

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.graph import flat
from keras_nfnets.surgery import activations
from keras_nfnets.surgery.calibration import calibration_for
from keras_nfnets.surgery.report import Report
from keras_nfnets.surgery.rewrite import check, operations
from keras_nfnets.surgery.surgeon import Surgeon
from keras_nfnets.training.model import AGCModel

OTHER_NORMALIZERS = (
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.SpectralNormalization,
    keras.layers.UnitNormalization,
)


def normalizer_free(
    model: keras.Model,
    activation: str | None = "relu",
    alpha: float = 0.2,
    input_std: float = 1.0,
    data: Tensor | None = None,
) -> tuple[AGCModel, Report]:
    """Returns a model without batch normalization, and a report.

    A plan predicts the variance of the signal at each layer, from the inputs to
    the outputs. By this plan

    - a convolution becomes a `WSConv` with the same kernel, a gain of one and a
      bias; its activation becomes a layer of its own;
    - a `BatchNormalization` is left out, or becomes a `Rescaling` by one over
      the planned standard deviation, which is `beta` in the papers;
    - an activation becomes a `VPActivation`; one that has no name in
      `keras_nfnets.activations.GAMMA` stays and is followed by a `Rescaling` by
      its `gamma`;
    - where a sum joins a shortcut and a residual branch, the branch is scaled
      to variance `alpha ** 2` and ends in a `SkipGain` of zero;
    - a product with a sigmoid gate is doubled.

    All other layers are copied with their weights: dense layers, convolutions
    on globally pooled features, pooling. The statistics, `gamma` and `beta`
    that batch normalization learned are dropped; the plan assumes unit gains.
    So the new model has to be trained.

    Activations such as SiLU and GELU amplify an error of the plan from layer to
    layer. A model that keeps such activations is calibrated: the variances are
    measured on a batch while skip gains are one, and the report says so. The
    plan then holds for inputs like those of that batch.

    A skip gain starts at zero. AGC lets it move by no more than
    `clipping * epsilon` times the learning rate in a step, so its branch may
    stay closed in a short training. `AGC(exclude=["skip_gain"])` lets it open.

    Args:
        model: A functional or built sequential `keras.Model`.
        activation: String, a name in `keras_nfnets.activations.GAMMA` for all
            activations but gates and outputs, or `None` to keep the model's
            own, such as SiLU. Defaults to `"relu"`.
        alpha: Float, positive standard deviation of a residual branch where it
            joins the shortcut. Defaults to `0.2`.
        input_std: Float, positive standard deviation of the model's inputs in
            their own units, such as 64 for pixels from 0 to 255. Defaults to
            `1.0`.
        data: Array, one batch of inputs to calibrate the plan on. Defaults to
            `None`: a model that needs calibration gets 16 normal images of
            `input_std`, and any other model is not calibrated.

    Returns:
        A tuple of the new model, an `AGCModel` that is not compiled, and a
        `Report`. Layers keep their names.

    Raises:
        ValueError: If the model is subclassed or not built; if it has models
            inside or shared layers; if it has a normalizer other than batch
            normalization, or none at all; if a batch normalization does not
            follow a convolution; or if an argument is wrong.

    Example:

    >>> model = keras.applications.ResNet50(weights=None)
    >>> model, report = keras_nfnets.surgery.normalizer_free(model)
    >>> report.print()
    >>> model.compile("sgd", "sparse_categorical_crossentropy")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692)
    """
    activations.check_name(activation)
    check_positive(alpha=alpha, input_std=input_std)
    check(model)
    _check_normalizers(model)
    model = flat(model)
    calibration = calibration_for(model, data, activation, input_std)
    surgeon = Surgeon(model, activation, alpha, input_std, calibration)
    new, report = surgeon.run(model)
    for gain in surgeon.gains:
        gain.assign(0.0)
    return new, report


def _check_normalizers(model):
    """Raises a ValueError for normalizers that cannot be removed."""
    kinds = [(layer.name, type(layer)) for layer in operations(model)]
    others = [
        f"{name!r} ({kind.__name__})"
        for name, kind in kinds
        if issubclass(kind, OTHER_NORMALIZERS)
    ]
    if others:
        raise ValueError(
            "`model` must have no other normalizer than BatchNormalization. "
            f"Received: model={model.name!r} with {', '.join(others)}"
        )
    batch_norm = keras.layers.BatchNormalization
    if not any(issubclass(kind, batch_norm) for _, kind in kinds):
        raise ValueError(
            "`model` must have a BatchNormalization; there is nothing to do. "
            f"Received: model={model.name!r} without one"
        )
