"""A network with timm's weights computes what timm's network does."""

import dataclasses

import keras
import pytest
from helpers import (
    BACKEND,
    Reference,
    assert_outputs,
    evaluate,
    variant_of_timm,
)

import keras_nfnets
from keras_nfnets.variants.plan import block_arguments
from keras_nfnets.weights.names import (
    assign,
    collect,
    haiku_targets,
    timm_targets,
)

MODELS = [
    "dm_nfnet",
    "nfnet_f",
    "nfnet_l",
    "eca_nfnet_l",
    "nf_resnet",
    "nf_seresnet",
    "nf_ecaresnet",
    "nf_regnet",
]
TAGS = ["even", "odd"]
if BACKEND == "jax":
    # Each compiles for seconds: one of each family.
    MODELS, TAGS = ["nfnet_f", "eca_nfnet_l", "nf_regnet"], ["odd"]


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    reference = Reference(f"timm_{request.param}")
    model = keras_nfnets.NFNet(
        variant_of_timm(reference.meta["cfg"]),
        classes=reference.meta["kwargs"]["num_classes"],
        classifier_activation=None,
    )
    assign(timm_targets(model), reference.under("state_dict/"))
    return reference, model


def test_blocks_are_timm_s(case):
    reference, model = case
    plan = block_arguments(variant_of_timm(reference.meta["cfg"]))
    for expected, arguments in zip(reference.meta["blocks"], plan, strict=True):
        block = model.get_layer(arguments["name"])
        assert arguments["beta"] == pytest.approx(expected["beta"], rel=1e-12)
        assert arguments["strides"] == expected["stride"]
        assert arguments["filters"] == expected["out_chs"]
        assert block.conv1.filters == expected["mid_chs"]
        assert block.conv1.groups == expected["groups"]
        assert block.projects == expected["downsample"]
    assert model.count_params() == reference.meta["n_params"]


@pytest.mark.parametrize("tag", TAGS)
def test_features_and_logits_are_timm_s(case, tag):
    reference, model = case
    head, last = model.get_layer("head"), {}
    for layer in model.layers:
        if layer.name.startswith("stage"):
            last[f"stage_{int(layer.name[5]) - 1}"] = layer.output
    x = last["stage_3"]
    features = head.act(head.conv(x) if head.conv else x)
    outputs = {
        "forward_features": features,
        "pre_logits": keras.ops.mean(features, axis=(1, 2)),
        "logits": model.output,
    }
    if tag == "odd":  # the file has the stages of this one only
        outputs |= last
    found = evaluate(keras.Model(model.input, outputs), reference[f"{tag}/x"])
    for name, array in found.items():
        assert_outputs(array, reference[f"{tag}/{name}"])


def test_state_dictionary_comes_back_to_the_byte(case):
    reference, model = case
    expected = reference.under("state_dict/")
    found = collect(timm_targets(model))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.skipif(BACKEND == "jax", reason="networks like those above")
def test_one_set_of_weights_in_both_sources():
    """The papers' network and timm's of the same shape, one set of weights."""
    reference = Reference("cross_dm_timm")
    theirs = variant_of_timm(reference.meta["cfg"])
    papers = dataclasses.replace(
        theirs, activation="gelu", epsilon=1e-4, epsilon_rule="floor"
    )
    arrays = reference.under("params/")
    for variant, name in ((papers, "logits"), (theirs, "timm_logits")):
        model = keras_nfnets.NFNet(
            variant, classes=10, classifier_activation=None
        )
        assign(haiku_targets(model), arrays)
        for tag in ("even", "odd"):
            found = evaluate(model, reference[f"{tag}/x"])
            assert_outputs(found, reference[f"{tag}/{name}"])
    # timm's names for the same variables, as timm itself maps them.
    haiku, timm = haiku_targets(model), timm_targets(model)
    names = reference.meta["names"]
    assert names.keys() == haiku.keys()
    for theirs, ours in names.items():
        assert timm[ours].variable is haiku[theirs].variable
