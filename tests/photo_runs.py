"""A run of photographs with a network that has opinions, without training."""

import dataclasses
import io

import keras
import numpy as np

from keras_nfnets import data, recipes
from keras_nfnets.runs import Run, from_options

SIDE, MARGIN = 32, 8
NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]
RECIPE = dataclasses.replace(
    recipes.get("nfnet_f0").scaled(4, 2, 32), test_size=SIDE, test_margin=MARGIN
)


def photo(kind="PNG", seed=0, shape=(41, 58)):
    """The content of a file of smooth colours, of no size of the network's."""
    from PIL import Image

    height, width = shape
    down, across = np.mgrid[:height, :width]
    draw = np.random.default_rng(seed)
    waves, colour = draw.uniform(0.1, 0.5, (3, 2)), draw.uniform(70, 180, 3)
    image = [np.sin(a * down) + np.sin(b * across) for a, b in waves]
    pixels = np.stack(image, -1) * 35 + colour
    content = io.BytesIO()
    Image.fromarray(pixels.astype("uint8")).save(content, kind)
    return content.getvalue()


def opinionated():
    """A model that looks at where colours are, and is not undecided."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, 2, activation="tanh")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    kernel = keras.initializers.RandomNormal(stddev=8.0, seed=2)
    x = keras.layers.Dense(6, "softmax", kernel_initializer=kernel)(x)
    return keras.Model(inputs, x)


def make_run(folder):
    """Writes photographs and a run of them; returns the run."""
    for number, name in enumerate(NAMES):
        for part in ("train", "val"):
            (folder / "photos" / part / name).mkdir(parents=True)
            for copy, kind in enumerate(("PNG", "JPEG")):
                file = f"{copy}.{kind.lower()}"
                content = photo(kind, 2 * number + copy)
                (folder / "photos" / part / name / file).write_bytes(content)
    run = Run(folder / "run")
    run.claim()
    name = f"folder:{folder / 'photos'}"
    settings = dataclasses.replace(from_options(), recipe=RECIPE, data=name)
    run.write_config(settings, data.open_source(name))
    opinionated().save(run.model)
    return run
