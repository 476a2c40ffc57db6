"""Gives AGC to any optimizer of Keras, unless it has AGC already.

`with_agc` is the public way, for an optimizer by itself. `give_agc` is the way
of `AGCModel.compile`, which may compile one optimizer several times with other
settings. Both end in `agc_step.attach`.
"""

import keras

from keras_nfnets.training.agc import AGC
from keras_nfnets.training.agc_rules import Rules, inner_optimizer, rules_of
from keras_nfnets.training.agc_step import attach, has_agc


def with_agc(
    optimizer: keras.optimizers.Optimizer | str,
    agc: AGC = AGC(),  # noqa: B008
    model: keras.Model | None = None,
) -> keras.optimizers.Optimizer:
    """Makes an optimizer clip gradients adaptively before each update.

    The optimizer then clips however it is called: by `fit` of any
    `keras.Model`, by a `train_step` of one's own, as one of a GAN's two
    optimizers, or by a training loop (`apply_gradients`, `stateless_apply`,
    `apply`). It clips the gradient of the global batch: after the loss scale
    is removed, after accumulation, and after the sum over replicas. The
    optimizer's own clipping (`clipnorm`) and decoupled `weight_decay` come
    before, in Keras's order.

    The optimizer is saved and loaded as any other, in a model's file too.
    `optimizer.agc_report()` returns the fraction of units that were clipped.

    Mixed precision: given a `LossScaleOptimizer`, the function adds AGC to the
    optimizer inside. On TensorFlow gradients are then summed over replicas
    before they are checked for overflow.
    `LossScaleOptimizer(with_agc(optimizer))`, which Keras makes by itself under
    `mixed_float16`, does the same on one replica. On several replicas of
    TensorFlow it would check the gradients of each replica alone, and raises a
    ValueError. Use `with_agc(LossScaleOptimizer(optimizer))` there.

    Args:
        optimizer: Any `keras.optimizers.Optimizer`, or its name. The function
            changes the object itself. It may have trained already.
        agc: `AGC`. Defaults to `AGC()`, the paper's settings.
        model: `keras.Model` that holds the variables. Its layers say which
            weights feed one neuron, and `exclude` is looked up in it. It has
            to be built when the optimizer is. Defaults to `None`: the
            variables' ranks say which weights are one unit, and
            `exclude="classifier"` excludes nothing.

    Returns:
        The optimizer. Its class now derives from the class it had.

    Raises:
        ValueError: If the optimizer has AGC already, or `agc` is not an `AGC`.
            Also, possibly only when the optimizer is built: if `exclude`
            matches nothing, or if a TensorFlow strategy has several replicas
            and the optimizer accumulates gradients or stands inside a
            `LossScaleOptimizer`.
        RuntimeError: If this version of Keras lacks the method that AGC
            replaces.

    Example:

    >>> optimizer = keras_nfnets.optimizers.with_agc(
    ...     keras.optimizers.Adam(1e-3), keras_nfnets.AGC(0.02), model
    ... )
    >>> model.compile(optimizer, "sparse_categorical_crossentropy")

    Reference: [Brock et al., 2021](https://arxiv.org/abs/2102.06171), Section 3
    """
    optimizer = keras.optimizers.get(optimizer)
    if optimizer is None:
        raise ValueError("`optimizer` must be one of Keras's. Received: None")
    if not isinstance(agc, AGC):
        raise ValueError(
            "`agc` must be an instance of keras_nfnets.AGC. "
            f"Received: agc={agc!r}"
        )
    if has_agc(optimizer):
        raise ValueError(
            "`optimizer` must not have AGC already. Received: "
            f"optimizer={optimizer!r} with {inner_optimizer(optimizer).agc}"
        )
    return attach(optimizer, Rules(agc, model))


def give_agc(model, optimizer, agc):
    """Gives AGC to the optimizer of a model that is being compiled.

    `compile` may get an optimizer that an earlier `compile` gave AGC. Its
    settings are then replaced. An optimizer from `with_agc` keeps its own.

    Args:
        model: The model.
        optimizer: The model's `keras.optimizers.Optimizer`, or `None`.
        agc: `AGC`, or `None` to leave the optimizer as it is.

    Raises:
        ValueError: If both `with_agc` and `agc` ask for AGC, or the settings
            would change the size of a report that is built already.
    """
    if optimizer is None:
        return
    rules = rules_of(optimizer)
    if has_agc(optimizer) and agc is None and not rules.of_model:
        return
    if has_agc(optimizer) and not (agc and rules.of_model):
        raise ValueError(
            "`optimizer` must not have AGC already; pass `agc=None` to "
            "`compile` to keep what `with_agc` gave it, or a new optimizer. "
            f"Received: optimizer={optimizer!r} with {rules.agc}, agc={agc}"
        )
    if not agc:
        return
    built = rules is not None and rules.names is not None
    if built and rules.agc.detailed != agc.detailed:
        raise ValueError(
            "`agc` must be as detailed as it was when the optimizer was built; "
            f"pass a new optimizer. Received: agc={agc} after {rules.agc}"
        )
    attach(optimizer, Rules(agc, model, of_model=True))
