"""Where AGC enters an optimizer: between the sum over replicas and the update.

Keras does all of a step but AGC inside the optimizer, in this order: unscale,
accumulate, sum over replicas, update. The place between the last two has no
public name, and stands elsewhere on each backend; this module is the one that
knows.
"""

import contextlib

import keras
from keras import ops


def after_sum(optimizer, clipper):
    """While open, the optimizer passes summed gradients through the clipper.

    The methods are replaced on the instance, each calling the one of its
    class, so that replicas which open this one after another clip once.

    Args:
        optimizer: Any `keras.optimizers.Optimizer`.
        clipper: An object with `clip(gradients, variables, values, weight)`,
            which returns the clipped gradients, and `skip_unless(finite)`,
            which says after the fact whether the step counted. `variables`
            are the `keras.Variable`s, `values` what holds them on this
            replica, and `weight` is 0 where the step only accumulates.

    Returns:
        A context manager.

    Raises:
        ValueError: If the optimizer accumulates gradients on several
            replicas of a TensorFlow strategy.
        RuntimeError: If this version of Keras has no such place.
    """
    return replaced(
        _REPLACED[keras.backend.backend()](optimizer, clipper), "AGC"
    )


@contextlib.contextmanager
def replaced(methods, name):
    """While open, instances have other methods than their classes.

    Args:
        methods: List of an owner, the name of its method, and the method.
        name: String, what enters the step this way, for the error.

    Raises:
        RuntimeError: If this version of Keras has no method of that name.
    """
    for owner, method_name, _ in methods:
        if not hasattr(owner, method_name):
            # Better than training on without what was asked for.
            raise RuntimeError(
                f"Keras {keras.__version__} has no {method_name} in "
                f"{type(owner).__name__}, where {name} would enter the step."
            )
    try:
        for owner, method_name, method in methods:
            object.__setattr__(owner, method_name, method)
        yield
    finally:
        for owner, method_name, _ in methods:
            owner.__dict__.pop(method_name, None)


def _replaced_on_tensorflow(optimizer, clipper):
    """TensorFlow sums over replicas inside the update; AGC comes right after.

    Under loss scaling Keras would sum inside a condition that each replica
    answers for its own gradients. There the sum moves before the condition,
    so that an overflow anywhere skips the step everywhere.
    """
    import tensorflow as tf

    inner = inner_optimizer(optimizer)
    _check_accumulation(inner)

    def sum_gradients(gradients, variables):
        pairs = list(zip(gradients, variables, strict=True))
        summed = type(inner)._all_reduce_sum_gradients(inner, pairs)
        # An embedding's gradient is sparse; a unit's norm needs its sum.
        return [g if g is None else tf.convert_to_tensor(g) for g, _ in summed]

    def sum_and_apply(gradients, trainable_variables=None):
        summed = sum_gradients(gradients, trainable_variables)
        type(optimizer).apply(optimizer, summed, trainable_variables)

    def sum_and_clip(grads_and_vars):
        gradients, variables = zip(*grads_and_vars, strict=True)
        if inner is optimizer:
            gradients = sum_gradients(gradients, variables)
        clipped = _clip(clipper, inner, gradients, variables)
        return list(zip(clipped, variables, strict=True))

    methods = [(inner, "_all_reduce_sum_gradients", sum_and_clip)]
    if inner is not optimizer:
        methods.append((optimizer, "apply", sum_and_apply))
    return methods


def _replaced_on_jax(optimizer, clipper):
    """JAX's gradient is global already under `keras.distribution`."""
    inner = inner_optimizer(optimizer)

    def clip_and_update(gradients, variables, learning_rate):
        clipped = _clip(
            clipper, inner, gradients, variables, _jax_updates(inner)
        )
        type(inner)._backend_update_step(
            inner, clipped, variables, learning_rate
        )

    def apply_or_skip(optimizer_variables, gradients, trainable_variables):
        # Keras would run the update under `jax.lax.cond`, out of which the
        # share of clipped units cannot come. Selecting is as fast.
        finite = optimizer.check_finite(gradients)
        updated = optimizer._stateless_handle_finite_grads(
            optimizer_variables, gradients, trainable_variables
        )
        skipped = optimizer._stateless_handle_non_finite_grads(
            optimizer_variables, trainable_variables
        )
        clipper.skip_unless(finite)
        return keras.tree.map_structure(
            lambda new, old: ops.where(finite, new, old), updated, skipped
        )

    methods = [(inner, "_backend_update_step", clip_and_update)]
    if inner is not optimizer:
        methods.append((optimizer, "stateless_apply", apply_or_skip))
    return methods


def _replaced_on_torch(optimizer, clipper):
    """PyTorch has one replica, and no traced conditions."""
    inner = inner_optimizer(optimizer)

    def clip_and_update(gradients, variables, learning_rate):
        clipped = _clip(clipper, inner, gradients, variables)
        type(inner)._backend_update_step(
            inner, clipped, variables, learning_rate
        )

    return [(inner, "_backend_update_step", clip_and_update)]


_REPLACED = {
    "tensorflow": _replaced_on_tensorflow,
    "jax": _replaced_on_jax,
    "torch": _replaced_on_torch,
}


def inner_optimizer(optimizer):
    """Returns the optimizer that updates, without what scales its loss."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.inner_optimizer
    return optimizer


def _clip(clipper, optimizer, gradients, variables, weight=None):
    # On TensorFlow these are tf.Variables; units are known by Keras's.
    references = [
        optimizer._trainable_variables[optimizer._get_variable_index(v)]
        for v in variables
    ]
    return clipper.clip(gradients, references, variables, weight)


def _check_accumulation(optimizer):
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if optimizer.gradient_accumulation_steps and replicas > 1:
        raise ValueError(
            "`gradient_accumulation_steps` must be None under a "
            "tf.distribute strategy with several replicas: Keras updates "
            "inside a condition there, where replicas cannot meet. Received: "
            f"{optimizer.gradient_accumulation_steps} on {replicas} replicas"
        )


def _jax_updates(optimizer):
    """Returns 1 where this step updates weights, 0 where it accumulates.

    JAX runs the update at every step and keeps every n-th.
    """
    steps = optimizer.gradient_accumulation_steps
    if not steps:
        return 1.0
    return ops.cast((optimizer._iterations + 1) % steps == 0, "float32")
