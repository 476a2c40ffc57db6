"""Gives AGC to any optimizer."""

import keras

from keras_nfnets.training.agc import AGC
from keras_nfnets.training.agc_rules import Rules, inner_optimizer
from keras_nfnets.training.agc_step import attach, has_agc


def with_agc(
    optimizer: keras.optimizers.Optimizer | str,
    agc: AGC = AGC(),  # noqa: B008
    model: keras.Model | None = None,
) -> keras.optimizers.Optimizer:
    """Lets an optimizer clip gradients adaptively before each update.

    Whatever applies gradients with it then clips them: `fit` of any
    `keras.Model`, a `train_step` of its own, each of a GAN's two optimizers,
    or a training loop (`apply_gradients`, `stateless_apply`, `apply`). The
    gradient that is clipped is that of the global batch: after loss scaling
    is undone, after accumulation, and after the sum over replicas. What a
    Keras optimizer clips or decays itself (`clipnorm`, decoupled
    `weight_decay`) it does before, as always.

    The optimizer is saved and loaded like any other, in a model's file too.
    `optimizer.agc_report()` says which share of the units was clipped.

    Around a `LossScaleOptimizer`, AGC goes into the optimizer inside; on
    TensorFlow gradients are then summed over replicas before they are looked
    at for overflow. `LossScaleOptimizer(with_agc(optimizer))`, which Keras
    makes by itself under `mixed_float16`, is the same on one replica. On
    several of TensorFlow's, Keras looks at those of one replica alone, which
    is refused; say `with_agc(LossScaleOptimizer(optimizer))` there.

    Args:
        optimizer: Any `keras.optimizers.Optimizer`, or its name. It is
            changed itself, whether or not it has trained already.
        agc: `AGC`. Defaults to `AGC()`, the paper's settings.
        model: `keras.Model` that holds the variables, for the units of its
            layers and for `exclude`. It may be built later, but must be when
            the optimizer is. Defaults to `None`: units then follow from the
            variables' ranks, and `exclude="classifier"` excludes nothing,
            as nothing tells which variable that is.

    Returns:
        The optimizer, of a class that derives from the one it had.

    Raises:
        ValueError: If the optimizer has AGC already, `agc` is something else,
            `exclude` matches nothing, or gradients are accumulated or scaled
            from outside on several replicas of a TensorFlow strategy. All but
            the first two may be known only when the optimizer is built.
        RuntimeError: If this version of Keras has no place for it.

    Example:

    >>> optimizer = keras_nfnets.optimizers.with_agc(
    ...     keras.optimizers.Adam(1e-3), keras_nfnets.AGC(0.02), model
    ... )
    >>> model.compile(optimizer, "mse")

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
    """Gives a compiled model's optimizer AGC, or other settings of it."""
    if optimizer is None:
        return
    rules = getattr(inner_optimizer(optimizer), "rules", None)
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
