"""Saves a small model, with the logits it gives, into a folder.

The files under reference/saved were made by it, once on each backend:

    KERAS_BACKEND=jax python tests/scripts/save_model.py tests/reference/saved
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import keras  # noqa: E402
import numpy as np  # noqa: E402
from helpers import BACKEND, evaluate, tiny_variant  # noqa: E402

import keras_nfnets  # noqa: E402


def save(folder):
    keras.utils.set_random_seed(0)
    model = keras_nfnets.NFNet(
        tiny_variant(depths=(1, 1)), input_shape=(32, 32, 3), classes=5
    )
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        noise = 0.1 * rng.normal(size=variable.shape)
        variable.assign(keras.ops.convert_to_numpy(variable) + noise)
    optimizer = keras_nfnets.optimizers.SGD(0.1)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    # One step, so that the optimizer has a state; tracing a real one is slow.
    optimizer.apply(
        [keras.ops.ones(v.shape) for v in model.trainable_variables],
        model.trainable_variables,
    )
    x = rng.normal(size=(4, 32, 32, 3)).astype("float32")
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    model.save(folder / f"{BACKEND}.keras")
    model.save_weights(folder / f"{BACKEND}.weights.h5")
    np.savez(folder / f"{BACKEND}.npz", x=x, y=evaluate(model, x))


if __name__ == "__main__":
    save(sys.argv[1])
