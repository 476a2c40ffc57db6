"""Resolves what an optimizer with AGC clips once it is built."""

import keras

from keras_nfnets.training import agc_report
from keras_nfnets.training.unit_axes import units_of_variables


class Rules:
    """What an optimizer clips and how, known in full when it is built.

    Args:
        agc: `AGC`.
        model: `keras.Model` or `None`.
        saved: List of a shape and the axes of a unit for each variable, where
            an optimizer was saved after it was built. Defaults to `None`.
        of_model: Boolean, whether `AGCModel` compiled the optimizer. Defaults
            to `False`.
    """

    # A plain object: Keras and TensorFlow save what optimizers hold, and
    # would take the model for a part of its own optimizer.

    def __init__(self, agc, model=None, saved=None, of_model=False):
        self.agc = agc
        self.of_model = of_model
        self.units = None
        self.names = None
        self.shapes = None
        self._model = model
        self._saved = saved
        # Whether the optimizer still has to sum over replicas.
        self.sums = True
        # Whether a `LossScaleOptimizer` was put around the optimizer.
        self.scaled_from_outside = False
        # Whether a step came here, or was traced.
        self.used = False
        # By their class: of the optimizers as they were before, see `plain`.
        self.copies = {}
        if model is not None and model.built:
            self._find(model.trainable_variables)  # raises now, not in `fit`

    def resolve(self, variables):
        """Finds the units of the variables that the optimizer is built for."""
        self.units = self._find(variables)
        self.shapes = [tuple(v.shape) for v in variables]
        pairs = zip(variables, self.units, strict=True)
        chosen = [v for v, unit in pairs if unit is not None]
        self.names = agc_report.names(chosen, self.agc.detailed)
        self._model = None

    def _find(self, variables):
        """Returns the axes of the units, of the model or as saved."""
        if self._saved is None:
            agc = self.agc
            return units_of_variables(
                variables, agc.exclude, agc.unit, self._model
            )
        shapes = [tuple(shape) for shape, _ in self._saved]
        if shapes != [tuple(v.shape) for v in variables]:
            raise ValueError(
                "`optimizer` must be built for variables of the shapes that it "
                f"was saved with, {shapes[:8]}, .... Received: "
                f"{[tuple(v.shape) for v in variables][:8]}, ..."
            )
        return [axes and tuple(axes) for _, axes in self._saved]

    def get_config(self):
        units, shapes, model = self.units, self.shapes, self._model
        if units is None and model is not None and model.built:
            # Who loads the optimizer may not know the model.
            variables = model.trainable_variables
            units = self._find(variables)
            shapes = [tuple(v.shape) for v in variables]
        if units is None:
            return self._saved
        return [
            [list(shape), axes and list(axes)]
            for shape, axes in zip(shapes, units, strict=True)
        ]


def inner_optimizer(optimizer):
    """Returns the optimizer that updates, without what scales its loss."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.inner_optimizer
    return optimizer


def check_replicas(optimizer, rules):
    """Raises a ValueError for what TensorFlow cannot do on several replicas."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return
    steps = optimizer.gradient_accumulation_steps
    if steps:
        raise ValueError(
            "`gradient_accumulation_steps` must be None under a "
            "tf.distribute strategy with several replicas: Keras updates "
            "inside a condition there, where replicas cannot meet. Received: "
            f"{steps} on {replicas} replicas"
        )
    if rules.sums and rules.scaled_from_outside:
        raise ValueError(
            "`optimizer` must be with_agc(LossScaleOptimizer(optimizer)) under "
            "a tf.distribute strategy with several replicas: around AGC, "
            "Keras looks for overflow in the gradients of one replica alone. "
            f"Received: LossScaleOptimizer(with_agc({optimizer.name!r})) on "
            f"{replicas} replicas"
        )
