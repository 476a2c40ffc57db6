"""Clips between the sum over replicas and the update, on every backend.

An optimizer of Keras removes the loss scale, accumulates gradients, sums them
over replicas, and updates the weights, in this order. AGC belongs between the
last two, where Keras has only private methods. `attach` changes the optimizer's
class to one that overrides such a method. `docs/STEP.md` lists the calls.

`_Clipping` and its classes are for the optimizer that updates. Mixed precision
puts a `LossScaleOptimizer` around it, which gets a class of `_LossScaling`.
"""

import functools

import keras
from keras import ops

from keras_nfnets.training import agc_layers, agc_report, legacy_h5
from keras_nfnets.training.agc_rules import (
    Rules,
    check_replicas,
    inner_optimizer,
)

# The method that gets all gradients of a step just before the update.
_HOOKED_METHOD = {
    "tensorflow": "_all_reduce_sum_gradients",
    "jax": "_backend_update_step",
    "torch": "_backend_update_step",
}


def has_agc(optimizer):
    """Returns whether an optimizer, or the one inside of it, has AGC."""
    return isinstance(inner_optimizer(optimizer), AGCOptimizer)


@keras.saving.register_keras_serializable("keras_nfnets")
class AGCOptimizer:
    """The methods that `with_agc` adds to an optimizer of any class.

    `_class_with_agc` makes a class of this mixin and the optimizer's own. All
    such classes are saved under this one's name, with the config of the
    optimizer without AGC.
    """

    # `attach` sets the `Rules` of the optimizer that updates.
    rules = None
    watched = False  # `agc_layers` sets this, and the means of each layer.
    layer_means = None

    @property
    def agc(self):
        """The `AGC` of this optimizer."""
        return inner_optimizer(self).rules.agc

    def agc_report(self):
        """Returns the means of all updates since `reset_agc_report`.

        Steps that loss scaling skips, or that only accumulate, do not count.

        Returns:
            A dictionary of floats by name: `agc_clipped`, and the names of a
            detailed `AGC`. It is empty before the optimizer is built.
        """
        named = agc_layers.named_report(self, self.variables)
        return {name: float(value) for name, value in named.items()}

    def reset_agc_report(self):
        """Sets the means of `agc_report` to zero."""
        if not inner_optimizer(self).built:
            return
        *_, means, steps = agc_layers.without_layer_means(self, self.variables)
        for variable in (means, steps):
            variable.assign(ops.zeros(variable.shape, variable.dtype))

    def apply(self, grads, trainable_variables=None):
        """Notes that a step updates with this optimizer, and updates."""
        inner_optimizer(self).rules.used = True
        super().apply(grads, trainable_variables)

    def save_own_variables(self, store):
        variables = agc_layers.without_layer_means(self, self.variables)
        for i, variable in enumerate(variables):
            store[str(i)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        variables = agc_layers.without_layer_means(self, self.variables)
        missing = len(variables) - len(store.keys())
        if missing not in (0, 2):
            super().load_own_variables(store)  # warns
            return
        # A file of an optimizer without AGC lacks the report's two variables,
        # which then keep their zeros.
        for i, variable in enumerate(variables[: len(store.keys())]):
            variable.assign(store[str(i)])

    def get_config(self):
        if legacy_h5.is_in_h5():
            # Keras builds what it loads from there for no variables.
            legacy_h5.refuse({"agc": self.agc})
        return {
            "optimizer": keras.saving.serialize_keras_object(without_agc(self)),
            "agc": keras.saving.serialize_keras_object(self.agc),
            "units": inner_optimizer(self).rules.get_config(),
            "of_model": inner_optimizer(self).rules.of_model,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        optimizer, agc = (
            keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("optimizer", "agc")
        )
        of_model = config.get("of_model", False)
        rules = Rules(agc, saved=config["units"], of_model=of_model)
        return attach(optimizer, rules)


class _Clipping(AGCOptimizer):
    """An optimizer that updates the weights, and clips before."""

    def build(self, variables):
        if self.built:
            return
        check_replicas(self, self.rules)
        self.rules.resolve(variables)
        super().build(variables)
        self.add_agc_report()
        if self.watched:
            agc_layers.add_variables(self)

    def add_agc_report(self):
        """Adds the report's variables: means, and the steps in each."""
        self.agc_means, self.agc_steps = (
            self.add_variable(
                shape=(len(self.rules.names),),
                dtype="float32",
                aggregation="only_first_replica",
                name=name,
            )
            for name in ("agc_means", "agc_steps")
        )

    def _clip(self, gradients, variables):
        """Returns clipped gradients, and updates the means of the report.

        Each replica of TensorFlow calls it with the same summed gradients.
        """
        rules = self.rules
        indices = [self._get_variable_index(v) for v in variables]
        units = [rules.units[i] for i in indices]
        clipped, statistics = rules.agc.clip_units(gradients, variables, units)
        if statistics is not None:
            # TensorFlow passes its own variables, which have no path.
            known = [self._trainable_variables[i] for i in indices]
            found = agc_report.report(statistics, known, rules.names)
            agc_report.add_to_means(self.agc_means, self.agc_steps, *found)
            if self.watched:
                agc_layers.record(self, statistics, known)
        return clipped


class _ClippingOnTensorFlow(_Clipping):
    """Clips after the sum over replicas, which is a part of the update."""

    def __setattr__(self, name, value):
        # A `LossScaleOptimizer` sets it when it is put around this optimizer.
        if name == "loss_scale_factor":
            self.rules.scaled_from_outside = True
        super().__setattr__(name, value)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        pairs = list(grads_and_vars)
        if self.rules.sums_over_replicas:
            pairs = super()._all_reduce_sum_gradients(pairs)
        gradients, variables = zip(*pairs, strict=True)
        clipped = self._clip(gradients, variables)
        return list(zip(clipped, variables, strict=True))


class _ClippingOnJax(_Clipping):
    """Clips before JAX's update: XLA has summed the gradient over devices."""

    def _backend_update_step(self, gradients, variables, learning_rate):
        clipped = self._clip(gradients, variables)
        super()._backend_update_step(clipped, variables, learning_rate)


class _ClippingOnTorch(_Clipping):
    """Clips before PyTorch's update, without recording for a gradient."""

    def _backend_update_step(self, gradients, variables, learning_rate):
        import torch

        with torch.no_grad():
            clipped = self._clip(gradients, variables)
            super()._backend_update_step(clipped, variables, learning_rate)


class _LossScaling(AGCOptimizer):
    """A `LossScaleOptimizer` around an optimizer that clips."""


class _LossScalingOnTensorFlow(_LossScaling):
    """Sums gradients over replicas before it checks them for overflow.

    Keras checks the gradients of a replica, and sums them only if they are
    finite. With the sum first, all replicas check the same gradients.
    """

    def apply(self, grads, trainable_variables=None):
        variables = trainable_variables
        if variables is None:
            variables = self._trainable_variables
        pairs = list(zip(grads, variables, strict=True))
        # Keras's own method, which the class of the optimizer inside overrides.
        inner = super(_ClippingOnTensorFlow, self.inner_optimizer)
        summed = [g for g, _ in inner._all_reduce_sum_gradients(pairs)]
        super().apply(summed, trainable_variables)


_CLIPPING = {
    "tensorflow": _ClippingOnTensorFlow,
    "jax": _ClippingOnJax,
    "torch": _ClippingOnTorch,
}


def attach(optimizer, rules):
    """Changes the class of an optimizer to one with AGC, and returns it.

    Of a `LossScaleOptimizer` it also changes that of the optimizer inside. An
    optimizer that has AGC gets other rules, and keeps its class and its report.
    """
    inner = inner_optimizer(optimizer)
    backend = keras.backend.backend()
    hooked = _HOOKED_METHOD[backend]
    if not hasattr(inner, hooked):
        # Without the method, training would go on without AGC.
        raise RuntimeError(
            f"Keras {keras.__version__} has no {hooked} in "
            f"{type(inner).__name__}, where AGC would enter the step."
        )
    if inner is not optimizer:
        attach_around(optimizer, rules)
    if inner.built:
        check_replicas(inner, rules)
        rules.resolve(inner._trainable_variables)
    inner.rules = rules
    had_report = isinstance(inner, AGCOptimizer)
    _change_class(inner, _CLIPPING[backend])
    if inner.built and not had_report:
        inner.add_agc_report()
    return optimizer


def attach_around(optimizer, rules):
    """Changes the class of a `LossScaleOptimizer` alone."""
    if keras.backend.backend() == "tensorflow":
        rules.sums_over_replicas = False  # The class around it does.
        _change_class(optimizer, _LossScalingOnTensorFlow)
    else:
        _change_class(optimizer, _LossScaling)


def _change_class(optimizer, mixin):
    if not isinstance(optimizer, AGCOptimizer):
        optimizer.__class__ = _class_with_agc(mixin, type(optimizer))


@functools.cache
def _class_with_agc(mixin, cls):
    """Returns the class of an optimizer with AGC, saved as `AGCOptimizer`."""
    derived = type(f"AGC{cls.__name__}", (mixin, cls), {"__module__": __name__})
    # Both are saved by this name. Keras loads the one that it registers last.
    for each in (derived, AGCOptimizer):
        keras.saving.register_keras_serializable(
            "keras_nfnets", "AGCOptimizer"
        )(each)
    return derived


def without_agc(optimizer):
    """Returns a copy of an optimizer in the class it had, for `get_config`.

    The copy shares the optimizer's variables, and must not train.
    """
    if not isinstance(optimizer, AGCOptimizer):
        return optimizer
    # `_class_with_agc` put the optimizer's own class second.
    cls = type(optimizer).__bases__[1]
    # Keras takes objects of one id for one shared object, and a new object may
    # get the id of a freed one. So the copy is kept, and filled anew.
    copies = inner_optimizer(optimizer).rules.copies_without_agc
    copy = copies.setdefault(cls, object.__new__(cls))
    vars(copy).clear()
    vars(copy).update(vars(optimizer))
    if inner_optimizer(optimizer) is not optimizer:
        vars(copy)["inner_optimizer"] = without_agc(optimizer.inner_optimizer)
    return copy
