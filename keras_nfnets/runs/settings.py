"""Defines the settings of a run, complete as data.

`Settings` is what `config.json` stores. `from_options` makes it from a recipe
and the options of the command line, which `keras_nfnets.options` lists.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_nfnets import recipes
from keras_nfnets.checks import MAX_PIXELS, check_positive_integer, check_seed
from keras_nfnets.image_size import checked_size
from keras_nfnets.options import OPTIONS, PRECISIONS
from keras_nfnets.recipes.recipe import Recipe
from keras_nfnets.runs.earlier import translated
from keras_nfnets.runs.stored import check_known, check_object, rules_of


@dataclasses.dataclass(frozen=True)
class Settings:
    """Holds everything that decides the course of a run.

    Args:
        recipe: `Recipe`, with all its numbers.
        variant: String, a key of `VARIANTS`.
        recipe_name: String, the key of `RECIPES` from which the recipe was
            made.
        data: String, as for `keras_nfnets.data.open_source`. Defaults to
            `"digits"`.
        precision: String, a key of `PRECISIONS`. Defaults to `"float32"`.
        seed: Integer, seed of the weights, the order and the augmentation of
            images, and dropout. Which images are held out does not depend on
            it. Defaults to `0`.
        max_pixels: Integer, the largest number of pixels of an image file.
            Defaults to `MAX_PIXELS`, 89,478,485.
        weights: String, the weights to start from, with a new classifier: path
            of a file or of a run's folder, or `"imagenet"`. Defaults to `None`,
            fresh weights.
        freeze_epochs: Integer, first epochs of the run in which the classifier
            alone is trained. Defaults to `0`.

    Raises:
        ValueError: If `precision` is unknown, `seed` outside [0, 2**32),
            `max_pixels` not a positive integer, or `freeze_epochs` negative,
            above the epochs, or positive without `weights`.

    Example:

    >>> name = "nfnet_f1"
    >>> recipe = keras_nfnets.recipes.get(name)
    >>> settings = keras_nfnets.runs.Settings(recipe, name, name)
    """

    recipe: Recipe
    variant: str
    recipe_name: str
    data: str = "digits"
    precision: str = "float32"
    seed: int = 0
    max_pixels: int = MAX_PIXELS
    weights: str | None = None
    freeze_epochs: int = 0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"`precision` must be one of {sorted(PRECISIONS)}. "
                f"Received: precision={self.precision!r}"
            )
        check_seed(seed=self.seed)
        check_positive_integer(max_pixels=self.max_pixels)
        if self.freeze_epochs != 0:
            self._check_frozen_part()

    def _check_frozen_part(self):
        """Raises a ValueError unless `freeze_epochs` fit weights and epochs."""
        check_positive_integer(freeze_epochs=self.freeze_epochs)
        if self.freeze_epochs > self.recipe.epochs:
            raise ValueError(
                "`freeze_epochs` must not be above `epochs`. Received: "
                f"freeze_epochs={self.freeze_epochs} and "
                f"epochs={self.recipe.epochs}"
            )
        if self.weights is None:
            raise ValueError(
                "`freeze_epochs` must be 0 without `weights`. "
                f"Received: freeze_epochs={self.freeze_epochs}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns nested dictionaries that JSON can store."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Settings":
        """Returns settings from a dictionary that `to_dict` returned.

        Args:
            content: Dictionary, with tuples or lists.

        Raises:
            ValueError: If a field is missing, unknown, of the wrong type or
                outside its range. The field is named.

        Example:

        >>> settings = keras_nfnets.runs.from_options(seed=1)
        >>> keras_nfnets.runs.Settings.from_dict(settings.to_dict()) == settings
        True
        """
        content = translated(content)
        check_object(content, rules_of(cls), "`settings`")
        check_known(content, cls, "`settings`")
        recipe = content["recipe"]
        check_object(recipe, rules_of(Recipe), "`recipe`")
        check_known(recipe, Recipe, "`recipe`")
        return cls(**{**content, "recipe": Recipe(**recipe)})

    def differences(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the settings that contradict the given options.

        Args:
            options: Dictionary from names in `OPTIONS` to values.

        Returns:
            A dictionary from the names of options that differ to the values in
            these settings.

        Example:

        >>> settings = keras_nfnets.runs.from_options(seed=1)
        >>> settings.differences({"seed": 2, "data": "digits"})
        {'seed': 1}
        """
        own = {name: option.read(self) for name, option in OPTIONS.items()}
        return {
            name: own[name]
            for name, value in options.items()
            if value != own[name]
        }


def from_options(**options: Any) -> Settings:
    """Returns the settings of a recipe, changed by the given options.

    Batch size, epochs and image size scale the recipe, see `Recipe.scaled`. A
    given learning rate or clipping is used as it is, and a clipping of 0 turns
    AGC off. The recipe `"finetune"` takes image sizes and dropout from the
    variant.

    Args:
        **options: By name in `OPTIONS`.

    Raises:
        ValueError: If a value is unknown or outside its range, or no variant is
            given for a recipe that is for any.

    Example:

    >>> settings = keras_nfnets.runs.from_options(
    ...     recipe="nfnet_f1", batch_size=256, epochs=90
    ... )
    >>> settings.recipe.batch_size
    256
    """
    options = {n: o.default for n, o in OPTIONS.items()} | options
    if options["image_size"] is not None:
        checked_size(image_size=options["image_size"])
    name = options["recipe"]
    recipe = recipes.get(name)
    variant = options["variant"] or recipes.variant_of(name)
    if variant is None:
        raise ValueError(
            f"`variant` must be given for the recipe {name!r}, unless the "
            "weights are those of a run. Received: variant=None"
        )
    if recipes.variant_of(name) is None:
        recipe = recipes.fitted(recipe, variant)
    recipe = recipe.scaled(
        batch_size=options["batch_size"],
        epochs=options["epochs"],
        train_size=options["image_size"],
    )
    changes: dict[str, Any] = {
        field: None if options[field] == OPTIONS[field].off else options[field]
        for field in ("learning_rate", "clipping")
        if options[field] is not None
    }
    return Settings(
        recipe=dataclasses.replace(recipe, **changes),
        variant=variant,
        recipe_name=name,
        **{
            field: options[field]
            for field in (
                "data",
                "precision",
                "seed",
                "max_pixels",
                "weights",
                "freeze_epochs",
            )
        },
    )
