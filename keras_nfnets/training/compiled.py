"""Saves the arguments with which an `AGCModel` was compiled.

Keras saves the arguments of `compile` with a model, and compiles the loaded
model by them. AGC is a part of the optimizer, and saved with it. So `agc` is
not among the saved arguments, and a clone of a class of Keras trains with AGC
too. An .h5 file, Keras's old format, cannot hold AGC: see `legacy_h5`.
"""

import keras

from keras_nfnets.training import legacy_h5
from keras_nfnets.training.agc_rules import rules_of


class CompileConfig:
    """The arguments of `compile`, in the place of Keras's own record.

    Keras reads them by `serialize`, or by `config` for an .h5 file.

    Args:
        model: A compiled `AGCModel`.
        config: Dictionary, the arguments that Keras recorded.
        jit_compile: The argument of `compile`. Keras records what `"auto"`
            became on this backend. The backend that loads the file has to
            decide by itself.
        sam: `SAM` or `None`.
    """

    def __init__(self, model, config, jit_compile, sam):
        self._config = {**config, "jit_compile": jit_compile}
        if sam:
            self._config["sam"] = sam
        self._model = model

    def serialize(self):
        """Returns the arguments as a dictionary for a .keras file.

        Keras recorded the optimizer that was passed. Mixed precision puts it
        into a `LossScaleOptimizer`, whose state is saved too. So that one has
        to stand in the file.
        """
        optimizer = self._model.optimizer
        return keras.saving.serialize_keras_object(
            {**self._config, "optimizer": optimizer}
        )

    @property
    def config(self):
        """The arguments for an .h5 file, from which Keras removes some.

        Raises:
            ValueError: If the model has AGC or SAM, which would be lost.
        """
        rules = rules_of(self._model.optimizer)
        agc = rules and rules.agc
        legacy_h5.refuse({"agc": agc, "sam": self._config.get("sam")})
        return dict(self._config)


def model_agc(optimizer):
    """Returns the `AGC` that `compile` gave to a model's optimizer, or `None`.

    Args:
        optimizer: The optimizer of a loaded model. One from `with_agc` brings
            its own AGC, for which this is `None`.
    """
    rules = rules_of(optimizer)
    return rules.agc if rules is not None and rules.of_model else None
