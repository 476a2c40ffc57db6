"""Times the folded NFNet-F0 with and without GELU's pending scale.

PYTHONPATH=. .venv/bin/python benchmarks/folding_scale.py

Both models run in turns in one process, since a machine's speed drifts. The
output is a line for each batch size: medians of wall and of CPU seconds, and
the median of the rounds' ratios (with / without).
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import keras_nfnets  # noqa: E402
from keras_nfnets.export.folding import single  # noqa: E402


def fold_without_scale(model):
    """Folds a model as if no activation preferred scaled inputs."""
    before = single.INPUT_SCALES, single._gelu_of_scaled
    single.INPUT_SCALES, single._gelu_of_scaled = {}, single._gelu
    try:
        return keras_nfnets.export.fold(model)
    finally:
        single.INPUT_SCALES, single._gelu_of_scaled = before


def time_round(step, steps):
    """Returns the wall seconds and the CPU seconds of a step."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / steps, cpu / steps


def measure(models, images, rounds, steps):
    """Times the models in turns, each round in the other order."""
    calls = {
        name: lambda model=model: model.predict_on_batch(images)
        for name, model in models.items()
    }
    outputs = [call() for call in calls.values() for _ in range(2)]
    np.testing.assert_allclose(outputs[0], outputs[-1], rtol=1e-3, atol=1e-6)
    found = {name: [] for name in calls}
    for number in range(rounds):
        names = list(calls)[:: -1 if number % 2 else 1]
        for name in names:
            found[name].append(time_round(calls[name], steps))
    return found


def report(batch, found):
    for column, kind in enumerate(("wall", "CPU")):
        with_, without = (
            [times[column] for times in found[name]]
            for name in ("with", "without")
        )
        ratios = [a / b for a, b in zip(with_, without, strict=True)]
        print(
            f"batch {batch}, {kind}: with {statistics.median(with_):.3f} s, "
            f"without {statistics.median(without):.3f} s, least "
            f"{min(with_):.3f} and {min(without):.3f} s, ratio "
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to "
            f"{max(ratios):.3f})",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3, help="per round")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    shape = (options.size, options.size, 3)
    model = keras_nfnets.NFNet("nfnet_f0", input_shape=shape)
    models = {
        "with": keras_nfnets.export.fold(model),
        "without": fold_without_scale(model),
    }
    for name, folded in models.items():
        counts = {}
        for layer in folded.layers:
            kind = type(layer).__name__
            counts[kind] = counts.get(kind, 0) + 1
        print(name, len(folded.layers), counts, flush=True)
    del model
    keras.backend.clear_session()
    for batch in options.batches:
        draw = np.random.default_rng(0)
        images = draw.normal(size=(batch, *shape)).astype("float32")
        found = measure(models, images, options.rounds, options.steps)
        report(batch, found)


if __name__ == "__main__":
    main()
