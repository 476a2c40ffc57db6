"""Replaces each layer of a network by its normalizer-free form.

`Surgeon` walks through the layers of a model. It keeps the planned `Signal`
of every new tensor, chooses a method by the layer's class, and writes a row
of the report. Each method returns the new outputs, their signal, and a
description of the change.
"""

import dataclasses

import keras
from keras import tree

from keras_nfnets.graph import inputs_of, residual_sums
from keras_nfnets.layers import SkipGain
from keras_nfnets.surgery import activations, rules
from keras_nfnets.surgery import signal as signals
from keras_nfnets.surgery.rewrite import (
    STANDARDIZED,
    Rewriter,
    copy_of,
    keras_tensors,
    standardized,
    take,
)

# A sigmoid gate is 0.5 on average in a fresh network. The papers multiply
# channel attention by 2 for that reason.
GATE_SCALE = 2.0


class Surgeon(Rewriter):
    """Rewrites a model layer by layer and plans the variance on the way.

    Args:
        model: A functional `keras.Model`.
        activation: String, the name of all activations, or `None` to keep the
            model's own.
        alpha: Float, standard deviation of a residual branch at its sum.
        input_std: Float, standard deviation of the inputs.
        calibration: A `Calibration`, or `None` to trust the plan.

    Attributes:
        gains: List of the variables of all skip gains that were added. They are
            one while a calibration runs; the caller sets them to zero.
    """

    def __init__(self, model, activation, alpha, input_std, calibration):
        super().__init__(model, calibration and calibration.description)
        self.calibration = calibration
        self.gains = []
        self.activation = activation
        self.alpha = alpha
        self.input = signals.normal(input_std**2)
        self.sums = {id(s.operation): s for s in residual_sums(model)}
        # The outputs of convolutions before a batch normalization, which
        # subtracts the bias that they add.
        self.normalized = {
            id(tensor)
            for layer in model.operations
            if isinstance(layer, keras.layers.BatchNormalization)
            for tensor in inputs_of(layer)
        }
        self.known = {}

    def rewrite(self, layer, args, kwargs):
        """Returns the new outputs for one layer, and notes the change."""
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
            # Keeping the tensor keeps its id from being used again.
            self.known[id(tensor)] = tensor, after
        changed = not change.startswith("kept")
        self.note(layer, change, changed, after.variance)
        return outputs

    def _signal(self, tensor):
        """Returns the planned signal of a tensor, or that of the inputs."""
        return self.known.get(id(tensor), (tensor, self.input))[1]

    def _convolve(self, layer, before, args, kwargs):
        """Puts a standardized convolution in the place of a plain one.

        The bias of a convolution before batch normalization has no effect
        there, so it is not copied.
        """
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
                "`model` must have one of "
                f"{[kind.__name__ for kind in STANDARDIZED]} before each "
                "BatchNormalization, whose outputs have a known variance. "
                f"Received: model with {layer.name!r} behind none of them"
            )
        scale = 1 / before[0].std
        if signals.is_one(scale):
            return args[0], before[0], "removed"
        outputs = self._scale(args[0], scale, layer.name, layer)
        after = signals.scaled(before[0], scale)
        return outputs, after, f"Rescaling({scale:.4g})"

    def _activate(self, layer, before, args, kwargs):
        """Replaces an activation, unless it bounds a gate or a classifier."""
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
                # A calibration has to see the branch.
                skip_gain.gain.assign(1.0)
                self.gains.append(skip_gain.gain)
        args = tree.pack_sequence_as(args, tensors)
        change = f"sum with alpha={self.alpha:.4g} and SkipGain"
        outputs = copy_of(layer, args, kwargs)
        return outputs, signals.added(before, weights), change

    def _multiply(self, layer, before, args, kwargs):
        """Doubles a product of features with exactly one gate."""
        outputs, after, _ = self._keep(layer, before, args, kwargs)
        if sum(signal.gate for signal in before) != 1:
            return outputs, after, "kept"
        name = self.free_name(f"{layer.name}_scale")
        outputs = self._scale(outputs, GATE_SCALE, name, layer)
        after = signals.scaled(after, GATE_SCALE)
        return outputs, after, f"product times {GATE_SCALE:.4g}"

    def _keep(self, layer, before, args, kwargs):
        """Copies a layer; one without a rule is taken to preserve variance."""
        outputs = copy_of(layer, args, kwargs)
        tensors = keras_tensors(args, kwargs)
        after = rules.expected(layer, tensors, before, outputs)
        if after is not None:
            return outputs, after, "kept"
        after = before[0] if before else self.input
        return outputs, after, "kept: unknown, taken to preserve variance"

    def _scale(self, x, factor, name, layer):
        """Multiplies by a constant, with the dtype policy of `layer`."""
        policy = getattr(layer, "dtype_policy", None)
        return keras.layers.Rescaling(factor, name=name, dtype=policy)(x)
