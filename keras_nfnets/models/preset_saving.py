"""Writes a model as a preset, once it is known that it can be read back."""

import os
from pathlib import Path

import keras

from keras_nfnets.files import replacing
from keras_nfnets.models import preset_config
from keras_nfnets.models.nfnet import NFNet
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights.names import collect, timm_targets
from keras_nfnets.weights.values import checked

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save(model, folder, overwrite):
    """Writes the folder of a preset, see `PresetModel.save_to_preset`.

    Args:
        model: `PresetModel`.
        folder: String or path.
        overwrite: Boolean, whether a preset at the path is replaced.
    """
    if model.variant is None:
        raise ValueError(
            "the model must have a `variant` to be a preset. Received: "
            "variant=None"
        )
    if not isinstance(folder, (str, os.PathLike)):
        raise ValueError(
            f"`folder` must be a string or a path. Received: folder={folder!r}"
        )
    folder = Path(folder)
    is_preset = (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()
    if folder.exists() and not (overwrite and is_preset):
        raise FileExistsError(
            "`folder` must not exist, or be a preset with `overwrite`. "
            f"Received: folder={str(folder)!r}, overwrite={overwrite}"
        )
    classes = _classes(model)
    targets = timm_targets(model)
    _check_weights(model, targets, classes)
    arrays = collect(targets)
    for name, array in arrays.items():
        checked(name, array)
    preset = preset_config.Preset(model.variant, classes, model.class_names)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing(folder) as temporary:
        temporary.mkdir()
        preset_config.write(preset, temporary / CONFIG)
        weight_files.write_arrays(arrays, temporary / WEIGHTS)


def _classes(model):
    """Returns the number of classes, or `None` without a classifier."""
    if "head" not in {layer.name for layer in model.layers}:
        raise ValueError(
            "the model must have a layer `head` to be a preset. Received: "
            f"a model with the outputs {model.output_names}"
        )
    return model.get_layer("head").classes


def _check_weights(model, targets, classes):
    """Raises a ValueError unless the weights are those of the variant."""
    # Shapes are all that is asked for.
    with keras.StatelessScope(initialize_variables=False):
        network = NFNet(
            model.variant,
            input_shape=model.inputs[0].shape[1:],
            include_top=classes is not None,
            classes=classes or 1000,
        )
    own, expected = (
        {name: target.shape for name, target in each.items()}
        for each in (targets, timm_targets(network))
    )
    for name in sorted(own.keys() | expected.keys()):
        if own.get(name) != expected.get(name):
            raise ValueError(
                "the model must have the weights of the network that its "
                f"`variant` says to be a preset: {name!r} of the shape "
                f"{expected.get(name)}. Received: {own.get(name)}"
            )
