"""The rows of the table have the papers' numbers."""

import dataclasses
import json
import re

import keras
import pytest
from helpers import FILES

import keras_nfnets
from keras_nfnets import VARIANTS, recipes
from keras_nfnets.options import OTHER_RECIPES
from keras_nfnets.recipes import RECIPES

IMAGES = 1281167  # of ImageNet's training part
FAMILIES = ("nfnet_f", "nf_resnet", "nf_regnet")


def statements():
    """Yields what the papers say: pattern of recipes' names, values, source."""
    file = json.loads((FILES / "recipes.json").read_text())
    for each in file["statements"]:
        yield each["recipes"], each["values"], each["source"]
    for table in file["tables"]:
        for pattern, row in table["rows"].items():
            values = dict(zip(table["columns"], row, strict=True))
            yield pattern, values, table["source"]


STATEMENTS = list(statements())
FINETUNED = [name for name in RECIPES if name.endswith("_finetune")]
PAPERS = [
    name
    for name in RECIPES
    if name.startswith(FAMILIES) and name not in FINETUNED
]
# What no source says, as the papers' recipes leave it out or we say how.
UNSAID = {
    "nfnet_f": {"repeats", "randaugment_corrected", "backbone_multiplier"},
    "nf_regnet": {
        "repeats",
        "backbone_multiplier",
        "test_margin",
        # They have no RandAugment, no AGC and no SAM to say it of.
        "randaugment_corrected",
        "randaugment_magnitude",
        "randaugment_after_mixing",
        "epsilon",
        "agc_exclude",
        "sam_fraction",
    },
}
UNSAID["nf_resnet"] = UNSAID["nf_regnet"] | {
    "train_size",
    "test_size",
    "dropout",
    "mix_partners",
    "mixup_alpha",
    "cutmix_alpha",
}


@pytest.mark.parametrize(("pattern", "values", "source"), STATEMENTS)
def test_numbers_are_the_papers(pattern, values, source):
    named = [name for name in PAPERS if re.fullmatch(pattern, name)]
    assert named
    for name in named:
        recipe = dataclasses.asdict(recipes.get(name))
        assert recipe | values == recipe, (name, source)


@pytest.mark.parametrize("name", PAPERS)
def test_every_field_has_a_source(name):
    said = set()
    for pattern, values, _ in STATEMENTS:
        if re.fullmatch(pattern, name):
            said |= set(values)
    fields = {field.name for field in dataclasses.fields(RECIPES[name])}
    (unsaid,) = (UNSAID[f] for f in FAMILIES if name.startswith(f))
    assert said <= fields
    # What only some of a family's rows say: L2 after B5, SAM, `repeats`.
    some = {"l2", "sam_rho", "sam_fraction", "repeats"}
    assert fields - said - some == unsaid - some


def test_every_network_of_the_papers_has_a_recipe():
    papers = {
        name
        for name in VARIANTS
        if name.startswith(FAMILIES) and not name.endswith("_timm")
    }
    others = {"nfnet_pico", "nfnet_f5_repeated", "finetune", *FINETUNED}
    assert set(RECIPES) == papers | others
    # A wrong option is refused before the recipes are imported.
    assert set(OTHER_RECIPES) | papers | {"nfnet_pico"} == set(RECIPES)


def test_finetuning_on_imagenet_is_the_papers():
    networks = ("f0", "f1", "f3", "f3_plus", "f7", "f7_plus")
    assert FINETUNED == [f"nfnet_{name}_finetune" for name in networks]
    for name in FINETUNED:
        recipe = recipes.get(name)
        assert (recipe.epochs, recipe.sam_rho) == (50, 0.05)
        assert (recipe.train_size, recipe.test_size) == (384, 480)
        # What it does not state is that of the network, at a tenth of the rate.
        network = recipes.get(recipes.variant_of(name))
        changed = ("epochs", "sam_rho", "train_size", "test_size")
        own = {field: getattr(recipe, field) for field in changed}
        rate = network.learning_rate / 10
        expected = dataclasses.replace(network, learning_rate=rate, **own)
        assert recipe == expected


@pytest.mark.parametrize(
    "name", sorted(set(RECIPES) - {"finetune", *FINETUNED})
)
def test_sizes_and_dropout_are_the_variants(name):
    recipe, variant = RECIPES[name], VARIANTS[recipes.variant_of(name)]
    assert recipe.train_size == variant.train_size
    assert recipe.test_size == variant.test_size
    assert recipe.dropout == variant.dropout


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_compiles_a_model(name):
    model = keras_nfnets.AGCModel(
        inputs := keras.Input((4,)), keras.layers.Dense(3)(inputs)
    )
    recipe = dataclasses.replace(RECIPES[name], agc_exclude=())
    model.compile(**recipe.compile_args(IMAGES / recipe.batch_size))
    assert set(recipe.model_args()) == {"dropout", "stochastic_depth"}


OF_OTHER_RATES = {"nfnet_pico", "finetune", *FINETUNED}


@pytest.mark.parametrize("name", sorted(set(RECIPES) - OF_OTHER_RATES))
def test_learning_rate_is_a_tenth_per_256_images(name):
    recipe = RECIPES[name]
    expected = 0.1 * recipe.batch_size / 256
    assert recipe.learning_rate == pytest.approx(expected)
    scaled = recipe.scaled(batch_size=64)
    assert scaled.learning_rate == pytest.approx(0.025)
    assert scaled.minimum_learning_rate == pytest.approx(
        recipe.minimum_learning_rate * 64 / recipe.batch_size
    )


@pytest.mark.parametrize("name", ["nfnet_f00", "nf_regnet_b9", "NFNet_F0"])
def test_unknown_names_get_near_matches(name):
    with pytest.raises(ValueError, match="`name` .*Did you mean '.*Received"):
        recipes.get(name)
