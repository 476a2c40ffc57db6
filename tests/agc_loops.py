"""Training steps and loops written by hand, as users write them."""

import agc_models
import keras
import numpy as np
import numpy_model
from helpers import BACKEND


def data(samples=32):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 8)).astype("float32")
    return x, rng.normal(size=(samples, 3)).astype("float32")


def dense_model(cls=keras.Model):
    return agc_models.dense_model(cls)


def by_hand(rate, clipping, epochs):
    """The weights of `dense_model` after SGD with AGC, in float64 NumPy."""
    steps = numpy_model.batches(8, *data()) * epochs
    return numpy_model.train(steps, rate, clipping)


def mean_squared_error(model, x, y):
    error = keras.ops.subtract(y, model(x, training=True))
    return keras.ops.mean(keras.ops.square(error))


def gradients_of(model):
    """Of one batch of `data`, on every backend."""
    x, y = data(8)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = mean_squared_error(model, x, y)
        return tape.gradient(loss, model.trainable_variables)
    if BACKEND == "jax":
        import jax

        values = [v.value for v in model.trainable_variables]
        return jax.grad(lambda v: jax_loss(model, v, [], x, y)[0])(values)
    model.zero_grad()
    mean_squared_error(model, x, y).backward()
    return [v.value.grad for v in model.trainable_variables]


def jax_loss(model, trainable, others, x, y):
    outputs, others = model.stateless_call(trainable, others, x, training=True)
    return keras.ops.mean(keras.ops.square(y - outputs)), others


def loop(model, optimizer, clip, epochs, accumulated=1):
    """Trains by a loop that the library knows nothing of.

    Args:
        model: `dense_model`.
        optimizer: Any optimizer.
        clip: Function of gradients and variables, or `None`.
        epochs: Integer.
        accumulated: Integer, batches whose mean gradient makes an update.
    """
    optimizer.build(model.trainable_variables)
    clip = clip or (lambda gradients, variables: gradients)
    loops = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    x, y = data()
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, len(x), 8)]
    steps = [
        batches[i : i + accumulated]
        for i in range(0, len(batches), accumulated)
    ]
    loops[BACKEND](model, optimizer, clip, steps * epochs)


def _mean(gradients):
    """Of lists of gradients, in the order in which Keras accumulates them."""
    if len(gradients) == 1:
        return gradients[0]
    return [sum(each) / len(gradients) for each in zip(*gradients, strict=True)]


def _tensorflow(model, optimizer, clip, steps):
    import tensorflow as tf

    @tf.function
    def step(batches):
        variables = model.trainable_variables
        gradients = []
        for x, y in batches:
            with tf.GradientTape() as tape:
                loss = mean_squared_error(model, x, y)
            gradients.append(tape.gradient(loss, variables))
        gradients = clip(_mean(gradients), variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for batches in steps:
        step([(tf.constant(x), tf.constant(y)) for x, y in batches])


def _jax(model, optimizer, clip, steps):
    import jax

    @jax.jit
    def step(state, batches):
        trainable, others, optimizer_state = state
        gradients = []
        for x, y in batches:
            gradient = jax.grad(
                lambda t, x=x, y=y: jax_loss(model, t, others, x, y)[0]
            )
            gradients.append(gradient(trainable))
        gradients = clip(_mean(gradients), trainable)
        trainable, optimizer_state = optimizer.stateless_apply(
            optimizer_state, gradients, trainable
        )
        return trainable, others, optimizer_state

    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        optimizer.variables,
    )
    state = tuple([v.value for v in each] for each in variables)
    for batches in steps:
        state = step(state, batches)
    for variable, value in zip(
        sum(variables, []), sum(map(list, state), []), strict=True
    ):
        variable.assign(value)


def _torch(model, optimizer, clip, steps):
    variables = model.trainable_variables
    for batches in steps:
        gradients = []
        for x, y in batches:
            model.zero_grad()
            mean_squared_error(model, x, y).backward()
            gradients.append([v.value.grad.clone() for v in variables])
        optimizer.apply(clip(_mean(gradients), variables), variables)


def step_of_ones_own(cls):
    """Returns a class with a `train_step` as in Keras's guides."""
    steps = {
        "tensorflow": _tensorflow_step,
        "jax": _jax_step,
        "torch": _torch_step,
    }
    return type("OwnStep", (cls,), {"train_step": steps[BACKEND]})


def _tensorflow_step(self, data):
    import tensorflow as tf

    x, y = data[:2]
    with tf.GradientTape() as tape:
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        scaled = self.optimizer.scale_loss(loss)
    variables = self.trainable_variables
    gradients = tape.gradient(scaled, variables)
    self.optimizer.apply(gradients, variables)
    return _update_metrics(self, loss, y, y_pred)


def _torch_step(self, data):
    import torch

    x, y = data[:2]
    self.zero_grad()
    y_pred = self(x, training=True)
    loss = self.compute_loss(y=y, y_pred=y_pred)
    self.optimizer.scale_loss(loss).backward()
    variables = list(self.trainable_weights)
    gradients = [v.value.grad for v in variables]
    with torch.no_grad():
        self.optimizer.apply(gradients, variables)
    return _update_metrics(self, loss, y, y_pred)


def _update_metrics(self, loss, y, y_pred):
    for metric in self.metrics:
        if metric.name == "loss":
            metric.update_state(loss)
        else:
            metric.update_state(y, y_pred)
    return {m.name: m.result() for m in self.metrics}


def _jax_step(self, state, data):
    import jax

    trainable, others, optimizer_variables, metrics_variables = state
    x, y = data[:2]
    gradient = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
    (_, aux), gradients = gradient(
        trainable,
        others,
        metrics_variables,
        x,
        y,
        None,
        training=True,
        optimizer_variables=optimizer_variables,
    )
    loss, y_pred, others, metrics_variables = aux
    trainable, optimizer_variables = self.optimizer.stateless_apply(
        optimizer_variables, gradients, trainable
    )
    logs, new_metrics = {}, []
    for metric in self.metrics:
        count = len(metric.variables)
        own = metrics_variables[len(new_metrics) :][:count]
        arguments = (loss,) if metric.name == "loss" else (y, y_pred)
        own = metric.stateless_update_state(own, *arguments)
        logs[metric.name] = metric.stateless_result(own)
        new_metrics += own
    return logs, (trainable, others, optimizer_variables, new_metrics)
