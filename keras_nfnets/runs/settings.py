"""Defines the settings of a run, complete as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_nfnets import recipes
from keras_nfnets.checks import MAX_PIXELS, check_positive_integer, check_seed
from keras_nfnets.options import OPTIONS, PRECISIONS
from keras_nfnets.recipes.recipe import Recipe
from keras_nfnets.runs.earlier import translated
from keras_nfnets.runs.stored import check_known, check_object, rules_of


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the course of a run; `config.json` holds it.

    Args:
        recipe: `Recipe`, with all its numbers.
        variant: String, a key of `VARIANTS`.
        recipe_name: String, the key of `RECIPES` that the recipe was made of.
        data: String, as for `keras_nfnets.data.open_source`. Defaults to
            `"digits"`.
        precision: String, a key of `PRECISIONS`. Defaults to `"float32"`.
        seed: Integer, of the weights, the order of the images, what is random
            about them, and dropout. Which images are held out does not depend
            on it. Defaults to `0`.
        max_pixels: Integer, how many pixels an image file may have. Defaults
            to `MAX_PIXELS`, 89,478,485.

    Raises:
        ValueError: If `precision` is unknown, `seed` outside [0, 2**32) or
            `max_pixels` not a positive integer.

    Example:

    >>> name = "nfnet_f1"
    >>> settings = Settings(keras_nfnets.recipes.get(name), name, name)
    """

    recipe: Recipe
    variant: str
    recipe_name: str
    data: str = "digits"
    precision: str = "float32"
    seed: int = 0
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"`precision` must be one of {sorted(PRECISIONS)}. "
                f"Received: precision={self.precision!r}"
            )
        check_seed(seed=self.seed)
        check_positive_integer(max_pixels=self.max_pixels)

    def to_dict(self) -> dict[str, Any]:
        """Returns nested dictionaries of what JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Settings":
        """Returns the settings that `to_dict` was called of.

        Args:
            content: Dictionary.

        Raises:
            ValueError: If it is not what `to_dict` returns, or a value is
                outside its range. The field is named.
        """
        content = translated(content)
        check_object(content, rules_of(cls), "`settings`")
        check_known(content, cls, "`settings`")
        recipe = content["recipe"]
        check_object(recipe, rules_of(Recipe), "`recipe`")
        check_known(recipe, Recipe, "`recipe`")
        return cls(**{**content, "recipe": Recipe(**recipe)})

    def differences(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns which options the settings do not have.

        Args:
            options: Dictionary, by name in `OPTIONS`.

        Returns:
            A dictionary of what the settings have in their place, by name.
        """
        own = {name: option.read(self) for name, option in OPTIONS.items()}
        return {
            name: own[name]
            for name, value in options.items()
            if value != own[name]
        }


def from_options(**options: Any) -> Settings:
    """Returns the settings of a recipe, changed by what is given.

    Batch, epochs and image size scale the recipe, see `Recipe.scaled`; a
    learning rate or a clipping that is given stands as it is.

    Args:
        **options: By name in `OPTIONS`.

    Raises:
        ValueError: If a value is unknown or outside its range.

    Example:

    >>> settings = from_options(recipe="nfnet_f1", batch_size=256, epochs=90)
    """
    options = {n: o.default for n, o in OPTIONS.items()} | options
    if options["image_size"] is not None:
        check_positive_integer(image_size=options["image_size"])
    name = options["recipe"]
    recipe = recipes.get(name).scaled(
        batch_size=options["batch_size"],
        epochs=options["epochs"],
        train_size=options["image_size"],
    )
    changes = {
        field: options[field]
        for field in ("learning_rate", "clipping")
        if options[field] is not None
    }
    return Settings(
        recipe=dataclasses.replace(recipe, **changes),
        variant=options["variant"] or recipes.variant_of(name),
        recipe_name=name,
        **{
            field: options[field]
            for field in ("data", "precision", "seed", "max_pixels")
        },
    )
