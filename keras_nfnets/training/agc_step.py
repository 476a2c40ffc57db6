"""Clips between the sum over replicas and the update, on every backend.

Keras does all of a step but AGC inside the optimizer, in this order: unscale,
accumulate, sum over replicas, update. The place between the last two has no
public name, and stands elsewhere on each backend; this module is the one that
knows. `docs/STEP.md` has Keras's whole chain of calls.
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

# The method of an optimizer through which all gradients of a step go, just
# before the update.
_PLACE = {
    "tensorflow": "_all_reduce_sum_gradients",
    "jax": "_backend_update_step",
    "torch": "_backend_update_step",
}


def has_agc(optimizer):
    """Whether an optimizer clips, itself or inside of what scales its loss."""
    return isinstance(inner_optimizer(optimizer), AGCOptimizer)


@keras.saving.register_keras_serializable("keras_nfnets")
class AGCOptimizer:
    """What `with_agc` adds to the class of an optimizer.

    Every class made of this one and an optimizer's is saved under this one's
    name, with the configuration of the optimizer that it was.
    """

    rules = None
    # Whether `agc_layers` keeps means of each layer, and where.
    watched = False
    layer_means = None

    @property
    def agc(self):
        """The `AGC` of this optimizer."""
        return inner_optimizer(self).rules.agc

    def agc_report(self):
        """Returns means since the start, or since `reset_agc_report`.

        Steps that loss scaling skips or accumulation holds back do not count.

        Returns:
            A dictionary of floats by name: `agc_clipped`, and what a detailed
            `AGC` adds. Empty before the optimizer is built.
        """
        return {
            name: float(value)
            for name, value in agc_layers.named_report(
                self, self.variables
            ).items()
        }

    def reset_agc_report(self):
        """Starts the means of `agc_report` anew."""
        if not inner_optimizer(self).built:
            return
        for variable in agc_layers.kept(self, self.variables)[-2:]:
            variable.assign(ops.zeros(variable.shape, variable.dtype))

    def apply(self, grads, trainable_variables=None):
        inner_optimizer(self).rules.used = True
        super().apply(grads, trainable_variables)

    def save_own_variables(self, store):
        for i, variable in enumerate(agc_layers.kept(self, self.variables)):
            store[str(i)] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        variables = agc_layers.kept(self, self.variables)
        missing = len(variables) - len(store.keys())
        if missing not in (0, 2):
            super().load_own_variables(store)
            return
        # Saved before, or without AGC: the report starts anew.
        for i, variable in enumerate(variables[: len(store.keys())]):
            variable.assign(store[str(i)])

    def get_config(self):
        if legacy_h5.is_in_h5():
            # Keras builds what it loads from there for no variables.
            legacy_h5.refuse({"agc": self.agc})
        return {
            "optimizer": keras.saving.serialize_keras_object(plain(self)),
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


class _Updates(AGCOptimizer):
    """An optimizer that clips what it is about to update with."""

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
        """Adds two variables: means, and how many steps each had."""
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
        """Returns clipped gradients, and counts what was clipped."""
        rules = self.rules
        # On TensorFlow these are tf.Variables; units are known by Keras's.
        indices = [self._get_variable_index(v) for v in variables]
        units = [rules.units[i] for i in indices]
        clipped, found = rules.agc.clip_units(gradients, variables, units)
        if found is not None:
            known = [self._trainable_variables[i] for i in indices]
            agc_report.add_to_means(
                self.agc_means,
                self.agc_steps,
                *agc_report.report(found, known, rules.names),
            )
            if self.watched:
                agc_layers.record(self, found, known)
        return clipped


class _UpdatesOnTensorFlow(_Updates):
    """TensorFlow sums over replicas inside the update, and clips then."""

    def __setattr__(self, name, value):
        # All that a `LossScaleOptimizer` does to what it is put around.
        if name == "loss_scale_factor":
            self.rules.scaled_from_outside = True
        super().__setattr__(name, value)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        pairs = list(grads_and_vars)
        if self.rules.sums:
            pairs = super()._all_reduce_sum_gradients(pairs)
        gradients, variables = zip(*pairs, strict=True)
        return list(
            zip(self._clip(gradients, variables), variables, strict=True)
        )


class _UpdatesOnJax(_Updates):
    """JAX's gradient is global already under `keras.distribution`."""

    def _backend_update_step(self, gradients, variables, learning_rate):
        clipped = self._clip(gradients, variables)
        super()._backend_update_step(clipped, variables, learning_rate)


class _UpdatesOnTorch(_Updates):
    """PyTorch has one replica, and would differentiate the clipping."""

    def _backend_update_step(self, gradients, variables, learning_rate):
        import torch

        with torch.no_grad():
            clipped = self._clip(gradients, variables)
            super()._backend_update_step(clipped, variables, learning_rate)


class _ScalesLoss(AGCOptimizer):
    """What scales the loss of an optimizer that clips."""


class _ScalesLossOnTensorFlow(_ScalesLoss):
    """Sums over replicas before gradients are looked at for overflow.

    Keras would sum inside a condition that each replica answers for its own
    gradients; here an overflow anywhere skips the step everywhere.
    """

    def apply(self, grads, trainable_variables=None):
        variables = trainable_variables
        if variables is None:
            variables = self._trainable_variables
        pairs = list(zip(grads, variables, strict=True))
        inner = self.inner_optimizer
        reduce = super(_UpdatesOnTensorFlow, inner)._all_reduce_sum_gradients
        summed = [gradient for gradient, _ in reduce(pairs)]
        super().apply(summed, trainable_variables)


_UPDATES = {
    "tensorflow": _UpdatesOnTensorFlow,
    "jax": _UpdatesOnJax,
    "torch": _UpdatesOnTorch,
}
_SCALES_LOSS = {
    "tensorflow": _ScalesLossOnTensorFlow,
    "jax": _ScalesLoss,
    "torch": _ScalesLoss,
}


def attach(optimizer, rules):
    """Gives an optimizer, and the one inside of it, the classes with AGC."""
    inner = inner_optimizer(optimizer)
    backend = keras.backend.backend()
    if not hasattr(inner, _PLACE[backend]):
        # Better than training on without what was asked for.
        raise RuntimeError(
            f"Keras {keras.__version__} has no {_PLACE[backend]} in "
            f"{type(inner).__name__}, where AGC would enter the step."
        )
    if inner is not optimizer:
        rules.sums = backend != "tensorflow"
        _derive(optimizer, _SCALES_LOSS[backend])
    if inner.built:
        check_replicas(inner, rules)
        rules.resolve(inner._trainable_variables)
    inner.rules = rules
    had_report = isinstance(inner, AGCOptimizer)
    _derive(inner, _UPDATES[backend])
    if inner.built and not had_report:
        inner.add_agc_report()
    return optimizer


def _derive(optimizer, base):
    if not isinstance(optimizer, AGCOptimizer):
        optimizer.__class__ = _derived(base, type(optimizer))


@functools.cache
def _derived(base, cls):
    """Returns the class of an optimizer with AGC, saved as `AGCOptimizer`."""
    twin = type(f"AGC{cls.__name__}", (base, cls), {"__module__": __name__})
    # A registered name has one class to load, the last one given, and any
    # number that save under it.
    for each in (twin, AGCOptimizer):
        keras.saving.register_keras_serializable(
            "keras_nfnets", "AGCOptimizer"
        )(each)
    return twin


def plain(optimizer):
    """Returns an optimizer as it was before it had AGC, for its config.

    The two share all they hold: it is for looking at, not for training.
    """
    if not isinstance(optimizer, AGCOptimizer):
        return optimizer
    # The bases are what `_derived` made it of.
    cls = type(optimizer).__bases__[1]
    # It lives as long: Keras takes objects of one id for one shared object.
    copies = inner_optimizer(optimizer).rules.copies
    copy = copies.setdefault(cls, object.__new__(cls))
    vars(copy).clear()
    vars(copy).update(vars(optimizer))
    if inner_optimizer(optimizer) is not optimizer:
        vars(copy)["inner_optimizer"] = plain(optimizer.inner_optimizer)
    return copy
