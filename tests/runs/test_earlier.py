"""A run from before `Recipe` had all its fields keeps its old meaning."""

import json

import pytest
from helpers import BACKEND

from keras_nfnets.checks import MAX_PIXELS
from keras_nfnets.runs.folder import Run

pytestmark = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="files and words: one backend is enough"
)
# As it was written then, letter by letter.
CONFIG = """\
{
  "settings": {
    "recipe": {
      "epochs": 15,
      "batch_size": 64,
      "learning_rate": 0.1,
      "minimum_learning_rate": 0.0,
      "warmup_epochs": 2.0,
      "momentum": 0.9,
      "nesterov": true,
      "l2": 2e-05,
      "label_smoothing": 0.1,
      "dropout": 0.2,
      "stochastic_depth": 0.0,
      "clipping": 0.04,
      "epsilon": 0.001,
      "agc_exclude": [
        "skip_gain/gain$",
        "head/classifier/kernel$"
      ],
      "ema_decay": null,
      "train_size": 32,
      "test_size": 32,
      "test_margin": 0,
      "random_crop": false,
      "random_flip": false,
      "randaugment_layers": 0,
      "randaugment_magnitude": 0,
      "randaugment_after_mixing": true,
      "mixup_share": 0.25,
      "mixup_alpha": 0.2,
      "cutmix_share": 0.5,
      "cutmix_alpha": 1.0,
      "sam_rho": null,
      "sam_share": 0.2
    },
    "variant": "nfnet_pico",
    "recipe_name": "nfnet_pico",
    "data": "digits",
    "precision": "float32",
    "seed": 0
  },
  "class_names": [
    "0",
    "1"
  ],
  "mean": [
    77.8
  ],
  "std": [
    95.7
  ],
  "train_images": 1437,
  "test_images": 360,
  "backend": "tensorflow",
  "versions": {
    "python": "3.11.2",
    "keras": "3.15.1",
    "numpy": "2.4.1",
    "tensorflow": "2.21.0"
  }
}
"""


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    run.claim()
    run.config.write_text(CONFIG)
    return run


def test_fields_have_their_old_meaning(run):
    settings = run.read_config()["settings"]
    recipe = settings.recipe
    assert settings.max_pixels == MAX_PIXELS
    assert (recipe.mixup_fraction, recipe.cutmix_fraction) == (0.25, 0.5)
    assert (recipe.sam_fraction, recipe.clipping) == (0.2, 0.04)
    # An image was mixed with another of its batch, and stood there once.
    assert (recipe.mix_partners, recipe.repeats) == ("batch", 1)
    assert (settings.weights, settings.freeze_epochs) == (None, 0)
    assert (recipe.backbone_multiplier, recipe.crop_area) == (1, 0.08)


def test_it_is_not_resumed_as_something_else(run):
    with pytest.raises(ValueError, match="earlier .* not resumed.*mixup_share"):
        run.stored_settings({})


@pytest.mark.parametrize("name", ["mixup_share", "test_size", "momentum"])
def test_a_field_that_is_gone_is_named_there_too(run, name):
    content = json.loads(CONFIG)
    del content["settings"]["recipe"][name]
    run.config.write_text(json.dumps(content))
    named = name.replace("share", "fraction")
    with pytest.raises(ValueError, match=f"must have the field `{named}`"):
        run.read_config()


def test_names_of_both_are_refused(run):
    content = json.loads(CONFIG)
    content["settings"]["recipe"]["mixup_fraction"] = 0.5
    run.config.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must have the field `max_pixels`"):
        run.read_config()
