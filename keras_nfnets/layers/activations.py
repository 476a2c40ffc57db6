"""Defines activations that keep a variance of 1: gamma * f(x) for x ~ N(0, 1).

Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3.
"""

import math
from collections.abc import Callable

import keras
from keras import ops

from keras_nfnets.annotations import Tensor

# The constants of the papers' code, to the digit.
GAMMA = {
    "identity": 1.0,
    "celu": 1.270926833152771,
    "elu": 1.2716004848480225,
    "gelu": 1.7015043497085571,
    "gelu_erf": 1.7015043497085571,
    "leaky_relu": 1.70590341091156,
    "log_sigmoid": 1.9193484783172607,
    "relu": 1.7139588594436646,
    "relu6": 1.7131484746932983,
    "selu": 1.0008515119552612,
    "sigmoid": 4.803835391998291,
    "silu": 1.7881293296813965,
    "soft_sign": 2.338853120803833,
    "softplus": 1.9203323125839233,
    "tanh": 1.5939117670059204,
}


def _gelu(scale):
    """Returns `scale * gelu(x)`, in the tanh form of the papers' code.

    `(1 + tanh(z)) / 2` is `sigmoid(2 z)`. On TensorFlow its gradient keeps the
    input alone, in as few operations as there are: a training step of
    NFNet-F0 took 0.93 of what it took with the form above, automatic
    gradients and the scale by itself (`benchmarks/NOTES.md`). XLA arranges
    that by itself.
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
            rise = (bounded * steepness) * (1.0 - opened)
            return upstream * (opened * (scale + rise))

        return value(x), gradient

    if keras.backend.backend() == "tensorflow":
        return with_gradient
    return value


_FUNCTIONS = {
    "identity": lambda x: x,
    # The same at its alpha of 1. Keras's celu has twice the slope at exactly 0
    # on TensorFlow, where the sum of a maximum and a minimum ties.
    "celu": ops.elu,
    "elu": ops.elu,
    "gelu": _gelu(1.0),
    # timm's, with the constant of the form above.
    "gelu_erf": lambda x: ops.gelu(x, approximate=False),
    "leaky_relu": lambda x: ops.leaky_relu(x, negative_slope=0.01),
    "log_sigmoid": ops.log_sigmoid,
    "relu": ops.relu,
    "relu6": ops.relu6,
    "selu": ops.selu,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "soft_sign": ops.softsign,
    "softplus": ops.softplus,
    "tanh": ops.tanh,
}


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
    function = _FUNCTIONS[name]
    scale = beta * (GAMMA[name] if use_gamma else 1.0)
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
    return _REGISTERED[name] if use_gamma else _FUNCTIONS[name]
