"""Trains with AGC on one replica and on several, and prints how they compare.

Run by test_agc_replicas.py in a process of its own, since a process has to
choose its devices before it has any.
"""

import json
import os
import time

BACKEND = os.environ["KERAS_BACKEND"]
# TensorFlow traces each of them.
REPLICAS = 2 if BACKEND == "tensorflow" else 4
if BACKEND == "jax":
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = (
        f"{flags} --xla_force_host_platform_device_count={REPLICAS}"
    )
    os.environ["JAX_ENABLE_X64"] = "1"

import keras  # noqa: E402
import numpy as np  # noqa: E402
from agc_loops import dense_model  # noqa: E402

import keras_nfnets  # noqa: E402
from keras_nfnets import AGC  # noqa: E402
from keras_nfnets.callbacks import AGCMonitor, Throughput  # noqa: E402
from keras_nfnets.training import distribution  # noqa: E402
from keras_nfnets.training.optimizers import with_agc  # noqa: E402

SETTINGS = AGC(0.3)  # clips some units of the steps, not all
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8))
# Samples of very different size: what one replica sees is not the average.
X *= np.geomspace(0.1, 4, 64)[RNG.permutation(64), None]
Y = RNG.normal(size=(64, 3))
BATCH, EPOCHS = 16, 5
# Two samples of the second batch, both of one replica: where float16 scales the
# loss, their gradient is infinite in every epoch.
OVERFLOWING = X.copy()
OVERFLOWING[BATCH + 8 : BATCH + 10] = np.inf


def plain_model(**arguments):
    model = dense_model()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(with_agc(optimizer, SETTINGS, model), "mse", **arguments)
    return model


def agc_model(**arguments):
    model = dense_model(keras_nfnets.AGCModel)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "mse", agc=SETTINGS, **arguments)
    return model


MODELS = {"plain": plain_model, "AGCModel": agc_model}
CASES = {
    # Replicas take long to trace; replicas.py trains an AGCModel in float32.
    "tensorflow": [
        ("plain", "float32"),
        ("plain", "mixed_float16"),
        ("AGCModel", "mixed_float16"),
    ],
    "jax": [
        ("plain", "float32"),
        ("plain", "float64"),
        ("plain", "mixed_float16"),
        ("AGCModel", "float32"),
        ("AGCModel", "mixed_float16"),
    ],
}


def train(kind, policy, **arguments):
    """Returns what a training ends at, in numbers."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    model = MODELS[kind](**arguments)
    monitor, throughput = AGCMonitor(), Throughput(BATCH)
    start = time.perf_counter()
    history = model.fit(
        OVERFLOWING if policy == "mixed_float16" else X,
        Y,
        BATCH,
        EPOCHS,
        verbose=0,
        shuffle=False,
        callbacks=[monitor, throughput],
    ).history
    seconds = time.perf_counter() - start
    optimizer = model.optimizer
    scale = getattr(optimizer, "dynamic_scale", 1.0)
    to_numpy = keras.ops.convert_to_numpy
    return {
        "weights": [to_numpy(v).tolist() for v in model.weights],
        "clipped": optimizer.agc_report()["agc_clipped"],
        "rows": [list(row.values()) for row in monitor.rows],
        "speed": history["images_per_second"],
        "steps_per_second": history["steps_per_second"],
        "seconds": seconds,
        "steps": int(to_numpy(optimizer.iterations)),
        "scale": float(to_numpy(scale)),
    }


def trainings():
    """One training of each kind and policy, on the devices of the scope."""
    found = {
        f"{kind} {policy}": train(kind, policy)
        for kind, policy in CASES[BACKEND]
    }
    if BACKEND == "jax":
        found["AGCModel two steps in one"] = train(
            "AGCModel", "float32", steps_per_execution=2
        )
    return found


def scaled_from_outside():
    """What `with_agc` says of a `LossScaleOptimizer` that Keras makes."""
    keras.config.set_dtype_policy("mixed_float16")
    model = dense_model()
    model.compile(with_agc("sgd", SETTINGS, model), "mse")
    try:
        model.fit(X, Y, BATCH, verbose=0)
    except ValueError as error:
        return str(error)
    return None


def main():
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * REPLICAS,
        )
    alone = trainings()
    with distribution.scope() as devices:
        together, error = trainings(), scaled_from_outside()
    return {
        "replicas": devices.replicas,
        "alone": alone,
        "together": together,
        "error": error,
    }


if __name__ == "__main__":
    print(json.dumps(main()))
