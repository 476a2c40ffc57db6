"""Defines the papers' SGD and its schedule, and hands on `with_agc`."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.checks import check_not_negative, check_rate
from keras_nfnets.training.agc_optimizer import with_agc as with_agc

# Patterns of the paths of gains and biases, which have no weight decay: the
# names of this package and those of Keras's normalization layers.
GAINS_AND_BIASES = (r"(gain|bias)[^/]*$", r"(^|/)(gamma|beta|scale|offset)$")


@keras.saving.register_keras_serializable("keras_nfnets")
class SGD(keras.optimizers.Optimizer):
    """Nesterov momentum with L2 inside the momentum.

    With gradient g (after AGC), weights p and velocity v, both starting at 0:

        g = g + l2 * p
        v = momentum * v + g
        p = p - learning_rate * (g + momentum * v)

    `keras.optimizers.SGD` differs in two ways. Its `weight_decay` does not
    enter the velocity, and is about ten times weaker at the same value. Its
    velocity includes the learning rate, which differs once a schedule changes
    the rate.

    Args:
        learning_rate: Float, `LearningRateSchedule`, or function without
            arguments. Defaults to `0.1`.
        momentum: Float in [0, 1). Defaults to `0.9`.
        nesterov: Boolean, whether the momentum is Nesterov's. Without it the
            last line is `p = p - learning_rate * v`. Defaults to `True`.
        l2: Float, the papers' weight decay. Defaults to `2e-5`.
        l2_exclude: Sequence of regular expressions, searched for in each
            variable's path. Variables that match have no L2. Defaults to
            `GAINS_AND_BIASES`.
        ema_warmup: Boolean, how `use_ema` averages the weights: from the
            initial weights on, with the momentum
            `min(ema_momentum, (1 + t) / (10 + t))` at step t, as in the
            papers, or else as Keras does. Defaults to `True`.
        multipliers: Dictionary from regular expressions to floats of at least
            0. The learning rate of a variable is multiplied by the float of the
            first expression that is found in its path. Defaults to none.
        **kwargs: `clipnorm`, `use_ema`, `ema_momentum`, `loss_scale_factor`
            and the other arguments of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: If `momentum` is outside [0, 1), `l2` or a multiplier is
            negative, or `weight_decay` is given.

    Example:

    >>> schedule = keras_nfnets.optimizers.WarmupCosine(1.6, 1564, 112603)
    >>> optimizer = keras_nfnets.optimizers.SGD(schedule, l2=2e-5)
    >>> model.compile(optimizer, keras_nfnets.losses.Crossentropy())

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4.1 and Appendix A
    """

    def __init__(
        self,
        learning_rate: Any = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        l2: float = 2e-5,
        l2_exclude: Sequence[str] = GAINS_AND_BIASES,
        ema_warmup: bool = True,
        multipliers: Mapping[str, float] | None = None,
        name: str = "sgd",
        **kwargs: Any,
    ) -> None:
        if kwargs.get("weight_decay") is not None:
            raise ValueError(
                "`weight_decay` must be None; this optimizer's decay is `l2`. "
                f"Received: weight_decay={kwargs['weight_decay']}"
            )
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        check_rate(momentum=momentum)
        check_not_negative(l2=l2)
        self.momentum = momentum
        self.nesterov = nesterov
        self.l2 = l2
        self.l2_exclude = tuple(l2_exclude)
        self.ema_warmup = ema_warmup
        self.multipliers = dict(multipliers or {})
        check_not_negative(**self.multipliers)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes a velocity for each variable, and decides on L2 and rate."""
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")
        self._decays = [
            not any(re.search(pattern, v.path) for pattern in self.l2_exclude)
            for v in variables
        ]
        self._multipliers = [self._multiplier(v.path) for v in variables]

    def _multiplier(self, path):
        """Returns the factor of the learning rate of one variable."""
        found = (x for p, x in self.multipliers.items() if re.search(p, path))
        return next(found, 1.0)

    def add_variable_from_reference(
        self,
        reference_variable: keras.Variable,
        name: str | None = None,
        initializer: Any = "zeros",
    ) -> keras.Variable:
        """Makes a variable shaped as another, which Keras calls `average` too.

        With `ema_warmup` an average starts at the initial weights. Keras's
        starts at zero.
        """
        if name == "average" and self.ema_warmup:

            def initializer(shape, dtype=None):
                del shape
                return ops.cast(ops.copy(reference_variable), dtype)

        return super().add_variable_from_reference(
            reference_variable, name=name, initializer=initializer
        )

    def _backend_update_step(self, gradients, variables, learning_rate):
        """Updates all variables, with the learning rate read only once."""
        rate = ops.copy(learning_rate)
        super()._backend_update_step(gradients, variables, rate)

    def update_step(
        self, gradient: Tensor, variable: Tensor, learning_rate: Tensor
    ) -> None:
        """Updates one variable by the three lines above.

        Args:
            gradient: Tensor, after AGC.
            variable: Variable, which is changed in place.
            learning_rate: Scalar tensor.
        """
        index = self._get_variable_index(variable)
        velocity = self.momentums[index]
        learning_rate = ops.cast(learning_rate, variable.dtype)
        if self._multipliers[index] != 1:
            learning_rate = learning_rate * self._multipliers[index]
        gradient = ops.cast(gradient, variable.dtype)
        if self.l2 and self._decays[index]:
            gradient = gradient + self.l2 * ops.convert_to_tensor(variable)
        if keras.backend.backend() == "tensorflow":
            self._fused_update(variable, velocity, gradient, learning_rate)
            return
        new_velocity = self.momentum * velocity + gradient
        self.assign(velocity, new_velocity)
        step = new_velocity
        if self.nesterov:
            step = gradient + self.momentum * new_velocity
        self.assign_sub(variable, learning_rate * step)

    def _fused_update(self, variable, velocity, gradient, learning_rate):
        """Updates velocity and variable by one operation of TensorFlow.

        It passes over the weights once, and the graph has fewer operations
        (`benchmarks/NOTES.md`). On JAX XLA fuses the single operations.
        """
        import tensorflow as tf

        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.value.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=ops.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def _update_model_variables_moving_average(self, trainable_variables):
        """Updates the averages of the weights, by Keras or with the warm-up."""
        if not self.ema_warmup:
            super()._update_model_variables_moving_average(trainable_variables)
            return
        step = ops.cast(self.iterations, "float32")
        decay = ops.minimum(self.ema_momentum, (1.0 + step) / (10.0 + step))
        for variable, average in zip(
            trainable_variables,
            self._model_variables_moving_average,
            strict=True,
        ):
            rate = ops.cast(1.0 - decay, variable.dtype)
            average.assign(average + rate * (variable - average))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Sets the weights to their averages, which Keras calls after `fit`.

        On JAX a weight and its average would share one buffer then. The next
        `fit` donates the buffers of both to its step, and JAX refuses to
        donate one buffer twice. So each average gets a copy.
        """
        super().finalize_variable_values(var_list)
        if self.use_ema:
            for average in self._model_variables_moving_average:
                average.assign(ops.copy(average))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            momentum=self.momentum,
            nesterov=self.nesterov,
            l2=self.l2,
            l2_exclude=list(self.l2_exclude),
            ema_warmup=self.ema_warmup,
            multipliers=self.multipliers,
        )
        return config


@keras.saving.register_keras_serializable("keras_nfnets")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly, then falls by half a cosine.

    Without a warm-up the first step has the peak rate.

    Args:
        peak: Float, the learning rate at the end of the warm-up.
        warmup_steps: Float, length of the warm-up in steps, which need not be
            a whole number.
        total_steps: Integer, length of the run in steps, including the
            warm-up. Later steps have the rate `minimum`.
        minimum: Float, the rate at the end of the run. Defaults to `0.0`.
        start: Float, the rate at the first step of the warm-up. Defaults to
            `0.0`.

    Raises:
        ValueError: If `warmup_steps` is negative or not below `total_steps`,
            or a learning rate is negative or not a number.

    Example:

    >>> schedule = keras_nfnets.optimizers.WarmupCosine(1.6, 1564, 112603)
    >>> round(float(schedule(782)), 4)
    0.8

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171),
    Section 4.1
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: float,
        total_steps: int,
        minimum: float = 0.0,
        start: float = 0.0,
    ) -> None:
        super().__init__()
        check_not_negative(peak=peak, minimum=minimum, start=start)
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                "`warmup_steps` must be at least 0 and below `total_steps`. "
                f"Received: warmup_steps={warmup_steps}, "
                f"total_steps={total_steps}"
            )
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.minimum = minimum
        self.start = start

    def __call__(self, step: Tensor) -> Tensor:
        """Returns the learning rate of a step, a float32 scalar.

        Args:
            step: Integer or integer tensor, 0 for the first step.
        """
        step = ops.cast(step, "float32")
        risen = step / self.warmup_steps if self.warmup_steps else 1.0
        rising = self.start + (self.peak - self.start) * risen
        done = (step - self.warmup_steps) / (
            self.total_steps - self.warmup_steps
        )
        cosine = 0.5 * (1.0 + ops.cos(math.pi * ops.clip(done, 0.0, 1.0)))
        falling = self.minimum + (self.peak - self.minimum) * cosine
        return ops.where(step <= self.warmup_steps, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return dict(
            peak=self.peak,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
            minimum=self.minimum,
            start=self.start,
        )
