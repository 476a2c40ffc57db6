"""Translates the settings of runs from before `Recipe` had all its fields."""

from keras_nfnets.checks import MAX_PIXELS

# How `config.json` called these fields.
RENAMED = {
    "mixup_share": "mixup_fraction",
    "cutmix_share": "cutmix_fraction",
    "sam_share": "sam_fraction",
}
# What a run did before there were these fields.
ADDED = {"repeats": 1, "randaugment_corrected": False, "mix_partners": "batch"}
# These came later still. A run without them is the same run.
NEW_SETTINGS = {"weights": None, "freeze_epochs": 0}
NEW_IN_RECIPE = {"backbone_multiplier": 1.0, "crop_area": 0.08}


def is_earlier(settings):
    """Returns whether settings are of an earlier run, by its fields' names.

    Args:
        settings: What `config.json` has under `settings`.
    """
    recipe = settings.get("recipe") if isinstance(settings, dict) else None
    if not isinstance(recipe, dict):
        return False
    names = recipe.keys()
    return bool(names & RENAMED.keys()) and not names & set(RENAMED.values())


def translated(settings):
    """Returns settings with the fields that an earlier run lacks.

    Args:
        settings: As for `is_earlier`.
    """
    recipe = settings.get("recipe") if isinstance(settings, dict) else None
    if not isinstance(recipe, dict):
        return settings
    earlier = is_earlier(settings)
    settings = {
        **NEW_SETTINGS,
        **settings,
        "recipe": {**NEW_IN_RECIPE, **recipe},
    }
    if not earlier:
        return settings
    recipe = {RENAMED.get(n, n): x for n, x in settings["recipe"].items()}
    return {
        "max_pixels": MAX_PIXELS,
        **settings,
        "recipe": {**ADDED, **recipe},
    }
