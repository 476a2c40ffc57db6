"""Moves the weights for SAM while Keras's own `train_step` runs.

`perturbed_weights` is a context manager around one call of `train_step`:

1. It computes the first gradient, that of a fraction of the batch. From it
   follow the offsets by which SAM moves the weights.
2. It moves the weights. Keras's step computes its loss there, and the second
   gradient, that of the whole batch.
3. It moves the weights back before the optimizer does anything. Unscaling, the
   sum over replicas, AGC, the update and the averages see the old weights.

Each backend holds weights in its own way. JAX's loss is a function of the
weights, so it is called with other ones. TensorFlow and PyTorch have variables
that a step changes in place, so two methods of the optimizer are overridden
for the length of the step: `scale_loss`, which Keras calls with the loss, and
the method that gets the second gradient. `docs/STEP.md` lists the calls.
"""

import contextlib
import threading

import keras
from keras import ops

from keras_nfnets.overriding import overridden
from keras_nfnets.training.agc_rules import inner_optimizer
from keras_nfnets.training.sam import leading_fraction, perturbation


def check_optimizer(optimizer):
    """Raises a ValueError if an optimizer cannot train with SAM.

    Args:
        optimizer: `keras.optimizers.Optimizer`, or `None`.
    """
    if optimizer is None:
        return
    steps = inner_optimizer(optimizer).gradient_accumulation_steps
    if steps:
        raise ValueError(
            "`gradient_accumulation_steps` must be None with `sam`, which "
            "moves the weights anew in each step, and accumulated gradients "
            "would be of different weights. Received: "
            f"gradient_accumulation_steps={steps}"
        )


def perturbed_weights(model, sam, *args):
    """Perturbs the weights for one call of Keras's `train_step`.

    Only the weights differ there. The forward pass for the first gradient also
    updates state, such as the seeds of dropout. These updates are dropped, so
    the step sees the state that it would see without SAM.

    Args:
        model: A compiled `keras.Model`.
        sam: `keras_nfnets.SAM`.
        *args: The arguments of `train_step`: the state and the data on JAX,
            the data on TensorFlow and PyTorch.

    Returns:
        A context manager.

    Raises:
        RuntimeError: If this version of Keras lacks a method to override.
    """
    return _PERTURBED_WEIGHTS[keras.backend.backend()](model, sam, *args)


def _on_jax(model, sam, state, data):
    """Calls JAX's loss, a function of the weights, with moved weights.

    `compute_loss_and_updates` is that function. It returns the loss and the
    new state as values, so the updates of the first pass are dropped by not
    using them, and no weight has to be moved back.
    """
    import jax

    weights, others, optimizer_variables, metrics = state
    part = leading_fraction(data, sam.fraction, _batch_shards())
    # This loss has the loss scale of mixed precision. So small gradients do not
    # vanish in float16, and an overflow shows as in the step's own loss. The
    # offsets do not depend on the scale, since `perturbation` divides by the
    # norm.
    gradients, _ = jax.grad(model.compute_loss_and_updates, has_aux=True)(
        weights,
        others,
        metrics,
        *keras.utils.unpack_x_y_sample_weight(part),
        training=True,
        optimizer_variables=optimizer_variables,
    )
    offsets, factor = perturbation(gradients, sam.rho)

    # The step differentiates this function. The offsets are constants in it.
    def moved_loss(weights, *args, **kwargs):
        moved = [w + offset for w, offset in zip(weights, offsets, strict=True)]
        loss, updates = type(model).compute_loss_and_updates(
            model, moved, *args, **kwargs
        )
        return ops.multiply(loss, factor), updates

    return overridden((model, "compute_loss_and_updates", moved_loss))


def _batch_shards():
    """Returns the number of devices over which JAX's global batch is spread.

    The first gradient uses the same fraction on each of them, so that none
    waits for the others.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]


def _on_tensorflow(model, sam, data):
    """Moves TensorFlow's variables, of which each replica has its copy.

    A strategy runs this function once for each replica, with its part of the
    batch. All replicas have to move by the same offsets, so the first gradient
    is summed over them too.
    """
    import tensorflow as tf

    if not model.built:
        # Inside the stateless scope below, new variables would get no values.
        model._symbolic_build(data_batch=data)
    variables = [v.value for v in model.trainable_variables]
    with _dropping_updates(model):
        with tf.GradientTape() as tape:
            loss = _loss(model, leading_fraction(data, sam.fraction))
        gradients = tape.gradient(loss, variables)
    gradients = _summed_over_replicas(gradients)
    offsets, factor = perturbation(gradients, sam.rho)
    return _moved_weights(model, offsets, factor, _assign, "apply_gradients")


def _summed_over_replicas(gradients):
    """Returns the sum of each gradient over TensorFlow's replicas.

    `None` stays for a variable without a gradient. The gradient of an embedding
    is sparse, and becomes a tensor.
    """
    import tensorflow as tf

    present = {
        i: tf.convert_to_tensor(gradient)
        for i, gradient in enumerate(gradients)
        if gradient is not None
    }
    sums = tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, list(present.values())
    )
    summed = dict(zip(present, sums, strict=True))
    return [summed.get(i) for i in range(len(gradients))]


def _assign(variables, values):
    """Assigns to TensorFlow's variables on each replica, as optimizers do.

    The strategy decides whether the replicas have to meet first.
    """
    import tensorflow as tf

    def assign(strategy, variables, values):
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(
                variable, lambda v, x: v.assign(x), args=(value,), group=False
            )

    tf.__internal__.distribute.interim.maybe_merge_call(
        assign,
        tf.distribute.get_strategy(),
        [v.value for v in variables],
        values,
    )


def _on_torch(model, sam, data):
    """Moves PyTorch's parameters in place, on its one replica."""
    import torch

    parameters = [v.value for v in model.trainable_variables]
    with _dropping_updates(model):
        loss = _loss(model, leading_fraction(data, sam.fraction))
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)

    def assign(variables, values):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    offsets, factor = perturbation(gradients, sam.rho)
    return _moved_weights(model, offsets, factor, assign, "apply")


_PERTURBED_WEIGHTS = {
    "tensorflow": _on_tensorflow,
    "jax": _on_jax,
    "torch": _on_torch,
}


def _dropping_updates(model):
    """Returns a scope that drops all assignments to variables.

    Inside of Keras's stateless scope an assignment goes to the scope, and the
    variable stays as it is. Nobody reads the scope afterwards.
    """
    scope = keras.StatelessScope(collect_losses=True)
    for variable in model.trainable_variables:
        # Keras gives a regularizer the value that the scope has for its weight,
        # so the scope has to have one. It is the backend's variable, since
        # `keras.remat` passes no gradient to a tensor in its place.
        scope.add_update((variable, variable.value))
    return scope


def _loss(model, data):
    """Returns the scaled loss, computed as in Keras's own `train_step`."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    kwargs = {"training": True} if model._call_has_training_arg else {}
    outputs = model(x, **kwargs)
    loss = model._compute_loss(
        x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=True
    )
    return model.optimizer.scale_loss(loss)


class _Saved(threading.local):
    """What a step keeps while the weights are moved, for each thread.

    TensorFlow traces each replica in a thread of its own, and all replicas
    share one optimizer. Each thread overrides the optimizer's methods, and the
    last override serves all of them. So the methods must not hold the values of
    one replica. They look here for those of the thread that calls them.

    Attributes:
        weights: List of the values to put back, or `None` where nothing is
            moved.
        factor: Scalar tensor that multiplies the loss, see `perturbation`.
    """

    weights = None
    factor = None


_saved = _Saved()


@contextlib.contextmanager
def _moved_weights(model, offsets, factor, assign, update):
    """Moves the variables in place until the optimizer updates them.

    Args:
        model: A compiled `keras.Model`.
        offsets: List of tensors, one for each trainable variable, or `None`
            for a variable that stays.
        factor: Scalar tensor that multiplies the loss, see `perturbation`.
        assign: Function of a list of variables and a list of their values.
        update: String, the name of the optimizer's method that Keras's step
            calls with the gradients.
    """
    optimizer = model.optimizer
    both = zip(model.trainable_variables, offsets, strict=True)
    pairs = [(v, offset) for v, offset in both if offset is not None]
    variables = [v for v, _ in pairs]

    def move_back():
        # The second call of a step finds nothing to put back.
        weights, _saved.weights = _saved.weights, None
        if weights is not None:
            assign(variables, weights)

    def scale_loss(loss):
        scaled = type(optimizer).scale_loss(optimizer, loss)
        return ops.multiply(scaled, _saved.factor)

    def move_back_and_update(*args, **kwargs):
        move_back()
        return getattr(type(optimizer), update)(optimizer, *args, **kwargs)

    methods = (
        (optimizer, "scale_loss", scale_loss),
        (optimizer, update, move_back_and_update),
    )
    with overridden(*methods):
        _saved.factor = factor
        _saved.weights = [ops.stop_gradient(ops.copy(v)) for v in variables]
        try:
            assign(variables, [v + offset for v, offset in pairs])
            yield
        finally:
            # An error may have ended the step, or it had nothing to update.
            move_back()
