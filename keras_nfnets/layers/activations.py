"""Defines activations that keep a variance of 1: gamma * f(x) for x ~ N(0, 1).

Each row of `ACTIVATIONS` defines one activation: its constant, its function,
and its name in Keras. Layers, surgery, folding and the command line all read
this table, so a new activation is one new row. `gamma_of` computes the
constant of a function that the papers do not list.

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
    """Returns a function of x: `scale * gelu(x)`, in the papers' tanh form.

    The papers' code has `x * (1 + tanh(z)) / 2`. The sigmoid replaces the tanh
    here, as `(1 + tanh(z)) / 2` equals `sigmoid(2 z)`.

    On TensorFlow the function has a gradient of its own, which keeps only the
    input between the two passes and recomputes the rest. That is faster there
    (`benchmarks/NOTES.md`). On the other backends XLA or PyTorch differentiates
    the plain expression.
    """
    slope = 2 * math.sqrt(2 / math.pi)
    cubic = 0.044715 * slope

    def gate_of(x):
        """Returns the input, its square, and `sigmoid(2 z)`.

        In float16 the input is clipped.
        """
        if keras.backend.standardize_dtype(x.dtype) == "float16":
            # float16 overflows at 256 squared. Beyond 10 the gate is 0 or 1,
            # so clipping does not change it.
            x = ops.clip(x, -10.0, 10.0)
        square = x * x
        return x, square, ops.sigmoid(x * (slope + cubic * square))

    def value(x):
        return (scale * x) * gate_of(x)[-1]

    @ops.custom_gradient
    def with_gradient(x):
        def gradient(upstream):
            # The product rule: scale * gate + scale * x * gate'.
            clipped, square, gate = gate_of(x)
            inner = scale * slope + 3 * scale * cubic * square
            of_gate = tensorflow_cpu.sigmoid_gradient(gate, clipped * inner)
            return upstream * (scale * gate + of_gate)

        return value(x), gradient

    if keras.backend.backend() == "tensorflow":
        return with_gradient
    return value


class Nonlinearity(NamedTuple):
    """One row of `ACTIVATIONS`.

    Args:
        gamma: Float, `1 / std(f(x))` for x ~ N(0, 1). The papers' activations
            have the constants of the papers' code, which estimated them from
            samples. Any other activation has the result of `gamma_of`.
        function: f, a function of one tensor.
        keras_name: String, the name of f in `keras.activations`. Folding
            writes this name into the exported network, and surgery recognizes
            the activation by it. Defaults to `None`: f has no such name, and
            folding needs a rule for it in `export/folding/single.py`.

    Example:

    >>> row = keras_nfnets.activations.Nonlinearity(1.0, lambda x: x, "linear")
    """

    gamma: float
    function: Callable[[Tensor], Tensor]
    keras_name: str | None = None


ACTIVATIONS = {
    "identity": Nonlinearity(1.0, lambda x: x, "linear"),
    # With alpha = 1 celu equals elu. Keras's celu adds a maximum and a minimum.
    # On TensorFlow both have a slope at exactly 0, so its gradient doubles.
    "celu": Nonlinearity(1.270926833152771, ops.elu, "celu"),
    "elu": Nonlinearity(1.2716004848480225, ops.elu, "elu"),
    "gelu": Nonlinearity(1.7015043497085571, _gelu(1.0)),
    # The exact form, which timm uses with the constant of the tanh form.
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
# The gamma of each activation, by its name.
GAMMA = {name: row.gamma for name, row in ACTIVATIONS.items()}


def gamma_of(function: Callable[[Tensor], Tensor]) -> float:
    """Returns the gamma of an activation, `1 / std(f(x))` for x ~ N(0, 1).

    Args:
        function: Function of one tensor, applied to each entry.

    Returns:
        A float, computed by the trapezoidal rule from -12 to 12.

    Raises:
        ValueError: If the function is constant from -12 to 12, or not finite.

    Example:

    >>> gamma = keras_nfnets.activations.gamma_of(keras.activations.mish)
    >>> round(gamma, 2)
    1.59

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

    The function multiplies once, by the product of the two constants.
    `VPActivation` calls it.

    Args:
        name: String, a key of `GAMMA`.
        beta: Float, multiplies the result. Defaults to `1.0`.
        use_gamma: Boolean, whether `GAMMA[name]` multiplies the result too.
            Defaults to `True`.

    Returns:
        A function of one tensor.

    Raises:
        ValueError: If `name` is not in `GAMMA`.

    Example:

    >>> act = keras_nfnets.activations.scaled("relu", beta=0.5)
    >>> round(float(act(keras.ops.ones(()))), 3)
    0.857
    """
    _check(name)
    gamma, function, _ = ACTIVATIONS[name]
    scale = beta * (gamma if use_gamma else 1.0)
    if name == "gelu":
        return _gelu(scale)
    return function if scale == 1.0 else lambda x: function(x) * scale


def _check(name):
    """Raises a ValueError unless the table has an activation of this name."""
    if name not in GAMMA:
        raise ValueError(
            f"`activation` must be one of {sorted(GAMMA)}. "
            f"Received: activation={name!r}"
        )


def _registered(name):
    """Returns an activation as a function that Keras can serialize.

    Keras saves a function by its registered name, so each activation needs a
    function with a name of its own, `vp_gelu` and so on.
    """
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

    Any Keras layer takes the function as its `activation`, and Keras can
    serialize it.

    Args:
        name: String, a key of `GAMMA`.
        use_gamma: Boolean, whether the constant multiplies the result. Without
            it the function is f itself, which Keras cannot serialize in every
            case. Defaults to `True`.

    Returns:
        A function of one tensor: `GAMMA[name] * f(x)`. Where f has a kink, the
        backend defines the gradient.

    Raises:
        ValueError: If `name` is not in `GAMMA`.

    Example:

    >>> act = keras_nfnets.activations.get("gelu")
    >>> layer = keras_nfnets.layers.WSConv2D(64, 3, activation=act)

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2101.08692), Section 3
    """
    _check(name)
    return _REGISTERED[name] if use_gamma else ACTIVATIONS[name].function
