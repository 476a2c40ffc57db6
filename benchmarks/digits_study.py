"""Where batch norm, and normalizer-free networks without and with AGC, break.

.venv/bin/python benchmarks/digits_study.py \\
    --out benchmarks/results/DIGITS_STUDY.md --figure docs/digits_study.png
.venv/bin/python benchmarks/digits_study.py --batches 64 --seeds 1 --epochs 2
"""

import argparse
import os
import statistics
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import batch_norm
import keras
import numpy as np
import tables
import tensorflow as tf
from matplotlib.figure import Figure

import keras_nfnets
from keras_nfnets.data import digits, normalize
from keras_nfnets.files import replacing
from keras_nfnets.recipes import RECIPES
from keras_nfnets.training.optimizers import SGD, WarmupCosine

BATCHES = (16, 32, 64, 128, 256, 512, 1024)
SEEDS, EPOCHS, WARMUP_EPOCHS, SIZE = 3, 12, 2, 16
RATE, AT_BATCH = 0.1, 64  # the linear rule goes through this point
RECIPE = RECIPES["nfnet_pico"]
NETWORK = keras_nfnets.Variant(
    depths=(2, 2, 2),
    widths=(32, 64, 128),
    stem_widths=(16, 16, 32, 32),
    head_width=128,
    group_widths=(16, 16, 16),
    dropout=0.0,
)
AGC = keras_nfnets.AGC(RECIPE.clipping, RECIPE.epsilon, RECIPE.agc_exclude)
# What each network is called: how it is built, and clipped.
NETWORKS = {
    "batch norm": (True, None),
    "NF without AGC": (False, None),
    "NF with AGC": (False, AGC),
}
BROKEN = 0.2  # twice as good as guessing, or NaN on the way


def main():
    options = _options()
    data = digits(SIZE)
    found = {
        (name, batch): [
            accuracy(data, name, batch, seed, options.epochs)
            for seed in range(options.seeds)
        ]
        for batch in options.batches
        for name in NETWORKS
    }
    tables.publish(_report(found, options), options.out)
    if options.figure:
        draw(found, options.batches, options.figure)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, help="file to write")
    parser.add_argument("--figure", type=Path, help="picture to write")
    return parser.parse_args()


def accuracy(data, name, batch_size, seed, epochs):
    """Trains one network and returns its share of right held-out digits."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    with_batch_norm, agc = NETWORKS[name]
    model = build(with_batch_norm)
    count = len(data.train_images)
    steps = epochs * count // batch_size
    schedule = WarmupCosine(
        RATE * batch_size / AT_BATCH,
        min(WARMUP_EPOCHS, epochs / 2) * count / batch_size,
        steps,
    )
    model.compile(
        SGD(schedule, RECIPE.momentum, l2=RECIPE.l2),
        keras_nfnets.losses.Crossentropy(RECIPE.label_smoothing),
        metrics=["accuracy"],
        agc=agc,
    )
    model.fit(
        batches(data, batch_size, seed, epochs),
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )
    images = normalize(data.test_images, data.mean, data.std)
    result = model.evaluate(
        images, data.test_labels, batch_size=360, verbose=0, return_dict=True
    )
    right = result["accuracy"] if np.isfinite(result["loss"]) else float("nan")
    print(f"{name}, batch {batch_size}, seed {seed}: {right:.4f}", flush=True)
    return right


def build(with_batch_norm):
    """Returns the network, with normalization or without."""
    arguments = dict(input_shape=(None, None, 1), classes=10)
    if not with_batch_norm:
        return keras_nfnets.NFNet(NETWORK, **arguments)
    with batch_norm.in_place():
        return keras_nfnets.NFNet(NETWORK, **arguments)


def batches(data, batch_size, seed, epochs):
    """Returns shuffled epochs one after another, in whole batches."""
    images = tf.constant(normalize(data.train_images, data.mean, data.std))
    labels = tf.constant(data.train_labels)
    random = np.random.default_rng(seed)
    order = np.concatenate(
        [random.permutation(len(images)) for _ in range(epochs)]
    )
    dataset = tf.data.Dataset.from_tensor_slices(order)
    return dataset.batch(batch_size, drop_remainder=True).map(
        lambda index: (tf.gather(images, index), tf.gather(labels, index))
    )


def is_broken(value):
    """Whether a run ended in NaN, or hardly better than guessing."""
    return not value >= BROKEN


def _report(found, options):
    columns = ["batch", "learning rate", "steps", *NETWORKS]
    count = len(digits(SIZE).train_images)
    rows = [
        [
            str(batch),
            f"{RATE * batch / AT_BATCH:g}",
            str(options.epochs * count // batch),
            *(_cell(found[name, batch]) for name in NETWORKS),
        ]
        for batch in options.batches
    ]
    return [
        "# A study of batch sizes on digits",
        "",
        f"Held-out accuracy after {options.epochs} epochs at {SIZE} px: median "
        f"(smallest to largest) of {options.seeds} seeds, of those that are "
        f"not broken: NaN, or below {BROKEN}. Learning rate {RATE} at batch "
        f"{AT_BATCH} and by the linear rule, {WARMUP_EPOCHS} epochs of "
        "warm-up, cosine to 0, Nesterov "
        f"{RECIPE.momentum}, L2 {RECIPE.l2}, label smoothing "
        f"{RECIPE.label_smoothing}; AGC {RECIPE.clipping}, without "
        f"{' and '.join(RECIPE.agc_exclude)}.",
        f"Keras {keras.__version__}, TensorFlow {tf.__version__}.",
        "",
        *tables.table(columns, rows),
    ]


def _cell(values):
    whole = [value for value in values if not is_broken(value)]
    broken = len(values) - len(whole)
    text = f"{broken} of {len(values)} broken" if broken else ""
    if whole:
        spread = f"({min(whole):.3f} to {max(whole):.3f})"
        text = f"{statistics.median(whole):.3f} {spread} {text}"
    return text.strip()


def draw(found, batch_sizes, path):
    """Draws accuracy over batch size, with broken runs at the bottom."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(NETWORKS):
        shown = [
            [0.0 if is_broken(v) else v for v in found[name, batch]]
            for batch in batch_sizes
        ]
        # Side by side, as all broken ones lie at 0.
        at = np.array(batch_sizes) * (1 + 0.06 * (index - 1))
        middle = [statistics.median(values) for values in shown]
        (line,) = axes.plot(at, middle, marker="o", label=name)
        axes.vlines(
            at,
            [min(v) for v in shown],
            [max(v) for v in shown],
            color=line.get_color(),
            alpha=0.5,
            linewidth=3,
        )
        lost = [x for x, values in zip(at, shown, strict=True) if 0.0 in values]
        axes.plot(lost, [0.0] * len(lost), "x", color=line.get_color(), ms=10)
    axes.set_xscale("log", base=2)
    axes.set_xticks(batch_sizes, [str(batch) for batch in batch_sizes])
    axes.set(
        xlabel="batch size, with the learning rate in proportion",
        ylabel="held-out accuracy",
        title="Digits: bars are the range of the seeds, x is a broken run",
        ylim=(-0.04, 1.02),
    )
    axes.legend(loc="center left")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


if __name__ == "__main__":
    main()
