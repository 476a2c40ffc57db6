"""AGC and SAM inside `model.fit`, on every backend.

The order of a step is fixed: gradients of the scaled loss, unscale,
accumulate, sum over replicas, AGC, then the optimizer's own update. Keras's
own `train_step` runs; `hooks` lets AGC in at its place, and `ascent` moves the
weights for SAM while the gradients are taken.
"""

import contextlib
import functools

import keras
from keras import ops

# What `keras.Model(inputs, outputs)` is; Keras does not export it.
from keras.src.models.functional import Functional

from keras_nfnets.training import agc_report
from keras_nfnets.training.agc import AGC, clip_units
from keras_nfnets.training.ascent import at_ascent, check_optimizer
from keras_nfnets.training.hooks import after_sum
from keras_nfnets.training.sam import SAM
from keras_nfnets.training.units import units_of_model


@keras.saving.register_keras_serializable("keras_nfnets")
class AGCModel(keras.Model):
    """A `keras.Model` whose training step clips gradients adaptively.

    It is built as any Keras model is: from inputs and outputs, or as a base
    class with a `call` of its own. The gradient that is clipped is that of
    the global batch: after loss scaling is undone, after accumulation, and
    after the sum over replicas. What a Keras optimizer clips or decays itself
    (`clipnorm`, decoupled `weight_decay`) it does before, as always.

    Args:
        *args: As for `keras.Model`.
        **kwargs: As for `keras.Model`.

    Example:

    >>> inputs = keras.Input((32, 32, 3))
    >>> outputs = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    >>> model = keras_nfnets.AGCModel(inputs, outputs)
    >>> model.compile("sgd", "mse", agc=keras_nfnets.AGC(clipping=0.02))

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3
    """

    _clipper = None
    _sam = None

    def __init__(self, *args, **kwargs):
        if _is_functional(args, kwargs) and not isinstance(self, Functional):
            # Keras would make `AGCModel` itself functional, for good, and
            # break every class that derives from it with a `call`.
            self.__class__ = _functional_class(type(self))
        super().__init__(*args, **kwargs)

    def compile(self, *args, agc=AGC(), sam=None, **kwargs):  # noqa: B008
        """Configures training.

        Args:
            *args: As for `keras.Model.compile`.
            agc: `AGC`, or `None` to train as `keras.Model` does. Defaults to
                `AGC()`, the paper's settings.
            sam: `SAM`, for sharpness-aware minimization, or `None`. Defaults
                to `None`.
            **kwargs: As for `keras.Model.compile`.

        Raises:
            ValueError: If `agc` or `sam` is something else, the `exclude` of
                `agc` matches nothing, or the optimizer accumulates gradients
                while `sam` is given.
        """
        if agc is not None and not isinstance(agc, AGC):
            raise ValueError(
                "`agc` must be an instance of keras_nfnets.AGC, or None. "
                f"Received: agc={agc!r}"
            )
        if sam is not None and not isinstance(sam, SAM):
            raise ValueError(
                "`sam` must be an instance of keras_nfnets.SAM, or None. "
                f"Received: sam={sam!r}"
            )
        super().compile(*args, **kwargs)
        if sam:
            check_optimizer(self.optimizer)
        self._sam = sam
        self._given_jit_compile = kwargs.get("jit_compile", "auto")
        self._clipper = agc and _Clipper(agc, self)
        if self._clipper and self.built:
            _ = self._clipper.units  # raises now rather than in `fit`

    def make_train_function(self, force=False):
        # On TensorFlow a step that made the variables of the optimizer or of
        # `metrics` would be traced a second time, for as long as the first.
        if self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        super().make_train_function(force)
        self._build_metrics_before("train_function")

    def make_test_function(self, force=False):
        super().make_test_function(force)
        self._build_metrics_before("test_function")

    def _build_metrics_before(self, name):
        """Lets a function's first call build `metrics` before it is traced."""
        metrics, function = self._compile_metrics, getattr(self, name)
        if keras.backend.backend() != "tensorflow":
            return
        if metrics is None or metrics.built:
            return

        def build_and_call(iterator):
            setattr(self, name, function)
            batch = getattr(iterator, "element_spec", None)
            _, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
            outputs = getattr(self, "outputs", ())
            # What the variables are follows from the shapes alone.
            if labels is not None and len(outputs) == 1 and not metrics.built:
                metrics.build(labels, outputs[0])
            return function(iterator)

        setattr(self, name, build_and_call)

    def train_step(self, *args):
        with contextlib.ExitStack() as stack:
            if self._sam:
                stack.enter_context(at_ascent(self, self._sam, *args))
            if self._clipper:
                stack.enter_context(after_sum(self.optimizer, self._clipper))
            result = super().train_step(*args)
        if self._clipper and keras.backend.backend() == "jax":
            return self._clipper.add_to_state(*result, self.metrics_variables)
        return result

    def test_step(self, *args):
        result = super().test_step(*args)
        logs = result[0] if isinstance(result, tuple) else result
        for name in self._clipper.trackers if self._clipper else ():
            logs.pop(name, None)
        return result

    @property
    def metrics(self):
        trackers = self._clipper.trackers.values() if self._clipper else ()
        return [*super().metrics, *trackers]

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            agc = self._clipper and self._clipper.agc
            config["agc"] = keras.saving.serialize_keras_object(agc)
            config["sam"] = keras.saving.serialize_keras_object(self._sam)
            # Keras saves the one that was passed, without what scales the
            # loss, and then cannot load its state under another policy.
            config["optimizer"] = keras.saving.serialize_keras_object(
                self.optimizer
            )
            # Keras saves what "auto" came to on this backend; another one,
            # where the file is loaded, has to choose for itself.
            config["jit_compile"] = self._given_jit_compile
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)


class _Clipper:
    """AGC for one compiled model: its units, and how many were clipped."""

    def __init__(self, agc, model):
        self.agc = agc
        self.model = model
        self.trackers = {n: keras.metrics.Mean(n) for n in self._reported()}
        self._seen = None

    def _reported(self):
        """Returns the names of what training reports."""
        if self.agc.detailed and not self.model.built:
            raise ValueError(
                "`agc` must not be detailed for a model that is not built yet. "
                f"Received: agc={self.agc}"
            )
        own = [agc_report.TOTAL] if self.agc.metric else []
        if self.agc.detailed:
            variables = self.model.trainable_variables
            chosen = [v for v in variables if id(v) in self.units]
            own += agc_report.names(chosen)
        return own

    @functools.cached_property
    def units(self):
        """The axes of a unit, by id of each variable to clip."""
        return units_of_model(self.model, self.agc.exclude)

    def clip(self, gradients, variables, values, weight=None):
        """Returns the clipped gradients, and counts what was clipped.

        Args:
            gradients: List of tensors or `None`.
            variables: List of `keras.Variable`, to look up their units.
            values: List of what holds the weights on this replica.
            weight: 0 where this step updates nothing, else 1.
        """
        units = [self.units.get(id(v)) for v in variables]
        chosen = [
            None if unit is None else g
            for g, unit in zip(gradients, units, strict=True)
        ]
        clipped, found = clip_units(
            chosen, values, self.agc.clipping, self.agc.epsilon, units
        )
        if self.trackers and found is not None:
            report = agc_report.total(found) if self.agc.metric else {}
            if self.agc.detailed:
                report |= agc_report.details(found, variables)
            self._observe(report, weight)
        return [
            g if new is None else new
            for g, new in zip(gradients, clipped, strict=True)
        ]

    def _observe(self, report, weight):
        if keras.backend.backend() == "jax":
            # Inside the optimizer's stateless scope: kept for add_to_state.
            self._seen = (report, weight)
            return
        for name, value in report.items():
            self.trackers[name].update_state(value, sample_weight=weight)

    def skip_unless(self, finite):
        """Leaves a skipped step of JAX's out of the report."""
        if self._seen:
            report, weight = self._seen
            self._seen = (report, weight * ops.cast(finite, "float32"))

    def add_to_state(self, logs, state, references):
        """Puts what JAX's step clipped into its logs and metric variables."""
        seen, self._seen = self._seen, None
        if seen is None:
            return logs, state
        *others, values = state
        values = list(values)
        report, weight = seen
        for name, value in report.items():
            tracker = self.trackers[name]
            own = [
                next(i for i, r in enumerate(references) if r is variable)
                for variable in tracker.variables
            ]
            updated = tracker.stateless_update_state(
                [values[i] for i in own], value, sample_weight=weight
            )
            for i, new in zip(own, updated, strict=True):
                values[i] = new
            logs[name] = tracker.stateless_result(updated)
        return logs, (*others, values)


def _is_functional(args, kwargs):
    return (
        len(args) == 2
        or (len(args) == 1 and "outputs" in kwargs)
        or ("inputs" in kwargs and "outputs" in kwargs)
    )


@functools.cache
def _functional_class(cls):
    """Returns `cls` as a functional model, saved and loaded as `cls`."""
    twin = type(cls.__name__, (cls, Functional), {"__module__": cls.__module__})
    package, _, name = keras.saving.get_registered_name(cls).rpartition(">")
    if package:
        # A registered name has one class to load, the last one given, and any
        # number that save under it.
        register = keras.saving.register_keras_serializable(package, name)
        register(twin)
        register(cls)
    return twin
