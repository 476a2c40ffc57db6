"""Takes SAM's gradient at perturbed weights.

Keras's own `train_step` runs, and everything from the optimizer on (unscaling,
accumulation, the sum over replicas, AGC, the update, the averages) sees the
weights as they were. How a step holds its weights is each backend's own; this
module knows that, as `agc_step` knows where AGC enters. `docs/STEP.md` has
Keras's whole chain of calls.
"""

import contextlib
import threading

import keras
from keras import ops

from keras_nfnets.overriding import overridden
from keras_nfnets.training.agc_rules import inner_optimizer
from keras_nfnets.training.sam import leading_fraction, perturbation


def check_optimizer(optimizer):
    """Raises a ValueError if SAM cannot go with this optimizer."""
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
    """While open, Keras's `train_step` takes its gradient where SAM does.

    Nothing but the weights differs there: what the first pass would change in
    metrics, seeds and statistics is dropped.

    Args:
        model: A compiled `keras.Model`.
        sam: `keras_nfnets.SAM`.
        *args: What `train_step` is called with.

    Returns:
        A context manager.

    Raises:
        RuntimeError: If this version of Keras has no place to enter.
    """
    return _PERTURBED_WEIGHTS[keras.backend.backend()](model, sam, *args)


def _on_jax(model, sam, state, data):
    """JAX's loss is a function of the weights: it is given moved ones."""
    import jax

    weights, others, optimizer_variables, metrics = state
    part = leading_fraction(data, sam.fraction, _parts_of_batch())
    # The loss is scaled as that of the step itself, which says in time when
    # float16 overflows; the scale has no part in the direction.
    gradients, _ = jax.grad(model.compute_loss_and_updates, has_aux=True)(
        weights,
        others,
        metrics,
        *keras.utils.unpack_x_y_sample_weight(part),
        training=True,
        optimizer_variables=optimizer_variables,
    )
    offsets, factor = perturbation(gradients, sam.rho)

    def moved_loss(weights, *args, **kwargs):
        moved = [w + e for w, e in zip(weights, offsets, strict=True)]
        loss, updates = type(model).compute_loss_and_updates(
            model, moved, *args, **kwargs
        )
        return ops.multiply(loss, factor), updates

    return overridden((model, "compute_loss_and_updates", moved_loss))


def _parts_of_batch():
    """Returns over how many devices JAX's global batch is spread.

    Of each the same share is taken, so that none of them waits.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]


def _on_tensorflow(model, sam, data):
    """TensorFlow's weights are variables, one for each replica."""
    import tensorflow as tf

    if not model.built:
        # Not inside the scope below, where variables have no values yet.
        model._symbolic_build(data_batch=data)
    variables = [v.value for v in model.trainable_variables]
    with _dropping_updates(model):
        with tf.GradientTape() as tape:
            loss = _loss(model, leading_fraction(data, sam.fraction))
        gradients = tape.gradient(loss, variables)
    present = [tf.convert_to_tensor(g) for g in gradients if g is not None]
    summed = iter(
        tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, present
        )
    )
    gradients = [g if g is None else next(summed) for g in gradients]
    return _moved(
        model, *perturbation(gradients, sam.rho), _assign, "apply_gradients"
    )


def _assign(variables, values):
    """Assigns on every replica, as Keras's optimizers do."""
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
    """PyTorch has one replica, and weights that change in place."""
    import torch

    parameters = [v.value for v in model.trainable_variables]
    with _dropping_updates(model):
        loss = _loss(model, leading_fraction(data, sam.fraction))
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)

    def assign(variables, values):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    return _moved(model, *perturbation(gradients, sam.rho), assign, "apply")


_PERTURBED_WEIGHTS = {
    "tensorflow": _on_tensorflow,
    "jax": _on_jax,
    "torch": _on_torch,
}


def _dropping_updates(model):
    """Returns a scope in which nothing is assigned to any variable."""
    scope = keras.StatelessScope(collect_losses=True)
    for variable in model.trainable_variables:
        # Where Keras looks for the weights of its regularizers. The variable
        # and not its value, since `keras.remat` passes gradients to variables.
        scope.add_update((variable, variable.value))
    return scope


def _loss(model, data):
    """Returns the loss that Keras's own step takes the gradient of."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    kwargs = {"training": True} if model._call_has_training_arg else {}
    outputs = model(x, **kwargs)
    loss = model._compute_loss(
        x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=True
    )
    return model.optimizer.scale_loss(loss)


class _Saved(threading.local):
    """What a step saves while weights are moved.

    TensorFlow's replicas are threads that share an optimizer, and each of
    them must find its own.
    """

    weights = None
    factor = None


_saved = _Saved()


@contextlib.contextmanager
def _moved(model, offsets, factor, assign, update):
    """While open, the variables are moved, until the optimizer updates them.

    Args:
        model: A compiled `keras.Model`.
        offsets: List of tensors or `None`, by how much.
        factor: Tensor, what the loss is multiplied by.
        assign: Function of a list of variables and one of their values.
        update: String, the optimizer's method that Keras's step calls.
    """
    optimizer = model.optimizer
    pairs = [
        (v, e)
        for v, e in zip(model.trainable_variables, offsets, strict=True)
        if e is not None
    ]
    variables = [v for v, _ in pairs]

    def put_back():
        weights, _saved.weights = _saved.weights, None
        if weights is not None:
            assign(variables, weights)

    def scale_loss(loss):
        scaled = type(optimizer).scale_loss(optimizer, loss)
        return ops.multiply(scaled, _saved.factor)

    def put_back_and_update(*args, **kwargs):
        put_back()
        return getattr(type(optimizer), update)(optimizer, *args, **kwargs)

    methods = (
        (optimizer, "scale_loss", scale_loss),
        (optimizer, update, put_back_and_update),
    )
    with overridden(*methods):
        _saved.factor = factor
        _saved.weights = [ops.stop_gradient(ops.copy(v)) for v in variables]
        try:
            assign(variables, [v + e for v, e in pairs])
            yield
        finally:
            # Where the step was interrupted, or has nothing to update.
            put_back()
