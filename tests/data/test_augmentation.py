"""A batch is augmented and mixed as the papers do, from a seed and a step."""

import dataclasses
import hashlib
import importlib.util
import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers import BACKEND, ROOT, TESTS
from small_data import photographs

from keras_nfnets import recipes
from keras_nfnets.data import randaugment
from keras_nfnets.data.augmentation import augment_batch

tf = pytest.importorskip("tensorflow")

F1 = recipes.get("nfnet_f1")
# Two layers in place of four: each of them takes a second to trace.
SHORT = dataclasses.replace(F1, randaugment_layers=2)
PAIRS = dataclasses.replace(F1, randaugment_layers=0)
MIXING = dataclasses.replace(PAIRS, mix_partners="batch")


def constants(count, size=16):
    """Images of one value each, a class each, and the values."""
    values = np.linspace(0, 255, count).astype("uint8").astype("float32")
    images = np.broadcast_to(
        values[:, None, None, None], (count, size, size, 3)
    )
    return images, np.eye(count, dtype="float32"), values


def dataset(augment, images, rows, steps, threads=2):
    """A dataset of augmented batches, with the step's number."""
    batches = tf.data.Dataset.from_tensor_slices(np.int64(steps))
    images, rows = tf.constant(images), tf.constant(rows)
    return batches.map(
        lambda step: augment(step, images, rows), num_parallel_calls=threads
    )


def run(recipe, images, rows, steps, seed=0, threads=2, intra_op=0):
    """Returns images and rows by step."""
    batches = dataset(augment_batch(recipe, seed), images, rows, steps, threads)
    options = tf.data.Options()
    options.threading.max_intra_op_parallelism = intra_op
    return [
        tuple(part.numpy() for part in batch)
        for batch in batches.with_options(options)
    ]


def one(recipe, images, rows, **kwargs):
    return run(recipe, images, rows, [0], **kwargs)[0]


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        np.testing.assert_array_equal(batch[0], other[0])
        np.testing.assert_array_equal(batch[1], other[1])


def test_pure_in_seed_and_step():
    images, rows = photographs(8), np.eye(8, dtype="float32")
    expected = run(SHORT, images, rows, range(6))
    alone = run(SHORT, images, rows, [5, 3, 0], threads=1, intra_op=1)
    assert_same(alone, [expected[5], expected[3], expected[0]])


def test_steps_and_seeds_differ():
    images, rows = photographs(8), np.eye(8, dtype="float32")
    batches = run(SHORT, images, rows, range(3))
    batches += run(SHORT, images, rows, range(3), seed=1)
    for part in (0, 1):
        assert len({batch[part].tobytes() for batch in batches}) == 6


def digest():
    """Of batches; the next test asks another backend for it too."""
    batches = run(SHORT, photographs(16), np.eye(16, dtype="float32"), range(4))
    found = hashlib.sha256()
    for images, rows in batches:
        found.update(images.tobytes() + rows.tobytes())
    return found.hexdigest()


OTHERS = [
    name
    for name in ("tensorflow", "jax", "torch")
    if name != BACKEND and importlib.util.find_spec(name)
]


@pytest.mark.long
@pytest.mark.skipif(not OTHERS, reason="needs a second backend")
@pytest.mark.skipif(BACKEND == "jax", reason="TensorFlow's run asks JAX")
def test_same_on_another_backend():
    result = subprocess.run(
        [sys.executable, "-c", f"import {__name__} as t; print(t.digest())"],
        env={
            **os.environ,
            "KERAS_BACKEND": OTHERS[0],
            "PYTHONPATH": f"{ROOT}:{TESTS}",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [digest()]


def test_leaves_pythons_random_numbers_alone():
    before = random.getstate()
    augment_batch(F1, seed=0)
    assert random.getstate() == before


def test_neither_policy_nor_data_format_matters():
    images, rows = photographs(4), np.eye(4, dtype="float32")
    expected = one(SHORT, images, rows)
    data_format = keras.config.image_data_format()
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_image_data_format("channels_first")
    try:
        assert_same([one(SHORT, images, rows)], [expected])
    finally:
        keras.config.set_image_data_format(data_format)


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_stay_static(channels):
    images = photographs(6, channels=channels)
    rows = np.eye(6, dtype="float32")
    spec = dataset(augment_batch(SHORT, 0), images, rows, [0]).element_spec
    assert spec == (
        tf.TensorSpec((3, 32, 32, channels), tf.float32),
        tf.TensorSpec((3, 6), tf.float32),
    )


@pytest.mark.parametrize("name, channels", [("nfnet_f0", 3), ("nfnet_f5", 1)])
def test_values_stay_in_range(name, channels):
    images = photographs(16, channels=channels)
    rows = np.eye(16, dtype="float32")
    for pixels, mixed in run(recipes.get(name), images, rows, range(4)):
        assert np.isfinite(pixels).all()
        assert 0 <= pixels.min() and pixels.max() <= 255
        assert pixels.std() > 20
        # Two roundings of numbers below 1.
        np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=0, atol=2e-7)


def test_mixup_rows_are_what_became_of_the_pixels():
    images, rows, values = constants(8)
    recipe = dataclasses.replace(
        MIXING, mixup_fraction=1.0, cutmix_fraction=0.0
    )
    for pixels, mixed in run(recipe, images, rows, range(4)):
        assert (mixed > 0).sum(axis=1).max() == 2
        expected = (mixed @ values)[:, None, None, None] - pixels
        # What is cut to a byte, and a few roundings of numbers up to 255.
        assert -1e-4 < expected.min() and expected.max() < 1 + 1e-4


def test_cutmix_rows_are_the_share_of_pixels():
    images, rows, values = constants(8)
    recipe = dataclasses.replace(
        MIXING, mixup_fraction=0.0, cutmix_fraction=1.0
    )
    for pixels, mixed in run(recipe, images, rows, range(4)):
        assert (mixed > 0).sum(axis=1).max() == 2
        shares = (pixels[..., :1] == values).mean(axis=(1, 2))
        np.testing.assert_allclose(mixed, shares, rtol=0, atol=1e-7)
        np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize(
    "mixup_fraction, cutmix_fraction, parts",
    [
        (0.5, 0.5, (8, 16)),
        (0.25, 0.5, (4, 12)),
        (0.0, 0.25, (0, 4)),
        (0.0, 0.0, (0, 0)),
        (0.03, 0.97, (0, 16)),
    ],
)
def test_parts_of_the_batch(mixup_fraction, cutmix_fraction, parts):
    images, rows, values = constants(16)
    recipe = dataclasses.replace(
        MIXING,
        mixup_fraction=mixup_fraction,
        cutmix_fraction=cutmix_fraction,
        mixup_alpha=1.0,
    )
    blended, pasted = (np.zeros(16, bool) for _ in range(2))
    for pixels, mixed in run(recipe, images, rows, range(6)):
        known = np.isin(pixels, values).all(axis=(1, 2, 3))
        blended |= ~known
        pasted |= known & (pixels.std(axis=(1, 2, 3)) > 0)
        # Partners are of the same part.
        first, second = parts
        for part in (slice(first), slice(first, second), slice(second, None)):
            assert mixed[part, part].sum() == pytest.approx(
                len(mixed[part]), abs=1e-5
            )
        np.testing.assert_array_equal(pixels[second:], images[second:])
        np.testing.assert_array_equal(mixed[second:], rows[second:])
    place = np.arange(16)
    np.testing.assert_array_equal(blended, place < parts[0])
    np.testing.assert_array_equal(
        pasted, (place >= parts[0]) & (place < parts[1])
    )


def test_an_odd_batch_is_mixed_whole():
    images, rows, _ = constants(5)
    batches = run(MIXING, images, rows, range(12))
    assert all(any(b[1][i].max() < 1 for b in batches) for i in range(5))


def mixed_shares(part, alpha, size):
    """The fraction of either image, of 768 images in pairs."""
    images, rows, _ = constants(256, size)
    shares = {
        "mixup_fraction": 0.0,
        "cutmix_fraction": 0.0,
        f"{part}_fraction": 1.0,
    }
    recipe = dataclasses.replace(PAIRS, **shares, **{f"{part}_alpha": alpha})
    batches = run(recipe, images[..., :1], rows, range(6))
    return np.concatenate([batch[1] for batch in batches])


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_ratios_are_of_the_beta_distribution(alpha):
    mixed = mixed_shares("mixup", alpha, size=1)
    product = (1 - (mixed**2).sum(axis=1)) / 2
    expected = alpha / (2 * (2 * alpha + 1))
    # Five standard errors of 768 draws whose standard deviation is at most
    # 0.09; the other alpha is 0.1 away.
    assert product.mean() == pytest.approx(expected, abs=0.016)
    # Not one ratio for the whole batch.
    assert len(np.unique(mixed[:128].max(axis=1))) > 50


def test_boxes_are_the_papers():
    rng = np.random.default_rng(0)
    area, x, y = rng.random((3, 100_000))
    half = (64 * np.sqrt(1 - area)).astype(int) // 2

    def span(center):
        center = (64 * center).astype(int)
        return np.minimum(center + half, 64) - np.maximum(center - half, 0)

    expected = span(x) * span(y) / 64**2
    mixed = mixed_shares("cutmix", 1.0, size=64)
    pasted = mixed[:, 128:].sum(axis=1)
    # Five standard errors of 768 draws of standard deviation 0.25.
    assert pasted.mean() == pytest.approx(expected.mean(), abs=0.045)
    assert pasted.std() == pytest.approx(expected.std(), abs=0.045)


def test_pairs_are_of_different_images_used_once():
    images, rows, values = constants(16)
    steps = run(PAIRS, images, rows, range(6))
    for pixels, mixed in steps:
        assert pixels.shape == (8, 16, 16, 3) and mixed.shape == (8, 16)
        partners = mixed.copy()
        partners[np.arange(8), np.arange(8)] = 0
        # The first image of a pair is of the first half.
        assert not partners[:, :8].any()
        used = partners[:, 8:] > 0
        assert not used[~np.eye(8, dtype=bool)].any()
        np.testing.assert_allclose(
            pixels.mean(axis=(1, 2, 3)), mixed @ values, rtol=0, atol=1
        )
    assert all(any(m[i].max() < 1 for _, m in steps) for i in range(8))


def test_pairs_of_an_odd_number_of_images():
    images, rows, _ = constants(5)
    with pytest.raises(ValueError, match="`images` must be even.*5 images"):
        augment_batch(PAIRS, seed=0)(tf.constant(0, tf.int64), images, rows)


def test_hosts_make_of_pairs_what_one_makes():
    images, rows = photographs(32), np.eye(32, dtype="float32")
    recipe = dataclasses.replace(SHORT, batch_size=16, repeats=2)
    step = tf.constant(3, tf.int64)
    pixels, mixed = augment_batch(recipe, 0)(step, images, rows)
    for host in range(2):
        # Every second image that was read, with its copy.
        own = np.arange(32).reshape(16, 2)[host::2].ravel()
        found = augment_batch(recipe, 0, host, hosts=2)(
            step, images[own], rows[own]
        )
        expected = np.arange(16).reshape(8, 2)[host::2].ravel()
        np.testing.assert_array_equal(found[0], pixels.numpy()[expected])
        np.testing.assert_array_equal(found[1], mixed.numpy()[expected])


@pytest.mark.parametrize("after", [True, False])
def test_randaugment_before_or_after_mixing(after, monkeypatch):
    seen = []
    monkeypatch.setattr(
        randaugment,
        "randaugment",
        lambda *arguments: lambda x, draws: seen.append(x) or x // 2,
    )
    images, rows, values = constants(8)
    recipe = dataclasses.replace(F1, randaugment_after_mixing=after)
    step = tf.constant(0, tf.int64)
    pixels, mixed = augment_batch(recipe, 0)(step, tf.constant(images), rows)
    assert len(seen) == (4 if after else 8)
    difference = np.asarray(mixed) @ values / 2 - np.mean(pixels, (1, 2, 3))
    # Halves and blends are cut to bytes.
    assert -1e-3 < difference.min() and difference.max() < 1.5


def test_recipe_without_augmentation_changes_nothing():
    images, rows = photographs(4), np.eye(4, dtype="float32")
    assert_same(
        [one(recipes.get("nf_resnet50"), images, rows)], [(images, rows)]
    )


def test_a_layer_of_keras_cv_takes_its_place():
    keras_cv = pytest.importorskip("keras_cv")
    layer = keras_cv.layers.RandAugment(value_range=(0, 255), magnitude=0.5)
    images, rows = photographs(4), np.eye(4, dtype="float32")
    batches = dataset(lambda step, x, y: (layer(x), y), images, rows, [0, 1])
    for pixels, shares in batches:
        assert pixels.shape == images.shape
        assert np.abs(pixels - images).max() > 1
        assert 0 <= np.min(pixels) and np.max(pixels) <= 255
        np.testing.assert_array_equal(shares, rows)
