"""Loads what save_model.py saved, and prints how far its outputs are off.

KERAS_BACKEND=jax python tests/scripts/load_model.py FOLDER tensorflow torch
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import keras  # noqa: E402
import numpy as np  # noqa: E402
from helpers import evaluate, tiny_variant  # noqa: E402

import keras_nfnets  # noqa: E402


def distances(folder, saved_by):
    folder = pathlib.Path(folder)
    with np.load(folder / f"{saved_by}.npz") as file:
        x, y = file["x"], file["y"]
    whole = keras.saving.load_model(folder / f"{saved_by}.keras")
    weights = keras_nfnets.NFNet(
        tiny_variant(depths=(1, 1)),
        input_shape=(32, 32, 3),
        classes=5,
        weights=folder / f"{saved_by}.weights.h5",
    )
    found = {
        name: float(np.abs(evaluate(model, x) - y).max())
        for name, model in (("keras", whole), ("weights.h5", weights))
    }
    iterations = int(keras.ops.convert_to_numpy(whole.optimizer.iterations))
    momentum = keras.ops.convert_to_numpy(whole.optimizer.momentums[0])
    return {
        **found,
        "iterations": iterations,
        "momentum": float(np.abs(momentum).max()),
        "jit_compile": bool(whole.jit_compile),
    }


if __name__ == "__main__":
    folder, *backends = sys.argv[1:]
    print(json.dumps({name: distances(folder, name) for name in backends}))
