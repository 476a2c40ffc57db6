"""The gates of squeeze-and-excite are the papers'."""

import keras
import numpy as np
import pytest
from helpers import (
    Reference,
    assert_gradients,
    assert_outputs,
    gradients,
    to_numpy,
    weighted_sum,
)

from keras_nfnets import layers
from keras_nfnets.layers import activations

REFERENCE = Reference("blocks")


@pytest.mark.parametrize("name", sorted(REFERENCE.meta["se"]))
def test_gate_is_the_papers(name):
    case = REFERENCE.meta["se"][name]
    name_of_plain = case["activation"].removeprefix("plain_")
    if name_of_plain != case["activation"]:
        activation = name_of_plain
    else:
        activation = activations.get(case["activation"])
    layer = layers.SqueezeExcite(
        case["se_ratio"], case["hidden_ch"], case["out_ch"], activation
    )
    layer.build((None, *case["shape"][1:]))
    layer.call = layer.gate
    prefix = f"se_{name}"
    module = "squeeze_excite/~/linear"
    variables = {
        f"{module}::w": layer.reduce.kernel,
        f"{module}::b": layer.reduce.bias,
        f"{module}_1::w": layer.expand.kernel,
        f"{module}_1::b": layer.expand.bias,
    }
    for key, variable in variables.items():
        variable.assign(REFERENCE[f"{prefix}/params/{key}"])
    assert layer.reduce.units == case["hidden"]
    y, dx, grads = gradients(
        layer,
        REFERENCE[f"{prefix}/x"],
        weighted_sum(REFERENCE[f"{prefix}/cotangent"]),
    )
    assert_outputs(y, REFERENCE[f"{prefix}/y"])
    assert_gradients(dx, REFERENCE[f"{prefix}/dx"])
    for key, variable in variables.items():
        expected = REFERENCE[f"{prefix}/grads/{key}"]
        assert_gradients(grads[id(variable)], expected)


def test_fresh_gate_of_one_half_keeps_the_signal():
    layer = layers.SqueezeExcite()
    layer.build((None, 4, 4, 8))
    for variable in layer.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    x = keras.random.normal((2, 4, 4, 8), seed=1)
    np.testing.assert_array_equal(to_numpy(layer(x)), to_numpy(x))
