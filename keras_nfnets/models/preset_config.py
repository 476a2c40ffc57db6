"""Reads and writes the `config.json` of a preset, in timm's form.

It names the network, its classes, and how images are prepared: size, crop, mean
and standard deviation. `Preset` holds the same as a `Variant` and the classes'
names.
"""

import dataclasses
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_nfnets.annotations import FilePath
from keras_nfnets.checks import unknown_name
from keras_nfnets.variants.plan import MIN_SIZE
from keras_nfnets.variants.table import VARIANTS, Variant
from keras_nfnets.variants.timm_names import architecture_of, variant_names

# What a preset may change of a row of the table: all that no weight depends on.
PREPARATION = (
    *("train_size", "test_size", "test_crop", "test_squash"),
    *("pixel_mean", "pixel_std", "dropout", "family"),
)
# Arguments of timm's models that leave the network as it is.
_HARMLESS = {"num_classes", "in_chans", "drop_rate", "drop_path_rate"}
_CROP_MODES = {"center": False, "squash": True}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Describes a network with its classes and its images.

    Args:
        variant: `Variant`, with the sizes, the crop, the mean and the standard
            deviation of the preset.
        classes: Integer, or `None` for a network without a classifier.
        class_names: Tuple of strings, or `None` where they are not known.
            Defaults to `None`.
    """

    variant: Variant
    classes: int | None
    class_names: Sequence[str] | None = None


def name_of(variant: Variant) -> str:
    """Returns the key of the row of `VARIANTS` with the same network.

    Args:
        variant: A `Variant`. It may differ from the row in `PREPARATION`.

    Raises:
        ValueError: If no row has the same network.

    Example:

    >>> name_of(dataclasses.replace(VARIANTS["nfnet_l0"], test_size=224))
    'nfnet_l0'
    """
    for name, row in VARIANTS.items():
        own = {field: getattr(row, field) for field in PREPARATION}
        if dataclasses.replace(variant, **own) == row:
            return name
    raise ValueError(
        "`variant` must be a network of the table, apart from its images. "
        f"Received: variant={variant!r}"
    )


def write(preset: Preset, path: FilePath) -> None:
    """Writes a `Preset` as timm's `config.json`.

    Args:
        preset: `Preset`.
        path: String or path of the file.

    Raises:
        ValueError: If the network is not in the table.
        OSError: If the file cannot be written.
    """
    variant = preset.variant
    channels, size = len(variant.pixel_mean), variant.test_size
    train = variant.train_size
    config: dict[str, Any] = {
        "architecture": architecture_of(name_of(variant)),
        "num_classes": preset.classes or 0,
        "pretrained_cfg": {
            "num_classes": preset.classes or 0,
            "input_size": [channels, train, train],
            "test_input_size": [channels, size, size],
            "interpolation": "bicubic",
            "crop_mode": "squash" if variant.test_squash else "center",
            # In timm from 0 to 1, here from 0 to 255.
            "mean": [round(x / 255, 12) for x in variant.pixel_mean],
            "std": [round(x / 255, 12) for x in variant.pixel_std],
        },
    }
    if channels != 3:
        config["model_args"] = {"in_chans": channels}
    if variant.test_crop is not None:
        config["pretrained_cfg"]["crop_pct"] = variant.test_crop
    if preset.class_names is not None:
        config["label_names"] = list(preset.class_names)
    Path(path).write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def read(path: FilePath) -> Preset:
    """Reads a `config.json` of timm.

    Fields that it does not have are those of the network's row in `VARIANTS`.

    Args:
        path: String or path of the file.

    Returns:
        A `Preset`.

    Raises:
        ValueError: If it is no such file, the architecture is none of the
            table (the message has near matches), or a field is wrong.

    Example:

    >>> read("pets/config.json").class_names
    ('cat', 'dog')
    """
    try:
        config = json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise _wrong(path, "hold an object", config)
    # Old files have all fields in one object.
    images = config.get("pretrained_cfg", config)
    if not isinstance(images, dict):
        raise _wrong(path, "have an object as `pretrained_cfg`", images)
    try:
        row = _row(config)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from None
    try:
        return _preset(row, images | config)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        problem = error
    raise ValueError(
        f"{str(path)!r} must be a configuration as timm writes it: {problem}"
    )


def _row(config):
    """Returns the row of the architecture, or raises with near matches."""
    name, names = config.get("architecture"), variant_names()
    if not isinstance(name, str) or name not in names:
        raise unknown_name(
            "architecture",
            str(name),
            "a network of this package, by timm's name",
            names,
            "`keras_nfnets.list_models()`",
        )
    arguments = config.get("model_args") or {}
    unknown = sorted(set(arguments) - _HARMLESS)
    if unknown:
        raise ValueError(
            "`model_args` must be of those that leave the network as it is: "
            f"{', '.join(sorted(_HARMLESS))}. Received: {', '.join(unknown)}"
        )
    return VARIANTS[names[name]]


def _preset(row, fields):
    """Returns the `Preset` of a row and a configuration's fields."""
    classes = fields.get("num_classes", 1000)
    if type(classes) is not int or classes < 0:
        raise ValueError(f"`num_classes` is {classes!r}")
    arguments = fields.get("model_args") or {}
    in_table = [len(row.pixel_mean), row.train_size, row.train_size]
    channels, size = _sides(fields, "input_size", in_table)
    channels = arguments.get("in_chans", channels)
    in_table = [channels, row.test_size, row.test_size]
    given = fields.get("input_size") or in_table
    _, test_size = _sides(fields, "test_input_size", given)
    crop = fields.get("test_crop_pct", fields.get("crop_pct", row.test_crop))
    if crop is not None and not (_are_numbers([crop]) and 0 < crop <= 1):
        raise ValueError(f"`crop_pct` is {crop!r}, not from 0 to 1")
    variant = dataclasses.replace(
        row,
        train_size=size,
        test_size=test_size,
        test_crop=crop,
        test_squash=_squash(fields, row),
        pixel_mean=_pixels(fields, "mean", row.pixel_mean, channels),
        pixel_std=_pixels(fields, "std", row.pixel_std, channels),
    )
    if min(variant.pixel_std) <= 0:
        raise ValueError(f"`std` is {fields['std']!r}, not positive")
    return Preset(variant, classes or None, _class_names(fields, classes))


def _sides(fields, name, default):
    """Returns the channels and the side of a size, which must be square."""
    size = fields.get(name) or default
    three = isinstance(size, list) and len(size) == 3
    channels, height, width = size if three else (0, 0, 0)
    whole = three and all(type(number) is int for number in size)
    if not whole or channels < 1 or height != width or height < MIN_SIZE:
        raise ValueError(
            f"`{name}` is {size!r}, not channels and equal sides of at least "
            f"{MIN_SIZE} pixels"
        )
    return channels, height


def _squash(fields, row):
    """Returns `test_squash`, and warns of images that are prepared otherwise.

    Only the crop in the middle and bicubic resizing are here.
    """
    mode = fields.get("crop_mode", "squash" if row.test_squash else "center")
    interpolation = fields.get("interpolation", "bicubic")
    if mode not in _CROP_MODES or interpolation != "bicubic":
        warnings.warn(
            "images are resized bicubically and cropped in the middle. The "
            f"configuration says {interpolation!r} and {mode!r}",
            stacklevel=5,
        )
    return _CROP_MODES.get(mode, False)


def _pixels(fields, name, default, channels):
    """Returns a mean or deviation for pixels in [0, 255]."""
    values = fields.get(name)
    if values is None:
        if len(default) != channels:
            raise ValueError(f"`{name}` is missing, for {channels} channel(s)")
        return default
    if not (_are_numbers(values) and len(values) == channels):
        raise ValueError(f"`{name}` is {values!r}, with {channels} channel(s)")
    return tuple(round(255 * value, 9) for value in values)


def _are_numbers(values):
    """Tells whether a value of JSON is a list of finite numbers."""
    return isinstance(values, list) and all(
        type(value) in (int, float) and math.isfinite(value) for value in values
    )


def _class_names(fields, classes):
    """Returns the names of the classes, or `None` where there are none."""
    names = fields.get("label_names", fields.get("labels"))
    if not names:
        return None
    if isinstance(names, dict):  # of numbers, which may have gaps
        keys = range(classes)
        names = [names.get(str(i), f"class {i}") for i in keys]
    if not isinstance(names, list):
        raise ValueError(f"`label_names` is {names!r}, not a list")
    if len(names) != classes:
        raise ValueError(f"`label_names` has {len(names)} of {classes} names")
    texts = fields.get("label_descriptions") or {}
    return tuple(str(texts.get(name, name)) for name in names)


def _wrong(path, rule, value):
    """Returns the error for a file of another form."""
    return ValueError(
        f"{str(path)!r} must {rule}. Received: {type(value).__name__}"
    )
