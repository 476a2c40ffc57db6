"""Defines activations that keep a variance of 1: gamma * f(x) for x ~ N(0, 1).

An activation is a row of `ACTIVATIONS`, which has all that the package knows
of it.

Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_nfnets.annotations import Tensor
from keras_nfnets.layers import tensorflow_cpu


def _gelu(scale):
    """Returns `scale * gelu(x)`, in the tanh form of the papers' code.

    `(1 + tanh(z)) / 2` is `sigmoid(2 z)`. On TensorFlow its gradient keeps the
    input alone, in as few operations as there are, which is faster
    (`benchmarks/NOTES.md`). XLA arranges that by itself.
    """
    slope = 2 * math.sqrt(2 / math.pi)
    cubic = 0.044715 * slope

    def gate(x):
        if keras.backend.standardize_dtype(x.dtype) == "float16":
            # The gate is flat from 10 on, and float16 ends at 256 squared.
            x = ops.clip(x, -10.0, 10.0)
        square = x * x
        return x, square, ops.sigmoid(x * (slope + cubic * square))

    def value(x):
        return (scale * x) * gate(x)[-1]

    @ops.custom_gradient
    def with_gradient(x):
        def gradient(upstream):
            bounded, square, opened = gate(x)
            steepness = scale * slope + 3 * scale * cubic * square
            rise = tensorflow_cpu.sigmoid_gradient(opened, bounded * steepness)
            return upstream * (scale * opened + rise)

        return value(x), gradient

    if keras.backend.backend() == "tensorflow":
        return with_gradient
    return value


class Nonlinearity(NamedTuple):
    """One row of `ACTIVATIONS`.

    Args:
        gamma: Float, `1 / std(f(x))` for x ~ N(0, 1). For the papers'
            activations the constant of their code, which they took from
            samples; for others what `gamma_of` returns.
        function: f, a function of one tensor.
        keras_name: String, the function of `keras.activations` that computes
            f. Folding writes it in place of ours, and surgery recognizes it.
            Defaults to `None`: folding has a rule of its own, in
            `export/folding/single.py`.

    Example:

    >>> keras_nfnets.activations.ACTIVATIONS["relu"].keras_name
    'relu'
    """

    gamma: float
    function: Callable[[Tensor], Tensor]
    keras_name: str | None = None


ACTIVATIONS = {
    "identity": Nonlinearity(1.0, lambda x: x, "linear"),
    # elu is the same at celu's alpha of 1. Keras's celu has twice the slope at
    # exactly 0 on TensorFlow, where the sum of a maximum and a minimum ties.
    "celu": Nonlinearity(1.270926833152771, ops.elu, "celu"),
    "elu": Nonlinearity(1.2716004848480225, ops.elu, "elu"),
    "gelu": Nonlinearity(1.7015043497085571, _gelu(1.0)),
    # timm's form, with the constant of the other.
    "gelu_erf": Nonlinearity(
        1.7015043497085571, lambda x: ops.gelu(x, approximate=False), "gelu"
    ),
    "leaky_relu": Nonlinearity(
        1.70590341091156, lambda x: ops.leaky_relu(x, negative_slope=0.01)
    ),
    "log_sigmoid": Nonlinearity(
        1.9193484783172607, ops.log_sigmoid, "log_sigmoid"
    ),
    "relu": Nonlinearity(1.7139588594436646, ops.relu, "relu"),
    "relu6": Nonlinearity(1.7131484746932983, ops.relu6, "relu6"),
    "selu": Nonlinearity(1.0008515119552612, ops.selu, "selu"),
    "sigmoid": Nonlinearity(4.803835391998291, ops.sigmoid, "sigmoid"),
    "silu": Nonlinearity(1.7881293296813965, ops.silu, "silu"),
    "soft_sign": Nonlinearity(2.338853120803833, ops.softsign, "softsign"),
    "softplus": Nonlinearity(1.9203323125839233, ops.softplus, "softplus"),
    "tanh": Nonlinearity(1.5939117670059204, ops.tanh, "tanh"),
}
# The constant of each activation by its name.
GAMMA = {name: row.gamma for name, row in ACTIVATIONS.items()}


def gamma_of(function: Callable[[Tensor], Tensor]) -> float:
    """Returns the gamma of an activation, `1 / std(f(x))` for x ~ N(0, 1).

    Args:
        function: Function of one tensor, applied to each entry.

    Returns:
        A float, by the trapezoidal rule over 12 standard deviations.

    Raises:
        ValueError: If the function is constant there, or not finite.

    Example:

    >>> gamma = keras_nfnets.activations.gamma_of(keras.ops.mish)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3
    """
    x = np.linspace(-12.0, 12.0, 24_001)
    density = np.exp(-np.square(x) / 2) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    values = function(ops.convert_to_tensor(x, "float32"))
    y = ops.convert_to_numpy(values).astype("float64")
    variance = float(np.sum(density * np.square(y - np.sum(density * y))))
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(
            "`function` must vary, and be finite from -12 to 12. Received: "
            f"function={function!r} of variance {variance}"
        )
    return 1 / math.sqrt(variance)


def scaled(
    name: str, beta: float = 1.0, use_gamma: bool = True
) -> Callable[[Tensor], Tensor]:
    """Returns `GAMMA[name] * beta * f(x)` as a function of x.

    Args:
        name: String, a key of `GAMMA`.
        beta: Float, multiplies the result. Defaults to `1.0`.
        use_gamma: Boolean, whether `GAMMA[name]` does. Defaults to `True`.

    Raises:
        ValueError: If `name` is not in `GAMMA`.

    Example:

    >>> act = keras_nfnets.activations.scaled("gelu", beta=0.9)
    """
    _check(name)
    gamma, function, _ = ACTIVATIONS[name]
    scale = beta * (gamma if use_gamma else 1.0)
    if name == "gelu":
        return _gelu(scale)
    return function if scale == 1.0 else lambda x: function(x) * scale


def _check(name):
    if name not in GAMMA:
        raise ValueError(
            f"`activation` must be one of {sorted(GAMMA)}. "
            f"Received: activation={name!r}"
        )


def _registered(name):
    """Returns an activation as a function that can be serialized."""
    function = scaled(name)

    def activation(x):
        return function(ops.convert_to_tensor(x))

    activation.__name__ = activation.__qualname__ = f"vp_{name}"
    activation.__doc__ = (
        f"Variance-preserving {name}: `{GAMMA[name]} * {name}(x)`."
    )
    return keras.saving.register_keras_serializable("keras_nfnets")(activation)


_REGISTERED = {name: _registered(name) for name in GAMMA}


def get(name: str, use_gamma: bool = True) -> Callable[[Tensor], Tensor]:
    """Returns the variance-preserving activation of this name.

    The function that comes back is serializable, and can be given as
    `activation` to any Keras layer.

    Args:
        name: String, a key of `GAMMA`.
        use_gamma: Boolean, whether the constant is applied; without it the
            function is not serializable. Defaults to `True`.

    Returns:
        A function of one tensor: `GAMMA[name] * f(x)`. The gradient at a kink
        is the backend's.

    Raises:
        ValueError: If `name` is not in `GAMMA`.

    Example:

    >>> act = keras_nfnets.activations.get("gelu")
    >>> layer = keras_nfnets.layers.WSConv2D(64, 3, activation=act)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3
    """
    _check(name)
    return _REGISTERED[name] if use_gamma else ACTIVATIONS[name].function
