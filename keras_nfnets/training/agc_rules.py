"""Holds the settings and the units of an optimizer with AGC.

`with_agc` may get an optimizer before its model is built, when the variables
do not exist yet. So `Rules` keeps the settings and the model first. When the
optimizer is built for its variables, `Rules.resolve` finds the axes that make
one unit of each, and forgets the model. A loaded optimizer has no model at
all: its file has the axes.
"""

import keras

from keras_nfnets.training import agc_report
from keras_nfnets.training.unit_axes import units_of_variables


class Rules:
    """The settings of an optimizer's AGC, and the units of its variables.

    It is a plain object, and no layer or dataclass: Keras and TensorFlow track
    and save what an optimizer holds, and would save the model as a part of its
    own optimizer.

    Args:
        agc: `AGC`, the settings.
        model: `keras.Model` that holds the variables, or `None`. Defaults to
            `None`.
        saved: List of pairs for a loaded optimizer: the shape of each
            variable, and the axes of its units or `None`. Defaults to `None`.
        of_model: Boolean, whether `AGCModel.compile` gave the optimizer its
            AGC, and so may replace the settings. Defaults to `False`.

    Raises:
        ValueError: If the model is built and `exclude` matches nothing.
    """

    def __init__(self, agc, model=None, saved=None, of_model=False):
        self.agc = agc
        self.of_model = of_model
        # Three lists, `None` before `resolve`: the axes of each variable's
        # units, the names that the report has, and the variables' shapes.
        self.units = None
        self.names = None
        self.shapes = None
        self._model = model
        self._saved = saved
        # Whether this optimizer sums gradients over replicas. If not, what
        # scales its loss has summed them already.
        self.sums_over_replicas = True
        # Whether a `LossScaleOptimizer` was put around the optimizer.
        self.scaled_from_outside = False
        # Whether a step has updated with the optimizer, or was traced.
        self.used = False
        # The copies that `agc_step.without_agc` made, by their class.
        self.copies_without_agc = {}
        if model is not None and model.built:
            # A wrong `exclude` raises here, rather than in `fit`.
            self._axes_of_units(model.trainable_variables)

    def resolve(self, variables):
        """Finds the units of the variables that the optimizer is built for.

        Args:
            variables: List of all `keras.Variable` of the optimizer's `build`.

        Raises:
            ValueError: If the variables are not those of the model, or do not
                have the shapes that were saved.
        """
        self.units = self._axes_of_units(variables)
        self.shapes = [tuple(v.shape) for v in variables]
        pairs = zip(variables, self.units, strict=True)
        chosen = [v for v, unit in pairs if unit is not None]
        self.names = agc_report.names(chosen, self.agc.detailed)
        self._model = None

    def _axes_of_units(self, variables):
        """Returns the axes of each variable's units, computed or as saved.

        The list has `None` for each variable that is not clipped.
        """
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
        """Returns the shapes and axes, for the argument `saved`, or `None`."""
        units, shapes, model = self.units, self.shapes, self._model
        if units is None and model is not None and model.built:
            # A program that loads the optimizer alone has no model to ask.
            variables = model.trainable_variables
            units = self._axes_of_units(variables)
            shapes = [tuple(v.shape) for v in variables]
        if units is None:
            return self._saved
        return [
            [list(shape), axes and list(axes)]
            for shape, axes in zip(shapes, units, strict=True)
        ]


def inner_optimizer(optimizer):
    """Returns the optimizer that updates the weights.

    Args:
        optimizer: Any optimizer. A `LossScaleOptimizer` of mixed precision
            holds the one that updates.

    Example:

    >>> sgd = keras.optimizers.SGD()
    >>> inner_optimizer(keras.optimizers.LossScaleOptimizer(sgd)) is sgd
    True
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.inner_optimizer
    return optimizer


def rules_of(optimizer):
    """Returns the `Rules` of an optimizer with AGC, and `None` of others."""
    return getattr(inner_optimizer(optimizer), "rules", None)


def check_replicas(optimizer, rules):
    """Raises a ValueError for what TensorFlow cannot do on several replicas.

    AGC clips the sum over replicas, for which all replicas have to wait for
    each other. They cannot inside of a condition.

    Args:
        optimizer: The optimizer that updates.
        rules: Its `Rules`.
    """
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
    if rules.sums_over_replicas and rules.scaled_from_outside:
        raise ValueError(
            "`optimizer` must be with_agc(LossScaleOptimizer(optimizer)) under "
            "a tf.distribute strategy with several replicas: around AGC, "
            "Keras looks for overflow in the gradients of one replica alone. "
            f"Received: LossScaleOptimizer(with_agc({optimizer.name!r})) on "
            f"{replicas} replicas"
        )
