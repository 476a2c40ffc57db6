"""A size of images is one side or two, from the command line to the network."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import least_variant, to_numpy
from photo_runs import photo

import keras_nfnets
from keras_nfnets import cli, data, recipes
from keras_nfnets.export.sizes import at_size
from keras_nfnets.image_size import checked_size, shown, size_from
from keras_nfnets.recipes import Recipe
from keras_nfnets.runs.settings import Settings, from_options

WIDE = (32, 96)


def test_text_is_one_side_or_two():
    assert size_from("224") == size_from("224x224") == 224
    assert size_from("128x512") == (128, 512)
    assert [shown(size) for size in (224, (128, 512))] == ["224", "128x512"]
    for text in ("", "x", "1x2x3", "axb"):
        with pytest.raises(ValueError):
            size_from(text)


def test_a_square_is_one_number():
    assert checked_size(size=[64, 64]) == 64
    assert checked_size(size=[64, 32]) == (64, 32)
    for size in ((64, 0), (64,), (64, 1.5), "64"):
        with pytest.raises(ValueError, match="`size` must be a positive int"):
            checked_size(size=size)


def test_the_test_size_follows_each_side():
    recipe = recipes.get("nfnet_f0").scaled(train_size=(96, 384))
    assert (recipe.train_size, recipe.test_size) == ((96, 384), (128, 512))
    assert recipe.scaled(train_size=192) == recipes.get("nfnet_f0")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((31, 512), "at least 32 pixels"),
        ((512, 31), "at least 32 pixels"),
        ((9000, 9999), "must make images of 89478485 pixels at most"),
    ],
)
def test_sizes_that_no_network_takes(size, message):
    with pytest.raises(ValueError, match=message):
        from_options(image_size=size)


def test_settings_keep_it():
    settings = from_options(recipe="nfnet_f0", image_size=(128, 512))
    content = json.loads(json.dumps(settings.to_dict()))
    assert Settings.from_dict(content) == settings
    assert settings.differences(dict(image_size=(128, 512))) == {}
    content["recipe"]["train_size"] = [128, 512, 1]
    with pytest.raises(ValueError, match="an integer or a list of two int"):
        Settings.from_dict(content)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for name in "ab":
        (root / name).mkdir()
        for i in range(5):
            (root / name / f"{i}.png").write_bytes(photo(seed=i))
    return data.folder(root)


def test_batches_have_it(source):
    recipe = recipes.get("nfnet_f3").scaled(4, 2, WIDE)
    recipe = dataclasses.replace(recipe, test_size=(40, 80))
    (batch,) = data.train_batches(source, recipe).take(1)
    assert batch[0].shape == (4, 32, 96, 3)
    (batch,) = data.test_batches(source, recipe).take(1)
    assert batch[0].shape == (4, 40, 80, 3)


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize("shape", [(41, 90), (90, 41), (30, 120)])
def test_the_crop_is_that_of_the_resized_image(squash, shape):
    """The image covers the size, and its middle is taken."""
    crop = data.Crop((32, 48), (40, 64), squash, antialias=True)
    height, width = crop.sides(*shape)
    scale = max(40 / shape[0], 64 / shape[1])
    covering = (int(shape[0] * scale + 1e-9), int(shape[1] * scale + 1e-9))
    assert (height, width) == ((40, 64) if squash else covering)
    image = np.random.default_rng(0).uniform(0, 255, (*shape, 3))
    image = image.astype("float32")
    found = crop.of(image).numpy()
    resized = keras_nfnets.imagenet.resize_and_crop(
        image, (height, width), crop.size, antialias=True
    )
    np.testing.assert_array_equal(found, to_numpy(resized))
    assert found.shape == (32, 48, 3)
    with pytest.raises(ValueError, match="`resized` must not be below"):
        data.Crop((32, 48), (40, 47))


def test_random_crops_have_its_shape(source):
    """A crop of a wide size is wide in the image, too."""
    from keras_nfnets.data.decoding import _random_box

    recipe = keras_nfnets.recipes.Recipe(train_size=(32, 128))
    ratios = []
    for seed in range(50):
        _, (height, width, _) = _random_box((100, 400, 3), recipe, (0, seed))
        ratios.append(int(width) / int(height))
    # Sides are whole pixels: of 28 rows at least, a half is 2 %.
    assert 4 * 3 / 4 * 0.97 < min(ratios) < max(ratios) < 4 * 4 / 3 * 1.03


def test_exported_at_it():
    model = keras_nfnets.NFNet(least_variant(), classes=3)
    assert at_size(model, WIDE).input_shape == (None, 32, 96, 3)
    assert at_size(model, WIDE)(np.zeros((1, *WIDE, 3))).shape == (1, 3)


def test_command_line_draws_it(source, tmp_path, capsys):
    picture = tmp_path / "seen.png"
    arguments = ["--recipe", "nfnet_pico", "--image-size", "32x64"]
    command = ["data", "digits", *arguments, "--show", str(picture)]
    assert cli.main(command) == 0
    assert picture.exists()
    with pytest.raises(SystemExit):
        cli.main([*command[:-2], "--image-size", "32y64", "--show", "x.png"])
    assert "--image-size" in capsys.readouterr().err


def test_wrong_sizes_of_a_recipe_are_named():
    with pytest.raises(ValueError, match="`train_size` must be a positive"):
        Recipe(train_size=(64, -1))
