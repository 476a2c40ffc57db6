"""Keeps what an `AGCModel` was compiled with, and gives it back."""

import keras

from keras_nfnets.training import legacy_h5
from keras_nfnets.training.agc_rules import inner_optimizer

# The arguments with which Keras compiles what it loads from an .h5 file.
_FROM_H5 = {"optimizer", "loss", "metrics", "weighted_metrics", "loss_weights"}


class CompileConfig:
    """What a model was compiled with, where Keras looks for it.

    Any `keras.Model` can be compiled from it, as Keras does with a clone that
    is of its own class: the optimizer brings AGC with it.

    Args:
        model: A compiled `AGCModel`.
        config: Dictionary, what Keras would keep.
        jit_compile: What `compile` was given. Keras keeps what `"auto"` came
            to on this backend; another one, where the file is loaded, has to
            choose for itself.
        sam: `SAM` or `None`.
    """

    def __init__(self, model, config, jit_compile, sam):
        self._config = {**config, "jit_compile": jit_compile}
        if sam:
            self._config["sam"] = sam
        self._model = model

    def serialize(self):
        # Keras keeps the optimizer that was passed, without what scales the
        # loss, and then cannot load its state under another policy.
        optimizer = self._model.optimizer
        return keras.saving.serialize_keras_object(
            {**self._config, "optimizer": optimizer}
        )

    @property
    def config(self):
        """Keras asks for this to write an .h5 file, and takes parts out."""
        rules = getattr(inner_optimizer(self._model.optimizer), "rules", None)
        agc = rules and rules.agc
        legacy_h5.refuse({"agc": agc, "sam": self._config.get("sam")})
        return dict(self._config)


def compiles_from_h5(args, kwargs):
    """Whether Keras compiles a model of an .h5 file with such arguments."""
    return not args and set(kwargs) == _FROM_H5


def model_agc(optimizer):
    """Returns the `AGC` with which a model was compiled, by its optimizer."""
    rules = getattr(inner_optimizer(optimizer), "rules", None)
    return rules.agc if rules is not None and rules.of_model else None
