"""keras_nfnets on JAX, in bfloat16: a step of `model.fit`, or folded inference.

`fit` starts one step after the other and looks at none of them, as here. Its
data is on the device already, so that steps alone are measured.
"""

import itertools

import jax
import keras
import worker

import keras_nfnets


def build(job):
    """Returns the compiled model."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = keras_nfnets.NFNet(
        job.model,
        input_shape=(job.size, job.size, 3),
        classes=worker.CLASSES,
        dropout=0.0,  # timm has none by default
    )
    model.compile(
        keras_nfnets.optimizers.SGD(worker.LEARNING_RATE),
        "sparse_categorical_crossentropy",
    )
    return model


def steps(model, images, labels):
    """Returns functions that start a step, and that wait for all of them."""
    model.train_on_batch(images, labels)  # makes what `fit` makes first
    state = tuple(
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    batches = itertools.repeat((images, labels, None))

    def start():
        nonlocal state
        _, state = model.train_function(state, batches)

    def wait():
        jax.block_until_ready(state)

    return start, wait


def inference(model, images):
    """Returns functions that start a forward pass, and that wait for it."""
    folded = keras_nfnets.export.fold(model)
    variables = folded.trainable_variables, folded.non_trainable_variables
    state = [[variable.value for variable in each] for each in variables]
    outputs = None

    @jax.jit
    def predict(state, images):
        return folded.stateless_call(*state, images, training=False)[0]

    def start():
        nonlocal outputs
        outputs = predict(state, images)

    def wait():
        jax.block_until_ready(outputs)

    return start, wait


def main():
    job = worker.job()
    model = build(job)
    images, labels = jax.device_put(worker.data(job))
    if job.task == "infer":
        start, wait = inference(model, images)
    else:
        start, wait = steps(model, images, labels)
    parts = keras_nfnets.complexity.complexity(
        job.model, job.size, worker.CLASSES
    )
    worker.serve(
        job,
        start,
        parameters=model.count_params(),
        versions=worker.keras_versions(),
        wait=wait,
        device=jax.devices()[0].device_kind,
        multiply_adds=sum(part.multiply_adds for part in parts),
    )


if __name__ == "__main__":
    main()
