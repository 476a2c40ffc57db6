"""Imports the classes that a saved file may name, so that Keras knows them.

`import keras_nfnets` imports this module and no more. The other public names
come with the first one that is asked for (`surface`).
"""

import keras_nfnets.private_names as private_names

# This comes before the imports that need the names: its error says in one
# sentence what is missing.
private_names.check()

import keras_nfnets.layers as layers
import keras_nfnets.models.preset_model as preset_model
import keras_nfnets.training.losses as losses
import keras_nfnets.training.model as model
import keras_nfnets.training.optimizers as optimizers

__all__ = ["layers", "losses", "model", "optimizers", "preset_model"]
