"""Checks the settings of a recipe.

`_RULES` lists the fields by the rule that each value has to keep. The functions
below it check settings against each other.
"""

import math
from typing import Any

from keras_nfnets.checks import (
    MAX_PIXELS,
    check_not_negative,
    check_positive,
    check_positive_integer,
    check_rate,
)
from keras_nfnets.image_size import sides
from keras_nfnets.variants.plan import check_smallest

# A shift by ten times as many pixels is still exact in float32.
MAX_MAGNITUDE = 10**6

_RULES = (
    (
        check_positive_integer,
        "epochs batch_size repeats",
    ),
    (
        check_positive,
        "learning_rate backbone_multiplier clipping epsilon crop_area "
        "mixup_alpha cutmix_alpha sam_rho sam_fraction",
    ),
    (
        check_rate,
        "momentum label_smoothing dropout stochastic_depth ema_decay",
    ),
    (
        check_not_negative,
        "minimum_learning_rate warmup_epochs l2 test_margin "
        "randaugment_layers randaugment_magnitude mixup_fraction "
        "cutmix_fraction",
    ),
)


def check(recipe: Any) -> None:
    """Raises a ValueError that names the setting which breaks a rule.

    Args:
        recipe: `Recipe`.
    """
    for rule, names in _RULES:
        rule(**_fields(recipe, names))
    _check_bounds(recipe)
    _check_mixing(recipe)


def _fields(recipe, names):
    """Returns these fields by name, without those that are None."""
    values = {name: getattr(recipe, name) for name in names.split()}
    return {n: value for n, value in values.items() if value is not None}


def _check_bounds(recipe):
    """Raises a ValueError for settings that contradict each other."""
    if not recipe.minimum_learning_rate <= recipe.learning_rate:
        raise ValueError(
            "`minimum_learning_rate` must not be above `learning_rate`. "
            f"Received: {recipe.minimum_learning_rate} and "
            f"{recipe.learning_rate}"
        )
    _check_sizes(recipe)
    if not recipe.warmup_epochs < recipe.epochs:
        raise ValueError(
            "`warmup_epochs` must be below `epochs`. "
            f"Received: {recipe.warmup_epochs} and {recipe.epochs}"
        )
    if recipe.randaugment_magnitude > MAX_MAGNITUDE:
        raise ValueError(
            f"`randaugment_magnitude` must not be above {MAX_MAGNITUDE}. "
            f"Received: {recipe.randaugment_magnitude}"
        )
    for name in ("sam_fraction", "backbone_multiplier", "crop_area"):
        if not getattr(recipe, name) <= 1:
            raise ValueError(
                f"`{name}` must not be above 1. "
                f"Received: {name}={getattr(recipe, name)}"
            )


def _check_sizes(recipe):
    """Raises a ValueError for images too small or too large for a network."""
    check_smallest(train_size=recipe.train_size, test_size=recipe.test_size)
    train, test = sides(recipe.train_size), sides(recipe.test_size)
    resized = [side + recipe.test_margin for side in test]
    largest = max(train, resized, key=math.prod)
    if math.prod(largest) > MAX_PIXELS:
        raise ValueError(
            "`train_size`, and `test_size` with `test_margin`, must make "
            f"images of {MAX_PIXELS} pixels at most. "
            f"Received: {largest[0]} x {largest[1]}"
        )


def _check_mixing(recipe):
    """Raises a ValueError if images cannot be mixed or repeated so."""
    if not recipe.mixup_fraction + recipe.cutmix_fraction <= 1:
        raise ValueError(
            "`mixup_fraction` and `cutmix_fraction` must not be above 1 "
            f"together. Received: {recipe.mixup_fraction} and "
            f"{recipe.cutmix_fraction}"
        )
    if recipe.mix_partners not in ("pairs", "batch"):
        raise ValueError(
            "`mix_partners` must be 'pairs' or 'batch'. "
            f"Received: mix_partners={recipe.mix_partners!r}"
        )
    pairs = recipe.mixes and recipe.mix_partners == "pairs"
    if pairs and recipe.batch_size % 2:
        raise ValueError(
            "`batch_size` must be even where `mix_partners` is 'pairs', "
            "as MixUp and CutMix each make a half. "
            f"Received: batch_size={recipe.batch_size}"
        )
    if recipe.batch_size % recipe.repeats:
        raise ValueError(
            "`repeats` must divide `batch_size`. Received: "
            f"repeats={recipe.repeats} and batch_size={recipe.batch_size}"
        )
