"""Trains with native groups on one device and on four, and prints both.

Run by test_several_devices.py in a process of its own, since a process has to
choose its devices before it has any. JAX only. `tracing_for` has the CPU run
groups as a GPU does, which is slow there.
"""

import json
import os
import re

DEVICES, BATCH = 4, 8
flags = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = (
    f"{flags} --xla_force_host_platform_device_count={DEVICES}"
)

import keras  # noqa: E402
import numpy as np  # noqa: E402
from compiled_step import compiled_step  # noqa: E402

import keras_nfnets  # noqa: E402
from keras_nfnets import layers  # noqa: E402
from keras_nfnets.layers.device import tracing_for  # noqa: E402
from keras_nfnets.training import distribution  # noqa: E402
from keras_nfnets.variants.table import Variant  # noqa: E402

# Two stages as an F network has them, small.
VARIANT = Variant(
    depths=(1, 2),
    widths=(32, 64),
    stem_widths=(8, 8),
    stem_strides=(2, 2),
    head_width=64,
    group_widths=(8, 8),
)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(3 * BATCH, 32, 32, 3)).astype("float32")
Y = RNG.integers(0, 5, 3 * BATCH)


def network():
    model = keras_nfnets.NFNet(VARIANT, input_shape=(32, 32, 3), classes=5)
    model.get_layer("head").classifier.kernel.assign(
        np.random.default_rng(1).normal(size=(64, 5))
    )
    return model


def train():
    """Returns the weights after three steps, and what a step's program is."""
    keras.utils.set_random_seed(0)
    model = network()
    model.compile(
        keras_nfnets.optimizers.SGD(0.1), "sparse_categorical_crossentropy"
    )
    model.fit(X, Y, BATCH, shuffle=False, verbose=0)
    weights = [
        keras.ops.convert_to_numpy(v).tolist()
        for v in model.trainable_variables
    ]
    return {"weights": weights, **program(model)}


def program(model):
    """Returns the FLOP of a device's step, and its gathers and all-reduces."""
    shared = keras.distribution.distribution()
    mesh = shared.device_mesh.backend_mesh if shared else None
    compiled = compiled_step(model, (X[:BATCH], Y[:BATCH]), mesh)
    text = compiled.as_text()
    return {
        "flops": compiled.cost_analysis()["flops"],
        "gathers": len(re.findall(r" all-gather(?:-start)?\(", text)),
        "sums": len(re.findall(r" all-reduce(?:-start)?\(", text)),
    }


def others():
    """Returns outputs of other layers with groups, and of uneven batches."""
    keras.utils.set_random_seed(0)
    wide = layers.WSConv1D(8, 3, groups=2)
    deep = layers.WSConv3D(8, 2, groups=4)
    flat = layers.WSConv2D(8, 3, groups=2, dtype="bfloat16")
    calls = [
        (wide, (BATCH, 7, 4)),
        (deep, (BATCH, 3, 3, 3, 4)),
        (flat, (BATCH, 5, 5, 4)),
        (flat, (BATCH - 1, 5, 5, 4)),
    ]
    draw = np.random.default_rng(0)
    return [
        np.asarray(layer(draw.normal(size=shape)), "float32").tolist()
        for layer, shape in calls
    ]


def main():
    with tracing_for("gpu"):
        alone = {**train(), "others": others()}
        with distribution.scope() as devices:
            together = {**train(), "others": others()}
    return {
        "devices": devices.replicas,
        "alone": alone,
        "together": together,
    }


if __name__ == "__main__":
    print(json.dumps(main()))
