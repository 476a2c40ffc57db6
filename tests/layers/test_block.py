"""A block computes what the papers' block does, branch and shortcut."""

import keras
import numpy as np
import pytest
from helpers import (
    Reference,
    assert_gradients,
    assert_outputs,
    gradients,
    least_variant,
    to_numpy,
    weighted_sum,
)

import keras_nfnets
from keras_nfnets.layers import NFBlock

REFERENCE = Reference("blocks")
CASES = REFERENCE.meta["blocks"]
# What the papers' code has as a class, we have as arguments.
KINDS = {
    "nfnet": {},
    "nf_regnet": dict(
        expansion=2.25, two_convs=False, big_width=False, attention_inside=True
    ),
    "nf_resnet": dict(
        expansion=0.25,
        group_width=None,
        two_convs=False,
        attention=None,
        se_ratio=0.25,
        shortcut="stride",
    ),
}
# The papers' names of the constructor's arguments, and ours.
ARGUMENTS = {
    "out_ch": "filters",
    "stride": "strides",
    "group_size": "group_width",
    "kernel_shape": "kernel_size",
    "use_two_convs": "two_convs",
    "expansion": "expansion",
    "se_ratio": "se_ratio",
    "alpha": "alpha",
    "beta": "beta",
    "big_width": "big_width",
}


def _block(case):
    arguments = {
        ARGUMENTS[key]: value
        for key, value in case["kw"].items()
        if key not in ("in_ch", "use_se")
    }
    if case["kw"].get("use_se"):
        arguments["attention"] = "se"
    arguments = KINDS[case["kind"]] | arguments
    block = NFBlock(activation=case["act"], **arguments)
    block.build((None, *case["shape"][1:]))
    return block


def _variables(block, root):
    convs = ["conv0", "conv1", "conv2"]
    convs += ["conv1b"] if block.two_convs else []
    convs += ["conv_shortcut"] if block.projects else []
    found = {f"{root}::skip_gain": block.skip_gain.gain}
    for name in convs:
        conv = getattr(block, name)
        found[f"{root}/~/{name}::w"] = conv.kernel
        found[f"{root}/~/{name}::gain"] = conv.gain
        found[f"{root}/~/{name}::bias"] = conv.bias
    if block.attention:
        gate = f"{root}/~/squeeze_excite/~"
        for name, dense in (
            ("linear", block.squeeze_excite.reduce),
            ("linear_1", block.squeeze_excite.expand),
        ):
            found[f"{gate}/{name}::w"] = dense.kernel
            found[f"{gate}/{name}::b"] = dense.bias
    return found


def _root(parameters):
    return next(iter(parameters)).split("/")[0].split("::")[0]


@pytest.mark.parametrize("name", sorted(CASES))
def test_block_is_the_papers(name):
    case = CASES[name]
    prefix = f"block_{name}"
    block = _block(case)
    parameters = REFERENCE.under(f"{prefix}/params/")
    variables = _variables(block, _root(parameters))
    assert parameters.keys() == variables.keys()
    for key, variable in variables.items():
        variable.assign(parameters[key])
    assert block.conv1.filters == case["bottleneck_width"]
    assert block.conv1.groups == case["groups"]
    y, dx, grads = gradients(
        block,
        REFERENCE[f"{prefix}/x"],
        weighted_sum(REFERENCE[f"{prefix}/cotangent"]),
    )
    assert_outputs(y, REFERENCE[f"{prefix}/y"])
    assert_gradients(dx, REFERENCE[f"{prefix}/dx"])
    for key, variable in variables.items():
        expected = REFERENCE[f"{prefix}/grads/{key}"]
        assert_gradients(grads[id(variable)], expected)


@pytest.mark.parametrize("name", sorted(CASES))
def test_branch_variance_is_the_papers(name):
    prefix = f"block_{name}"
    block = _block(CASES[name])
    parameters = REFERENCE.under(f"{prefix}/params/")
    for key, variable in _variables(block, _root(parameters)).items():
        variable.assign(parameters[key])
    x = keras.ops.convert_to_tensor(REFERENCE[f"{prefix}/x"])
    branch = to_numpy(block.residual(block.act_in(x)))
    variance = branch.var(axis=(0, 1, 2)).mean()
    assert_outputs(variance, REFERENCE[f"{prefix}/res_avg_var"])


def test_fresh_identity_block_is_the_identity():
    x = keras.random.normal((2, 5, 7, 32), seed=1)
    outputs = NFBlock(32, group_width=8)(x)
    np.testing.assert_array_equal(to_numpy(outputs), to_numpy(x))


def test_stochastic_depth_drops_the_branch_only():
    block = NFBlock(16, group_width=8, stochastic_depth=0.5)
    x = keras.random.normal((64, 4, 4, 16), seed=1)
    block.build(x.shape)
    block.skip_gain.gain.assign(1.0)
    full, drawn = (to_numpy(block(x, training=t)) for t in (False, True))
    dropped = np.array(
        [np.array_equal(d, i) for d, i in zip(drawn, to_numpy(x), strict=True)]
    )
    kept = np.array(
        [np.allclose(d, f, atol=1e-6) for d, f in zip(drawn, full, strict=True)]
    )
    assert dropped.any() and kept.any()
    assert (dropped ^ kept).all()


@pytest.mark.parametrize("name", ["stem", "stage1_block0", "head"])
def test_frozen_layers_stay_frozen_when_loaded(name, tmp_path):
    model = keras_nfnets.NFNet(least_variant(), classes=3)
    model.get_layer(name).trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    paths = [v.path for v in model.trainable_variables]
    assert [v.path for v in loaded.trainable_variables] == paths
    assert len(paths) < len(model.weights)
