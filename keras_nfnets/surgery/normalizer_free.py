"""Rewrites a network with batch normalization as a normalizer-free one."""

import dataclasses

import keras
from keras import tree

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_positive
from keras_nfnets.graph import inputs_of, residual_sums
from keras_nfnets.layers import SkipGain
from keras_nfnets.surgery import activations, rules
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery.calibration import calibration_for
from keras_nfnets.surgery.report import Report
from keras_nfnets.surgery.rewrite import (
    STANDARDIZED,
    Rewriter,
    check,
    copy_of,
    flat,
    keras_tensors,
    operations,
    standardized,
    take,
)
from keras_nfnets.training.model import AGCModel

OTHER_NORMALIZERS = (
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.SpectralNormalization,
    keras.layers.UnitNormalization,
)
# The papers' factor of channel attention: a fresh gate is one half.
GATE_SCALE = 2.0


def normalizer_free(
    model: keras.Model,
    activation: str | None = "relu",
    alpha: float = 0.2,
    input_std: float = 1.0,
    data: Tensor | None = None,
) -> tuple[AGCModel, Report]:
    """Returns a model without batch normalization, and a report.

    A plan follows the variance of the signal from the inputs to the outputs,
    by a rule for each class of layer. By this plan

    - a convolution becomes a `WSConv` with its kernel, a gain of one and a
      bias, and its activation a layer of its own;
    - a `BatchNormalization` is left out, or becomes a `Rescaling` by one over
      the planned standard deviation, `beta` of the papers;
    - an activation becomes a `VPActivation`, or is followed by a `Rescaling`
      by its `gamma` if it has no name in `keras_nfnets.activations.GAMMA`;
    - where a sum joins a shortcut and a residual branch, the branch is
      brought to variance `alpha ** 2`, and ends in a `SkipGain` of zero;
    - a product with a sigmoid gate is doubled.

    Everything else is copied with its weights: dense layers, convolutions on
    globally pooled features, pooling. What batch normalization learned is not
    carried over: the plan is that of unit gains.

    The plan needs no data, but for models with activations such as SiLU and
    GELU, which amplify what it is wrong by. It is calibrated there: the
    variances are measured on a batch, with skip gains of one. The report says
    so. It then holds for inputs like those of the batch, and by measurement
    alone: without it an EfficientNetB0 with its own SiLU, at 32 pixels, had up
    to 5.2 times the variance that was planned, where networks of ReLU stay
    between 0.5 and 2 times.

    In training, a skip gain at zero moves by no more than
    `clipping * epsilon` times the learning rate in a step with AGC, and its
    branch may stay closed in a short training. `AGC(exclude=["skip_gain"])`
    lets it open.

    Args:
        model: A functional or built sequential `keras.Model`.
        activation: String, a name in `keras_nfnets.activations.GAMMA`, for
            all activations but gates and outputs, or `None` to keep the
            model's own, such as SiLU. Defaults to `"relu"`.
        alpha: Float, scale of the residual branches. Defaults to `0.2`.
        input_std: Float, standard deviation of what the model is given, in
            its units, such as 64 for pixels from 0 to 255. Defaults to `1.0`.
        data: One batch of inputs, to calibrate the plan on. Defaults to
            `None`: 16 normal ones of `input_std` for a model that needs
            calibration, and else no calibration.

    Returns:
        A tuple of the new model, an `AGCModel` that is not compiled, and a
        `Report`. Layers keep their names.

    Raises:
        ValueError: If the model is subclassed, not built, has models inside
            or shared layers, another normalizer than batch normalization or
            none at all, or one that normalizes something else than what
            convolutions give; or if an argument is wrong.

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
    surgeon = _Surgeon(model, activation, alpha, input_std, calibration)
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


class _Surgeon(Rewriter):
    def __init__(self, model, activation, alpha, input_std, calibration):
        super().__init__(model, calibration and calibration.description)
        self.calibration = calibration
        self.gains = []
        self.activation = activation
        self.alpha = alpha
        self.input = signals.normal(input_std**2)
        self.sums = {id(s.operation): s for s in residual_sums(model)}
        # What these convolutions add is subtracted right behind them.
        self.normalized = {
            id(tensor)
            for layer in model.operations
            if isinstance(layer, keras.layers.BatchNormalization)
            for tensor in inputs_of(layer)
        }
        self.known = {}

    def rewrite(self, layer, args, kwargs):
        before = [self._signal(x) for x in keras_tensors(args, kwargs)]
        if type(layer) in STANDARDIZED and not before[0].pooled:
            rule = self._convolve
        elif isinstance(layer, keras.layers.BatchNormalization):
            rule = self._unnormalize
        elif isinstance(layer, activations.LAYERS) and not before[0].pooled:
            rule = self._activate
        elif id(layer) in self.sums:
            rule = self._sum
        elif isinstance(layer, keras.layers.Multiply):
            rule = self._multiply
        else:
            rule = self._keep
        outputs, after, change = rule(layer, before, args, kwargs)
        if self.calibration:
            tensors = keras_tensors(args, kwargs), keras_tensors(outputs)
            after = self.calibration.measured(*tensors, after)
        for tensor in keras_tensors(outputs):
            # Holds the tensor, so that no other one gets its id.
            self.known[id(tensor)] = tensor, after
        changed = not change.startswith("kept")
        self.note(layer, change, changed, after.variance)
        return outputs

    def _signal(self, tensor):
        return self.known.get(id(tensor), (tensor, self.input))[1]

    def _convolve(self, layer, before, args, kwargs):
        """Puts a standardized convolution in the place of a plain one."""
        cancelled = id(layer.output) in self.normalized
        new = standardized(
            layer,
            args[0],
            activation=None,
            use_bias=True,
            bias_initializer="zeros",
        )
        if layer.use_bias and not cancelled:
            take(layer.bias, new.bias)
        x, change = new(*args, **kwargs), type(new).__name__
        after = rules.convolution(new, args[0], before[0])
        if layer.activation is keras.activations.linear:
            return x, after, change
        x, after, then = self._activated(
            layer.activation, x, after, f"{layer.name}_activation", layer
        )
        return x, after, f"{change}, {then}"

    def _unnormalize(self, layer, before, args, kwargs):
        """Removes a normalization, or leaves a constant scale in its place."""
        if not before[0].convolved:
            raise ValueError(
                "`model` must have a convolution before each "
                "BatchNormalization, whose outputs have a known variance. "
                f"Received: model with {layer.name!r} behind none"
            )
        scale = 1 / before[0].std
        if signals.is_one(scale):
            return args[0], before[0], "removed"
        outputs = self._scale(args[0], scale, layer.name, layer)
        after = signals.scaled(before[0], scale)
        return outputs, after, f"Rescaling({scale:.4g})"

    def _activate(self, layer, before, args, kwargs):
        function = activations.function_of(layer)
        if function in activations.KEPT:
            outputs = copy_of(layer, args, kwargs)
            gate = function in rules.GATES
            after = rules.activated(function, before[0])
            return outputs, dataclasses.replace(after, gate=gate), "kept"
        return self._activated(function, args[0], before[0], layer.name, layer)

    def _activated(self, function, x, before, name, layer):
        """Returns tensor, signal and description after an activation."""
        new, factor, after, change = activations.variance_preserving(
            function, before, name, self.activation
        )
        if new is not None:
            new.dtype_policy = layer.dtype_policy
            return new(x), after, change
        if function is layer:
            x = copy_of(layer, (x,), {})
        else:
            x = keras.layers.Activation(
                function, name=name, dtype=layer.dtype_policy
            )(x)
        if factor != 1:
            x = self._scale(x, factor, self.free_name(f"{name}_gamma"), layer)
        return x, after, change

    def _sum(self, layer, before, args, kwargs):
        """Scales the branches of a sum, and gives each a skip gain."""
        tensors = tree.flatten(args)
        shortcut = self.sums[id(layer)].shortcut
        weights = [1.0] * len(before)
        for i, signal in enumerate(before):
            if i != shortcut:
                weights[i] = self.alpha / signal.std
                name = self.free_name(f"{layer.name}_alpha")
                x = self._scale(tensors[i], weights[i], name, layer)
                name = self.free_name(f"{layer.name}_skip_gain")
                policy = getattr(layer, "dtype_policy", None)
                skip_gain = SkipGain(name=name, dtype=policy)
                tensors[i] = skip_gain(x)
                # One while a batch runs through.
                skip_gain.gain.assign(1.0)
                self.gains.append(skip_gain.gain)
        args = tree.pack_sequence_as(args, tensors)
        change = f"sum with alpha={self.alpha:.4g} and SkipGain"
        outputs = copy_of(layer, args, kwargs)
        return outputs, signals.added(before, weights), change

    def _multiply(self, layer, before, args, kwargs):
        outputs, after, _ = self._keep(layer, before, args, kwargs)
        if sum(signal.gate for signal in before) != 1:
            return outputs, after, "kept"
        name = self.free_name(f"{layer.name}_scale")
        outputs = self._scale(outputs, GATE_SCALE, name, layer)
        after = signals.scaled(after, GATE_SCALE)
        return outputs, after, f"product times {GATE_SCALE:.4g}"

    def _keep(self, layer, before, args, kwargs):
        outputs = copy_of(layer, args, kwargs)
        tensors = keras_tensors(args, kwargs)
        after = rules.expected(layer, tensors, before, outputs)
        if after is not None:
            return outputs, after, "kept"
        after = before[0] if before else self.input
        return outputs, after, "kept: unknown, taken to preserve variance"

    def _scale(self, x, factor, name, layer):
        policy = getattr(layer, "dtype_policy", None)
        return keras.layers.Rescaling(factor, name=name, dtype=policy)(x)
