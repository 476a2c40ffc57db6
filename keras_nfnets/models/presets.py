"""Builds a network from a preset: its description and its weights.

A preset is a folder with timm's `config.json` and `model.safetensors`, on this
machine or on the Hugging Face Hub, or a name of the table, which stands for the
published weights.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import unknown_name
from keras_nfnets.models import preset_config
from keras_nfnets.models.nfnet import NFNet
from keras_nfnets.models.preset_config import Preset
from keras_nfnets.models.preset_model import PresetModel, check_class_names
from keras_nfnets.models.preset_saving import CONFIG, WEIGHTS
from keras_nfnets.variants.table import VARIANTS
from keras_nfnets.weights import files as weight_files
from keras_nfnets.weights import hub
from keras_nfnets.weights.published import SOURCES, fetch

# What other repositories and folders have in place of WEIGHTS. Loading one
# runs the code that it names.
PICKLED = "pytorch_model.bin"


def from_preset(
    preset: FilePath,
    load_weights: bool = True,
    class_names: Sequence[str] | None = None,
    **kwargs: Any,
) -> PresetModel:
    """Builds the network of a preset, with its preprocessing and class names.

    Args:
        preset: String or path. `"hf://OWNER/NAME"` is a repository of timm's
            form on the Hugging Face Hub, `"hf://OWNER/NAME@REVISION"` one of
            its revisions; it needs the extra `hub`, which has the cache, the
            token and the offline mode. A key of `VARIANTS` stands for the
            published weights, as `NFNet(weights="imagenet")`. All else is the
            path of a folder that `PresetModel.save_to_preset` or timm wrote.
        load_weights: Boolean, whether the weights are loaded. Without them no
            weights need to be there. Defaults to `True`.
        class_names: Sequence of strings, the classes to train on in place of
            the preset's. With another number the classifier stays fresh, with
            a warning. Defaults to `None`, those of the preset.
        **kwargs: Further arguments of `NFNet`, such as `input_shape`,
            `classes` and `stochastic_depth`. With other channels than the
            preset's, each is normalized by the mean over the preset's.

    Returns:
        A `PresetModel`.

    Raises:
        ValueError: If the architecture is not in the table (the message has
            near matches), the configuration or the weights are damaged or of
            another network, or the weights are pickled; if nobody published
            the named weights; or if an argument is wrong.
        FileNotFoundError: If a file of the preset is missing.
        ImportError: If the extra `hub` is needed and not installed.
        OSError: If a file cannot be fetched.

    Example:

    >>> preset = "hf://timm/eca_nfnet_l0.ra2_in1k"
    >>> model = keras_nfnets.from_preset(preset)  # doctest: +SKIP
    >>> pets = keras_nfnets.from_preset(
    ...     "nfnet_pico", load_weights=False, class_names=["cat", "dog"]
    ... )
    >>> pets.save_to_preset("pets")
    >>> keras_nfnets.from_preset("pets").class_names
    ('cat', 'dog')
    """
    check_class_names(class_names)
    found, weights = _find(preset, load_weights)
    arrays = None
    if weights is not None:
        arrays = weight_files.read(weights)
        _check_classes(found, arrays, preset)
    if class_names is not None:
        kwargs.setdefault("classes", len(class_names))
    kwargs.setdefault("include_top", found.classes is not None)
    kwargs.setdefault("classes", found.classes or 1000)
    kwargs.setdefault("name", preset_config.name_of(found.variant))
    channels = len(found.variant.pixel_mean)
    kwargs.setdefault("input_shape", (None, None, channels))
    network = NFNet(found.variant, **kwargs)
    if arrays is not None:
        _load(network, arrays, preset)
    if class_names is None and kwargs["include_top"]:
        same = kwargs["classes"] == found.classes
        class_names = found.class_names if same else None
    return PresetModel(
        network.input,
        network.output,
        variant=found.variant,
        class_names=class_names,
        name=network.name,
    )


def _load(network, arrays, preset):
    """Loads a preset's weights, and names it where they do not fit."""
    try:
        weight_files.load_arrays(network, arrays)
    except ValueError as error:
        raise ValueError(
            f"The weights of {str(preset)!r} must be of the network that its "
            f"{CONFIG} names: {error}"
        ) from None


def is_preset(path: FilePath) -> bool:
    """Tells whether a path is of a preset, with weights of any kind.

    Args:
        path: String or path.
    """
    # As a path, "hf://" would lose a slash.
    return str(path).startswith(hub.SCHEME) or any(
        (Path(path) / name).is_file() for name in (WEIGHTS, PICKLED)
    )


def _find(preset, load_weights):
    """Returns the `Preset`, and the path of its weights if they are loaded."""
    if not isinstance(preset, (str, os.PathLike)):
        raise ValueError(
            f"`preset` must be a string or a path. Received: preset={preset!r}"
        )
    text = os.fspath(preset)
    if text.startswith("hf:"):
        found = preset_config.read(hub.fetch_file(text, CONFIG))
        return found, _weights_on_hub(text) if load_weights else None
    if isinstance(preset, str) and preset in VARIANTS:
        if load_weights and preset not in SOURCES:
            raise ValueError(
                "`preset` must be a network with published weights, or "
                "`load_weights` must be `False`. `keras-nfnets list "
                f"--pretrained` lists them. Received: preset={preset!r}"
            )
        weights = fetch(preset) if load_weights else None
        return Preset(VARIANTS[preset], 1000), weights
    folder = Path(text)
    if not text or not folder.is_dir():
        raise unknown_name(
            "preset",
            text,
            "hf://OWNER/NAME, a folder that is there, or the name of a network",
            [*VARIANTS, *([f"hf://{text}"] if text.count("/") == 1 else [])],
            "`keras_nfnets.list_models()`",
        )
    found = preset_config.read(_file(folder, CONFIG))
    return found, _file(folder, WEIGHTS) if load_weights else None


def _weights_on_hub(address):
    """Returns the path of a repository's weights."""
    try:
        return hub.fetch_file(address, WEIGHTS)
    except FileNotFoundError:
        if hub.has_file(address, PICKLED):
            raise _pickled(address) from None
        raise


def _file(folder, name):
    """Returns the path of a file in a folder, or raises an error."""
    path = folder / name
    if path.is_file():
        return path
    if name == WEIGHTS and (folder / PICKLED).is_file():
        raise _pickled(folder)
    raise FileNotFoundError(
        f"The preset {str(folder)!r} must have the files {CONFIG!r} and "
        f"{WEIGHTS!r}. There is no {name!r}"
    )


def _pickled(preset):
    """Returns the error for a preset whose weights are a pickle."""
    return ValueError(
        f"The weights of a preset must be in {WEIGHTS!r}. {str(preset)!r} has "
        f"them pickled alone, in {PICKLED!r}: loading these may run any code. "
        "`keras-nfnets convert` reads such a file with PyTorch, without "
        "running code, and NFNet(weights=...) what it writes"
    )


def _check_classes(found, arrays, preset):
    """Raises a ValueError if configuration and weights differ in classes."""
    classes = weight_files.classes_of(arrays)
    if classes != found.classes:
        raise ValueError(
            f"The configuration and the weights of {str(preset)!r} must have "
            f"the same classes. Received: num_classes={found.classes or 0} and "
            f"weights of {classes or 'no'} classes"
        )
