"""A model of features returns what stem and stages give."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers import (
    BACKEND,
    FILES,
    Reference,
    assert_outputs,
    evaluate,
    tiny_variant,
    to_numpy,
    variant_of,
)

import keras_nfnets
from keras_nfnets import VARIANTS, feature_strides


def test_features_are_the_papers():
    reference = Reference("model_nfnet_plain")
    weights = FILES / "weights" / "published_format_full.npz"
    model = keras_nfnets.NFNet(
        variant_of(reference.meta), features=True, weights=weights
    )
    found = evaluate(model, reference["even/x"])
    assert set(found) == {"stem", "stage1", "stage2", "stage3", "stage4"}
    # The blocks of the reference's stages end at these.
    last = dict(stage1=0, stage2=2, stage3=4, stage4=5)
    assert_outputs(found["stem"], reference["even/stem"])
    for stage, block in last.items():
        assert_outputs(found[stage], reference[f"even/block_{block}"])


@pytest.mark.skipif(BACKEND == "jax", reason="building them takes 40 s on JAX")
@pytest.mark.parametrize(
    "name", ["nfnet_f0", "nf_resnet50", "nf_regnet_b0", "nf_resnet50_timm"]
)
def test_strides_are_those_of_the_outputs(name):
    variant = dataclasses.replace(VARIANTS[name], depths=(1, 1, 1, 1))
    sides = (75, 96)
    model = keras_nfnets.NFNet(variant, input_shape=(*sides, 3), features=True)
    strides = feature_strides(variant)
    assert list(strides) == list(model.output)
    for stage, stride in strides.items():
        expected = tuple(-(-side // stride) for side in sides)
        assert model.output[stage].shape[1:3] == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_every_network_ends_at_32(name):
    assert list(feature_strides(name).values())[-1] == 32


def test_saved_features_come_back(tmp_path):
    model = keras_nfnets.NFNet(tiny_variant(), features=True)
    model.save(tmp_path / "features.keras")
    copy = keras.models.load_model(tmp_path / "features.keras")
    x = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    ours, theirs = evaluate(model, x), evaluate(copy, x)
    for stage in ours:
        np.testing.assert_array_equal(to_numpy(ours[stage]), theirs[stage])


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_features_take_the_weights_of_a_whole_network(tmp_path, suffix):
    whole = keras_nfnets.NFNet(tiny_variant(), classes=4)
    path = tmp_path / f"whole{suffix}"
    if suffix == ".keras":
        whole.save(path)
    else:
        whole.save_weights(path)
    features = keras_nfnets.NFNet(tiny_variant(), features=True, weights=path)
    same = {v.path: v for v in whole.weights}
    assert {v.path for v in features.weights} == {
        name for name in same if not name.startswith("head/")
    }
    for variable in features.weights:
        np.testing.assert_array_equal(
            to_numpy(variable), to_numpy(same[variable.path])
        )
