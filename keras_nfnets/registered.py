"""Imports what a saved file may name: classes that Keras has to know.

It is all that `import keras_nfnets` brings by itself. The other public names
come with the first that is asked for (`surface`).
"""

import keras_nfnets.private_names as private_names

# Before the imports that need them: it says in one sentence what is missing.
private_names.check()

import keras_nfnets.layers as layers
import keras_nfnets.training.losses as losses
import keras_nfnets.training.model as model
import keras_nfnets.training.optimizers as optimizers

__all__ = ["layers", "losses", "model", "optimizers"]
