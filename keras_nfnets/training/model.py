"""Defines the model whose `fit` clips gradients by AGC, and can train with SAM.

`AGCModel` overrides three things of `keras.Model`. `compile` gives AGC to the
optimizer, so any `train_step` that updates with it clips. `train_step` moves
the weights for SAM while Keras's own step computes the gradients. `fit` adds
the report of AGC to the logs. The order of a step is fixed: gradients of the
scaled loss, unscale, accumulate, sum over replicas, AGC, update.
"""

from typing import Any

import keras

# The class of `keras.Model(inputs, outputs)`, which Keras does not export.
from keras.src.models.functional import Functional

from keras_nfnets.training.agc import AGC
from keras_nfnets.training.agc_layers import named_report
from keras_nfnets.training.agc_optimizer import give_agc
from keras_nfnets.training.agc_rules import inner_optimizer
from keras_nfnets.training.compiled import CompileConfig, model_agc
from keras_nfnets.training.legacy_h5 import compiles_from_h5, is_in_h5
from keras_nfnets.training.perturbed import check_optimizer, perturbed_weights
from keras_nfnets.training.sam import SAM

# The default of `compile`, which tells by identity whether `agc` was passed.
_PAPER = AGC()


@keras.saving.register_keras_serializable("keras_nfnets")
class AGCModel(keras.Model):
    """A `keras.Model` whose training step clips gradients adaptively.

    Build it as any Keras model: from inputs and outputs, or as a base class
    for a model with its own `call` or `train_step`. `compile` gives AGC to the
    optimizer, as `optimizers.with_agc` does, so any step that updates with
    `self.optimizer` clips. It clips the gradient of the global batch: after
    the loss scale is removed, after accumulation, and after the sum over
    replicas. The optimizer's own clipping (`clipnorm`) and decoupled
    `weight_decay` come before, in Keras's order.

    The logs of `fit` get `agc_clipped`, the mean of the epoch, see `AGC`. It is
    not one of `metrics`. All other methods return what those of `keras.Model`
    return.

    Args:
        *args: `inputs` and `outputs`, as for `keras.Model`.
        **kwargs: `inputs`, `outputs` and `name`, as for `keras.Model`.

    Example:

    >>> inputs = keras.Input((32, 32, 3))
    >>> outputs = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    >>> model = keras_nfnets.AGCModel(inputs, outputs)
    >>> model.compile("sgd", "mse", agc=keras_nfnets.AGC(clipping=0.02))

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3
    """

    _agc = None
    _sam = None
    _sam_used = False  # whether `train_step` has run since `compile`
    _is_fitting = False
    train_function: Any  # Keras's

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Makes a functional model if it gets inputs and outputs, as Keras."""
        if cls is AGCModel and _is_functional(args, kwargs):
            cls = _FunctionalAGCModel
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        takes_layers = isinstance(self, keras.Sequential)
        if not takes_layers and _is_functional(args, kwargs):
            _make_functional(type(self))
        super().__init__(*args, **kwargs)
        self._is_from_h5 = is_in_h5()

    def compile(
        self,
        *args: Any,
        agc: AGC | None = _PAPER,
        sam: SAM | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training.

        The signature does not spell out Keras's arguments. Another base class
        may have other ones, and Keras's call for an .h5 file is recognized by
        the arguments that it passes.

        Args:
            *args: `optimizer`, `loss` and so on, as for `keras.Model.compile`.
            agc: `AGC`, or `None` to train as `keras.Model` does, with the
                optimizer as it is. Defaults to `AGC()`, the paper's settings.
            sam: `SAM`, for sharpness-aware minimization, or `None`. It needs
                Keras's `train_step`, or one that returns
                `super().train_step(...)`. Any other raises a ValueError at
                its first step. Defaults to `None`.
            **kwargs: `optimizer`, `loss`, `metrics`, `jit_compile` and so on,
                as for `keras.Model.compile`.

        Raises:
            ValueError: If `agc` or `sam` is of another class, the `exclude` of
                `agc` matches nothing, the optimizer has AGC already, or it
                accumulates gradients while `sam` is given.
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
        if self._is_from_h5 and compiles_from_h5(args, kwargs):
            # Such a file has no AGC, see `CompileConfig.config`.
            agc = None if agc is _PAPER else agc
        super().compile(*args, **kwargs)
        if sam:
            check_optimizer(self.optimizer)
        self._sam, self._sam_used = sam, False
        self._agc = agc
        give_agc(self, self.optimizer, agc)
        self._compile_config: Any = CompileConfig(
            self,
            self._compile_config.config,
            kwargs.get("jit_compile", "auto"),
            sam,
        )

    def make_train_function(self, force: bool = False) -> None:
        """Builds the step of `fit`, which adds AGC's report to its logs.

        It builds the optimizer first. On TensorFlow a step that makes variables
        is traced twice, which takes twice as long.
        """
        if self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        before = self.train_function
        super().make_train_function(force)
        # Keras keeps the function that it has, which is wrapped already.
        is_new = self.train_function is not before
        if is_new and (self._agc or self._sam):
            self.train_function = self._checked(self.train_function)
        self._build_metrics_before_tracing("train_function")

    def make_test_function(self, force: bool = False) -> None:
        """Builds the step of `evaluate`, and `metrics` before it is traced."""
        super().make_test_function(force)
        self._build_metrics_before_tracing("test_function")

    def _checked(self, function):
        """Returns a checked step, with AGC's report in the logs of `fit`."""

        def call(*args):
            result = function(*args)
            _check_step(self)
            if not (self._agc and self._is_fitting):  # as in `train_on_batch`
                return result
            # JAX returns its state beside the logs. During `fit` its variables
            # are stale. The third part of the state has the optimizer's values.
            on_jax = isinstance(result, tuple)
            logs, state = result if on_jax else (result, None)
            values = state[2] if on_jax else self.optimizer.variables
            if isinstance(logs, dict):
                logs = {**logs, **named_report(self.optimizer, values)}
            return (logs, state) if on_jax else logs

        return call

    def _get_metrics_result_or_logs(self, logs):
        """Returns the metrics, as Keras does, and AGC's report beside them."""
        # Keras returns the metrics only for logs of the same names.
        if not (self._agc and isinstance(logs, dict)):
            return super()._get_metrics_result_or_logs(logs)
        names = inner_optimizer(self.optimizer).rules.names or ()
        others = {n: x for n, x in logs.items() if n not in names}
        own = {n: x for n, x in logs.items() if n in names}
        return {**super()._get_metrics_result_or_logs(others), **own}

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit`, with AGC's report in the logs."""
        self._is_fitting = True
        try:
            return super().fit(*args, **kwargs)
        finally:
            self._is_fitting = False

    def reset_metrics(self) -> None:
        """Resets `metrics` and AGC's report, as Keras does for each epoch."""
        super().reset_metrics()
        if self._agc:
            self.optimizer.reset_agc_report()

    def _build_metrics_before_tracing(self, name):
        """Makes the first call of a function build `metrics`, then trace once.

        Args:
            name: String, the attribute that holds the function.
        """
        metrics, function = self._compile_metrics, getattr(self, name)
        if keras.backend.backend() != "tensorflow":
            return
        if metrics is None or metrics.built:
            return

        def build_and_call(iterator):
            setattr(self, name, function)  # for all later calls
            batch = getattr(iterator, "element_spec", None)
            _, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
            outputs = getattr(self, "outputs", ())
            # The shapes alone decide which variables the metrics have.
            if labels is not None and len(outputs) == 1 and not metrics.built:
                metrics.build(labels, outputs[0])
            return function(iterator)

        setattr(self, name, build_and_call)

    def train_step(self, *args: Any) -> Any:
        """Runs Keras's step, with SAM's gradient if `compile` got `sam`."""
        if not self._sam:
            return super().train_step(*args)
        self._sam_used = True
        with perturbed_weights(self, self._sam, *args):
            return super().train_step(*args)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model with the AGC that its optimizer brings."""
        if type(self).compile is not AGCModel.compile:
            super().compile_from_config(config)  # only warns
            return
        config = keras.saving.deserialize_keras_object(config)
        config.setdefault("agc", model_agc(config["optimizer"]))
        self.compile(**config)
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)


def _check_step(model):
    """Raises a ValueError if a step has updated without AGC, or SAM."""
    if not model.trainable_variables:
        return
    name = type(model).__name__
    if model._agc and not inner_optimizer(model.optimizer).rules.used:
        raise ValueError(
            "`train_step` must update with `self.optimizer`, which clips "
            "gradients. For other optimizers pass `agc=None` to `compile`, and "
            "give each its own AGC by keras_nfnets.optimizers.with_agc. "
            f"Received: {name}.train_step, which did not"
        )
    if model._sam and not model._sam_used:
        raise ValueError(
            "`train_step` must be that of AGCModel where `compile` got `sam`, "
            "or call `super().train_step`, which takes both of SAM's "
            "gradients. Pass `sam=None` to train without it. Received: "
            f"{name}.train_step, which did not, with {model._sam}"
        )


def _is_functional(args, kwargs):
    """Returns whether a model gets inputs and outputs, by Keras's own rule."""
    return (
        len(args) == 2
        or (len(args) == 1 and "outputs" in kwargs)
        or ("inputs" in kwargs and "outputs" in kwargs)
    )


class _FunctionalAGCModel(AGCModel, Functional):
    """An `AGCModel` of inputs and outputs, saved and loaded as `AGCModel`."""


_FunctionalAGCModel.__name__ = AGCModel.__name__
# Both are saved by this name. Keras loads the one that it registers last.
for _each in (_FunctionalAGCModel, AGCModel):
    keras.saving.register_keras_serializable("keras_nfnets")(_each)
# An .h5 file names the model's class without the package.
keras.saving.get_custom_objects()[AGCModel.__name__] = AGCModel


def _make_functional(cls):
    """Replaces `AGCModel` by its functional class among the bases of a class.

    Keras does the same for classes that derive from `keras.Model`. `AGCModel`
    itself stays a base class for models with a `call`.
    """
    if cls is AGCModel:
        return _FunctionalAGCModel
    if issubclass(cls, AGCModel) and not issubclass(cls, Functional):
        cls.__bases__ = tuple(_make_functional(base) for base in cls.__bases__)
    return cls
