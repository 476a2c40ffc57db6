"""What a sum of gradients over devices in bfloat16 does to AGC, by simulation.

.venv/bin/python benchmarks/bfloat16_sum.py \\
    --out benchmarks/results/BFLOAT16_SUM.md
"""

import argparse
import datetime
import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"  # its compiler is the one that does so

import jax
import jax.numpy as jnp
import keras
import numpy as np
import tables

import keras_nfnets
from keras_nfnets.data import digits, normalize
from keras_nfnets.recipes import RECIPES
from keras_nfnets.training.unitwise import unitwise_clip, unitwise_norm

RECIPE = RECIPES["nfnet_pico"]
DEVICES, BATCH, EPOCHS = (8, 64, 256), 1024, 3
COLUMNS = (
    "devices",
    "sum",
    "gradient",
    "least exact weight",
    "norms of units, median (largest)",
    "other decisions of AGC",
    "factors, largest",
)


def main():
    options = _options()
    data = digits()
    images = normalize(data.train_images, data.mean, data.std)
    model = trained(images, data.train_labels, options.epochs)
    batch = images[:BATCH], data.train_labels[:BATCH]
    rows = []
    for devices in DEVICES:
        parts = gradients_of_devices(model, *batch, devices)
        exact = [part.sum(axis=0) for part in parts]
        for name, add in SUMS.items():
            sums = [add(part) for part in parts]
            rows.append([str(devices), name, *compared(model, exact, sums)])
    clipped = clipping(model, exact)[1].mean()
    tables.publish(_report(rows, clipped, options), options.out)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, help="file to write")
    return parser.parse_args()


def trained(images, labels, epochs):
    """Returns a network that computes in bfloat16, after some epochs."""
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = keras_nfnets.NFNet(
        "nfnet_pico", input_shape=images.shape[1:], classes=10
    )
    steps = len(images) // RECIPE.batch_size
    model.compile(**RECIPE.scaled(epochs=epochs).compile_args(steps))
    labels = keras.utils.to_categorical(labels, 10)
    model.fit(images, labels, RECIPE.batch_size, epochs, verbose=0)
    return model


def gradients_of_devices(model, images, labels, devices):
    """Returns float32 arrays, the gradients of each device stacked in front.

    They are rounded to bfloat16, as each device's part of the sum is.
    """

    def loss(weights, x, y):
        probabilities, _ = model.stateless_call(
            weights, model.non_trainable_variables, x
        )
        chosen = jnp.take_along_axis(probabilities, y[:, None], 1)
        # The mean is that of the whole batch.
        return -jnp.sum(jnp.log(jnp.float32(chosen) + 1e-7)) / BATCH

    weights = [v.value for v in model.trainable_variables]
    step = jax.jit(jax.grad(loss))
    x, y = (np.split(np.asarray(a), devices) for a in (images, labels))
    found = [step(weights, *part) for part in zip(x, y, strict=True)]
    stacked = [np.stack(of_all) for of_all in zip(*found, strict=True)]
    return [rounded(gradients) for gradients in stacked]


def rounded(x):
    """Rounds to bfloat16, whose numbers float32 has."""
    return np.asarray(x).astype(jnp.bfloat16).astype("float32")


def ring(parts):
    """Adds one device after another, as each goes around a ring."""
    total = parts[0]
    for part in parts[1:]:
        total = rounded(total + part)
    return total


def tree(parts):
    """Adds pairs of devices, pairs of pairs, and so on."""
    while len(parts) > 1:
        parts = rounded(parts[::2] + parts[1::2])
    return parts[0]


SUMS = {
    "in float32, rounded once": lambda parts: rounded(parts.sum(axis=0)),
    "bfloat16, tree": tree,
    "bfloat16, ring": ring,
}


def compared(model, exact, sums):
    """Returns the cells of a row: how far sums are off the exact ones."""
    pairs = list(zip(sums, exact, strict=True))
    errors = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]
    off = sum(np.sum((a - b) ** 2) for a, b in pairs)
    whole = sum(np.sum(b**2) for _, b in pairs)
    norms, decisions, factors = clipping(model, sums)
    true_norms, true_decisions, true_factors = clipping(model, exact)
    moved = true_norms > 0
    of_norms = np.abs(norms[moved] / true_norms[moved] - 1)
    of_factors = np.abs(factors / true_factors - 1)
    others = np.sum(decisions != true_decisions)
    return [
        f"{np.sqrt(off / whole):.2%}",
        f"{max(errors):.2%}",
        f"{np.median(of_norms):.2%} ({of_norms.max():.2%})",
        f"{others} of {decisions.size}",
        f"{of_factors.max():.2%}",
    ]


def clipping(model, gradients):
    """Returns each unit's norm, whether AGC clips it, and its factor."""
    units = []
    for gradient, variable in zip(
        gradients, model.trainable_variables, strict=True
    ):
        if not variable.path.endswith("head/classifier/kernel"):
            norms = unitwise_norm(gradient), unitwise_norm(variable)
            units.append(np.stack([np.ravel(norm) for norm in norms]))
    norms, weights = np.concatenate(units, axis=1)
    factors, clipped = unitwise_clip(
        norms, weights, RECIPE.clipping, RECIPE.epsilon
    )
    return norms, np.asarray(clipped), np.asarray(factors)


def _report(rows, clipped, options):
    return [
        "# A sum over devices in bfloat16",
        "",
        f"{datetime.date.today()}. The gradients are those of `nfnet_pico`, "
        f"after {options.epochs} epochs on digits, of {BATCH} digits",
        "that the devices share. Each device computes in bfloat16, and its "
        "gradient is",
        "rounded to it. Relative deviations from the sum of these in float32. "
        f"AGC clips {clipped:.0%}",
        "of the units.",
        "",
        *tables.table(COLUMNS, rows),
    ]


if __name__ == "__main__":
    main()
