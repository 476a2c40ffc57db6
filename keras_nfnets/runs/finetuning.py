"""Starts a run from trained weights, and freezes all but its classifier.

`settings_of` makes settings from options, and takes from the weights what the
options leave open. `load` puts the weights into a new network, and
`with_statistics` normalizes images as for the weights. A run with
`freeze_epochs` has two parts, each with a schedule and an optimizer of its own:
`recipe_of_part` has their settings, and `freeze` and `unfreeze` change the
network in between.
"""

import dataclasses
import warnings
from pathlib import Path

import numpy as np

from keras_nfnets import recipes
from keras_nfnets.runs.folder import Run
from keras_nfnets.runs.settings import from_options
from keras_nfnets.variants.table import VARIANTS
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights.published import fetch

IMAGENET = "imagenet"
# What a recipe for any network takes from the run that the weights are of. It
# says how much of an image is its subject, and whether the mirrored one is the
# same.
FRAMING = ("random_crop", "random_flip", "test_margin")


def origin(weights):
    """Returns the run whose best model `weights` names, or `None`.

    Args:
        weights: String, a path or `"imagenet"`. A run's `model.keras` stands
            for its folder.
    """
    path = Path(weights)
    if weights == IMAGENET:
        return None
    if path.name == "model.keras" and (path.parent / "config.json").exists():
        path = path.parent
    return Run(path) if path.is_dir() else None


def settings_of(options):
    """Returns the settings of a new run, completed from its weights.

    Args:
        options: Dictionary of values, by name in `OPTIONS`.

    Raises:
        FileNotFoundError: If there is nothing at the path of the weights.
        ValueError: If an option has a value that it cannot have, or the weights
            cannot be read, or fit several networks of which the recipe names
            none.
    """
    settings = from_options(**completed(options))
    run = settings.weights and origin(settings.weights)
    if not run or recipes.variant_of(settings.recipe_name) is not None:
        return settings
    trained = run.read_config()["settings"].recipe
    framing = {name: getattr(trained, name) for name in FRAMING}
    recipe = dataclasses.replace(settings.recipe, **framing)
    return dataclasses.replace(settings, recipe=recipe)


def completed(options):
    """Adds what follows from the weights to the options of a new run.

    A run as the origin of the weights says which network it is and, for a
    recipe without a network, the size of the images. Otherwise the network is
    the only one that the file fits.

    Args:
        options: Dictionary of values, by name in `OPTIONS`.

    Returns:
        A dictionary.

    Raises:
        FileNotFoundError: If there is nothing at the path of the weights.
        ValueError: If the weights cannot be read, or fit several networks of
            which the recipe names none.
    """
    weights = options.get("weights")
    recipe = options.get("recipe")
    if weights is None:
        return options
    run = origin(weights)
    if run is not None:
        settings = run.read_config()["settings"]
        known = {"variant": settings.variant}
        if recipe and recipes.variant_of(recipe) is None:
            known["image_size"] = settings.recipe.train_size
        return known | options
    names = {"variant"} & options.keys()
    if names or weights == IMAGENET or not recipe:
        return options
    if recipes.variant_of(recipe) is not None:
        return options
    return {"variant": _only_variant(weights), **options}


def _only_variant(weights):
    """Returns the one network whose weights a file may have."""
    names = weight_files.variants_in(weights)
    if len(names) == 1:
        return names[0]
    raise ValueError(
        "`variant` must be given where the weights do not tell it. Received: "
        f"weights={weights!r}, which fit "
        f"{' and '.join(names) or 'no network with images of 3 channels'}"
    )


def load(model, settings):
    """Loads the weights of a run's settings; the classifier stays new.

    Args:
        model: A model as `NFNet` returns it.
        settings: `Settings` with `weights`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the weights are damaged or of another network.
    """
    run = origin(settings.weights)
    path = settings.weights if run is None else run.model
    if path == IMAGENET:
        path = fetch(settings.variant)
    classifier = model.get_layer("head").classifier
    new = classifier.get_weights()
    with warnings.catch_warnings():
        # Both are what is asked for here.
        for message in ("The classifier stays", "The first kernel was fitted"):
            warnings.filterwarnings("ignore", message)
        weight_files.load(model, path)
    # Where the numbers of classes agree, the file's was loaded.
    classifier.set_weights(new)


def with_statistics(source, settings):
    """Returns a source whose pixels are normalized as for the weights.

    Grey images get the mean over the statistics of three channels.

    Args:
        source: `Source`.
        settings: `Settings`. Without `weights` the source stays as it is.
    """
    if settings.weights is None:
        return source
    row = VARIANTS[settings.variant]
    mean, std = row.pixel_mean, row.pixel_std
    run = origin(settings.weights)
    if run is not None:
        config = run.read_config()
        mean, std = config["mean"], config["std"]
    if source.channels == 1:
        mean, std = ((float(np.mean(values)),) for values in (mean, std))
    if source.channels != len(mean):
        return source
    return dataclasses.replace(source, mean=tuple(mean), std=tuple(std))


def as_trained(source, run):
    """Returns a source whose pixels are normalized as in a run's training.

    Args:
        source: `Source` of the run's data.
        run: `Run`.

    Raises:
        ValueError: If the source has another number of channels.
    """
    config = run.read_config()
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if source.channels != len(mean):
        raise ValueError(
            "The data of a run must have the channels it was started with: "
            f"{len(mean)}. Received: {source.channels}"
        )
    return dataclasses.replace(source, mean=mean, std=std)


def recipe_of_part(settings, frozen):
    """Returns the recipe of one part of a run.

    Args:
        settings: `Settings`.
        frozen: Boolean, whether it is the part in which the classifier alone is
            trained. That part has no AGC, which excludes the classifier.

    Returns:
        A `Recipe` with the epochs of that part.
    """
    recipe, first = settings.recipe, settings.freeze_epochs
    if frozen:
        return dataclasses.replace(recipe.scaled(epochs=first), clipping=None)
    return recipe.scaled(epochs=recipe.epochs - first) if first else recipe


def freeze(model):
    """Freezes all weights but the classifier's. Compile the model then.

    Args:
        model: A model as `NFNet` returns it.
    """
    _set_backbone_trainable(model, False)


def unfreeze(model):
    """Makes all weights trainable again. Compile the model then.

    Args:
        model: A model as `NFNet` returns it.
    """
    _set_backbone_trainable(model, True)


def _set_backbone_trainable(model, value):
    head = model.get_layer("head")
    for layer in model.layers:
        if layer is not head:
            layer.trainable = value
    if head.conv:
        head.conv.trainable = value


def is_frozen(model):
    """Tells whether `freeze` was the last to change a model.

    Args:
        model: A Keras model.
    """
    return not all(variable.trainable for variable in model.weights)
