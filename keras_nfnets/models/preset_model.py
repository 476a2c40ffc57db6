"""Defines the model that `from_preset` returns.

It is a functional `AGCModel` that knows which network it is, how its images are
prepared and what its classes are called.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import keras

from keras_nfnets.annotations import FilePath
from keras_nfnets.training.model import AGCModel
from keras_nfnets.variants.plan import resolve_variant
from keras_nfnets.variants.table import Variant


@keras.saving.register_keras_serializable("keras_nfnets")
class PresetModel(AGCModel):
    """An `AGCModel` with its preprocessing and the names of its classes.

    `from_preset` returns one. One's own network, as `NFNet` returns it, becomes
    one by `PresetModel(model.input, model.output, variant="nfnet_l0")`.

    It takes images as `preprocess_input(images, model.variant)` returns them,
    and `evaluation_crop(image, model.variant)` crops for it.

    Args:
        *args: `inputs` and `outputs`, as for `keras.Model`.
        variant: String, a key of `VARIANTS`, or a `Variant`. Defaults to
            `None`, for which `keras.models.clone_model` calls; such a model
            is no preset. For other channels than its mean is for, each
            channel gets the mean over these.
        class_names: Sequence of strings, in the order of the outputs. Defaults
            to `None`, where they are not known.
        **kwargs: `inputs`, `outputs` and `name`, as for `keras.Model`.

    Attributes:
        variant: `Variant`, with the sizes, the crop, the mean and the standard
            deviation of the preset, or `None`.
        class_names: Tuple of strings, or `None`.

    Raises:
        ValueError: If `variant` is unknown, or `class_names` are not as many as
            the outputs.

    Example:

    >>> model = keras_nfnets.from_preset("nfnet_pico", load_weights=False)
    >>> crop = keras_nfnets.evaluation_crop(images[0], model.variant)
    >>> y = model(keras_nfnets.preprocess_input(crop[None], model.variant))
    """

    def __init__(
        self,
        *args: Any,
        variant: str | Variant | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.variant: Variant | None = None
        if variant is not None:
            row, _ = resolve_variant(variant)
            self.variant = _with_channels(row, self.inputs[0].shape[-1])
        check_class_names(class_names)
        if class_names is not None:
            class_names = tuple(map(str, class_names))
            self._check_count(class_names)
        self.class_names = class_names

    def _check_count(self, names):
        """Raises a ValueError unless there is a name for each output."""
        units = self.outputs[0].shape[-1]
        if len(names) != units:
            raise ValueError(
                f"`class_names` must have a name for each of {units} outputs. "
                f"Received: {len(names)} names"
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the config of a functional model, and what this one knows."""
        names, row = self.class_names, self.variant
        return super().get_config() | {
            "variant": None if row is None else dataclasses.asdict(row),
            "class_names": None if names is None else list(names),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "PresetModel":
        """Returns the model of a config.

        Args:
            config: Dictionary, as `get_config` returns it.
            custom_objects: Dictionary of classes by name. Defaults to `None`.
        """
        row = config["variant"]
        if row is not None:
            # JSON has no tuples.
            row = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in row.items()
            }
            config = config | {"variant": Variant(**row)}
        return super().from_config(config, custom_objects)

    def save_to_preset(self, folder: FilePath, overwrite: bool = False) -> None:
        """Writes the folder that `from_preset` reads.

        It has timm's files: `config.json` and `model.safetensors`. timm loads
        it too, as `"local-dir:FOLDER"`, if it has the network. The `pooling` of
        a network without a classifier is not in them. Both are written
        under a temporary name, and moved to the folder's at the end. The
        optimizer's state is not in it: `model.save` keeps that.

        Args:
            folder: String or path of the folder.
            overwrite: Boolean, whether a preset at the path is replaced, with
                all that is in its folder. Defaults to `False`.

        Raises:
            FileExistsError: If there is something at the path, unless
                it is a preset and `overwrite` is `True`.
            ValueError: If the model has no `variant` or no head; if its weights
                have other names or shapes than that network's, or are not
                finite; or if the network is not in the table, apart from its
                images.
            OSError: If the folder cannot be written.

        Example:

        >>> model = keras_nfnets.from_preset("nfnet_pico", load_weights=False)
        >>> model.save_to_preset("pets")
        >>> model = keras_nfnets.from_preset("pets")
        """
        # Not at the top: saved files name this class, so it is imported with
        # the package, and weight files would double what that takes.
        from keras_nfnets.models.preset_saving import save

        save(self, folder, overwrite)


def _with_channels(variant, channels):
    """Returns a variant whose mean and deviation are for these channels."""
    if channels == len(variant.pixel_mean):
        return variant
    return dataclasses.replace(
        variant,
        pixel_mean=(statistics.fmean(variant.pixel_mean),) * channels,
        pixel_std=(statistics.fmean(variant.pixel_std),) * channels,
    )


def check_class_names(names: Sequence[str] | None) -> None:
    """Raises a ValueError for one text in place of the names of classes.

    Args:
        names: What was given as `class_names`.
    """
    if isinstance(names, (str, bytes)):
        raise ValueError(
            "`class_names` must be a sequence of names. "
            f"Received: class_names={names!r}"
        )
