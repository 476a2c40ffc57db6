"""The rows of the table have the papers' numbers."""

import dataclasses

import keras
import pytest

import keras_nfnets
from keras_nfnets import VARIANTS, recipes
from keras_nfnets.recipes import RECIPES

IMAGES = 1281167  # of ImageNet's training part
FAMILIES = ("nfnet_f", "nf_resnet", "nf_regnet")

# What all F variants have in common, written out.
F = dict(
    epochs=360,
    batch_size=4096,
    learning_rate=1.6,
    minimum_learning_rate=0.0,
    warmup_epochs=5,
    momentum=0.9,
    nesterov=True,
    l2=2e-5,
    label_smoothing=0.1,
    stochastic_depth=0.25,
    clipping=0.01,
    epsilon=1e-3,
    agc_exclude="classifier",
    ema_decay=0.99999,
    test_margin=32,
    random_crop=True,
    random_flip=True,
    randaugment_layers=4,
    randaugment_after_mixing=True,
    randaugment_corrected=False,
    repeats=1,
    mix_partners="pairs",
    mixup_fraction=0.5,
    mixup_alpha=0.2,
    cutmix_fraction=0.5,
    cutmix_alpha=1.0,
    sam_fraction=0.2,
)
REGNET = F | dict(
    batch_size=1024,
    learning_rate=0.4,
    minimum_learning_rate=0.001,
    stochastic_depth=0.1,
    clipping=None,
    randaugment_layers=0,
    randaugment_magnitude=0,
    sam_rho=None,
)


def of_variant(dropout, train_size, test_size, **others):
    return dict(
        dropout=dropout, train_size=train_size, test_size=test_size, **others
    )


@pytest.mark.parametrize(
    "name, expected",
    [
        (
            "nfnet_f0",
            F
            | of_variant(0.2, 192, 256, randaugment_magnitude=5, sam_rho=None),
        ),
        (
            "nfnet_f1",
            F
            | of_variant(0.3, 224, 320, randaugment_magnitude=10, sam_rho=None),
        ),
        (
            "nfnet_f5",
            F
            | of_variant(0.5, 416, 544, randaugment_magnitude=15, sam_rho=None),
        ),
        (
            "nfnet_f6",
            F
            | of_variant(0.5, 448, 576, randaugment_magnitude=15, sam_rho=0.05),
        ),
        (
            "nfnet_f5_repeated",
            F
            | of_variant(
                0.5,
                416,
                544,
                randaugment_magnitude=15,
                sam_rho=0.05,
                repeats=16,
            ),
        ),
        ("nf_regnet_b0", REGNET | of_variant(0.2, 192, 224, l2=5e-5)),
        ("nf_regnet_b4", REGNET | of_variant(0.4, 320, 384, l2=9e-5)),
    ],
)
def test_numbers_are_the_papers(name, expected):
    assert dataclasses.asdict(recipes.get(name)) == expected


def test_every_network_of_the_papers_has_a_recipe():
    papers = {
        name
        for name in VARIANTS
        if name.startswith(FAMILIES) and not name.endswith("_timm")
    }
    assert set(RECIPES) == papers | {"nfnet_pico", "nfnet_f5_repeated"}


@pytest.mark.parametrize("name", RECIPES)
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


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"nfnet_pico"}))
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
