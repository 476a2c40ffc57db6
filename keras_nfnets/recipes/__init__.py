"""Provides the settings that the papers train with, as data.

A `Recipe` holds all settings of one training, and `RECIPES` lists those of the
papers. `get` returns one by name, and `variant_of` tells for which network it
is.
"""

from keras_nfnets.recipes.recipe import Recipe as Recipe
from keras_nfnets.recipes.table import RECIPES as RECIPES
from keras_nfnets.recipes.table import fitted as fitted
from keras_nfnets.recipes.table import get as get
from keras_nfnets.recipes.table import variant_of as variant_of

__all__ = [
    "RECIPES",
    "Recipe",
    "fitted",
    "get",
    "variant_of",
]
