"""Defines the model whose `fit` clips, and perturbs for SAM.

The order of a step is fixed: gradients of the scaled loss, unscale,
accumulate, sum over replicas, AGC, then the optimizer's own update. AGC is the
optimizer's, whatever `train_step` runs; `perturbed` moves the weights for SAM
while Keras's own step takes the gradients.
"""

from typing import Any

import keras

# What `keras.Model(inputs, outputs)` is; Keras does not export it.
from keras.src.models.functional import Functional

from keras_nfnets.training.agc import AGC
from keras_nfnets.training.agc_layers import named_report
from keras_nfnets.training.agc_optimizer import give_agc
from keras_nfnets.training.agc_rules import inner_optimizer
from keras_nfnets.training.compiled import (
    CompileConfig,
    compiles_from_h5,
    model_agc,
)
from keras_nfnets.training.legacy_h5 import is_in_h5
from keras_nfnets.training.perturbed import check_optimizer, perturbed_weights
from keras_nfnets.training.sam import SAM

# What `compile` takes for `agc` where none is given.
_PAPER = AGC()


@keras.saving.register_keras_serializable("keras_nfnets")
class AGCModel(keras.Model):
    """A `keras.Model` whose training step clips gradients adaptively.

    It is built as any Keras model is: from inputs and outputs, or as a base
    class with a `call` or a `train_step` of its own. `compile` gives AGC to
    its optimizer, as `optimizers.with_agc` does, so whatever step updates
    with `self.optimizer` clips. The gradient that is clipped is that of the
    global batch: after loss scaling is undone, after accumulation, and after
    the sum over replicas. What a Keras optimizer clips or decays itself
    (`clipnorm`, decoupled `weight_decay`) it does before, as always.

    The logs of `fit` get `agc_clipped`, see `AGC`, as the mean since
    `reset_metrics`: of the epoch. It is none of `metrics`, and what the other
    methods return is what it is for `keras.Model`.

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

    _agc = None
    _sam = None
    _sam_used = False
    _is_fitting = False
    train_function: Any  # Keras's

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is AGCModel and _is_functional(args, kwargs):
            cls = _FunctionalAGCModel
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The arguments of a `keras.Sequential` mean something else.
        if not isinstance(self, keras.Sequential):
            if _is_functional(args, kwargs):
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

        Args:
            *args: As for `keras.Model.compile`.
            agc: `AGC`, or `None` to train as `keras.Model` does, with the
                optimizer as it is. Defaults to `AGC()`, the paper's settings.
            sam: `SAM`, for sharpness-aware minimization, or `None`. It needs
                Keras's own `train_step`, or one that returns
                `super().train_step(...)`; the first step of another one
                raises a ValueError. Defaults to `None`.
            **kwargs: As for `keras.Model.compile`.

        Raises:
            ValueError: If `agc` or `sam` is something else, the `exclude` of
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
            # There is no AGC in such a file, see `CompileConfig.config`.
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
        # On TensorFlow a step that made the variables of the optimizer or of
        # `metrics` would be traced a second time, for as long as the first.
        if self.built and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        before = self.train_function
        super().make_train_function(force)
        checked = self._agc or self._sam
        if checked and self.train_function is not before:
            self.train_function = self._reporting(self.train_function)
        self._build_metrics_before("train_function")

    def make_test_function(self, force: bool = False) -> None:
        super().make_test_function(force)
        self._build_metrics_before("test_function")

    def _reporting(self, function):
        """Lets a step of `fit` report what was clipped in its logs."""

        def call(*args):
            result = function(*args)
            _check_used(self)
            if not (self._agc and self._is_fitting):
                return result
            on_jax = isinstance(result, tuple)
            logs, *state = result if on_jax else (result,)
            # JAX holds the values of variables outside of them meanwhile.
            values = state[0][2] if on_jax else self.optimizer.variables
            if isinstance(logs, dict):
                logs = {**logs, **named_report(self.optimizer, values)}
            return (logs, *state) if on_jax else logs

        return call

    def _get_metrics_result_or_logs(self, logs):
        # Keras compares the names in the logs with those of the metrics.
        if not (self._agc and isinstance(logs, dict)):
            return super()._get_metrics_result_or_logs(logs)
        names = inner_optimizer(self.optimizer).rules.names or ()
        others = {n: x for n, x in logs.items() if n not in names}
        own = {n: x for n, x in logs.items() if n in names}
        return {**super()._get_metrics_result_or_logs(others), **own}

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        self._is_fitting = True
        try:
            return super().fit(*args, **kwargs)
        finally:
            self._is_fitting = False

    def reset_metrics(self) -> None:
        super().reset_metrics()
        if self._agc:
            self.optimizer.reset_agc_report()

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

    def train_step(self, *args: Any) -> Any:
        if not self._sam:
            return super().train_step(*args)
        self._sam_used = True
        with perturbed_weights(self, self._sam, *args):
            return super().train_step(*args)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        if type(self).compile is not AGCModel.compile:
            super().compile_from_config(config)  # warns
            return
        config = keras.saving.deserialize_keras_object(config)
        config.setdefault("agc", model_agc(config["optimizer"]))
        self.compile(**config)
        if self.built and self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)


def _check_used(model):
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
    return (
        len(args) == 2
        or (len(args) == 1 and "outputs" in kwargs)
        or ("inputs" in kwargs and "outputs" in kwargs)
    )


class _FunctionalAGCModel(AGCModel, Functional):
    """An `AGCModel` of inputs and outputs, saved and loaded as `AGCModel`."""


_FunctionalAGCModel.__name__ = AGCModel.__name__
# A registered name has one class to load, the last one given, and any number
# that save under it.
for _each in (_FunctionalAGCModel, AGCModel):
    keras.saving.register_keras_serializable("keras_nfnets")(_each)
# The name by which an .h5 file says what the whole model is.
keras.saving.get_custom_objects()[AGCModel.__name__] = AGCModel


def _make_functional(cls):
    """Lets a class derive from the functional `AGCModel` in place of the other.

    As Keras does with a class that derives from `keras.Model`. `AGCModel`
    itself stays a base class for models with a `call`.
    """
    if cls is AGCModel:
        return _FunctionalAGCModel
    if issubclass(cls, AGCModel) and not issubclass(cls, Functional):
        cls.__bases__ = tuple(_make_functional(base) for base in cls.__bases__)
    return cls
