"""Trains on one replica and on several, and prints how the weights compare.

On TensorFlow it trains a third time, clipping before the sum as Keras's own
clipping does.

Run by test_distribution.py in a process of its own, since a process has to
choose its devices before it has any.
"""

import json
import os

BACKEND = os.environ["KERAS_BACKEND"]
# TensorFlow traces each of them.
REPLICAS = 2 if BACKEND == "tensorflow" else 4
if BACKEND == "jax":
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = (
        f"{flags} --xla_force_host_platform_device_count={REPLICAS} "
        "--xla_backend_optimization_level=0"
    )

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402 (reads images on every backend)

import keras_nfnets  # noqa: E402
from keras_nfnets import layers  # noqa: E402
from keras_nfnets.data import from_arrays, train_batches  # noqa: E402
from keras_nfnets.layers import device  # noqa: E402
from keras_nfnets.recipes import Recipe  # noqa: E402
from keras_nfnets.training import agc_step, distribution  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 32, 32, 3)).astype("float32")
# Samples of very different size: what one replica sees is not the average.
X *= np.geomspace(0.1, 10, 64).astype("float32")[:, None, None, None]
Y = RNG.integers(0, 5, 64)


def network():
    """The least that has our convolutions, also in groups, and a classifier.

    Each replica traces all of it.
    """
    inputs = keras.Input((32, 32, 3))
    x = layers.WSConv2D(16, 3, 4, padding="same")(inputs)
    x = layers.VPActivation("gelu")(x)
    x = layers.WSConv2D(32, 3, 2, padding="same", groups=4)(x)
    x = layers.VPActivation("gelu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(5, "softmax")(x)
    return keras_nfnets.AGCModel(inputs, outputs)


def train():
    keras.utils.set_random_seed(0)
    model = network()
    optimizer = keras_nfnets.optimizers.SGD(0.02, l2=1e-3)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    history = model.fit(X, Y, batch_size=16, epochs=5, shuffle=False, verbose=0)
    weights = [
        keras.ops.convert_to_numpy(v).tolist()
        for v in model.trainable_variables
    ]
    return model, weights, history.history


RECIPE = Recipe(
    batch_size=8,
    learning_rate=0.05,
    warmup_epochs=0,
    dropout=0.0,
    stochastic_depth=0.0,
    ema_decay=0.9,
    train_size=32,
    test_size=32,
    random_crop=False,
    randaugment_layers=0,
    sam_rho=0.05,
    sam_fraction=0.5,
)


def train_with_all(order):
    """The averages and velocities after eight steps of a recipe.

    MixUp and CutMix make the batches, whose samples are put in an order; SAM
    takes the first of them.
    """
    keras.utils.set_random_seed(0)
    images = 120 + 10 * X
    source = from_arrays(images, Y, images, Y, "abcde")
    batches = train_batches(source, RECIPE).map(
        lambda x, y: (tf.gather(x, order), tf.gather(y, order))
    )
    model = network()
    model.compile(**RECIPE.compile_args(8))
    model.fit(batches, steps_per_epoch=8, verbose=0)
    return [
        keras.ops.convert_to_numpy(v)
        for v in model.trainable_variables + model.optimizer.momentums
    ]


# SAM takes the first half of each replica's part of a batch of eight, which one
# replica alone has to find at the front.
TOGETHER = np.arange(8)
ALONE = TOGETHER.reshape(REPLICAS, 2, -1).swapaxes(0, 1).ravel()


def clip_before_the_sum():
    """The mistake that the order of a step is there to avoid."""
    updates = agc_step._ClippingOnTensorFlow

    def clip_then_sum(self, grads_and_vars):
        gradients, variables = zip(*grads_and_vars, strict=True)
        clipped = self._clip(gradients, variables)
        return super(updates, self)._all_reduce_sum_gradients(
            list(zip(clipped, variables, strict=True))
        )

    updates._all_reduce_sum_gradients = clip_then_sum


def distance(ours, theirs):
    largest = max(np.abs(a).max() for a in map(np.asarray, ours))
    return max(
        float(np.abs(np.asarray(a) - np.asarray(b)).max() / largest)
        for a, b in zip(ours, theirs, strict=True)
    )


def distances_with_all(alone, of_other_samples, together):
    return distance(alone, together), distance(alone, of_other_samples)


def on_tensorflow():
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * REPLICAS,
    )
    _, alone, logs = train()
    with_all = [train_with_all(order) for order in (ALONE, TOGETHER)]
    with distribution.scope() as devices:
        assert devices == distribution.Devices(REPLICAS)
        with_all.append(train_with_all(TOGETHER))
        model, together, their_logs = train()
        reduced = reduced_by_tensorflow(model)
        clip_before_the_sum()
        _, mistaken, _ = train()
    return {
        "replicas": devices.replicas,
        "distance": distance(alone, together),
        "distance_if_clipped_first": distance(alone, mistaken),
        "distances_with_all": distances_with_all(*with_all),
        "logs": [logs, their_logs],
        "reduced": reduced,
        "parameters": model.count_params(),
    }


def reduced_by_tensorflow(model):
    """Sizes of what one traced step sums over replicas, gradients and all.

    The step is traced as `fit` traces it; the sizes are those of its
    collective operations on one of the devices.
    """
    import tensorflow as tf

    strategy = model.distribute_strategy
    data = next(iter(tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)))
    step = tf.function(lambda d: strategy.run(model.train_step, args=(d,)))
    graph = step.get_concrete_function(data).graph
    return [
        operation.inputs[0].shape.num_elements()
        for operation in graph.get_operations()
        if operation.type.startswith("CollectiveReduce")
        and operation.device.endswith("CPU:0")
    ]


def on_jax():
    _, alone, logs = train()
    with_all = [train_with_all(order) for order in (ALONE, TOGETHER)]
    with distribution.scope() as devices:
        with_all.append(train_with_all(TOGETHER))
        model, together, their_logs = train()
    return {
        "replicas": devices.replicas,
        "distance": distance(alone, together),
        "distances_with_all": distances_with_all(*with_all),
        "logs": [logs, their_logs],
        "reduced": reduced_by_jax(model),
        "parameters": model.count_params(),
    }


def reduced_by_jax(model):
    """Sizes of what one compiled step sums over devices."""
    import re

    import jax
    from compiled_step import compiled_step

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    # On a CPU narrow groups share larger kernels, with larger gradients.
    with device.tracing_for("tpu"):
        text = compiled_step(model, (X[:16], Y[:16]), mesh).as_text()
    sizes = []
    for line in text.splitlines():
        if re.search(r"= .* all-reduce(-start)?\(", line):
            result = line.split("=", 1)[1].split(" all-reduce")[0]
            for dims in re.findall(r"f32\[([\d,]*)\]", result):
                sizes.append(
                    int(np.prod([int(d) for d in dims.split(",") if d]))
                )
    return sizes


if __name__ == "__main__":
    run = {"tensorflow": on_tensorflow, "jax": on_jax}[BACKEND]
    print(json.dumps(run()))
