"""Small images and sources that tests of the data share."""

import dataclasses

import numpy as np

from keras_nfnets import data, recipes

# All of the papers' recipe but RandAugment, which has tests of its own.
RECIPE = dataclasses.replace(
    recipes.get("nfnet_f0").scaled(8, 2, 32), randaugment_layers=0, test_size=48
)
PLAIN = dataclasses.replace(
    RECIPE,
    random_crop=False,
    random_flip=False,
    mixup_fraction=0.0,
    cutmix_fraction=0.0,
)


def photographs(count, size=32, channels=3):
    """Smooth noise in [0, 255] that reaches both ends."""
    noise = np.random.default_rng(0).uniform(size=(count, 8, 8, channels))
    images = noise.repeat(size // 8, axis=1).repeat(size // 8, axis=2)
    images -= images.min(axis=(1, 2, 3), keepdims=True)
    images *= 255 / images.max(axis=(1, 2, 3), keepdims=True)
    return images.astype("float32")


def arrays():
    """A source of 20 images, each of one value, in two classes."""
    images = np.arange(20, dtype="float32").reshape(20, 1, 1, 1)
    images = np.broadcast_to(images, (20, 4, 4, 1))
    labels = np.arange(20) % 2
    return data.from_arrays(images, labels, images, labels, "ab")


def take(batches, count):
    """The first batches, in NumPy."""
    return [tuple(map(np.asarray, batch)) for batch in batches.take(count)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for batch, other in zip(ours, theirs, strict=True):
        for part, its in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, its)
