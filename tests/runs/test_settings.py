"""Settings of a run are read, scaled, stored and compared."""

import dataclasses
import json

import pytest

from keras_nfnets import recipes
from keras_nfnets.runs.settings import OPTIONS, Settings, from_options


def test_recipe_alone_is_the_papers_run():
    settings = from_options(recipe="nfnet_f1", data="tfds:imagenet2012")
    assert settings.recipe == recipes.get("nfnet_f1")
    assert settings.variant == "nfnet_f1"


def test_options_scale_the_recipe():
    settings = from_options(
        recipe="nfnet_f1", batch_size=256, epochs=90, image_size=112, seed=3
    )
    recipe = recipes.get("nfnet_f1").scaled(256, 90, 112)
    assert settings.recipe == recipe
    assert recipe.learning_rate == 0.1
    assert settings.seed == 3


def test_learning_rate_and_clipping_stand_as_given():
    settings = from_options(batch_size=128, learning_rate=0.3, clipping=0.5)
    assert settings.recipe.learning_rate == 0.3
    assert settings.recipe.clipping == 0.5


def test_a_clipping_of_zero_turns_agc_off():
    settings = from_options(clipping=0.0)
    assert settings.recipe.clipping is None
    assert settings.differences(dict(clipping=0.0)) == {}
    assert settings.differences(dict(clipping=0.1)) == dict(clipping=0.0)
    assert settings.recipe.compile_args(9)["agc"] is None


def test_recipe_for_any_network_has_its_sizes():
    recipe = from_options(recipe="finetune", variant="nfnet_f3").recipe
    assert (recipe.train_size, recipe.test_size) == (320, 416)
    assert recipe.dropout == 0.4
    assert recipe.backbone_multiplier == 0.1


def test_recipe_of_another_network():
    settings = from_options(recipe="nfnet_f0", variant="nf_resnet50")
    assert settings.variant == "nf_resnet50"
    assert settings.recipe == recipes.get("nfnet_f0")


def test_round_trip_through_json():
    settings = from_options(precision="bfloat16", clipping=0.5)
    content = json.loads(json.dumps(settings.to_dict()))
    assert Settings.from_dict(content) == settings
    fields = {f.name for f in dataclasses.fields(recipes.Recipe)}
    assert set(content["recipe"]) == fields


def test_differences_are_what_was_given_otherwise():
    settings = from_options(epochs=3, batch_size=32)
    assert settings.differences(dict(epochs=3, batch_size=32)) == {}
    other = dict(epochs=4, batch_size=32, seed=1)
    assert settings.differences(other) == dict(epochs=3, seed=0)


def test_every_option_reads_what_it_sets():
    values = dict(
        recipe="nfnet_f0",
        variant="nf_resnet50",
        data="folder:x",
        batch_size=8,
        epochs=3,
        image_size=64,
        learning_rate=0.5,
        clipping=0.25,
        precision="float16",
        seed=7,
        max_pixels=10**6,
        weights="f0.npz",
        freeze_epochs=2,
    )
    assert set(values) == set(OPTIONS)
    settings = from_options(**values)
    assert {n: o.read(settings) for n, o in OPTIONS.items()} == values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(recipe="nfnet_f00"),
            "`name` must be the name of a recipe. Did you mean 'nfnet_f0'",
        ),
        (dict(image_size=10**20), "`image_size` must not be above 2147483647"),
        (dict(image_size=9999), "must make images of 89478485 pixels at most"),
        (dict(seed=10**20), "`seed` must be from 0 to"),
        (dict(max_pixels=0), "`max_pixels` must be a positive integer"),
        (dict(precision="half"), "`precision` must be one of .*'half'"),
        (dict(seed=-1), "`seed` must be from 0 .* Received: seed=-1"),
        (dict(epochs=0), "`epochs` must be a positive integer"),
        (dict(image_size=31), "must be at least 32 pixels"),
        (dict(clipping=-0.1), "`clipping` must be positive"),
        (dict(recipe="finetune"), "`variant` must be given .*'finetune'"),
        (
            dict(weights="imagenet", freeze_epochs=-1),
            "`freeze_epochs` must be a positive integer",
        ),
        (dict(learning_rate=float("nan")), "`learning_rate` must be positive"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        from_options(**options)
